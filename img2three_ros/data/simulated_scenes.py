"""Scenes from the simulated world: views of a vehicle, and what outside views and the world itself know around it.

Outside views look at the vehicle from a half sphere, as in SEED4D, or stand where the vehicle will be: so hidden space
is taught, which its own cameras never show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from ..config import setting
from ..geometry.transforms import T_BASE_OPTICAL, apply, from_xyz_rpy, inverse
from ..simulation.categories import SemanticClass
from ..simulation.random_rig import like_public, neighbours, ring_rig
from ..simulation.rig import CameraMount
from ..simulation.vehicle import OutsideRequest, RenderedView, SimulatedVehicle
from ..structures import CameraCalibration, InputError, Matrix
from .group_layout import Unit
from .scene_sample import NO_LABEL, SceneSample, patch_pixels
from .simulated import Outing, SimulatedGroups, SimulatedGroupSettings

LABEL_OF_CLASS = np.full(len(SemanticClass), NO_LABEL, dtype=np.uint8)
LABEL_OF_CLASS[[SemanticClass.GROUND, SemanticClass.VEHICLE, SemanticClass.PERSON, SemanticClass.BUILDING,
                SemanticClass.VEGETATION, SemanticClass.OTHER]] = range(6)
"""Class of the simulation -> index into ``models.scene_decoder.LABELS``."""

_RANGE, _LOW, _HIGH = 40.0, -1.0, 5.4
_BEHIND = 0.4  # metres behind its surface up to which a thing counts as seen
_TRIES = 10


@dataclass(frozen=True)
class SimulatedSceneSettings:
    """How scenes are drawn; views and geometry as in ``groups``."""

    points: int = setting(16384, "points of space with truth", low=16)
    near_surfaces: float = setting(0.4, "share of them near surfaces, the rest anywhere", low=0.0, high=1.0)
    rays: int = setting(4096, "rays with colour and distance", low=16)
    own_rays: float = setting(0.25, "share of them from the vehicle's own views", low=0.0, high=1.0)
    outside: int = setting(3, "views from outside", low=1, high=32)
    outside_width: int = setting(192, "their width", unit="px", low=16)
    patches: int = setting(2, "patches of neighbouring pixels of outside views, besides the rays", low=0)
    patch: int = setting(24, "side of a patch; a multiple of 8", unit="px", low=8)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A view of any camera. rays: (H, W, 3) optical, z = 1."""

    view: RenderedView
    T_base_camera: Matrix
    rays: NDArray[np.float64]

    @property
    def depth(self) -> NDArray[np.float64]:
        """(H, W) metres, inf = sky, NaN = the vehicle itself."""
        return np.where(self.view.identity == -1, np.inf, self.view.depth).astype(np.float64)


class _Rays(NamedTuple):
    """As in ``SceneSample``, in the true ``base_link``."""

    origins: NDArray[np.float64]
    directions: NDArray[np.float64]
    colour: NDArray[np.float64]
    distance: NDArray[np.float64]
    own: NDArray[np.bool_]


