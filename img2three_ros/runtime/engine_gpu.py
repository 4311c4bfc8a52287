"""Which GPU an engine is for: the one in this machine, or a kind of GPU."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

from .engine_key import ANY

_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_JETSON = Path("/etc/nv_tegra_release")


@dataclass(frozen=True)
class Target:
    """gpu: its name; driver: versions of the kernel module and of CUDA; both ANY for an engine that fits all GPUs of a
    compute capability, such as '8.9'."""

    gpu: str
    compute_capability: str
    driver: str

    @classmethod
    def every(cls, compute_capability: str) -> Target:
        """All GPUs of a compute capability."""
        return cls(ANY, compute_capability, ANY)


def gpu_here() -> Target | None:
    """The current CUDA device of torch; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return Target(properties.name, f"{properties.major}.{properties.minor}", driver_version())


def driver_version(kernel_module: Path = _KERNEL_MODULE, jetson: Path = _JETSON) -> str:
    """Such as '580.65.06, CUDA 13.0'; on a Jetson with the release of its Linux instead of the first."""
    found = _first_match(kernel_module, r"NVRM version:.*?\s(\d+(?:\.\d+)+)\s")
    found = found or _first_match(jetson, r"# (R\d+ \(release\), REVISION: [\d.]+)")
    return ", ".join(part for part in (found, _cuda_of_driver()) if part) or "unknown"


def _first_match(path: Path, pattern: str) -> str:
    try:
        match = re.search(pattern, path.read_text(errors="replace"))
    except OSError:
        return ""
    return match.group(1) if match else ""


def _cuda_of_driver() -> str:
    try:
        library = ctypes.CDLL("libcuda.so.1")
        version = ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
            return ""
    except (OSError, AttributeError):
        return ""
    return f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
