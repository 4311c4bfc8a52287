"""Tri-state occupancy against LiDAR: what was seen occupied, what was seen through, and the safety figure.

The *free-space violation rate* is the share of LiDAR returns with 0.3 < z < 3 m (``base_link``) within 40 m
(horizontally) inside the grid that fall in voxels called free. Returns within half a voxel of the ground surface
tell nothing about obstacles: for precision, recall and IoU they are ignored, and the rate without them is given
beside the plain one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..structures import FREE, OCCUPIED, UNKNOWN, OccupancyVolume

MIN_HEIGHT, MAX_HEIGHT, MAX_RANGE = 0.3, 3.0, 40.0

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OccupancyTruth:
    """What LiDAR knows of a grid. occupied, free: (Z, Y, X) bool; where both are False nothing is known."""

    occupied: Mask
    free: Mask


@dataclass(frozen=True)
class OccupancyCounts:
    """Voxel and return counts; instants add up."""

    occupied_as_occupied: int = 0
    occupied_as_free: int = 0
    occupied_as_unknown: int = 0
    free_as_occupied: int = 0
    free_as_free: int = 0
    free_as_unknown: int = 0
    returns: int = 0
    returns_in_free: int = 0
    returns_observed: int = 0
    returns_off_ground: int = 0
    returns_off_ground_in_free: int = 0

    def __add__(self, other: OccupancyCounts) -> OccupancyCounts:
        return OccupancyCounts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


@dataclass(frozen=True)
class OccupancyScores:
    """Shares 0..1, NaN where there was nothing to count.

    precision, recall, iou: of occupied, on voxels LiDAR knows; an unknown voxel is no claim, but costs recall.
    free_precision, free_recall: of free. unknown: share of LiDAR-known voxels left unknown.
    free_space_violation: see the top of the module; _observed: over returns in voxels that are not unknown;
    _off_ground: without returns within half a voxel of the ground surface.
    """

    precision: float
    recall: float
    iou: float
    free_precision: float
    free_recall: float
    unknown: float
    free_space_violation: float
    free_space_violation_observed: float
    free_space_violation_off_ground: float
    counts: OccupancyCounts


def voxel_indices(points: Points, volume: OccupancyVolume) -> tuple[NDArray[np.intp], Mask]:
    """Flat indices (C order of (Z, Y, X)) of the voxels that hold points (N, 3); and (N,) True = inside the grid.

    The index of a point outside is 0 and means nothing.
    """
    cell = np.floor((points - volume.origin) / volume.voxel_size)
    shape_xyz = np.array(volume.state.shape[::-1])
    inside = np.asarray(((cell >= 0) & (cell < shape_xyz)).all(axis=1))
    x, y, z = np.where(inside[:, None], cell, 0).astype(np.intp).T
    return (z * shape_xyz[1] + y) * shape_xyz[0] + x, inside


def traversed(origin: Points, ends: Points, volume: OccupancyVolume) -> Mask:
    """(Z, Y, X) True for voxels that a segment from ``origin`` (3,) to one of ``ends`` (N, 3) passes, ends included.

    Steps all rays together from voxel to voxel (Amanatides and Woo, A Fast Voxel Traversal Algorithm, 1987).
    """
    shape = np.array(volume.state.shape[::-1])
    start, stop = ((value - volume.origin) / volume.voxel_size for value in (origin[None], ends))
    direction = stop - start
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.sort(np.stack(((0.0 - start) / direction, (shape - start) / direction)), axis=0)
    parallel = direction == 0
    outside = (parallel & ((start < 0) | (start >= shape))).any(axis=1)
    enter = np.where(parallel, 0.0, bounds[0]).max(axis=1).clip(min=0.0)
    leave = np.where(parallel, 1.0, bounds[1]).min(axis=1).clip(max=1.0)
    keep = (enter <= leave) & ~outside & np.isfinite(direction).all(axis=1)
    seen = np.zeros(volume.state.size, dtype=bool)
    _walk(start[0], direction[keep], enter[keep], leave[keep], shape, seen)
    return seen.reshape(volume.state.shape)


def _walk(start: Points, direction: Points, enter: Points, leave: Points, shape: NDArray[np.integer],
          seen: Mask) -> None:
    """Marks in ``seen`` (flat) the voxels of rays start + t · direction, enter <= t <= leave, in voxel units."""
    cell = np.clip(np.floor(start + enter[:, None] * direction), 0, shape - 1).astype(np.intp)
    step = np.sign(direction).astype(np.intp)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_cell = np.where(step == 0, np.inf, 1.0 / np.abs(direction))
        crossing = np.where(step == 0, np.inf, (cell + (step > 0) - start) / direction)
    strides = np.array((1, shape[0], shape[0] * shape[1]))
    while len(cell):
        seen[cell @ strides] = True
        axis = crossing.argmin(axis=1)
        row = np.arange(len(cell))
        when = crossing[row, axis]
        cell[row, axis] += step[row, axis]
        crossing[row, axis] += per_cell[row, axis]
        moved = cell[row, axis]
        on = (when <= leave) & (moved >= 0) & (moved < shape[axis])
        if not on.all():
            cell, step, crossing, per_cell, leave = cell[on], step[on], crossing[on], per_cell[on], leave[on]


def ground_surface(points: Points, cell: float = 2.0) -> Points:
    """Height (N,) of the ground surface under points (N, 3) in ``base_link``, estimated from these LiDAR points.

    A plane through what lies near z = 0 (fitted three times, outliers trimmed), then in cells of ``cell`` metres
    the 10th percentile of the heights above it, as far as a real road may deviate: 0.1 m + 2 % of the distance.
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    design = np.column_stack((points[:, :2], np.ones(len(points))))
    plane = np.zeros(3)
    for limit in (0.5, 0.3, 0.2):
        near = (np.abs(points[:, 2] - design @ plane) < limit) & (distance < 30.0)
        if np.count_nonzero(near) < 50:
            break
        plane = np.linalg.lstsq(design[near], points[near, 2], rcond=None)[0]
    height = design @ plane
    above, allowed = points[:, 2] - height, 0.1 + 0.02 * distance
    candidate = np.abs(above) <= allowed
    keys = np.floor(points[:, :2] / cell).astype(np.int64)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.lexsort((above, group))
    order = order[candidate[order]]
    low = np.zeros(group.max() + 1 if len(group) else 0)
    first, count = np.unique(group[order], return_index=True, return_counts=True)[1:]
    low[group[order][first]] = above[order[first + count // 10]]
    return height + low[group]


def lidar_truth(points: Points, origin: Points, volume: OccupancyVolume, off_ground: Mask) -> OccupancyTruth:
    """Truth of a grid from one scan: points (N, 3) and the sensor ``origin`` (3,), in ``base_link``.

    Occupied: holds a return off the ground. Free: a ray passed it before its return, and no return lies in it.
    """
    index, inside = voxel_indices(points, volume)
    occupied = np.zeros(volume.state.size, dtype=bool)
    returned = np.zeros(volume.state.size, dtype=bool)
    returned[index[inside]] = True
    occupied[index[inside & off_ground]] = True
    free = traversed(origin, points, volume).reshape(-1) & ~returned
    return OccupancyTruth(occupied.reshape(volume.state.shape), free.reshape(volume.state.shape))


def occupancy_counts(volume: OccupancyVolume, points: Points, origin: Points) -> OccupancyCounts:
    """Counts of one instant: points (N, 3) and sensor ``origin`` (3,) in ``base_link`` at the volume's stamp."""
    points = points[np.isfinite(points).all(axis=1)]
    off_ground = points[:, 2] - ground_surface(points) > 0.5 * volume.voxel_size
    truth = lidar_truth(points, origin, volume, off_ground)

    def voxels(known: Mask, state: int) -> int:
        return int(np.count_nonzero(known & (volume.state == state)))

    index, inside = voxel_indices(points, volume)
    counted = (inside & (points[:, 2] > MIN_HEIGHT) & (points[:, 2] < MAX_HEIGHT)
               & (np.hypot(points[:, 0], points[:, 1]) <= MAX_RANGE))
    state = volume.state.reshape(-1)[index]
    return OccupancyCounts(
        voxels(truth.occupied, OCCUPIED), voxels(truth.occupied, FREE), voxels(truth.occupied, UNKNOWN),
        voxels(truth.free, OCCUPIED), voxels(truth.free, FREE), voxels(truth.free, UNKNOWN),
        *(int(np.count_nonzero(mask)) for mask in (
            counted, counted & (state == FREE), counted & (state != UNKNOWN),
            counted & off_ground, counted & off_ground & (state == FREE))))


def occupancy_scores(counts: OccupancyCounts) -> OccupancyScores:
    """Shares from counts."""
    c = counts
    occupied = c.occupied_as_occupied + c.occupied_as_free + c.occupied_as_unknown
    free = c.free_as_occupied + c.free_as_free + c.free_as_unknown
    hit = c.occupied_as_occupied
    return OccupancyScores(
        precision=_share(hit, hit + c.free_as_occupied),
        recall=_share(hit, occupied),
        iou=_share(hit, occupied + c.free_as_occupied),
        free_precision=_share(c.free_as_free, c.free_as_free + c.occupied_as_free),
        free_recall=_share(c.free_as_free, free),
        unknown=_share(c.occupied_as_unknown + c.free_as_unknown, occupied + free),
        free_space_violation=_share(c.returns_in_free, c.returns),
        free_space_violation_observed=_share(c.returns_in_free, c.returns_observed),
        free_space_violation_off_ground=_share(c.returns_off_ground_in_free, c.returns_off_ground),
        counts=counts)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
