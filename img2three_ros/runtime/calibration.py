"""Int8 networks: ranges measured on real images, written into the ONNX file as pairs of Quantize and Dequantize.

Convolutions and matrix products become int8, symmetric, weights per channel (Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). Everything else stays as it is; so do
the first and the last layers (the worst cosine of the encoder's outputs was 0.960 with them), and grouped convolutions:
they wait for memory, not for arithmetic, and TensorRT-RTX makes dense ones of them (the engine had 102 MB, not 12). The
file is the same for ONNX Runtime, TensorRT 10.x and 11.x and TensorRT-RTX: none of them
calibrates by itself.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..structures import InputError
from .backend import Progress
from .engine_files import write_whole
from .exported import ExportedNetwork
from .libraries import onnx_library, onnxruntime_library

if TYPE_CHECKING:
    import onnx

_CALIBRATION = "img2three_calibration"
_QUANTISED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def int8_path(exported: ExportedNetwork) -> Path:
    """Where the int8 form of an exported network lies: beside it."""
    return exported.path.with_name(f"{exported.path.stem}-int8.onnx")


def calibrated(exported: ExportedNetwork) -> ExportedNetwork:
    """The int8 form that ``quantise`` made of this very network.

    Raises InputError('backend') if there is none, or if it was made of another one.
    """
    path = int8_path(exported)
    how = ("'img2three engines build --precision int8 --bag BAG' measures the ranges on images of a recording (for "
           "ONNX Runtime on a CPU with --batch 1 --only-calibrate)")
    if not path.is_file():
        raise InputError("backend", f"network '{exported.network}' has no int8 form yet ('{path}'): {how}")
    try:
        model = onnx_library().load(str(path))
        properties = {entry.key: entry.value for entry in model.metadata_props}
        source = json.loads(properties[_CALIBRATION])["source"]
    except InputError:
        raise
    except Exception as error:  # protobuf, onnx and the file system raise their own
        raise InputError("backend", f"'{path}' is damaged ({error}): {how}") from error
    if source != sha256(exported.path.read_bytes()).hexdigest():
        raise InputError("backend", f"'{path}' was made of another version of '{exported.path.name}': {how}")
    return replace(exported, path=path)


def quantise(exported: ExportedNetwork, batches: Iterable[tuple[Tensor, ...]], say: Progress) -> ExportedNetwork:
    """Write the int8 form of a network beside it. batches: inputs as the network takes them, from real images; some
    tens of images are enough.

    Raises InputError('backend') without any batch, if one does not fit, or if onnxruntime is not installed; and
    InputError('output') if the file cannot be written.
    """
    onnx, _ = onnx_library(), onnxruntime_library()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    reader = _Reader(exported, iter(batches), say)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(exported.path), str(prepared), skip_symbolic_shape=True)
        try:
            quantize_static(
                str(prepared), str(made), reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=list(_QUANTISED),
                nodes_to_exclude=_kept(onnx.load(str(prepared))), per_channel=True, weight_type=QuantType.QInt8,
                activation_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False})
        except InputError:
            raise
        except Exception as error:  # whatever onnxruntime runs into
            raise InputError("backend", f"network '{exported.network}' cannot be made int8: {error}") from error
        model = onnx.load(str(made))
    about = {"source": sha256(exported.path.read_bytes()).hexdigest(), "batches": reader.count}
    onnx.helper.set_model_props(model, {**exported.metadata(), _CALIBRATION: json.dumps(about)})
    path = int8_path(exported)
    try:
        write_whole(path, model.SerializeToString())
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error}") from error
    return replace(exported, path=path)


def _kept(model: onnx.ModelProto) -> list[str]:
    """Names of the layers that stay as they are: grouped convolutions, those that see the network's inputs before any
    other layer does, and those after which no other layer comes."""
    layers = [node for node in model.graph.node if node.op_type in _QUANTISED]
    after_layer = _reached(model.graph.node, [name for node in layers for name in node.output])
    first = [node for node in layers if node.input[0] not in after_layer]
    last = [node for node in layers
            if not _reached(model.graph.node, node.output) & {other.input[0] for other in layers}]
    grouped = [node for node in layers if any(item.name == "group" and item.i > 1 for item in node.attribute)]
    return sorted({node.name for node in (*first, *last, *grouped)})


def _reached(nodes: Iterable[onnx.NodeProto], start: Iterable[str]) -> set[str]:
    """Names of tensors that depend on any of ``start``, itself included. nodes: in their order."""
    found = set(start)
    for node in nodes:
        if found.intersection(node.input):
            found.update(node.output)
    return found


class _Reader:
    """Hands batches to ONNX Runtime, one at a time."""

    def __init__(self, exported: ExportedNetwork, batches: Iterator[tuple[Tensor, ...]], say: Progress) -> None:
        self._exported, self._batches, self._say = exported, batches, say
        self.count = 0

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """The next inputs by name; None after the last. Raises InputError('backend') without any."""
        batch = next(self._batches, None)
        if batch is None:
            if self.count == 0:
                raise InputError("backend", f"no images to calibrate network '{self._exported.network}' with: the "
                                 "recording has no frame with all cameras of the rig")
            return None
        self._exported.check_inputs(batch)
        self.count += 1
        self._say(f"network '{self._exported.network}': ranges of {self.count * self._exported.batch} images measured")
        return {spec.name: tensor.cpu().numpy() for spec, tensor in zip(self._exported.inputs, batch, strict=True)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice of onnxruntime to its own developers."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
