"""The occupancy grid from above: forward is up, left is left."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import FREE, OCCUPIED, UNKNOWN, OccupancyVolume
from .colours import FAINT, FREE_COLOUR, TEXT, UNKNOWN_COLOUR, VIOLATION_COLOUR, Image, height_colours
from .drawing import draw_dots, write_text

LOW, HIGH = 0.3, 3.0
VEHICLE = (-1.0, 3.7, 0.95)
RING_STEP = 10.0
FINE = 1100
"""Height in pixels from which a dot of one pixel would be too small to see."""


def column_states(volume: OccupancyVolume, low: float = LOW, high: float = HIGH,
                  ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """State (Y, X) of each column between two heights above the ground (metres), and how high the top of it is.

    Occupied if any voxel is; free if none is occupied and any is free; otherwise unknown. The height (Y, X) is that
    of the topmost occupied voxel's centre above the ground, NaN where nothing is occupied.
    """
    centres = volume.origin[2] + (np.arange(volume.state.shape[0]) + 0.5) * volume.voxel_size
    ground = np.zeros(volume.state.shape[1:]) if volume.ground is None else volume.ground
    height = centres[:, None, None] - ground
    within = (height > low) & (height < high)
    occupied = within & (volume.state == OCCUPIED)
    any_occupied, any_free = occupied.any(axis=0), (within & (volume.state == FREE)).any(axis=0)
    state = np.where(any_occupied, OCCUPIED, np.where(any_free, FREE, UNKNOWN)).astype(np.int8)
    top = np.where(occupied, height, -np.inf).max(axis=0, initial=-np.inf)
    return state, np.where(any_occupied, top, np.nan).astype(np.float32)


def birds_eye(volume: OccupancyVolume, *, size: int = 800, points: NDArray[np.floating] | None = None,
              colours: Image | None = None, lidar: NDArray[np.floating] | None = None) -> Image:
    """Grid from above as an image whose longer edge is ``size`` pixels.

    points (N, 3) with colours (N, 3) uint8, and LiDAR points (M, 3), all in ``base_link``; only those with
    0.3 < z < 3 m are drawn. LiDAR points are white, and red where their voxel is called free.
    """
    state, height = column_states(volume)
    image = np.empty((*state.shape, 3), dtype=np.uint8)
    image[state == UNKNOWN] = UNKNOWN_COLOUR
    image[state == FREE] = FREE_COLOUR
    occupied = state == OCCUPIED
    image[occupied] = height_colours(height[occupied])
    # (Y, X) with y growing to the left and x growing upward: rows are x from far to near, columns y from left.
    image = image[::-1, ::-1].transpose(1, 0, 2)
    scale = size / max(image.shape[:2])
    image = np.ascontiguousarray(cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)),
                                            interpolation=cv2.INTER_NEAREST))
    _draw_rings(image, volume)
    if points is not None and len(points):
        shades = np.full((len(points), 3), TEXT, np.uint8) if colours is None else colours
        _draw_points(image, volume, points, shades)
    if lidar is not None and len(lidar):
        in_free = states_at(volume, lidar) == FREE
        order = np.argsort(in_free, kind="stable")
        shades = np.where(in_free[order, None], np.array(VIOLATION_COLOUR), 255).astype(np.uint8)
        _draw_points(image, volume, lidar[order], shades)
    _draw_vehicle(image, volume)
    return image


def states_at(volume: OccupancyVolume, points: NDArray[np.floating]) -> NDArray[np.int8]:
    """State (N,) of the voxels that hold points (N, 3) in ``base_link``; UNKNOWN outside the grid."""
    cell = np.floor((points - volume.origin) / volume.voxel_size)
    inside = np.asarray(((cell >= 0) & (cell < volume.state.shape[::-1])).all(axis=1))
    x, y, z = np.where(inside[:, None], cell, 0).astype(np.intp).T
    return np.where(inside, volume.state[z, y, x], UNKNOWN).astype(np.int8)


def _pixels(image: Image, volume: OccupancyVolume, xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Columns and rows (N, 2) of x, y (N, 2) metres."""
    metres = np.array(volume.state.shape[:0:-1]) * volume.voxel_size
    upper = volume.origin[:2] + metres
    scale = image.shape[0] / metres[0]
    return np.asarray((upper - xy) * scale)[:, ::-1]


def _draw_points(image: Image, volume: OccupancyVolume, points: NDArray[np.floating], colours: Image) -> None:
    keep = np.flatnonzero((points[:, 2] > LOW) & (points[:, 2] < HIGH))
    pixels = np.floor(_pixels(image, volume, points[keep, :2])).astype(np.intp)
    draw_dots(image, pixels[:, 1], pixels[:, 0], colours[keep], size=1 if image.shape[0] < FINE else 2)


def _draw_rings(image: Image, volume: OccupancyVolume) -> None:
    centre = _pixels(image, volume, np.zeros((1, 2)))[0]
    scale = image.shape[0] / (volume.state.shape[2] * volume.voxel_size)
    reach = np.abs(_pixels(image, volume, np.zeros((1, 2)))[0] - np.array(image.shape[1::-1])).max() / scale
    overlay = image.copy()
    for distance in np.arange(RING_STEP, reach, RING_STEP):
        cv2.circle(overlay, (round(centre[0]), round(centre[1])), round(distance * scale), FAINT, 1, cv2.LINE_AA)
    image[:] = cv2.addWeighted(overlay, 0.5, image, 0.5, 0.0)
    for distance in np.arange(RING_STEP, reach, RING_STEP):
        write_text(image, f"{distance:.0f} m", round(centre[0]) + 4, round(centre[1] - distance * scale) + 14, 12,
                   FAINT)


def _draw_vehicle(image: Image, volume: OccupancyVolume) -> None:
    back, front, half = VEHICLE
    corners = np.array(((front, half), (front, -half), (back, -half), (back, half)))
    outline = _pixels(image, volume, corners).round().astype(np.int32)
    cv2.fillPoly(image, [outline], (235, 238, 245), cv2.LINE_AA)
    nose = _pixels(image, volume, np.array(((front - 0.3, 0.0), (front - 1.5, 0.6), (front - 1.5, -0.6))))
    cv2.fillPoly(image, [nose.round().astype(np.int32)], (70, 120, 220), cv2.LINE_AA)
