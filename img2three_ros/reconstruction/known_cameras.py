"""What a recording knows of its cameras, as the alignment wants it: which images to pair, and priors.

Intrinsics are exact (the images are undistorted with them). Poses from TF and odometry are priors, never hard: pairs
keep poses of their own, and an image whose known pose contradicts the others is left where the images want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..geometry.cameras import scale_intrinsics
from ..geometry.overlap import Frustum
from ..pointmap.known import Known
from ..pointmap.view_graph import Edge, complete_pairs, frustum_pairs, window_pairs
from ..structures import Matrix

NEIGHBOURS = 4
"""Other images that an image is paired with, where calibration says what it overlaps."""

FRUSTUM_SIDE = 512
"""Long side, pixels, at which overlap with parallax is judged."""


@dataclass(frozen=True, eq=False)
class KnownCamera:
    """The camera of one image, as far as it is known.

    size: (height, width) of the image as the network sees it, pixels. intrinsics: (3, 3) K of those pixels, without
    distortion. T_world_camera: (4, 4) metres, optical frame into a world that all images share, at the stamp of the
    image. None = not known.
    """

    size: tuple[int, int]
    intrinsics: Matrix | None = None
    T_world_camera: Matrix | None = None

    def frustum(self) -> Frustum:
        """In pixels of an image of ``FRUSTUM_SIDE``, whatever the size of the network's images."""
        assert self.intrinsics is not None
        scale = FRUSTUM_SIDE / max(self.size)
        intrinsics = scale_intrinsics(self.intrinsics, scale, scale)
        return Frustum(intrinsics, (round(scale * self.size[0]), round(scale * self.size[1])))

    @property
    def placed(self) -> bool:
        """Whether its frustum is known."""
        return self.intrinsics is not None and self.T_world_camera is not None


def known_of(cameras: Sequence[KnownCamera]) -> Known:
    """Priors for ``align``: intrinsics exact, poses with the deviations of ``Known``."""
    return Known(intrinsics=[camera.intrinsics for camera in cameras],
                 poses=[camera.T_world_camera for camera in cameras])


def pairs_of(cameras: Sequence[KnownCamera], neighbours: int = NEIGHBOURS, complete_up_to: int = 12,
             window: int = 4) -> list[Edge]:
    """Pairs, both ways, by overlapping frusta if all cameras are placed; else all, or with so many a window.

    An image that overlaps no other has no pair, see ``with_pairs``. Raises InputError('no_pairs' | 'no_overlap').
    """
    if cameras and all(camera.placed for camera in cameras):
        frusta = [camera.frustum() for camera in cameras]
        poses = [camera.T_world_camera for camera in cameras if camera.T_world_camera is not None]
        return frustum_pairs(frusta, poses, neighbours)
    return complete_pairs(len(cameras)) if len(cameras) <= complete_up_to else window_pairs(len(cameras), window)


def with_pairs(edges: Sequence[Edge], without: Sequence[int] = ()) -> tuple[list[int], list[Edge]]:
    """The images that have a pair, ascending, and the pairs in their new numbers from 0.

    without: images to leave out with their pairs.
    """
    left = [edge for edge in edges if not set(edge) & set(without)]
    images = sorted({image for edge in left for image in edge})
    number = {image: new for new, image in enumerate(images)}
    return images, [(number[i], number[j]) for i, j in left]
