"""An image whose camera is known: what exports of poses are made of."""

from __future__ import annotations

from dataclasses import dataclass

from ..structures import Matrix


@dataclass(frozen=True, eq=False)
class PosedImage:
    """name: path of the image file, relative to where it is written about. size: (height, width) of that file, upright.

    intrinsics: (3, 3) K of that size without distortion, integer pixel = pixel centre.
    T_world_camera: (4, 4) optical frame (x right, y down, z forward) into the world.
    """

    name: str
    size: tuple[int, int]
    intrinsics: Matrix
    T_world_camera: Matrix
