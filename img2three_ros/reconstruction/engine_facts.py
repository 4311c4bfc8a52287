"""What a pipeline says of itself for diagnostics: engine, where it runs, exactly which weights, memory in use."""

from __future__ import annotations

import ctypes
import gc
import hashlib
from pathlib import Path

import torch

from ..config import Config
from ..geometry.rays import pixel_grid
from .pipeline import ReconstructionPipeline

_SHORT = 16
"""Digits of a hash that are shown."""


def engine_facts(pipeline: ReconstructionPipeline, config: Config) -> dict[str, str]:
    """Key-values that do not change while the pipeline lives. Reads the weights once, to hash them."""
    return {f"{name}.sha256": file_hash(path)[:_SHORT] for name, path in _weights(config)}


def running_facts(pipeline: ReconstructionPipeline) -> dict[str, str]:
    """Key-values of this moment: ``backend``, what the engine's network runs in, which changes when one is given up."""
    return {"backend": str(getattr(pipeline.engine, "backend", "torch"))}


def file_hash(path: Path) -> str:
    """sha256 (hex) of a file, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())
    for inner in files:
        if inner != path:
            digest.update(str(inner.relative_to(path)).encode())
        with inner.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def memory_facts(device: str) -> dict[str, str]:
    """GPU memory (MB) in use and reserved by this process, where ``device`` is a GPU."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return {}
    free, total = torch.cuda.mem_get_info()
    megabytes = {"gpu_memory.allocated_mb": torch.cuda.memory_allocated(),
                 "gpu_memory.reserved_mb": torch.cuda.memory_reserved(), "gpu_memory.free_mb": free,
                 "gpu_memory.total_mb": total}
    return {key: f"{value / 2**20:.0f}" for key, value in megabytes.items()}


def release_memory() -> None:
    """Give what is no longer used back to the device and to the system."""
    pixel_grid.cache_clear()
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library: it gives back what it likes
        return


def _weights(config: Config) -> list[tuple[str, Path]]:
    """(parameter, file or folder) of the weights that the engine of ``config`` was loaded from."""
    if config.engine == "scene":
        from .scene_engine import space_weights_file, weights_file

        files = [("scene.weights", weights_file(config.scene.weights))]
        return [*files, ("scene.space_weights", space_weights_file(config.scene.space_weights))] \
            if config.scene.space else files
    if config.engine == "pointmap":
        return [("pointmap.checkpoint", Path(config.pointmap.checkpoint).expanduser())]
    return []
