"""Engines from ONNX files, through the cache. With TensorRT-RTX no GPU is needed to build."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..structures import InputError
from .backend import Progress
from .calibration import calibrated
from .engine_cache import BuiltEngine, CachedEngine, EngineCache
from .engine_files import write_whole
from .engine_gpu import Target, gpu_here
from .engine_key import EngineKey, TensorRow
from .engine_precision import HALF_VERSION, half_precision
from .exported import ExportedNetwork, TensorSpec
from .tensorrt_module import compute_capabilities, installed, network_flags, set_target, set_timings, trt

if TYPE_CHECKING:
    import tensorrt

PRECISIONS = ("fp32", "fp16", "int8")
LEVEL = 3
"""How hard the builder looks for fast kernels, 0..5; its own default."""

_SAY_EVERY_S = 5.0


def target_here() -> Target:
    """What engines for this machine are built for: its GPU; with TensorRT-RTX, whose engines are compiled for GPU and
    driver only when they first run, every GPU of that compute capability.

    Raises InputError('backend') without a GPU, or if TensorRT has nothing for it.
    """
    here = gpu_here()
    if here is None:
        raise InputError("backend", "TensorRT runs on NVIDIA GPUs only, and torch sees none here")
    return _every(here.compute_capability, here.gpu) if installed().is_rtx else here


def target_for(compute_capability: str | None) -> Target:
    """The GPU of this machine, or with TensorRT-RTX any of a compute capability ('8.9'), ahead of time.

    Raises InputError('backend') if the installed TensorRT cannot build for it.
    """
    if compute_capability is None:
        return target_here()
    if not re.fullmatch(r"\d{1,2}\.\d", compute_capability):
        raise InputError("parameter", f"compute capability '{compute_capability}' is not like 8.9")
    if installed().is_rtx:
        return _every(compute_capability)
    here = gpu_here()
    if here is None or here.compute_capability != compute_capability:
        raise InputError("backend", f"{installed()} builds for the GPU in the machine only "
                         f"({here.gpu + ' has ' + here.compute_capability if here else 'there is none'}); TensorRT-RTX "
                         f"could build for compute capability {compute_capability} ahead of time")
    return here


def _every(compute_capability: str, gpu: str = "") -> Target:
    known = compute_capabilities()
    if compute_capability not in known:
        raise InputError("backend", f"{installed()} builds for compute capability {', '.join(known)}, not for "
                         f"{compute_capability}{f' of {gpu}' if gpu else ''}: other GPUs need the classic tensorrt")
    return Target.every(compute_capability)


def engine_key(exported: ExportedNetwork, precision: str, target: Target, content: bytes) -> EngineKey:
    """All that the engine of a network depends on. exported: for int8 its calibrated form (``calibrated``); content: of
    its file."""
    flags = ["strongly typed", f"level {LEVEL}"]
    if precision == "fp16":
        flags.append(f"half {HALF_VERSION}")
    shapes = tuple((spec.name, spec.shape) for spec in exported.inputs)
    return EngineKey(exported.network, hashlib.sha256(content).hexdigest(), str(installed()),
                     target.gpu, target.compute_capability, target.driver, precision, shapes, tuple(flags))


def engine_for(
    exported: ExportedNetwork, precision: str, target: Target, cache: EngineCache, say: Progress
) -> CachedEngine:
    """The engine of a network, from the cache or built into it. The batch of the exported network is the engine's.

    Raises InputError('backend') if the precision or the target is not possible or the builder fails,
    InputError('engine_cache') if another process has been building it for too long.
    """
    if precision not in PRECISIONS:
        raise InputError("backend", f"TensorRT runs networks in {', '.join(PRECISIONS)}, not in {precision}")
    if precision == "int8":
        exported = calibrated(exported)
    try:
        content = exported.path.read_bytes()  # once: what the key names is what is built
    except OSError as error:
        raise InputError("backend", f"'{exported.path}' cannot be read: {error}") from error
    key = engine_key(exported, precision, target, content)

    def build() -> BuiltEngine:
        say(f"{installed()} builds network '{exported.network}' in {precision} for {describe(target)}: this can take "
            "minutes, once")
        model = half_precision(exported.path, content) if precision == "fp16" else content
        timings = cache.folder / _timing_name(target)
        return BuiltEngine(*build_plan(model, exported, target, timings, say))

    engine = cache.get_or_build(key, build)
    if engine.built:
        say(f"network '{exported.network}' in {precision}: engine of {len(engine.plan) / 1e6:.1f} MB built in "
            f"{engine.record.seconds:.1f} s")
    return engine


def describe(target: Target) -> str:
    """A target in words."""
    if target == Target.every(target.compute_capability):
        return f"GPUs of compute capability {target.compute_capability}"
    return f"{target.gpu} (compute capability {target.compute_capability}, driver {target.driver})"


def build_plan(
    model: bytes, exported: ExportedNetwork, target: Target, timings: Path | None, say: Progress
) -> tuple[bytes, tuple[TensorRow, ...]]:
    """The serialised engine of an ONNX model, and its inputs and outputs. timings: file in which what was measured on
    this GPU is kept for the next build; None to measure anew.

    Raises InputError('backend') if TensorRT cannot parse or build it, or if its inputs and outputs are not those of
    ``exported``.
    """
    errors: list[str] = []
    log = logger_into(errors)
    builder = trt.Builder(log)
    network = builder.create_network(network_flags())
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        nodes = [f"node '{error.node_name()}' ({error.node_operator()}): {error.desc()}" for error in found]
        _fail(exported, "cannot read", nodes or errors)
    rows = _rows(network)
    check_tensors(rows, exported)
    config = builder.create_builder_config()
    config.builder_optimization_level = LEVEL
    set_target(config, target.compute_capability)
    monitor = _monitor(exported.network, say)
    config.progress_monitor = monitor
    keeps = timings is not None and set_timings(config, _read(timings))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        _fail(exported, "cannot build", errors)
    if keeps and timings is not None:
        _keep(timings, config, say)
    return bytes(memoryview(plan)), rows


def logger_into(errors: list[str]) -> tensorrt.ILogger:
    """A logger that appends errors to a list and drops the rest."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity <= trt.ILogger.ERROR:
                errors.append(msg)

    return Log()


