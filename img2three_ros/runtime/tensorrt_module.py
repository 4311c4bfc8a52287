"""TensorRT, whichever is installed: ``tensorrt`` (10.x, 11.x: Orin, Thor, data-centre GPUs) or ``tensorrt_rtx`` (1.x:
RTX GPUs). All that differs between them is here.

Both build strongly typed networks only: the types are written in the ONNX file (``engine_precision``,
``calibration``). 10.x could also choose types itself; 11.x and RTX cannot, so nobody lets it.

``trt`` is the module, imported when an attribute of it is first asked for; to mypy it is ``tensorrt`` of the package
tensorrt-stubs (test_tensorrt_types.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ..structures import InputError

if TYPE_CHECKING:
    import tensorrt as trt
else:

    class _WhenNeeded:
        def __getattr__(self, name: str) -> object:
            return getattr(installed().module, name)

    trt = _WhenNeeded()

NAMES = ("tensorrt", "tensorrt_rtx")
"""In the order in which they are looked for."""

_INSTALL = ("pip install '.[tensorrt-rtx]' for GPUs of the RTX series (x86_64); on Jetson it comes with JetPack; "
            "elsewhere see https://docs.nvidia.com/deeplearning/tensorrt")


@dataclass(frozen=True)
class TensorRt:
    """The module that is installed. version: such as '10.13.0.35'."""

    module: Any
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def is_rtx(self) -> bool:
        """Builds without a GPU, for a kind of GPU; compiles for the very GPU when an engine is first run."""
        return self.name == "tensorrt_rtx"


@cache
def installed() -> TensorRt:
    """The TensorRT of this machine. Raises InputError('backend') if there is none, saying what to install."""
    reasons = []
    for name in NAMES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: libraries that cannot be loaded
            reasons.append(f"{name}: {error}")
            continue
        if hasattr(module, "Builder"):
            return TensorRt(module, name, str(module.__version__))
        reasons.append(f"{name}: only its type stubs are installed")
    raise InputError("backend", f"no TensorRT ({'; '.join(reasons)}): {_INSTALL}")


def network_flags() -> int:
    """For ``Builder.create_network``: strongly typed, which is the only way from 11.0 on, flag or not."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def compute_capabilities() -> tuple[str, ...]:
    """Those that engines can be built for without such a GPU ('8.9'); none with the classic TensorRT."""
    members = getattr(installed().module, "ComputeCapability", None)
    names = () if members is None else tuple(members.__members__)
    return tuple(f"{name[2:-1]}.{name[-1]}" for name in names if name.startswith("SM"))


def set_target(config: trt.IBuilderConfig, compute_capability: str) -> None:
    """Build for a kind of GPU, one of ``compute_capabilities``. The classic TensorRT always builds for the GPU in the
    machine. Raises InputError('backend') if TensorRT-RTX refuses."""
    if not installed().is_rtx:
        return
    rtx: Any = config
    member = getattr(installed().module.ComputeCapability, "SM" + compute_capability.replace(".", ""))
    rtx.num_compute_capabilities = 1
    if not rtx.set_compute_capability(member, 0):
        raise InputError("backend", f"{installed()} refuses to build for compute capability {compute_capability}")


def set_timings(config: trt.IBuilderConfig, content: bytes) -> bool:
    """Start from what an earlier build measured on this GPU, if it still applies. RTX measures nothing: False."""
    if installed().is_rtx:
        return False
    for attempt in (content, b""):
        timings = config.create_timing_cache(attempt)
        if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
            return True
    return False


def why_not_here(runtime: trt.Runtime, plan: bytes) -> str | None:
    """Why an engine cannot run on this machine, where TensorRT can tell without loading it; None if it may."""
    check: Any = getattr(runtime, "get_engine_validity", None)
    if check is None:
        return None
    module = installed().module
    validity, diagnostics = check(plan)
    if validity != module.EngineValidity.INVALID:
        return None
    reasons = [name.lower().replace("_", " ") for name, flag in module.EngineInvalidityDiagnostics.__members__.items()
               if diagnostics & int(flag)]
    return ", ".join(reasons) or "it is not valid on this machine"


def execution_context(
    engine: trt.ICudaEngine, kernels: bytes
) -> tuple[trt.IExecutionContext | None, Callable[[], bytes]]:
    """A context to run the engine in, and a function that gives what was compiled for this GPU by then, to be handed
    back as ``kernels`` next time; always empty with the classic TensorRT, which compiles nothing."""
    if not installed().is_rtx:
        return engine.create_execution_context(), bytes
    config: Any = engine.create_runtime_config()
    compiled = config.create_runtime_cache()
    if kernels:
        compiled.deserialize(kernels)  # False, and nothing changed, if they are of another GPU or driver
    config.set_runtime_cache(compiled)
    return engine.create_execution_context(config), lambda: bytes(memoryview(compiled.serialize()))
