"""The truth about the space around held-out vehicles: what is solid, what their cameras have shown of it, and views
that no camera took.

Everything is in ``base_link`` at the stamp of a drive's last frame; where that is in the simulated world is the frame's
own ego pose, which is exact there.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry.transforms import T_BASE_OPTICAL, apply, from_xyz_rpy, inverse
from ..geometry.voxel_grid import GridSize, all_centres
from ..simulation.ground import height
from ..simulation.vehicle import OutsideRequest, RenderedView, SimulatedVehicle
from ..structures import UNKNOWN, CameraCalibration, Frame, Matrix, OccupancyVolume
from .held_out import SECONDS_BEFORE, HeldOut
from .space_metrics import Mask, Points

ABOVE_GROUND = 0.4
"""Voxels whose centre is higher above the true ground, metres, are *above the ground*."""

_SIZE = (320, 192)
_ON_SPHERE = 4
_TRIES = 20
_AHEAD = (8.0, 6.0, 10.0, 4.0, 12.0, 2.0)  # metres of driving to the view from where the vehicle will be
_LATER = (0.0, 8.0, 16.0)  # metres of driving to the places that rays start from
_FASTEST_STAND = 0.1  # m/s below which a vehicle is not waited for


@dataclass(frozen=True, eq=False)
class NovelView:
    """A view no camera of the vehicle took. image: (H, W, 3) uint8 RGB; T_base_camera: (4, 4); ahead: it stands where
    the vehicle will drive, others look at the vehicle from a half sphere."""

    image: NDArray[np.uint8]
    calibration: CameraCalibration
    T_base_camera: Matrix
    ahead: bool


@dataclass(frozen=True, eq=False)
class SpaceTruth:
    """(Z, Y, X) bool each. solid: the voxel's centre lies in something solid, the ground included. visible: a camera
    at one of the drive's instants showed the centre. pictured: it lies in a picture of the last instant, maybe behind
    something. above: it is above the ground."""

    grid: GridSize
    solid: Mask
    visible: Mask
    pictured: Mask
    above: Mask

    def regions(self) -> dict[str, Mask]:
        """The parts of space that are measured, by name."""
        hidden = ~self.visible
        return {"visible": self.visible, "hidden": hidden, "visible, above the ground": self.visible & self.above,
                "hidden, above the ground": hidden & self.above,
                "hidden in a picture, above the ground": hidden & self.above & self.pictured}


@dataclass(frozen=True, eq=False)
class SpaceDrive:
    """frames: in order, the last one is measured. origins: (K, 3) places in the grid where a LiDAR is now (the first)
    or will be, in nothing solid."""

    name: str
    frames: tuple[Frame, ...]
    truth: SpaceTruth
    views: tuple[NovelView, ...]
    origins: Points


def space_drives(drives: Sequence[HeldOut], grid: GridSize, instants: int = 3, processes: int = 1) -> list[SpaceDrive]:
    """Render drives of ``instants`` frames each and all truth about them, side by side in ``processes``."""
    work = partial(space_drive, grid=grid, instants=instants)
    if min(processes, len(drives)) < 2:
        return [work(drive) for drive in drives]
    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(min(processes, len(drives)), context, torch.set_num_threads, (1,)) as pool:
        return list(pool.map(work, drives))


def space_drive(drive: HeldOut, grid: GridSize, instants: int) -> SpaceDrive:
    """Render one drive."""
    vehicle = SimulatedVehicle(drive.config)
    last = round(SECONDS_BEFORE * drive.config.rate) + instants - 1
    numbers = range(last - instants + 1, last + 1)
    taken = [vehicle.views(number) for number in numbers]
    frames = tuple(vehicle.frame(number, views) for number, views in zip(numbers, taken, strict=True))
    return SpaceDrive(drive.name, frames, space_truth(vehicle, taken, frames[-1].stamp, grid),
                      _novel_views(vehicle, frames[-1].stamp), _origins(vehicle, frames[-1].stamp, grid))


def space_truth(vehicle: SimulatedVehicle, instants: Sequence[Sequence[RenderedView]], stamp: int,
                grid: GridSize) -> SpaceTruth:
    """The truth about a grid at ``stamp`` (ns), of which the vehicle's cameras showed ``instants``, the last one at
    about that stamp."""
    base, centres = vehicle.pose(stamp), grid_centres(grid)
    world = np.asarray(apply(base, centres), dtype=np.float64)
    shown = [[_shown(vehicle, view, world, grid.voxel_size) for view in views] for views in instants]
    visible = np.any([seen for views in shown for _, seen in views], axis=0)
    pictured = np.any([inside for inside, _ in shown[-1]], axis=0)
    above = world[:, 2] - _ground(vehicle, world) > ABOVE_GROUND
    solid = vehicle.occupied(centres, stamp, base)
    return SpaceTruth(grid, *(mask.reshape(grid.shape) for mask in (solid, visible, pictured, above)))


def grid_centres(grid: GridSize) -> Points:
    """(Z * Y * X, 3) centres of all voxels, metres, in C order of the grid."""
    state, probability = np.full(grid.shape, UNKNOWN, dtype=np.int8), np.full(grid.shape, 0.5, dtype=np.float32)
    return all_centres(OccupancyVolume(state, probability, np.array(grid.low), grid.voxel_size)).astype(np.float64)


def _shown(vehicle: SimulatedVehicle, view: RenderedView, world: Points, voxel: float) -> tuple[Mask, Mask]:
    """Of points (N, 3) of the world: which lie in the picture, and which it shows: not deeper than one voxel behind
    the true depth of their pixel. The vehicle's own body hides what is behind it."""
    calibration = vehicle.calibrations[view.camera]
    T_world_camera = vehicle.pose(view.stamp) @ vehicle.T_base_camera[view.camera]
    points = apply(inverse(T_world_camera), world)
    ahead = points[:, 2] > 0.05
    pixels = np.rint((points @ calibration.intrinsics.T)[:, :2] / np.where(ahead, points[:, 2], 1.0)[:, None])
    inside = ahead & ((pixels >= 0) & (pixels < (calibration.width, calibration.height))).all(axis=1)
    column, row = np.where(inside[:, None], pixels, 0).astype(np.intp).T
    depth = np.where(view.identity == -1, np.inf, np.nan_to_num(view.depth, nan=-np.inf))
    return inside, inside & (points[:, 2] <= depth[row, column] + voxel)


