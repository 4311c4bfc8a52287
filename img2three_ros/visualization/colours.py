"""Numbers as colours: depth, confidence, error and height. All images RGB uint8."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

BACKGROUND = (15, 17, 21)
PANEL = (27, 30, 36)
TEXT = (226, 229, 235)
FAINT = (128, 134, 146)
UNKNOWN_COLOUR = (38, 41, 48)
FREE_COLOUR = (33, 78, 92)
VIOLATION_COLOUR = (255, 40, 90)

MIN_DEPTH, MAX_DEPTH = 2.0, 80.0
MAX_ERROR = 0.5


def depth_colours(depth: NDArray[np.floating]) -> Image:
    """Depth (...,) metres -> (..., 3): near is red, far is blue, logarithmic from 2 to 80 m; NaN is the background."""
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.log(depth / MIN_DEPTH) / np.log(MAX_DEPTH / MIN_DEPTH)
    return _looked_up(0.94 - 0.88 * np.clip(far, 0.0, 1.0), cv2.COLORMAP_TURBO)


def confidence_colours(confidence: NDArray[np.floating]) -> Image:
    """Confidence (...,) 0..1 -> (..., 3): dark violet to yellow; NaN is the background."""
    return _looked_up(np.clip(confidence, 0.0, 1.0), cv2.COLORMAP_VIRIDIS)


def error_colours(relative_error: NDArray[np.floating]) -> Image:
    """Relative error |d - t| / t (...,) -> (..., 3): green at 0 over yellow at 0.15 to red at 0.5; NaN is white."""
    stops = np.array((0.0, 0.05, 0.15, 0.3, MAX_ERROR))
    colours = np.array(((40, 200, 90), (150, 215, 60), (255, 205, 40), (255, 120, 40), (235, 35, 60)))
    clipped = np.clip(np.nan_to_num(relative_error, nan=0.0), 0.0, MAX_ERROR)
    mixed = np.stack([np.interp(clipped, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    return np.where(np.isnan(relative_error)[..., None], 255, mixed.round()).astype(np.uint8)


def height_colours(height: NDArray[np.floating]) -> Image:
    """Height above the ground (...,) metres -> (..., 3): dark orange at 0 to pale yellow at 4 m."""
    return _looked_up(0.35 + 0.62 * np.clip(height / 4.0, 0.0, 1.0), cv2.COLORMAP_INFERNO)


def _looked_up(value: NDArray[np.floating], colour_map: int) -> Image:
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colour_map)[:, 0, ::-1]
    known = np.isfinite(value)
    index = (np.where(known, value, 0.0) * 255.0).round().astype(np.uint8)
    return np.where(known[..., None], table[index], np.array(BACKGROUND, np.uint8)).astype(np.uint8)
