"""What is said of every voxel around the vehicle against the truth, seen or hidden; and along rays of a LiDAR.

Truth and answers are (Z, Y, X) bool, True = solid. An unknown voxel is not claimed to be solid: it costs recall.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from ..geometry.voxel_grid import GridSize

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

RAY_THRESHOLDS = (1.0, 2.0, 4.0)
"""Errors of the distance up to which a ray counts as right, metres (SparseOcc)."""


@dataclass(frozen=True)
class VoxelCounts:
    """Solid voxels that are called so, empty ones that are called solid, solid ones that are not called so."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __add__(self, other: VoxelCounts) -> VoxelCounts:
        return VoxelCounts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    @property
    def iou(self) -> float:
        """Intersection over union; NaN where nothing is solid."""
        return _share(self.right, self.right + self.wrong + self.missed)

    @property
    def precision(self) -> float:
        """Share of those called solid that are; NaN without any."""
        return _share(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the solid ones that are called so; NaN without any."""
        return _share(self.right, self.right + self.missed)


def voxel_counts(solid: Mask, truth: Mask, where: Mask) -> VoxelCounts:
    """Counts over the voxels ``where``; all (Z, Y, X) bool."""
    return VoxelCounts(int(np.count_nonzero(solid & truth & where)), int(np.count_nonzero(solid & ~truth & where)),
                       int(np.count_nonzero(truth & ~solid & where)))


@dataclass(frozen=True)
class RayCounts:
    """Rays that truly meet something, that are said to, and that are right at each threshold (metres -> count)."""

    truth: int = 0
    told: int = 0
    right: Mapping[float, int] = field(default_factory=dict)

    def __add__(self, other: RayCounts) -> RayCounts:
        right = {limit: self.right.get(limit, 0) + other.right.get(limit, 0)
                 for limit in dict.fromkeys((*self.right, *other.right))}
        return RayCounts(self.truth + other.truth, self.told + other.told, right)

    def iou(self, limit: float) -> float:
        """RayIoU at a threshold: right / (truly met + said to be met - right); NaN without rays."""
        right = self.right.get(limit, 0)
        return _share(right, self.truth + self.told - right)

    @property
    def mean(self) -> float:
        """Mean over the thresholds."""
        return float(np.mean([self.iou(limit) for limit in RAY_THRESHOLDS]))


def ray_counts(told: Points, truth: Points) -> RayCounts:
    """Counts of rays by the distances (R,) to what they meet, metres, inf = nothing.

    As RayIoU (Liu et al., Fully Sparse 3D Occupancy Prediction, ECCV 2024), but without classes, and a ray that is
    said to meet something where it truly leaves the grid counts against the answer.
    """
    both = np.isfinite(told) & np.isfinite(truth)
    error = np.abs(told[both] - truth[both])
    return RayCounts(int(np.isfinite(truth).sum()), int(np.isfinite(told).sum()),
                     {limit: int((error < limit).sum()) for limit in RAY_THRESHOLDS})


def lidar_directions(rings: int = 32, columns: int = 360, low: float = -25.0, high: float = 10.0) -> Points:
    """(rings * columns, 3) unit directions of a LiDAR's turn; low, high: elevations in degrees."""
    elevation = np.radians(np.linspace(low, high, rings))[:, None]
    azimuth = np.arange(columns)[None] * (2.0 * math.pi / columns)
    parts = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    return np.stack(np.broadcast_arrays(*parts), -1).reshape(-1, 3)


def first_hits(solid: Mask, grid: GridSize, origin: Points, directions: Points) -> Points:
    """(R,) metres from ``origin`` (3,) along unit directions (R, 3) to where each ray enters the first solid voxel of
    the grid (Z, Y, X); inf if it leaves the grid before. 0 if the origin lies in a solid voxel.

    Steps from voxel to voxel (Amanatides and Woo, 1987). Raises ValueError if the origin lies outside the grid.
    """
    size = np.array(grid.shape[::-1])
    start = (np.asarray(origin, dtype=np.float64) - grid.low) / grid.voxel_size
    if not ((start >= 0) & (start < size)).all():
        raise ValueError(f"rays start at {np.asarray(origin).tolist()} m, outside the grid from {grid.low} to "
                         f"{grid.high} m")
    ahead = np.asarray(directions, dtype=np.float64)
    cell = np.tile(np.floor(start).astype(np.intp), (len(ahead), 1))
    step = np.sign(ahead).astype(np.intp)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_cell = np.where(step == 0, np.inf, 1.0 / np.abs(ahead))
        crossing = np.where(step == 0, np.inf, (cell + (step > 0) - start) / ahead)
    distance, ray, reached = np.full(len(ahead), np.inf), np.arange(len(ahead)), np.zeros(len(ahead))
    while len(ray):
        hit = solid[cell[:, 2], cell[:, 1], cell[:, 0]]
        distance[ray[hit]] = reached[hit] * grid.voxel_size
        row, axis = np.arange(len(ray)), crossing.argmin(axis=1)
        reached = crossing[row, axis]
        cell[row, axis] += step[row, axis]
        crossing[row, axis] += per_cell[row, axis]
        moved = cell[row, axis]
        on = ~hit & (moved >= 0) & (moved < size[axis])
        ray, cell, step, per_cell, crossing, reached = (
            values[on] for values in (ray, cell, step, per_cell, crossing, reached))
    return distance


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