class SimulatedScenes:
    """``scene(index)`` is a pure function of the settings, the index, and the size and number of views."""

    def __init__(self, groups: SimulatedGroupSettings | None = None,
                 settings: SimulatedSceneSettings | None = None) -> None:
        self.settings = settings or SimulatedSceneSettings()
        self._groups = SimulatedGroups(groups)

    def scene(self, index: int, size: tuple[int, int], cameras: int, instants: int = 2) -> SceneSample:
        """A vehicle with up to ``cameras`` cameras of (height, width) pixels at ``instants`` instants."""
        if index < 0 or cameras < 1 or instants < 1:
            raise InputError("parameter", f"a scene has an index from 0 on, at least one camera and one instant, not "
                             f"{index}, {cameras}, {instants}")
        own = self._groups.settings
        random = np.random.default_rng((own.seed, 30, index))
        world = self._groups.world(index // own.groups_per_world)
        outing = self._groups.outing(random, world, Unit(_rig(random, cameras), instants), size)
        group = self._groups.stacked(random, outing.shots, size, causal=True)
        base = _base(outing)
        inside = [_Seen(shot.view, inverse(base) @ shot.T_world_camera,
                        _rays(outing.vehicle.calibrations[shot.view.camera])) for shot in outing.shots]
        outside = _outside_views(random, outing, base, self.settings)
        points, occupied, label = _points(random, outing, base, inside + outside, self.settings)
        hidden = ~np.any([_shows(seen, points) for seen in inside], axis=0)
        rays, patches = _ray_truth(random, inside[:len(inside) // instants], outside, self.settings)
        told = outing.base
        directions = rays.directions @ told[:3, :3].T
        tensors = [torch.from_numpy(np.ascontiguousarray(values)) for values in (
            apply(told, points).astype(np.float32), occupied, hidden, label,
            apply(told, rays.origins).astype(np.float32), directions.astype(np.float32),
            rays.colour.astype(np.float32), rays.distance.astype(np.float32), rays.own, patches)]
        return SceneSample(group, torch.from_numpy(np.stack(outing.told_motions)), *tensors)


def _rig(random: Generator, cameras: int) -> tuple[CameraMount, ...]:
    public = like_public(random) if random.random() < 0.6 else ()
    count = int(random.integers(max(cameras, 3), max(cameras, 8) + 1))
    rig = public if len(public) >= cameras else ring_rig(random, count)
    return neighbours(rig, cameras, random)


def _base(outing: Outing) -> Matrix:
    """True ``T_world_base`` at the newest instant."""
    return outing.ego.pose(0.0)


def _stamp(outing: Outing, seconds: float = 0.0) -> int:
    return outing.vehicle.config.start_ns + round((outing.seconds + seconds) * 1e9)


def _rays(calibration: CameraCalibration) -> NDArray[np.float64]:
    v, u = np.mgrid[:calibration.height, :calibration.width]
    return np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(calibration.intrinsics).T


def _outside_views(random: Generator, outing: Outing, base: Matrix, settings: SimulatedSceneSettings) -> list[_Seen]:
    """Views of the newest instant from a half sphere around the vehicle, and from where it will drive."""
    width, height = settings.outside_width, settings.outside_width * 3 // 4
    focal = 0.5 * width / math.tan(math.radians(45.0))
    calibration = CameraCalibration(width, height, np.array(
        [[focal, 0.0, width / 2 - 0.5], [0.0, focal, height / 2 - 0.5], [0.0, 0.0, 1.0]]))
    poses = [_free_pose(random, outing, base, ahead=number == 0) for number in range(settings.outside)]
    requests = [OutsideRequest(base @ pose, calibration, _stamp(outing)) for pose in poses]
    views = outing.vehicle.render_views(requests)
    return [_Seen(view, pose, _rays(calibration)) for view, pose in zip(views, poses, strict=True)]


def _free_pose(random: Generator, outing: Outing, base: Matrix, ahead: bool) -> Matrix:
    """``T_base_camera`` of an outside camera that is in nothing solid: on the half sphere, looking at the vehicle, or
    ``ahead`` on the vehicle's way, looking anywhere level. The last one tried if none is free."""
    pose = np.eye(4)
    for _ in range(_TRIES):
        if ahead:
            later = inverse(base) @ outing.ego.pose(float(random.uniform(0.3, 1.5)))
            pose = later @ from_xyz_rpy([1.5, 0.0, 1.6], [0.0, 0.0, float(random.uniform(-math.pi, math.pi))])
        else:
            yaw, pitch = random.uniform(-math.pi, math.pi), math.asin(random.uniform(0.15, 0.95))
            radius = random.uniform(6.0, 14.0)
            place = radius * np.array([math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw),
                                       math.sin(pitch)])
            pose = from_xyz_rpy(place, [0.0, pitch, yaw + math.pi])
        around = pose[:3, 3] + 0.3 * np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, -1)])
        if not _solid(outing.vehicle, around, base, _stamp(outing)).any():
            break
    return pose @ T_BASE_OPTICAL


def _solid(vehicle: SimulatedVehicle, points: NDArray[np.float64], base: Matrix, stamp: int) -> NDArray[np.bool_]:
    """(N,) bool of points (N, 3) in the true ``base_link`` at ``T_world_base``."""
    return vehicle.occupied(points, stamp, base)


