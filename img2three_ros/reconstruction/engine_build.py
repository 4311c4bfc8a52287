"""Engines of TensorRT for a rig, built before they are needed: the networks as ``img2three export`` writes them, at the
sizes of the cameras, all cameras of a size together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..config import Config
from ..ingest.bag_frames import BagSummary, read_frames
from ..runtime.backend import Progress
from ..runtime.calibration import quantise
from ..runtime.choose_backend import cache_folder
from ..runtime.engine_cache import CachedEngine, EngineCache
from ..runtime.export import cached_export
from ..runtime.exported import ExportedNetwork, TensorSpec, read_exported
from ..runtime.parts import SCENE_ENCODER
from ..runtime.tensorrt_builder import describe, engine_for, target_for
from ..runtime.tensorrt_module import installed
from ..structures import InputError
from .export_command import parts_of, sizes_of
from .prepare import FramePreparer
from .scene_memory import padded_image

CALIBRATION_IMAGES = 64
"""Of each size, spread over the recording."""


@dataclass(frozen=True)
class BuildRequest:
    """network: as ``img2three export`` names it, or an ONNX file that it wrote. rig, bag: where the sizes of images
    come from, one of them, or ``size`` ('640x384') and ``batch``. calibrate: recording that int8 is calibrated on.
    compute_capability: '8.9'; None = of the GPU here."""

    network: str = SCENE_ENCODER
    rig: Path | None = None
    bag: Path | None = None
    size: str | None = None
    batch: int | None = None
    precision: str = "fp16"
    compute_capability: str | None = None
    checkpoint: Path | None = None
    calibrate: Path | None = None


def build_engines(request: BuildRequest, config: Config, say: Progress) -> list[CachedEngine]:
    """Build what the cache does not hold yet. Raises InputError."""
    target = target_for(request.compute_capability)
    say(f"{installed()} for {describe(target)}; cache '{cache_folder(config.runtime)}'")
    cache = EngineCache(cache_folder(config.runtime) / "engines", say)
    engines = []
    for exported in _networks(request, config, say):
        if request.precision == "int8" and request.calibrate is not None:
            if exported.network != SCENE_ENCODER:
                raise InputError("parameter", f"int8 is for the scene-encoder alone: '{exported.network}' takes what "
                                 "other networks give, not images of a recording")
            quantise(exported, image_batches(request.calibrate, config, request.rig, exported.inputs[0]), say)
        engines.append(engine_for(exported, request.precision, target, cache, say))
    return engines


def _networks(request: BuildRequest, config: Config, say: Progress) -> Iterator[ExportedNetwork]:
    if request.network.endswith(".onnx"):
        yield read_exported(Path(request.network))
        return
    sizes = sizes_of(request.size, request.rig, request.bag, config.prepare.pixels)
    for part in parts_of(request.network, sizes, request.batch, config.scene.weights, config.scene.space_weights,
                         request.checkpoint):
        shapes = ", ".join("x".join(map(str, spec.shape)) for spec in part.inputs)
        say(f"network '{part.network}' for {shapes}")
        yield cached_export(part, cache_folder(config.runtime) / "onnx")


def image_batches(bag: Path, config: Config, rig: Path | None, spec: TensorSpec) -> Iterator[tuple[Tensor, ...]]:
    """Images of a recording as the encoder gets them, in batches of ``spec`` (batch, 3, H, W), spread over the
    recording: those of all cameras whose images have that size. Raises InputError if the bag cannot be read."""
    count, _, *size = spec.shape
    summary = BagSummary()
    prepare = FramePreparer(config.prepare, torch.device("cpu"))
    waiting: list[Tensor] = []
    given = 0
    other: Counter[tuple[int, ...]] = Counter()
    for number, frame in enumerate(read_frames(bag, config, rig=rig, summary=summary, reduced=True)):
        frames_wanted = max(1, CALIBRATION_IMAGES // max(1, len(frame.images)))
        if number % max(1, summary.expected // frames_wanted):
            continue
        for view in prepare(frame).views:
            image = padded_image(view.image)
            if list(image.shape[1:]) == size:
                waiting.append(image)
            else:
                other[tuple(image.shape[1:])] += 1
        while len(waiting) >= count:
            yield (torch.stack(waiting[:count]),)
            given += count
            del waiting[:count]
        if given >= CALIBRATION_IMAGES:
            return
    if not given and other:
        raise InputError("bag", f"'{bag}' has images of {', '.join(f'{w}x{h}' for h, w in other)} for the network, and "
                         f"fewer than {count} of {size[1]}x{size[0]}: calibrate on a recording of this rig")
