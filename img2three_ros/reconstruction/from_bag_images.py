"""A recording, with or without calibration -> one scene of one instant, by the pointmap engine.

choose    the images of an instant and of earlier ones
know      intrinsics exact; poses of TF and odometry as priors; pairs by overlapping frusta, where that is known
predict, align, scale, clean    as for images, in base_link of the instant where its cameras' poses are known
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import Config
from ..geometry.transforms import apply, inverse
from ..pointmap.view_graph import Edge, complete_pairs, window_pairs
from ..structures import InputError, Matrix
from .bag_images import BagImage, BagImages, read_bag_images
from .fitted_image import FittedImage, fit_image, fit_mask
from .from_images import ImageSettings, PairNetwork, Stage, Told, numbered_baseline, scene_of
from .image_scale import Metres
from .image_scene import OPTICAL_WORLD, ImageScene
from .instant import Choice
from .known_cameras import KnownCamera, known_of, pairs_of, with_pairs

_STRAIGHT = float(np.radians(3.0))


@dataclass(frozen=True)
class BagRequest:
    """Which part of a recording: the instant, how many instants (None: as many as are sensible), cameras, rig file."""

    bag: Path
    choice: Choice = field(default_factory=Choice)
    instants: int | None = None
    cameras: tuple[str, ...] | None = None
    rig: Path | None = None


def reconstruct_bag_images(request: BagRequest, config: Config, network: PairNetwork, settings: ImageSettings,
                           device: torch.device, stage: Stage) -> ImageScene:
    """The front page. The network lies on ``device``. Raises InputError like ``read_bag_images`` and ``scene_of``."""
    with stage("reading the recording") as progress:
        found = read_bag_images(request.bag, config, request.choice, request.instants, request.cameras, request.rig,
                                progress)
    if len(found.images) < 2:
        raise InputError("image", f"'{request.bag}' gives one image ({found.images[0].name}) for this instant: depth "
                         "needs two or more views from different places; take an instant while the vehicle moves "
                         "(--at)")
    fitted = [fitted_bag_image(image, settings.side) for image in found.images]
    cameras = [known_camera(image, own) for image, own in zip(found.images, fitted, strict=True)]
    kept, edges = with_pairs(bag_pairs(found.images, cameras, settings))
    left = [image.name for number, image in enumerate(found.images) if number not in kept]
    notes = (*found.notes, *((f"{', '.join(left)}: overlaps no other image by its calibration: left out",)
                             if left else ()))
    told = told_of(found, kept, fitted, cameras, settings)
    return scene_of([fitted[image] for image in kept], edges, network, settings, device, stage,
                    replace(told, notes=notes))


def fitted_bag_image(image: BagImage, side: int) -> FittedImage:
    """At the network's size, with its whole pixels for the export."""
    return replace(fit_image(Path(f"{image.name}.png"), image.pixels, side), whole=image.pixels)


def known_camera(image: BagImage, fitted: FittedImage) -> KnownCamera:
    """What is known of its camera, in the network's pixels."""
    height, width = fitted.pixels.shape[:2]
    intrinsics = None if image.intrinsics is None else fitted.fitted_intrinsics(image.intrinsics)
    return KnownCamera((height, width), intrinsics, image.T_world_camera)


def bag_pairs(images: Sequence[BagImage], cameras: Sequence[KnownCamera], settings: ImageSettings) -> list[Edge]:
    """By overlapping frusta where all cameras are placed; else all with all, or with more than ``complete_up_to``
    images those of one instant, and each with its camera's instants before and after. The user's graph goes first."""
    if settings.graph == "complete":
        return complete_pairs(len(images))
    if settings.graph == "window":
        return window_pairs(len(images), settings.window)
    if all(camera.placed for camera in cameras) or len(images) <= settings.complete_up_to:
        return pairs_of(cameras, complete_up_to=settings.complete_up_to)
    near = [(i, j) for i, one in enumerate(images) for j, other in enumerate(images[:i])
            if one.instant == other.instant or (one.camera == other.camera and one.instant - other.instant == 1)]
    return near + [(j, i) for i, j in near]


def told_of(found: BagImages, kept: Sequence[int], fitted: Sequence[FittedImage], cameras: Sequence[KnownCamera],
            settings: ImageSettings) -> Told:
    """Priors, masks and what may give the scale, for the images that are kept."""
    images, known = [found.images[image] for image in kept], known_of([cameras[image] for image in kept])
    masks = {new: fit_mask(fitted[image], found.images[image].usable) for new, image in enumerate(kept)
             if not found.images[image].usable.all()}
    placed = any(image.T_world_camera is not None for image in images)
    paths = [fitted[image].path for image in kept]
    rig = [image.T_world_camera if image.instant == 0 else None for image in images]
    metres = Metres(numbered_baseline(settings.baseline, paths), settings.metric_network, rig, _ways(images),
                    [_scan_of(image, found) for image in images], known.centre if placed else None)
    world = (f"{found.base_frame} at {found.stamp / 1e9:.3f} s (x forward, y left, z up)" if placed else OPTICAL_WORLD)
    return Told(known, masks, metres, world, placed, leave_out=True, about=found.about)


def _scan_of(image: BagImage, found: BagImages) -> NDArray[np.floating] | None:
    """LiDAR points in the optical frame of an image of the chosen instant; None for others, and without LiDAR."""
    if image.instant != 0 or image.T_world_camera is None or found.lidar is None:
        return None
    return apply(inverse(image.T_world_camera), found.lidar)


def _ways(images: Sequence[BagImage]) -> list[list[Matrix | None]]:
    """Of every camera with two or more poses, its way in the odometry frame. Where the camera has no place on the
    vehicle, the way of the vehicle stands for it as long as that goes straight."""
    ways = []
    for camera in dict.fromkeys(image.camera for image in images):
        own = [image for image in images if image.camera == camera and image.T_odom_base is not None]
        poses = [image.T_odom_base for image in own if image.T_odom_base is not None]
        mounted = all(image.T_base_camera is not None for image in own)
        turned = max((_angle(poses[0], pose) for pose in poses[1:]), default=0.0)
        if len(own) > 1 and (mounted or turned < _STRAIGHT):
            ways.append([_of_way(image) if image in own else None for image in images])
    return ways


def _of_way(image: BagImage) -> Matrix | None:
    if image.T_odom_base is None or image.T_base_camera is None:
        return image.T_odom_base
    return image.T_odom_base @ image.T_base_camera


def _angle(one: Matrix, other: Matrix) -> float:
    cosine = (float(np.trace(one[:3, :3].T @ other[:3, :3])) - 1.0) / 2.0
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))
