"""A COLMAP sparse model as text: ``cameras.txt``, ``images.txt``, ``points3D.txt``.

COLMAP's poses are camera from world with optical axes; its pixels are counted from the corner of the first, so that its
centre is 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import inverse, quaternion
from ..structures import InputError
from .folders import make_folder
from .posed_image import PosedImage


@dataclass(frozen=True, eq=False)
class SparsePoints:
    """N points, each with the one pixel that it was made from.

    points: (N, 3) world; colours: (N, 3) uint8 RGB; image: (N,) index of the image; pixels: (N, 2) u, v in it,
    integer = pixel centre.
    """

    points: NDArray[np.floating]
    colours: NDArray[np.uint8]
    image: NDArray[np.intp]
    pixels: NDArray[np.floating]


def write_colmap(folder: Path, images: Sequence[PosedImage], sparse: SparsePoints) -> None:
    """One PINHOLE camera for every image; numbers of cameras, images and points begin at 1.

    A point's track is its own pixel, so its error is 0: it is a start for dense methods, not for bundle adjustment.
    Raises InputError('output'), also for a name with white space, which the format cannot hold.
    """
    spaced = [image.name for image in images if len(image.name.split()) != 1]
    if spaced:
        raise InputError("output", f"COLMAP's text format cannot hold the image name '{spaced[0]}' with white space")
    make_folder(folder)
    numbers, tracks = np.zeros(len(sparse.image), dtype=np.int64), []
    image_lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", "# X Y POINT3D_ID ..."]
    camera_lines = ["# CAMERA_ID PINHOLE WIDTH HEIGHT FX FY CX CY"]
    for index, image in enumerate(images):
        K, pose = image.intrinsics, inverse(image.T_world_camera)
        x, y, z, w = quaternion(pose)
        camera_lines.append(f"{index + 1} PINHOLE {image.size[1]} {image.size[0]} "
                            + _text((K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5)))
        image_lines.append(f"{index + 1} {_text((w, x, y, z, *pose[:3, 3]))} {index + 1} {image.name}")
        own = np.flatnonzero(sparse.image == index)
        numbers[own] = np.arange(len(own))
        image_lines.append(" ".join(f"{u + 0.5:.3f} {v + 0.5:.3f} {point + 1}"
                                    for point, (u, v) in zip(own, sparse.pixels[own], strict=True)))
    for point, (xyz, rgb) in enumerate(zip(sparse.points, sparse.colours, strict=True)):
        tracks.append(f"{point + 1} {_text(xyz)} {rgb[0]} {rgb[1]} {rgb[2]} 0 {sparse.image[point] + 1} "
                      f"{numbers[point]}")
    for name, lines in (("cameras", camera_lines), ("images", image_lines),
                        ("points3D", ["# POINT3D_ID X Y Z R G B ERROR IMAGE_ID POINT2D_IDX", *tracks])):
        path = folder / f"{name}.txt"
        try:
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError("output", f"'{path}' cannot be written: {error.strerror or error}") from error


def _text(values: Sequence[float] | NDArray[np.floating]) -> str:
    return " ".join(f"{float(value):.9g}" for value in values)
