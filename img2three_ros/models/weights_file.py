"""Networks as files: weights, and as metadata the configuration they were built with."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ..fileio.checkpoints import read_checkpoint, write_checkpoint
from ..structures import InputError

_LARGEST = 16_384
"""No number in the configuration of a network is larger; some of them count layers."""

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")


def save_network(path: Path, network: nn.Module, config: Any, key: str, metadata: Mapping[str, str] | None,
                 half: bool) -> None:
    """Write a network that was built with the dataclass ``config``, kept as metadata under ``key``.

    Raises InputError('checkpoint'), see ``write_checkpoint``.
    """
    write_checkpoint(path, network.state_dict(), {**(metadata or {}), key: json.dumps(asdict(config))}, half=half)


def load_network(path: Path, kind: type[Config], build: Callable[[Config], Network], key: str, called: str) -> Network:
    """The network of a file of ``save_network``: float32, on the CPU, for inference. called: what it is, in words.

    Raises InputError('checkpoint') if the file is missing, damaged or of another network.
    """
    checkpoint = read_checkpoint(path)
    if key not in checkpoint.metadata:
        raise InputError("checkpoint", f"'{path}' holds no {called}: its metadata has no '{key}'")
    try:
        config = _built(kind, json.loads(checkpoint.metadata[key]))
        with torch.device("meta"):  # what the file says of its network may be anything: first without memory
            expected = build(config).state_dict()
    except Exception as error:
        raise InputError("checkpoint", f"'{path}' is of another version of the {called}: {error}") from error
    for name in sorted(expected.keys() | checkpoint.tensors.keys()):
        wanted, given = (tuple(group[name].shape) if name in group else "nothing"
                         for group in (expected, checkpoint.tensors))
        if wanted != given:
            raise InputError("checkpoint", f"'{path}' is of another version of the {called}: '{name}' is {given} "
                             f"in the file and {wanted} in the network")
    network = build(config)
    network.load_state_dict({name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
                             for name, tensor in checkpoint.tensors.items()})
    return network.eval().requires_grad_(False)


def _built(kind: type, values: Mapping[str, Any]) -> Any:
    """A configuration dataclass from what ``asdict`` and JSON made of it; TypeError for a field it does not have."""
    kinds = typing.get_type_hints(kind)
    unknown = sorted(set(values) - {item.name for item in fields(kind)})
    if unknown:
        raise TypeError(f"its configuration has '{unknown[0]}', which is not known here")
    return kind(**{name: _value(kinds[name], value) for name, value in values.items()})


def _value(kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        return _built(typing.cast(type, kind), value)
    if isinstance(value, (int, float)) and not abs(value) <= _LARGEST:
        raise ValueError(f"its configuration has the number {value:g}")
    return tuple(_value(Any, item) for item in value) if isinstance(value, list) else value