def check_tensors(rows: tuple[TensorRow, ...], exported: ExportedNetwork) -> None:
    """Raises InputError('backend') unless inputs and outputs have the names, shapes and types of the exported network.
    Their order may differ: they are found by name."""
    for output, specs in ((False, exported.inputs), (True, exported.outputs)):
        found = {TensorSpec(row.name, row.shape, row.dtype) for row in rows if row.output == output}
        if found != set(specs):
            side = "outputs" if output else "inputs"
            raise InputError("backend", f"the engine of network '{exported.network}' has {side} {_list(found)}, not "
                             f"{_list(set(specs))}")


def dtype_name(dtype: tensorrt.DataType) -> str:
    """As ``TensorSpec`` names it; TensorRT's own name for types that numpy has not."""
    import numpy as np

    try:
        return np.dtype(trt.nptype(dtype)).name
    except TypeError:
        return str(dtype)


def shape_of(dims: tensorrt.Dims) -> tuple[int, ...]:
    """Static shape; a free axis is -1."""
    return tuple(int(dims[axis]) for axis in range(len(dims)))


def _rows(network: tensorrt.INetworkDefinition) -> tuple[TensorRow, ...]:
    inputs = [(False, network.get_input(index)) for index in range(network.num_inputs)]
    outputs = [(True, network.get_output(index)) for index in range(network.num_outputs)]
    return tuple(TensorRow(tensor.name, output, shape_of(tensor.shape), dtype_name(tensor.dtype))
                 for output, tensor in inputs + outputs)


def _monitor(network: str, say: Progress) -> tensorrt.IProgressMonitor:
    """Says every few seconds how far the builder is. TensorRT calls it from several threads."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._start = self._said = time.monotonic()
            self._steps: dict[str, int] = {}
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            with self._lock:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            now = time.monotonic()
            with self._lock:
                due = now - self._said >= _SAY_EVERY_S
                if due:
                    self._said = now
                steps = self._steps.get(phase_name, 0)
            if due:
                say(f"building '{network}': {phase_name.lower()}, step {step + 1} of {steps}, "
                    f"{now - self._start:.0f} s so far")
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

    return Monitor()


def _fail(exported: ExportedNetwork, what: str, errors: list[str]) -> NoReturn:
    reasons = "; ".join(error.strip() for error in errors[:3]) or "no reason given"
    raise InputError("backend", f"{installed()} {what} network '{exported.network}' ('{exported.path}'): {reasons}")


def _list(specs: set[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in sorted(specs, key=lambda spec: spec.name))


def _timing_name(target: Target) -> str:
    words = f"{installed()} {target.gpu} {target.compute_capability}".lower()
    return re.sub(r"[^a-z0-9._]+", "-", words) + ".timing"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _keep(path: Path, config: tensorrt.IBuilderConfig, say: Progress) -> None:
    timings = config.get_timing_cache()
    if timings is None:
        return
    try:
        write_whole(path, bytes(memoryview(timings.serialize())))
    except OSError as problem:
        say(f"'{path}' cannot be written ({problem}): the next build measures everything again")
