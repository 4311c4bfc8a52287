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
from ..geometry.image_size import network_size
from ..ingest.bag_frames import BagSummary, read_frames
from ..ingest.rig_file import load_rig
from ..runtime.backend import Progress
from ..runtime.calibration import quantise
from ..runtime.choose_backend import cache_folder
from ..runtime.engine_cache import CachedEngine, EngineCache
from ..runtime.export import cached_export
from ..runtime.exported import ExportedNetwork, TensorSpec, read_exported
from ..runtime.parts import SCENE_ENCODER
from ..runtime.tensorrt_builder import PRECISIONS, describe, engine_for, target_for
from ..runtime.tensorrt_module import installed
from ..structures import InputError
from .export_command import parts_of, sizes_of
from .prepare import FramePreparer
from .scene_memory import padded_image

CALIBRATION_IMAGES = 64
"""Of each size, spread over the recording."""


@dataclass(frozen=True)
class BuildRequest:
    """network: as ``img2three export`` names it, or an ONNX file that it wrote. Sizes of images are ``size``
    ('640x384'), or those of the calibrations in ``rig``, or those of the first frame of ``bag``; ``bag`` is also what
    int8 is calibrated on. precision: None = as the configuration says. compute_capability: '8.9'; None = of the GPU
    here. checkpoint: of the pointmap network. only_calibrate: write the int8 network and build no engine of it."""

    network: str = SCENE_ENCODER
    rig: Path | None = None
    bag: Path | None = None
    size: str | None = None
    batch: int | None = None
    precision: str | None = None
    compute_capability: str | None = None
    checkpoint: Path | None = None
    only_calibrate: bool = False


def build_engines(request: BuildRequest, config: Config, say: Progress) -> list[CachedEngine]:
    """Build what the cache does not hold yet. Raises InputError."""
    precision = _precision(request, config)
    if request.only_calibrate:
        if precision != "int8" or request.bag is None:
            raise InputError("parameter", "--only-calibrate needs --precision int8 and --bag")
        for exported in _networks(request, config, say):
            say(f"calibrated: {_calibrate(request.bag, request.rig, config, exported, say).path}")
        return []
    target = target_for(request.compute_capability)
    say(f"{installed()} for {describe(target)}; cache '{cache_folder(config.runtime)}'")
    cache = EngineCache(cache_folder(config.runtime) / "engines", say)
    engines = []
    for exported in _networks(request, config, say):
        if precision == "int8" and request.bag is not None:
            _calibrate(request.bag, request.rig, config, exported, say)
        engines.append(engine_for(exported, precision, target, cache, say))
    return engines


def _calibrate(bag: Path, rig: Path | None, config: Config, exported: ExportedNetwork, say: Progress
               ) -> ExportedNetwork:
    if exported.network != SCENE_ENCODER:
        raise InputError("parameter", f"int8 is for the scene-encoder alone: '{exported.network}' takes what other "
                         "networks give, not images of a recording")
    return quantise(exported, image_batches(bag, config, rig, exported.inputs[0]), say)


def _networks(request: BuildRequest, config: Config, say: Progress) -> Iterator[ExportedNetwork]:
    if request.network.endswith(".onnx"):
        yield read_exported(Path(request.network))
        return
    sizes, scene = _sizes(request, config), config.scene
    for part in parts_of(request.network, sizes, request.batch, scene.weights, scene.space_weights, request.checkpoint):
        shapes = ", ".join("x".join(map(str, spec.shape)) for spec in part.inputs)
        say(f"network '{part.network}' for {shapes}")
        yield cached_export(part, cache_folder(config.runtime) / "onnx")


def _precision(request: BuildRequest, config: Config) -> str:
    precision = request.precision or config.runtime.precision
    precision = "fp16" if precision == "auto" else precision
    if precision not in PRECISIONS:
        raise InputError("parameter", f"TensorRT builds {', '.join(PRECISIONS)}, not {precision}: give --precision")
    return precision


def _sizes(request: BuildRequest, config: Config) -> Counter[tuple[int, int]]:
    """(height, width) of the images that the networks get, and how many cameras have it."""
    if request.size is not None or request.bag is None:
        return sizes_of(request.size, request.rig, None, config.prepare.pixels)
    if request.rig is not None and all(camera.calibration for camera in load_rig(request.rig).cameras):
        return sizes_of(None, request.rig, None, config.prepare.pixels)
    frame = next(read_frames(request.bag, config, rig=request.rig), None)
    if frame is None:
        raise InputError("bag", f"'{request.bag}' holds no frame of which sizes could be read; give --size")
    sizes = (network_size(image.calibration, config.prepare.pixels) for image in frame.images)
    return Counter((height, width) for width, height in sizes)


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
