"""JPEG -> RGB, smaller where that is enough: libjpeg turns each 8 x 8 block into 4 x 4, 2 x 2 or 1 pixel."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

START = b"\xff\xd8"
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_NOT_A_FRAME = (0xC4, 0xC8, 0xCC)
"""Markers among the frame headers (0xC0..0xCF) that are tables."""


def jpeg_size(data: Pixels) -> tuple[int, int] | None:
    """(width, height) of the whole image as its header says (ITU T.81, B.2.2); None if there is no such header."""
    at, end = 2, len(data)
    while at + 9 <= end:
        if data[at] != 0xFF:
            return None
        marker = int(data[at + 1])
        if marker in (0x01, 0xFF) or 0xD0 <= marker <= 0xD7:  # filling, or a marker without a length
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME:
            height, width = (int(data[at + k]) << 8 | int(data[at + k + 1]) for k in (5, 7))
            return (width, height) if width and height else None
        at += 2 + (int(data[at + 2]) << 8 | int(data[at + 3]))
    return None


def decode_jpeg(data: Pixels, reduction: int = 1) -> Pixels | None:
    """(H, W, 3) uint8 RGB, both sides divided by ``reduction`` (1, 2, 4 or 8) and rounded up, as stored (orientation in
    EXIF data is ignored); None if it cannot be decoded.

    simplejpeg takes half the time OpenCV does for whole images; without it, and for what it refuses (CMYK), OpenCV
    decodes. Both give the same pixels.
    """
    turbo, size = _simplejpeg(), jpeg_size(data)
    if turbo is not None and size is not None:
        width, height = (-(-side // reduction) for side in size)
        try:
            return np.asarray(turbo.decode_jpeg(data, "RGB", min_width=width, min_height=height, strict=False),
                              dtype=np.uint8)
        except ValueError:
            pass
    try:
        if reduction == 1:
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        else:
            pixels = cv2.imdecode(data, _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
            pixels = None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, dtype=np.uint8)


def _simplejpeg() -> Any:
    """simplejpeg, or None where it is not installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
