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
    make_folder(stem.parent)
    array, picture = (stem.with_name(stem.name + ending) for ending in (".npy", ".png"))
    steps = np.rint(np.where(np.isfinite(depth), depth, 0.0).astype(np.float64) * STEPS_PER_UNIT)
    steps[(steps < 0) | (steps > 65535)] = 0
    try:
        np.save(array, depth.astype(np.float32))
        if not cv2.imwrite(str(picture), steps.astype(np.uint16)):
            raise OSError(f"'{picture}' was refused")
    except OSError as error:
        raise InputError("output", f"depth cannot be written to '{stem.parent}': {error}") from error
    return array, picture
