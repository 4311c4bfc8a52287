"""Networks as ONNX files: static shapes, weights inside, checked with onnx and, against torch, with ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..fileio.folders import make_folder
from ..structures import InputError
from .engine_files import write_whole
from .exported import EXPORT_VERSION, ExportedNetwork, TensorSpec, read_exported
from .libraries import onnx_library, onnxruntime_library, onnxscript_library
from .network_folder import mark_used
from .parts import Part

OPSET = 18
_GRAPH = "img2three_graph_sha256"
LARGEST_ERROR = 1e-3
"""Of an exported network against torch, both in float32; see ``relative_error``."""


def export_part(part: Part, path: Path, *, checked: bool = True) -> ExportedNetwork:
    """Write a network to an ONNX file: to a temporary one beside it, which is renamed once it is known to be right.

    checked: run it with ONNX Runtime on two sets of inputs and compare with torch.
    Raises InputError('backend') if onnx, onnxscript or (checked) onnxruntime is not installed, or if what was exported
    is not the network; InputError('output') if it cannot be written.
    """
    onnx = onnx_library()
    model = _traced(part)
    outputs = tuple(TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
                    for name, tensor in zip(part.outputs, part.reference(part.samples()), strict=True))
    exported = ExportedNetwork(path, part.network, part.inputs, outputs, part.weights, part.normalisation, OPSET)
    onnx.helper.set_model_props(model, {**exported.metadata(), _GRAPH: _digest(model)})
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker has several kinds of errors of its own
        raise InputError("backend", f"network '{part.network}': onnx finds the export wrong: {error}") from error
    content = model.SerializeToString()
    if checked:
        _check(part, content)
    _write(path, content)
    return exported


def cached_export(part: Part, folder: Path, *, checked: bool = True) -> ExportedNetwork:
    """The ONNX file of a network in the cache ``folder``, exported when it is not there, stale or damaged.

    Raises InputError as ``export_part`` does.
    """
    path = folder / f"{part.network}-{export_key(part)[:20]}.onnx"
    if path.is_file():
        with suppress(InputError):
            found = read_exported(path)
            same = (found.network, found.weights, found.inputs) == (part.network, part.weights, part.inputs)
            if same and found.version == EXPORT_VERSION and undamaged(path):
                mark_used(path)
                return found
    return export_part(part, path, checked=checked)


def undamaged(path: Path) -> bool:
    """Whether the network in an ONNX file of ``export_part`` is still the one that was written, to the last bit."""
    model = onnx_library().load(str(path), load_external_data=False)
    return any(entry.key == _GRAPH and entry.value == _digest(model) for entry in model.metadata_props)


def _digest(model: Any) -> str:
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def export_key(part: Part) -> str:
    """sha256 (hex) of all that decides what is exported: another one means another file."""
    shapes = [[spec.name, list(spec.shape), spec.dtype] for spec in part.inputs]
    known = [part.network, part.weights, shapes, list(part.outputs), OPSET, EXPORT_VERSION]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def relative_error(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference of any value from what torch gives, as a share of the largest magnitude in its output
    tensor; infinite where something is not finite or has another shape.

    Not as a share of each value: features cross zero, and there any rounding is infinitely wrong.
    """
    worst = 0.0
    for right, given in zip(expected, found, strict=True):
        if right.shape != given.shape or not bool(given.isfinite().all()):
            return float("inf")
        scale = float(right.abs().max()) or 1.0
        worst = max(worst, float((given.to(right.device, torch.float32) - right.float()).abs().max()) / scale)
    return worst


@torch.inference_mode(False)
@torch.no_grad()
def _traced(part: Part) -> Any:
    """The ONNX model as protobuf."""
    onnxscript_library()
    inputs = tuple(tensor.clone() for tensor in part.samples())
    with _quiet():
        program = torch.onnx.export(part.module, inputs, dynamo=True, opset_version=OPSET, verbose=False,
                                    input_names=[spec.name for spec in part.inputs], output_names=list(part.outputs))
    assert program is not None
    return program.model_proto


def _check(part: Part, content: bytes) -> None:
    runtime = onnxruntime_library()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for seed in (0, 1):
        inputs = part.samples(seed)
        given = {spec.name: tensor.cpu().numpy() for spec, tensor in zip(part.inputs, inputs, strict=True)}
        found = [torch.from_numpy(array) for array in session.run(list(part.outputs), given)]
        error = relative_error([tensor.cpu() for tensor in part.reference(inputs)], found)
        if not error <= LARGEST_ERROR:
            raise InputError("backend", f"network '{part.network}' as ONNX is not the network: its outputs differ by "
                             f"{error:.2g} of their range from those of torch, allowed is {LARGEST_ERROR:g}")


def _write(path: Path, content: bytes) -> None:
    make_folder(path.parent)
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error}; choose another folder") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own workings."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
