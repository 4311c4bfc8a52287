"""ONNX Runtime behind the seam: on the CPU, or on a GPU where its GPU build is installed.

Inputs and outputs are torch's memory, bound without copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..structures import InputError
from .engine_precision import half_precision
from .exported import ExportedNetwork, TensorSpec
from .libraries import onnxruntime_library

_NUMPY = {"float32": np.float32, "float16": np.float16, "int64": np.int64, "bool": np.bool_}


class OnnxRuntimeBackend:
    """A session over one ONNX file. Use ``load_onnxruntime``."""

    def __init__(self, session: Any, exported: ExportedNetwork, precision: str, device: torch.device) -> None:
        self.precision, self._exported, self._device = precision, exported, device
        self._session: Any = session

    @property
    def name(self) -> str:
        return "onnxruntime" if self._device.type == "cpu" else "onnxruntime (CUDA)"

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._session is None:
            raise InputError("backend", "this backend was closed")
        self._exported.check_inputs(inputs)
        binding = self._session.io_binding()
        given = [tensor.to(self._device).contiguous() for tensor in inputs]
        outputs = tuple(torch.empty(spec.shape, dtype=spec.torch_dtype, device=self._device)
                        for spec in self._exported.outputs)
        for spec, tensor in zip(self._exported.inputs, given, strict=True):
            binding.bind_input(*self._place(spec), tensor.data_ptr())
        for spec, tensor in zip(self._exported.outputs, outputs, strict=True):
            binding.bind_output(*self._place(spec), tensor.data_ptr())
        try:
            if self._device.type == "cuda":  # ONNX Runtime works on a stream of its own
                torch.cuda.current_stream(self._device).synchronize()
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        except Exception as error:  # pybind raises several kinds
            raise InputError("backend", f"{self.name}: network '{self._exported.network}' failed: {error}") from error
        return outputs

    def close(self) -> None:
        self._session = None

    def _place(self, spec: TensorSpec) -> tuple[str, str, int, type, tuple[int, ...]]:
        return spec.name, self._device.type, self._device.index or 0, _NUMPY[spec.dtype], spec.shape


def load_onnxruntime(exported: ExportedNetwork, precision: str, device: torch.device, threads: int = 0,
                     ) -> OnnxRuntimeBackend:
    """The network, ready to run. precision: fp32; on a GPU fp16 too; int8 for files of ``calibration``.

    threads: of the CPU; 0 = as many as torch takes. They sleep between networks: threads that spin would take the
    cores from torch, which works in between.
    Raises InputError('backend') if onnxruntime is not installed, does not know the device, or refuses the file.
    """
    runtime = onnxruntime_library()
    provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    if provider not in runtime.get_available_providers():
        raise InputError("backend", f"this onnxruntime does not run on {device.type}: it has "
                         f"{', '.join(runtime.get_available_providers())}; for NVIDIA GPUs: pip install "
                         "onnxruntime-gpu")
    content: bytes | str = str(exported.path)
    if precision == "fp16":
        if device.type == "cpu":
            raise InputError("backend", "onnxruntime on a CPU runs networks in fp32 or int8, not in fp16")
        content = half_precision(exported.path)
    elif precision not in ("fp32", "int8"):
        raise InputError("backend", f"onnxruntime runs networks in fp32, fp16 or int8, not in {precision}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # pybind raises several kinds
        raise InputError("backend", f"onnxruntime cannot load '{exported.path}': {error}") from error
    if session.get_providers()[0] != provider:
        raise InputError("backend", f"onnxruntime fell back from {provider} to {session.get_providers()[0]}: its CUDA "
                         "or cuDNN libraries do not load")
    return OnnxRuntimeBackend(session, exported, precision, device)