def _ground(vehicle: SimulatedVehicle, world: Points) -> Points:
    """(N,) height of the ground, kerbs included, under points (N, 3) of the world."""
    road = vehicle.world.road
    x, y = (torch.from_numpy(np.ascontiguousarray(world[:, axis])) for axis in (0, 1))
    return np.asarray(height(road, torch.remainder(x, road.length), y).numpy())


def _novel_views(vehicle: SimulatedVehicle, stamp: int) -> tuple[NovelView, ...]:
    """Views of one instant from a half sphere around the vehicle, one in each quarter, and from where it will be."""
    random = np.random.default_rng((vehicle.config.seed, 41))
    width, tall = _SIZE
    focal = 0.5 * width  # 90 degrees across
    calibration = CameraCalibration(width, tall, np.array(
        [[focal, 0.0, width / 2 - 0.5], [0.0, focal, tall / 2 - 0.5], [0.0, 0.0, 1.0]]))
    base = vehicle.pose(stamp)
    poses = []
    for quarter in range(_ON_SPHERE):
        tries = [_on_half_sphere(random, quarter) for _ in range(_TRIES)]
        poses.append((_first_free(vehicle, stamp, tries) or tries[-1:])[0])
    ahead = [_driven(vehicle, stamp, metres) @ from_xyz_rpy((1.5, 0.0, 1.6)) for metres in _AHEAD]
    poses += _first_free(vehicle, stamp, ahead)
    poses = [pose @ T_BASE_OPTICAL for pose in poses]
    views = vehicle.render_views([OutsideRequest(base @ pose, calibration, stamp) for pose in poses])
    return tuple(NovelView(view.image, calibration, pose, number >= _ON_SPHERE)
                 for number, (view, pose) in enumerate(zip(views, poses, strict=True)))


def _on_half_sphere(random: np.random.Generator, quarter: int) -> Matrix:
    """A pose in ``base_link`` that looks at the vehicle along its x, as those of training scenes."""
    yaw = (quarter + random.random()) * math.pi / 2.0
    pitch, radius = math.asin(random.uniform(0.15, 0.95)), random.uniform(6.0, 14.0)
    place = radius * np.array((math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)))
    return from_xyz_rpy(place, (0.0, pitch, yaw + math.pi))


def _first_free(vehicle: SimulatedVehicle, stamp: int, poses: Sequence[Matrix]) -> list[Matrix]:
    """The first of ``poses`` in base_link that is in nothing solid, with 0.3 m around it; empty if there is none."""
    reach = 0.3 * np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, -1)])
    solid = vehicle.occupied(np.concatenate([pose[:3, 3] + reach for pose in poses]), stamp)
    free = ~solid.reshape(len(poses), -1).any(axis=1)
    return [poses[int(number)] for number in np.flatnonzero(free)[:1]]


def _driven(vehicle: SimulatedVehicle, stamp: int, metres: float) -> Matrix:
    """Where the vehicle is after about so many metres more, in its ``base_link`` at ``stamp``; where it is now if it
    stands."""
    speed = float(np.linalg.norm(vehicle.twist(stamp)[0]))
    later = stamp + (round(metres / speed * 1e9) if speed > _FASTEST_STAND else 0)
    return inverse(vehicle.pose(stamp)) @ vehicle.pose(later)


def _origins(vehicle: SimulatedVehicle, stamp: int, grid: GridSize) -> Points:
    """(K, 3) where the LiDAR is and will be, without places outside the grid or in something solid."""
    places = np.array([(_driven(vehicle, stamp, metres) @ vehicle.T_base_lidar)[:3, 3] for metres in _LATER])
    inside = ((places >= grid.low) & (places < grid.high)).all(axis=1)
    return places[inside & ~vehicle.occupied(places, stamp)]
