"""The driving surface from points: a robust plane through the vehicle plus a smooth deviation from it.

The idea of ground cells with low percentiles follows Himmelsbach et al. (IV 2010, polar cells) and Patchwork
(RA-L 2021, concentric cells); the plane is fitted by iterated reweighting that forgives what lies above it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..geometry.voxel_grid import column_centres
from ..structures import OccupancyVolume

CELL = 2.0
"""Edge of the cells in which the low percentile is taken, metres."""
REACH = 60.0
"""The model is built on x, y in -REACH..REACH; beyond, its border value continues along the plane."""
MAX_SLOPE = 0.2
"""Ground farther from z = 0 than STEP + MAX_SLOPE * distance is not believed."""
STEP = 0.4
PERCENTILE = 0.25
MIN_POINTS = 8
BIN = 0.05


@dataclass(frozen=True, eq=False)
class GroundModel:
    """Ground height over the ground plane of ``base_link``.

    plane: (a, b, c): the plane z = a x + b y + c. deviation: (Y, X) metres above the plane in cells of CELL,
    cell (0, 0) at x, y = -REACH. support: cells of ground points the model rests on; 0 = the plane z = 0 is assumed.
    """

    plane: tuple[float, float, float]
    deviation: NDArray[np.float64]
    support: int

    def height(self, xy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Ground height (...,) metres in ``base_link`` at x, y (..., 2); NaN where xy is not finite."""
        a, b, c = self.plane
        place = torch.from_numpy(np.asarray(xy, dtype=np.float32))
        deviation = torch.from_numpy(self.deviation.astype(np.float32))[None, None]
        # Bilinear between centres of cells; the border is at -1 and 1.
        bump = F.grid_sample(deviation, place.reshape(1, 1, -1, 2) / REACH, padding_mode="border", align_corners=False)
        return np.asarray(place[..., 0] * a + place[..., 1] * b + c + bump.view(place.shape[:-1]))


def flat_ground() -> GroundModel:
    """The plane z = 0: what is assumed without any ground point."""
    cells = round(2 * REACH / CELL)
    return GroundModel((0.0, 0.0, 0.0), np.zeros((cells, cells)), 0)


def estimate_ground(points: NDArray[np.floating], confidence: NDArray[np.floating] | None = None,
                    min_confidence: float = 0.5) -> GroundModel:
    """Ground under points (N, 3) of ``base_link``, metres, with confidence (N,) in 0..1 (None = all count).

    The vehicle stands on the ground, so the search starts from z = 0 with a limited slope. Points that are not
    finite are ignored; too few ground points give the plane z = 0 or, where they suffice, a tilted plane.
    """
    x, y, z = np.ascontiguousarray(np.asarray(points, dtype=np.float32).T)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is not inside
        inside = np.abs(z) <= STEP + MAX_SLOPE * np.sqrt(x * x + y * y)
        inside &= (np.abs(x) < REACH) & (np.abs(y) < REACH)
    if confidence is not None:
        inside &= confidence >= min_confidence
    chosen = np.flatnonzero(inside)
    low, counts = _low_percentile(x[chosen], y[chosen], z[chosen])
    known = counts >= MIN_POINTS
    if known.sum() < 3:
        return flat_ground()
    centres = (np.arange(len(low)) + 0.5) * CELL - REACH
    x, y = np.meshgrid(centres, centres)
    plane = _robust_plane(x[known], y[known], low[known])
    deviation = low - (plane[0] * x + plane[1] * y + plane[2])
    smooth, support = _smooth_deviation(deviation, known, np.hypot(x, y))
    return GroundModel(plane, smooth, support)


def ground_under(volume: OccupancyVolume, ground: GroundModel) -> OccupancyVolume:
    """The volume with the ground height under each of its columns: what slices and labels are made with."""
    return replace(volume, ground=ground.height(column_centres(volume)))


def _low_percentile(x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]
                    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Of points x, y, z (N,): per cell (Y, X) the PERCENTILE of z, by a histogram over z, and how many there are; 0 in
    cells of few."""
    cells = round(2 * REACH / CELL)
    limit = STEP + MAX_SLOPE * REACH * np.sqrt(2.0)
    bins = int(np.ceil(2 * limit / BIN))
    ix, iy = (((along + REACH) * (1.0 / CELL)).astype(np.int32).clip(0, cells - 1) for along in (x, y))
    cell = iy * cells + ix
    counts = np.bincount(cell, minlength=cells * cells)
    known = np.flatnonzero(counts >= MIN_POINTS)
    row = np.full(cells * cells, -1, dtype=np.int32)
    row[known] = np.arange(len(known))
    row = row[cell]
    in_known = np.flatnonzero(row >= 0)
    iz = ((z[in_known] + limit) * (1.0 / BIN)).astype(np.int32).clip(0, bins - 1)
    histogram = np.bincount(row[in_known] * bins + iz, minlength=len(known) * bins)
    cumulative = histogram.reshape(len(known), bins).cumsum(axis=1)
    first = (cumulative >= np.ceil(PERCENTILE * counts[known])[:, None]).argmax(axis=1)
    low = np.zeros(cells * cells)
    low[known] = (first + 0.5) * BIN - limit
    return low.reshape(cells, cells), counts.reshape(cells, cells)


def _robust_plane(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
                  ) -> tuple[float, float, float]:
    """Plane a, b, c through cell heights (N,), near cells first; what lies above it counts least.

    A weak prior (z = 0, no slope) decides the directions that the cells leave open.
    """
    design = np.stack((x, y, np.ones_like(x)), axis=1)
    nearness = 1.0 / (1.0 + (np.hypot(x, y) / 15.0) ** 2)
    prior = np.diag((200.0, 200.0, 1.0))
    plane = np.zeros(3)
    for scale in (0.6, 0.4, 0.3, 0.2, 0.2, 0.15, 0.15):
        residual = z - design @ plane
        width = scale * np.where(residual > 0, 1.0, 2.0) * (1.0 + np.hypot(x, y) / 15.0)
        weight = nearness / (1.0 + (residual / width) ** 2) ** 2
        plane = np.linalg.solve(design.T @ (weight[:, None] * design) + prior, design.T @ (weight * z))
        slope = np.hypot(plane[0], plane[1])
        if slope > MAX_SLOPE:
            plane[:2] *= MAX_SLOPE / slope
    return float(plane[0]), float(plane[1]), float(plane[2])


def _smooth_deviation(deviation: NDArray[np.float64], known: NDArray[np.bool_], distance: NDArray[np.float64]
                      ) -> tuple[NDArray[np.float64], int]:
    """Deviation from the plane (Y, X), smoothed over neighbours, and the number of cells it rests on.

    Cells that stand above their neighbours are things, not ground. Without cells nearby the plane holds.
    """
    believable = known & (np.abs(deviation) <= 0.3 + 0.06 * distance)
    smooth = np.zeros_like(deviation)
    for tolerance in (0.5, 0.3, 0.2):
        ground = believable & (deviation - smooth <= tolerance)
        weight = ground.astype(np.float64)
        blurred_weight = gaussian_filter(weight, 1.5)
        smooth = gaussian_filter(np.where(ground, deviation, 0.0), 1.5) / (blurred_weight + 0.02)
    return smooth, int(ground.sum())
