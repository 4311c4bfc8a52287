"""Int8 networks: ranges measured on real images, written into the ONNX file as pairs of Quantize and Dequantize.

Convolutions and matrix products become int8, symmetric, weights per channel (Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018); everything else stays as it is. The
file is the same for ONNX Runtime, TensorRT 10.x and 11.x and TensorRT-RTX: none of them calibrates by itself.
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

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..structures import InputError
from .backend import Progress
from .engine_files import write_whole
from .exported import ExportedNetwork
from .libraries import onnx_library, onnxruntime_library

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
    how = "'img2three engines build --precision int8 --bag BAG' measures the ranges on images of a recording"
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
                per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
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
