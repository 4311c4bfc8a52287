"""Depth images as files: ``.npy`` with everything, 16-bit ``.png`` for tools that read no other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import InputError
from .folders import make_folder

STEPS_PER_UNIT = 1000
"""Of the PNG: millimetres, where the depth is in metres. 0 = unknown, which is also what lies beyond 65.535 units."""


def write_depth(stem: Path, depth: NDArray[np.float32]) -> tuple[Path, Path]:
    """Write depth (H, W), NaN = unknown, as ``stem.npy`` (float32) and ``stem.png``. Raises InputError('output')."""
    array, picture = (stem.with_name(stem.name + ending) for ending in (".npy", ".png"))
    write_array(array, depth)
    steps = np.rint(np.where(np.isfinite(depth), depth, 0.0).astype(np.float64) * STEPS_PER_UNIT)
    steps[(steps < 0) | (steps > 65535)] = 0
    if not cv2.imwrite(str(picture), steps.astype(np.uint16)):
        raise InputError("output", f"'{picture}' cannot be written")
    return array, picture


def write_array(path: Path, values: NDArray[np.float32]) -> None:
    """Write as ``.npy`` (float32). Raises InputError('output')."""
    make_folder(path.parent)
    try:
        np.save(path, values.astype(np.float32))
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error.strerror or error}") from error
