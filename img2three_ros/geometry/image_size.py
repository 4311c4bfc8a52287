"""How large images need to be: what an engine works on, and what is enough of a camera's own pixels for that."""

from __future__ import annotations

import math
from dataclasses import replace

from ..structures import CameraCalibration
from .cameras import averaged_size, is_distorted, scale_intrinsics

REDUCTIONS = (8, 4, 2)
"""Factors by which a JPEG decoder gives a smaller image at less cost than the whole one: its 8 x 8 blocks become
4 x 4, 2 x 2 or 1 pixel."""


def network_size(calibration: CameraCalibration, pixels: int, multiple: int = 16) -> tuple[int, int]:
    """(width, height) of about ``pixels`` with the camera's aspect ratio, multiples of ``multiple``."""
    scale = min(1.0, math.sqrt(pixels / (calibration.width * calibration.height)))
    width, height = (max(multiple, round(side * scale / multiple) * multiple)
                     for side in (calibration.width, calibration.height))
    return width, height


def reduced(calibration: CameraCalibration, reduction: int) -> CameraCalibration:
    """Of an image whose blocks of ``reduction`` x ``reduction`` pixels became one each; blocks that are not whole
    are not part of it. Exact: a pixel u of the whole image is (u + 0.5) / reduction - 0.5."""
    if reduction == 1:
        return calibration
    scale = 1.0 / reduction
    return replace(calibration, width=calibration.width // reduction, height=calibration.height // reduction,
                   intrinsics=scale_intrinsics(calibration.intrinsics, scale, scale))


def enough_for(calibration: CameraCalibration, pixels: int) -> int:
    """The largest reduction (8, 4, 2 or 1) after which an engine that works on about ``pixels`` still gets images of
    the same size, and of no fewer pixels than they are averaged from."""
    width, height = size = network_size(calibration, pixels)
    needed = averaged_size(calibration, width, height) if is_distorted(calibration) else size
    for reduction in REDUCTIONS:
        smaller = reduced(calibration, reduction)
        if smaller.width >= needed[0] and smaller.height >= needed[1] and network_size(smaller, pixels) == size:
            return reduction
    return 1
