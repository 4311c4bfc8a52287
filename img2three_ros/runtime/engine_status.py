"""Whether the engines of a cache can be used on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from .engine_gpu import Target
from .engine_key import ANY, EngineKey


@dataclass(frozen=True)
class Machine:
    """builder: the installed TensorRT as ``EngineKey.builder`` has it; target: its GPU; None where there is none."""

    builder: str | None
    target: Target | None


def machine_here() -> Machine:
    """This machine."""
    from ..structures import InputError
    from .engine_gpu import gpu_here
    from .tensorrt_module import installed

    try:
        builder = str(installed())
    except InputError:
        builder = None
    return Machine(builder, gpu_here())


def why_unusable(key: EngineKey, machine: Machine) -> str:
    """Why an engine cannot be used there, in a few words; empty if it can."""
    here = machine.target
    if machine.builder is None:
        return "no TensorRT here"
    if key.builder != machine.builder:
        return f"built by {key.builder}, here is {machine.builder}"
    if here is None:
        return "no GPU here"
    if key.compute_capability != here.compute_capability:
        return f"for compute capability {key.compute_capability}, here is {here.compute_capability}"
    if key.gpu not in (ANY, here.gpu):
        return f"for {key.gpu}, here is {here.gpu}"
    if key.driver not in (ANY, here.driver):
        return f"built with driver {key.driver}, here is {here.driver}"
    return ""
