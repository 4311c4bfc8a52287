"""The voxel grid around the vehicle: its size, the state at a point, and the slice that a 2D planner reads.

Grids are (Z, Y, X) in ``base_link``; voxel (0, 0, 0) has its lower corner at ``origin``. numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import OccupancyConfig
from ..structures import FREE, OCCUPIED, ROAD_LABEL, UNKNOWN, UNKNOWN_LABEL, OccupancyVolume


@dataclass(frozen=True)
class GridSize:
    """Where a grid lies in ``base_link``.

    low: x, y, z of the lower corner, metres; shape: (Z, Y, X) voxels; voxel_size: edge, metres.
    """

    low: tuple[float, float, float]
    shape: tuple[int, int, int]
    voxel_size: float

    @property
    def high(self) -> tuple[float, float, float]:
        """x, y, z of the upper corner, metres (the limits rounded up to whole voxels)."""
        depth, height, width = self.shape
        counts = (width, height, depth)
        return (self.low[0] + counts[0] * self.voxel_size, self.low[1] + counts[1] * self.voxel_size,
                self.low[2] + counts[2] * self.voxel_size)


def grid_size(config: OccupancyConfig) -> GridSize:
    """The grid that covers the configured limits; a fraction of a voxel at the upper end becomes a whole one."""
    def count(low: float, high: float) -> int:
        return max(1, math.ceil((high - low) / config.voxel_size - 1e-6))

    return GridSize(
        low=(config.x_min, config.y_min, config.z_min),
        shape=(count(config.z_min, config.z_max), count(config.y_min, config.y_max),
               count(config.x_min, config.x_max)),
        voxel_size=config.voxel_size,
    )


def voxel_indices(volume: OccupancyVolume, points: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Points (N, 3) x, y, z in ``base_link`` -> ((N, 3) indices z, y, x, (N,) True where inside the grid).

    Indices of points outside (or not finite) are clamped into the grid; use them only where inside.
    """
    cells = np.floor((np.asarray(points, dtype=np.float64) - volume.origin) / volume.voxel_size)
    size = np.array(volume.state.shape[::-1])
    inside: NDArray[np.bool_] = np.all((cells >= 0) & (cells < size), axis=-1)
    cells = np.clip(np.nan_to_num(cells), 0, size - 1).astype(np.intp)
    return cells[..., ::-1], inside


def states_at(volume: OccupancyVolume, points: NDArray[np.floating]) -> NDArray[np.int8]:
    """State (N,) int8 of the voxel that holds each point (N, 3) of ``base_link``; UNKNOWN outside the grid."""
    zyx, inside = voxel_indices(volume, points)
    states = volume.state[zyx[..., 0], zyx[..., 1], zyx[..., 2]]
    return np.where(inside, states, np.int8(UNKNOWN)).astype(np.int8)


def all_centres(volume: OccupancyVolume) -> NDArray[np.float32]:
    """(Z * Y * X, 3) x, y, z of the centres of all voxels, metres in ``base_link``, in C order of the grid."""
    axes = [volume.origin[2 - axis] + (np.arange(count) + 0.5) * volume.voxel_size
            for axis, count in enumerate(volume.state.shape)]
    z, y, x = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij")
    return np.stack((x, y, z), axis=-1).reshape(-1, 3)


def column_centres(volume: OccupancyVolume) -> NDArray[np.float64]:
    """(Y, X, 2) x, y of the centres of the grid's columns, metres in ``base_link``."""
    _, height, width = volume.state.shape
    x = volume.origin[0] + (np.arange(width) + 0.5) * volume.voxel_size
    y = volume.origin[1] + (np.arange(height) + 0.5) * volume.voxel_size
    return np.stack(np.meshgrid(x, y), axis=-1)


def heights_above_ground(volume: OccupancyVolume, ground: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """(Z, Y, X) height of each voxel's centre above the ground, metres.

    ground: (Y, X) ground height in ``base_link``; None = ``volume.ground``, and the plane z = 0 without that.
    """
    depth, height, width = volume.state.shape
    centres = volume.origin[2] + (np.arange(depth) + 0.5) * volume.voxel_size
    if ground is None:
        ground = volume.ground if volume.ground is not None else np.zeros((height, width))
    if ground.shape != (height, width):
        raise ValueError(f"ground has shape {ground.shape}, the grid's columns are {(height, width)}")
    return centres[:, None, None] - np.asarray(ground, dtype=np.float64)


def occupancy_slice(volume: OccupancyVolume, min_height: float = 0.3, max_height: float = 3.0,
                    ground: NDArray[np.floating] | None = None, min_free_share: float = 0.3) -> NDArray[np.float32]:
    """The 2D grid of the band between two heights above the ground: (Y, X) float32 probability, UNKNOWN = -1.

    Looks at voxels whose centre lies in the band. A cell is
    - occupied if any of them is occupied: the highest of their probabilities;
    - free if none is occupied and at least ``min_free_share`` of them is free: the mean of the free ones;
    - unknown (-1) otherwise.
    Demanding only a share is the optimistic part of this choice: cameras see sky, not surfaces, behind the
    upper band, so all of it is rarely known. The default asks for 0.3 (with 0.4 m voxels 1 m of 2.7 m);
    1.0 is the pessimistic grid, a tiny share the fully optimistic one. A cell without a free voxel is never free.

    ground: (Y, X) heights as in ``heights_above_ground``.
    """
    above = heights_above_ground(volume, ground)
    band = (above >= min_height) & (above <= max_height)
    occupied = band & (volume.state == OCCUPIED)
    free = band & (volume.state == FREE)
    count = free.sum(axis=0)
    needed = np.maximum(1, min_free_share * band.sum(axis=0))
    grid = np.full(volume.state.shape[1:], np.float32(UNKNOWN), dtype=np.float32)
    mean_free = np.where(free, volume.probability, 0.0).sum(axis=0) / np.maximum(count, 1)
    grid = np.where(count >= needed, mean_free, grid)
    highest = np.where(occupied, volume.probability, 0.0).max(axis=0)
    return np.where(occupied.any(axis=0), highest, grid).astype(np.float32)


def voxel_labels(volume: OccupancyVolume, obstacle_height: float = 0.3,
                 ground: NDArray[np.floating] | None = None) -> NDArray[np.uint8]:
    """(Z, Y, X) uint8 index into VOXEL_LABELS: the volume's own label; where that is unknown, ROAD_LABEL for what is
    part of the driving surface.

    A voxel whose centre lies below ``obstacle_height`` above the ground holds the surface, its noise, or what a
    vehicle drives over. Meaningful for occupied voxels only.
    """
    above = heights_above_ground(volume, ground)
    by_height = np.where(above < obstacle_height, ROAD_LABEL, UNKNOWN_LABEL).astype(np.uint8)
    if volume.label is None:
        return by_height
    return np.where(volume.label == UNKNOWN_LABEL, by_height, volume.label)