def _points(random: Generator, outing: Outing, base: Matrix, seen: list[_Seen], settings: SimulatedSceneSettings,
            ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.uint8]]:
    """Points (P, 3) in the true ``base_link``, whether occupied, and their labels."""
    near = round(settings.points * settings.near_surfaces)
    found: list[NDArray[np.float64]] = []
    labels: list[NDArray[np.uint8]] = []
    for number, view in enumerate(seen):
        count = near * (number + 1) // len(seen) - near * number // len(seen)
        points, label = _near_surfaces(random, view, count)
        found.append(points)
        labels.append(label)
    left = settings.points - sum(map(len, found))
    found.append(random.uniform((-_RANGE, -_RANGE, _LOW), (_RANGE, _RANGE, _HIGH), (left, 3)))
    labels.append(np.full(left, NO_LABEL, dtype=np.uint8))
    points = np.concatenate(found)
    label = np.concatenate(labels)
    occupied = _solid(outing.vehicle, points, base, _stamp(outing))
    return points, occupied, np.where(occupied, label, np.uint8(NO_LABEL))


def _near_surfaces(random: Generator, seen: _Seen, count: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Points before and behind the surfaces a view shows, none if it shows none; those just behind have the label of
    the surface."""
    depth = seen.depth.ravel()
    usable = np.flatnonzero(np.isfinite(depth) & (depth < 1.5 * _RANGE))
    if not len(usable):
        return np.zeros((0, 3)), np.zeros(0, dtype=np.uint8)
    pixel = random.choice(usable, count)
    ray = seen.rays.reshape(-1, 3)[pixel]
    length = np.linalg.norm(ray, axis=1)
    offset = random.normal(0.05, 0.35, count)
    along: NDArray[np.float64] = np.maximum(depth[pixel] + offset / length, 0.05)
    points: NDArray[np.float64] = apply(seen.T_base_camera, ray * along[:, None]).astype(np.float64)
    label = np.where((offset > 0.0) & (offset < _BEHIND), LABEL_OF_CLASS[seen.view.category.ravel()[pixel]], NO_LABEL)
    return points, label.astype(np.uint8)


def _shows(seen: _Seen, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) bool: a point lies in the view, before its surface or up to _BEHIND behind it."""
    height, width = seen.view.depth.shape
    local = apply(inverse(seen.T_base_camera), points)
    focal = 1.0 / (seen.rays[0, 1, 0] - seen.rays[0, 0, 0]), 1.0 / (seen.rays[1, 0, 1] - seen.rays[0, 0, 1])
    z = np.maximum(local[:, 2], 1e-3)
    u = np.rint((local[:, 0] / z - seen.rays[0, 0, 0]) * focal[0])
    v = np.rint((local[:, 1] / z - seen.rays[0, 0, 1]) * focal[1])
    inside = (local[:, 2] > 0.05) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    pixel = (np.where(inside, v, 0) * width + np.where(inside, u, 0)).astype(np.intp)
    return inside & (local[:, 2] <= np.nan_to_num(seen.depth.ravel()[pixel], nan=0.0, posinf=np.inf) + _BEHIND)


def _ray_truth(random: Generator, own: list[_Seen], outside: list[_Seen], settings: SimulatedSceneSettings,
               ) -> tuple[_Rays, NDArray[np.int64]]:
    """Rays of random pixels of the views, and after them those of patches of the outside views; and the patches
    (Q, S, S), numbers of rays."""
    mine = round(settings.rays * settings.own_rays)
    parts = []
    for views, total in ((own, mine), (outside, settings.rays - mine)):
        for number, seen in enumerate(views):
            count = total * (number + 1) // len(views) - total * number // len(views)
            usable = np.flatnonzero(~seen.view.ego.ravel())
            if len(usable):
                parts.append(_rays_at(seen, random.choice(usable, count), views is own))
    before = sum(len(part.distance) for part in parts)
    for number in range(settings.patches):
        seen = outside[number % len(outside)]
        parts.append(_rays_at(seen, patch_pixels(random, ~seen.view.ego, settings.patch), False))
    rays = _Rays(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    numbers = np.arange(before, len(rays.distance), dtype=np.int64)
    return rays, numbers.reshape(-1, settings.patch, settings.patch)


def _rays_at(seen: _Seen, pixel: NDArray[np.intp], own: bool) -> _Rays:
    ray = seen.rays.reshape(-1, 3)[pixel]
    length = np.linalg.norm(ray, axis=1)
    return _Rays(np.broadcast_to(seen.T_base_camera[:3, 3], (len(pixel), 3)),
                 (ray / length[:, None]) @ seen.T_base_camera[:3, :3].T, seen.view.image.reshape(-1, 3)[pixel] / 255.0,
                 seen.depth.ravel()[pixel] * length, np.full(len(pixel), own))
