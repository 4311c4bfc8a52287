"""Weights on disk: safetensors files (no code in them, unlike pickles) with text metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..structures import InputError


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Tensors by name, on the CPU, and what is said about them."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *,
                     half: bool = False) -> None:
    """Write tensors and metadata; a file of that name is replaced as a whole, never left half written.

    half: floating-point tensors are stored as float16. Raises InputError('checkpoint') if it cannot be written, or
    if a value would not survive float16.
    """
    stored = {name: _storable(name, tensor, half) for name, tensor in tensors.items()}
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(stored, str(unfinished), dict(metadata))
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        raise InputError("checkpoint", f"weights cannot be written to '{path}': {error}") from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of ``write_checkpoint``, tensors as stored.

    Raises InputError('checkpoint') if it is missing or not a whole safetensors file.
    """
    if not path.is_file():
        raise InputError("checkpoint", f"no weights at '{path}'")
    try:
        with safe_open(str(path), framework="pt") as file:
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118 - no mapping
                              file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise InputError("checkpoint", f"'{path}' is not a whole safetensors file: {error}") from error


def _storable(name: str, tensor: Tensor, half: bool) -> Tensor:
    plain = tensor.detach().cpu()
    if half and plain.is_floating_point():
        small = plain.to(torch.float16)
        if not torch.isfinite(small).all():
            raise InputError("checkpoint", f"weights: '{name}' has values up to {float(plain.abs().max()):.3g}, which "
                             "float16 cannot hold")
        plain = small
    return plain.clone(memory_format=torch.contiguous_format)
