"""Where engines and devices are chosen, by plain ``if``; heavy parts are imported only when chosen."""

from __future__ import annotations

import torch

from ..config import Config
from ..structures import InputError
from .views import Engine


def choose_device(config: Config) -> torch.device:
    """The torch device that ``config.device`` asks for. Raises InputError if CUDA is asked for and absent."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("parameter", "device = 'cuda', but torch sees no CUDA device; use 'auto' or 'cpu'")
    use_cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def choose_engine(config: Config, device: torch.device) -> Engine:
    """The engine that ``config.engine`` names. Raises InputError if it is unknown, or its weights or package cannot be
    used."""
    if config.engine == "sweep":
        from .sweep_engine import SweepEngine

        return SweepEngine(config.sweep, device)
    if config.engine == "scene":
        from .scene_engine import SceneEngine

        return SceneEngine(config.scene, device, config.runtime)
    if config.engine == "pointmap":
        from .pointmap_engine import PointmapEngine, read_network

        return PointmapEngine(config.pointmap, device, read_network(config.pointmap), config.runtime)
    if config.engine == "mapanything":
        from .mapanything_engine import MapAnythingEngine, read_model

        return MapAnythingEngine(config.mapanything, device, read_model(config.mapanything))
    raise InputError("parameter", f"engine '{config.engine}' is not known; choose one of: sweep, scene, pointmap, "
                     "mapanything")
