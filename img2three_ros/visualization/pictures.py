"""Pictures of a reconstruction: per camera, and one of everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..structures import DepthImage, InputError, Reconstruction
from .birds_eye import birds_eye
from .colours import (
    BACKGROUND,
    FAINT,
    FREE_COLOUR,
    MAX_DEPTH,
    MIN_DEPTH,
    TEXT,
    UNKNOWN_COLOUR,
    VIOLATION_COLOUR,
    Image,
    confidence_colours,
    depth_colours,
    error_colours,
    height_colours,
)
from .drawing import canvas, dimmed, draw_dots, encoded, fitted, text_width, write_text

GAP = 8
FULL_CONFIDENCE = 0.5
"""Depths less confident than this fade in the overview: it shows what the outputs are made of."""
HEADER = 46
FOOTER = 40


def depth_picture(image: DepthImage, full_confidence: float = 0.0) -> Image:
    """(H, W, 3): depth in colour; the dark grey photograph where no depth is given.

    With ``full_confidence`` > 0, depths less confident than that fade into the photograph.
    """
    shown = np.isfinite(image.depth).astype(np.float32)
    if full_confidence > 0.0:
        shown *= np.clip(np.nan_to_num(image.confidence) / full_confidence, 0.0, 1.0)
    mixed = shown[..., None] * depth_colours(image.depth) + (1.0 - shown[..., None]) * dimmed(image.image, 0.3)
    return np.asarray(mixed.round(), dtype=np.uint8)


def confidence_picture(image: DepthImage) -> Image:
    """(H, W, 3): confidence in colour; the dark grey photograph where no depth is given."""
    return np.where(np.isfinite(image.depth)[..., None], confidence_colours(image.confidence),
                    dimmed(image.image, 0.3))


def error_picture(image: DepthImage, rows: NDArray[np.integer], columns: NDArray[np.integer],
                  truth: NDArray[np.floating]) -> Image:
    """(H, W, 3): a dot for each pixel with truth (N,) metres, coloured by relative error, white = no depth given."""
    picture = dimmed(image.image, 0.55)
    error = np.abs(image.depth[rows, columns] - truth) / truth
    draw_dots(picture, rows, columns, error_colours(error), size=3)
    return picture


def by_direction(images: Sequence[DepthImage]) -> tuple[list[DepthImage], list[DepthImage]]:
    """Cameras that look ahead and cameras that look back, each from the left side of the vehicle to its right."""
    ahead, behind = [], []
    for image in images:
        x, y = image.T_base_camera[:2, 2]
        yaw = np.arctan2(y, x)
        if abs(yaw) <= np.deg2rad(91.0):
            ahead.append((-yaw, image))
        else:
            behind.append((yaw % (2.0 * np.pi), image))
    ordered = [[image for _, image in sorted(row, key=lambda item: float(item[0]))] for row in (ahead, behind)]
    return ordered[0], ordered[1]


def picture_of(reconstruction: Reconstruction, *, lidar: NDArray[np.floating] | None = None, title: str = "",
               width: int = 1920) -> Image:
    """One picture of a reconstruction: every camera with its depth below, and the occupancy grid from above.

    lidar: (N, 3) points in ``base_link``, drawn into the grid; without them the reconstruction's own obstacle points
    are drawn in their colours. width: of the picture, pixels.
    """
    rows = [row for row in by_direction(reconstruction.depth_images) if row]
    if len(rows) == 1 and len(rows[0]) == 2:
        rows = [[image] for image in rows[0]]
    across = max((len(row) for row in rows), default=0)
    side = _grid_side(rows, across, width)
    picture = canvas(HEADER + side + FOOTER, width)
    _draw_header(picture, reconstruction, title)
    if across:
        _draw_cameras(picture[HEADER:HEADER + side, :width - side - GAP], rows, across)
    shown = reconstruction.obstacles
    above = birds_eye(reconstruction.occupancy, size=side, lidar=lidar,
                      points=None if lidar is not None else shown.points,
                      colours=None if lidar is not None else shown.colours)
    _place(picture, fitted(above, side, side), HEADER, width - side - GAP)
    _draw_legend(picture, GAP, picture.shape[0] - FOOTER, lidar is not None, width - side - GAP)
    return picture


def _grid_side(rows: Sequence[Sequence[DepthImage]], across: int, width: int) -> int:
    """Edge of the grid's square, pixels: as high as the cameras beside it, within bounds."""
    if not across:
        return width - 2 * GAP
    per_tile = 2.0 * len(rows) / across * _aspect([image for row in rows for image in row])
    return round(width * min(max(per_tile / (1.0 + per_tile), 0.38), 0.5))


