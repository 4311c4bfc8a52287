"""A network as an ONNX file, and what must be known to run and to trust it; kept in the file's own metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..structures import InputError

EXPORT_VERSION = 1
"""Of what ``export`` writes; another number makes files in the cache stale."""

_METADATA = "img2three_network"
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "int64": torch.int64, "bool": torch.bool}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: shape without free axes; dtype: float32, float16, int64 or bool."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The same for torch."""
        return _DTYPES[self.dtype]

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this shape and type."""
        return tuple(tensor.shape) == self.shape and tensor.dtype == self.torch_dtype


@dataclass(frozen=True)
class ExportedNetwork:
    """path: the ONNX file, weights inside. network: which, such as 'scene-encoder'. weights: sha256 (hex) of the
    weights it was made of. normalisation: what the input must be, in words ('RGB 0..1; the network does the rest').
    opset: of ONNX. version: EXPORT_VERSION of the program that wrote it."""

    path: Path
    network: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: str
    normalisation: str
    opset: int
    version: int = EXPORT_VERSION

    @property
    def batch(self) -> int:
        """Images that go through together."""
        return self.inputs[0].shape[0]

    def metadata(self) -> dict[str, str]:
        """What ``metadata_props`` of the ONNX file hold."""
        values = asdict(replace(self, path=Path()))
        del values["path"]
        return {_METADATA: json.dumps(values, sort_keys=True)}

    def check_inputs(self, inputs: tuple[Tensor, ...]) -> None:
        """Raises InputError('backend') unless the inputs have the shapes and types of the network."""
        if len(inputs) == len(self.inputs) and all(spec.fits(value) for spec, value in
                                                   zip(self.inputs, inputs, strict=True)):
            return
        given = ", ".join(f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}" for value in inputs)
        wanted = ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in self.inputs)
        raise InputError("backend", f"network '{self.network}' takes {wanted}; it was given {given}")


def read_exported(path: Path) -> ExportedNetwork:
    """What an ONNX file of ``img2three export`` says of itself.

    Raises InputError('backend') if the file is missing, damaged, or not of this program.
    """
    from .libraries import onnx_library

    try:
        model = onnx_library().load(str(path), load_external_data=False)
    except InputError:
        raise
    except Exception as error:  # protobuf, onnx and the file system raise their own
        raise InputError("backend", f"'{path}' is no readable ONNX file: {error}") from error
    found = {entry.key: entry.value for entry in model.metadata_props}
    if _METADATA not in found:
        raise InputError("backend", f"'{path}' was not written by 'img2three export': its metadata do not say what it "
                         "takes")
    try:
        return _from_metadata(path, json.loads(found[_METADATA]))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError("backend", f"the metadata of '{path}' are damaged: {error}") from error


def _from_metadata(path: Path, values: dict[str, Any]) -> ExportedNetwork:
    for side in ("inputs", "outputs"):
        values[side] = tuple(TensorSpec(spec["name"], tuple(int(axis) for axis in spec["shape"]), spec["dtype"])
                             for spec in values[side])
        unknown = [spec.dtype for spec in values[side] if spec.dtype not in _DTYPES]
        if unknown:
            raise ValueError(f"type '{unknown[0]}' of {side} is not known")
    return ExportedNetwork(path=path, **values)
