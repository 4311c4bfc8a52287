"""The depth network as one file: its weights and, as metadata, the configuration it was built with."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from ..fileio.checkpoints import read_checkpoint, write_checkpoint
from ..structures import InputError
from .depth_network import DepthNetwork, DepthNetworkConfig

_CONFIG = "depth_network"


def save_depth_network(path: Path, network: DepthNetwork, metadata: Mapping[str, str] | None = None, *,
                       half: bool = True) -> None:
    """Write the network; metadata: text to keep with it (steps, hours, hardware). half: float16, for shipping.

    Raises InputError('checkpoint'), see ``write_checkpoint``.
    """
    write_checkpoint(path, network.state_dict(), {**(metadata or {}), _CONFIG: json.dumps(asdict(network.config))},
                     half=half)


def load_depth_network(path: Path) -> DepthNetwork:
    """The network of a file of ``save_depth_network``: float32, on the CPU, for inference.

    Raises InputError('checkpoint') if the file is missing, damaged or of another network.
    """
    checkpoint = read_checkpoint(path)
    if _CONFIG not in checkpoint.metadata:
        raise InputError("checkpoint", f"'{path}' holds no depth network: its metadata has no '{_CONFIG}'")
    try:
        config = _built(DepthNetworkConfig, json.loads(checkpoint.metadata[_CONFIG]))
    except (TypeError, ValueError) as error:
        raise InputError("checkpoint", f"'{path}' is of another version of the depth network: {error}") from error
    network = DepthNetwork(config)
    expected = network.state_dict()
    for name in sorted(expected.keys() | checkpoint.tensors.keys()):
        wanted, given = (tuple(group[name].shape) if name in group else "nothing"
                         for group in (expected, checkpoint.tensors))
        if wanted != given:
            raise InputError("checkpoint", f"'{path}' is of another version of the depth network: '{name}' is {given} "
                             f"in the file and {wanted} in the network")
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
    return tuple(value) if isinstance(value, list) else value
