"""TensorRT behind the seam: on torch's stream, in torch's memory, nothing copied to the host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..structures import InputError
from .backend import Progress
from .engine_cache import EngineCache
from .engine_files import write_whole
from .engine_key import TensorRow
from .exported import ExportedNetwork
from .tensorrt_builder import check_tensors, dtype_name, engine_for, logger_into, shape_of, target_here
from .tensorrt_module import execution_context, installed, trt, why_not_here

if TYPE_CHECKING:
    import tensorrt


def load_tensorrt(
    exported: ExportedNetwork, precision: str, device: torch.device, engines: Path, say: Progress
) -> TensorRtBackend:
    """The network, ready to run; built when the cache folder ``engines`` does not hold it. precision: fp32, fp16 or
    int8 (``calibration``).

    Raises InputError('backend') if there is no TensorRT, no GPU, or if the engine cannot be built or loaded here;
    InputError('engine_cache') if another process has been building it for too long.
    """
    module = installed()
    if device.type != "cuda":
        raise InputError("backend", f"{module} runs on NVIDIA GPUs only, not on {device.type}")
    cache = EngineCache(engines, say)
    with torch.cuda.device(device):
        target = target_here()
        found = engine_for(exported, precision, target, cache, say)
        try:
            return TensorRtBackend(found.plan, exported, precision, device, cache.kernels(found.record.key))
        except InputError as refusal:
            if found.built:
                raise
            cache.discard(found.record.key, str(refusal))
        found = engine_for(exported, precision, target, cache, say)
        return TensorRtBackend(found.plan, exported, precision, device, cache.kernels(found.record.key))


class TensorRtBackend:
    """An engine and its context. Use ``load_tensorrt``. Shapes are fixed, so its kernels are recorded once as a CUDA
    graph and replayed; where recording fails they are launched one by one."""

    def __init__(
        self, plan: bytes, exported: ExportedNetwork, precision: str, device: torch.device, kernels: Path
    ) -> None:
        """plan: the serialised engine. kernels: file for what TensorRT-RTX compiles for this GPU.

        Raises InputError('backend') if TensorRT refuses the engine, or it is not that of ``exported``.
        """
        self.precision, self._exported, self._device = precision, exported, device
        self._errors: list[str] = []
        self._log = logger_into(self._errors)  # TensorRT does not keep it alive
        self._runtime: tensorrt.Runtime | None = trt.Runtime(self._log)
        reason = why_not_here(self._runtime, plan)
        if reason is not None:
            raise InputError("backend", f"{installed()} refuses the engine of '{exported.network}': {reason}")
        self._engine: tensorrt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise InputError("backend", f"{installed()} cannot load the engine of '{exported.network}': "
                             f"{self._reason()}")
        check_tensors(engine_rows(self._engine), exported)
        context, compiled = execution_context(self._engine, _read(kernels))
        if context is None:
            raise InputError("backend", f"{installed()} cannot run the engine of '{exported.network}', most likely for "
                             f"lack of GPU memory: {self._reason()}")
        self._context: tensorrt.IExecutionContext | None = context
        self._side = torch.cuda.Stream(device)
        self._graph: _Graph | None = None
        self._warm_up(kernels, compiled)

    @property
    def name(self) -> str:
        return "tensorrt (RTX)" if installed().is_rtx else "tensorrt"

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._context is None:
            raise InputError("backend", "this backend was closed")
        self._exported.check_inputs(inputs)
        away = [tensor.device for tensor in inputs if tensor.device != self._device]
        if away:
            raise InputError("backend", f"{self.name}: inputs lie on {away[0]}, the engine on {self._device}")
        with torch.cuda.device(self._device):
            return self._graph.replay(inputs) if self._graph is not None else self._launch(inputs)

    def close(self) -> None:
        self._graph = None
        self._context = None  # in this order: each needs the next
        self._engine = None
        self._runtime = None

    def _warm_up(self, kernels: Path, compiled: Callable[[], bytes]) -> None:
        """Run once, so that everything is compiled and allocated; keep what was compiled; then record the graph."""
        inputs = tuple(torch.zeros(spec.shape, dtype=spec.torch_dtype, device=self._device)
                       for spec in self._exported.inputs)
        with torch.cuda.device(self._device):
            self._launch(inputs)
            torch.cuda.synchronize(self._device)
            with suppress(OSError):  # it is compiled again next time
                content = compiled()
                if content:
                    write_whole(kernels, content)
            with suppress(RuntimeError, InputError):  # a network that cannot be recorded is launched
                self._graph = _Graph(inputs, self._enqueue, self._outputs)
            torch.cuda.synchronize(self._device)

    def _launch(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """On the current stream; instead of the default stream, on which TensorRT would synchronise, on one beside it
        that waits for it and for which it waits. The host waits for nothing."""
        given = tuple(tensor.contiguous() for tensor in inputs)
        outputs = self._outputs()
        current = torch.cuda.current_stream(self._device)
        if current != torch.cuda.default_stream(self._device):
            self._enqueue(given, outputs, current)
            return outputs
        self._side.wait_stream(current)
        self._enqueue(given, outputs, self._side)
        for tensor in given + outputs:
            tensor.record_stream(self._side)
        current.wait_stream(self._side)
        return outputs

    def _outputs(self) -> tuple[Tensor, ...]:
        return tuple(torch.empty(spec.shape, dtype=spec.torch_dtype, device=self._device)
                     for spec in self._exported.outputs)

    def _enqueue(self, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], stream: torch.cuda.Stream) -> None:
        assert self._context is not None
        specs = (*self._exported.inputs, *self._exported.outputs)
        for spec, tensor in zip(specs, inputs + outputs, strict=True):
            if not self._context.set_tensor_address(spec.name, tensor.data_ptr()):
                raise InputError("backend", f"{self.name}: memory of '{spec.name}' is refused: {self._reason()}")
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise InputError("backend", f"{self.name}: network '{self._exported.network}' failed: {self._reason()}")

    def _reason(self) -> str:
        return "; ".join(self._errors[-3:]) or "no reason given"


class _Graph:
    """Kernels recorded once. Inputs are copied into its memory and outputs out of it, on the GPU."""

    def __init__(
        self, inputs: tuple[Tensor, ...],
        enqueue: Callable[[tuple[Tensor, ...], tuple[Tensor, ...], torch.cuda.Stream], None],
        outputs: Callable[[], tuple[Tensor, ...]],
    ) -> None:
        self._inputs, self._outputs = inputs, outputs()
        self._graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        enqueue(self._inputs, self._outputs, side)  # what TensorRT does once for new addresses is not recorded
        side.synchronize()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):  # other threads may go on
            enqueue(self._inputs, self._outputs, torch.cuda.current_stream())

    def replay(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Outputs in memory of their own."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


def engine_rows(engine: tensorrt.ICudaEngine) -> tuple[TensorRow, ...]:
    """Inputs and outputs of a loaded engine."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return tuple(TensorRow(name, engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT,
                           shape_of(engine.get_tensor_shape(name)), dtype_name(engine.get_tensor_dtype(name)))
                 for name in names)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