def _draw_cameras(area: Image, rows: Sequence[Sequence[DepthImage]], across: int) -> None:
    """Rows of image above depth into ``area`` (a part of the picture), in place."""
    aspect = _aspect([image for row in rows for image in row])
    width = (area.shape[1] - GAP * (across + 1)) // across
    height = min(round(width * aspect), (area.shape[0] - GAP * (len(rows) - 1)) // (2 * len(rows)) - GAP // 2)
    width = min(width, round(height / aspect))
    block = 2 * height + GAP // 2 + GAP
    top = max((area.shape[0] - block * len(rows) + GAP) // 2, 0)
    for number, row in enumerate(rows):
        left = (area.shape[1] - len(row) * (width + GAP) + GAP) // 2
        above = top + number * block
        for image in row:
            depth = depth_picture(image, FULL_CONFIDENCE)
            _place(area, fitted(image.image, height, width), above, left)
            _place(area, fitted(depth, height, width), above + height + GAP // 2, left)
            _label(area, image.name, above, left)
            left += width + GAP


def save_picture(image: Image, path: Path) -> None:
    """Writes ``.png`` or ``.jpg``. Raises InputError for another ending."""
    if path.suffix not in (".png", ".jpg"):
        raise InputError("picture", f"picture {path} must end in .png or .jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image, path.suffix))


def _aspect(images: Sequence[DepthImage]) -> float:
    return float(np.median([image.image.shape[0] / image.image.shape[1] for image in images])) if images else 0.6


def _place(picture: Image, tile: Image, top: int, left: int) -> None:
    picture[top:top + tile.shape[0], left:left + tile.shape[1]] = tile


def _label(picture: Image, text: str, top: int, left: int) -> None:
    area = picture[top:top + 24, left:left + 14 + text_width(text, 14)]
    area[:] = (area * 0.35 + np.array(BACKGROUND) * 0.65).round().astype(np.uint8)
    write_text(picture, text, left + 7, top + 17, 14)


def _draw_header(picture: Image, reconstruction: Reconstruction, title: str) -> None:
    write_text(picture, title or "img2three_ros", GAP + 2, 30, 20)
    facts = [f"{len(reconstruction.cameras)} cameras", f"{len(reconstruction.cloud):,} points"]
    if reconstruction.missing:
        facts.append("missing: " + ", ".join(reconstruction.missing))
    write_text(picture, "  ·  ".join(facts), picture.shape[1] - GAP - 2, 30, 16, FAINT, "right")


def _draw_legend(picture: Image, left: int, top: int, with_lidar: bool, grid_left: int) -> None:
    length, baseline = 260, top + 25
    write_text(picture, "depth (dark = unsure)", left + 2, baseline, 14, FAINT)
    scale = np.exp(np.linspace(np.log(MIN_DEPTH), np.log(MAX_DEPTH), length))
    bar = left + 70 + text_width("depth (dark = unsure)", 14)
    picture[top + 14:top + 26, bar:bar + length] = depth_colours(scale)[None]
    write_text(picture, f"{MIN_DEPTH:.0f} m", bar - 6, baseline, 13, TEXT, "right")
    write_text(picture, f"{MAX_DEPTH:.0f} m", bar + length + 6, baseline, 13)
    entries = [("occupied", tuple(int(part) for part in height_colours(np.array(2.0)))), ("free", FREE_COLOUR),
               ("unknown", UNKNOWN_COLOUR)]
    if with_lidar:
        entries += [("LiDAR", (255, 255, 255)), ("LiDAR in free", VIOLATION_COLOUR)]
    for number, (name, colour) in enumerate(entries):
        start = grid_left + number * 120
        picture[top + 13:top + 27, start:start + 14] = colour
        write_text(picture, name, start + 21, baseline, 14, FAINT)
