"""What becomes of images: cameras, depth of the pixels worth keeping, a cloud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..pointmap.scale import ScaleEstimate
from ..pointmap.scene import AlignedScene
from ..structures import Matrix, PointCloud
from .fitted_image import FittedImage

OPTICAL_WORLD = "optical frame of the first image (x right, y down, z forward)"


@dataclass(frozen=True, eq=False)
class ImageScene:
    """images: at the network's size, in the order of ``scene``. kept: per image (h, w) bool, pixels worth a point.

    pairs: how many were predicted. unit: what a length of 1 is, in words: metres where ``scene.metric``, else a unit of
    which the median depth has MEDIAN_DEPTH. world: its name and axes; in_base: whether it is a base frame (x forward, y
    left, z up), not the optical frame of the first image (x right, y down, z forward).
    scales: what every source says of the metre, measured in the world's unit: 1 = it agrees.
    misfit: median over the pairs in use of their mean distance from the scene, a share of their distance.
    about: what was known and used, or not, in sentences.
    """

    images: tuple[FittedImage, ...]
    scene: AlignedScene
    kept: tuple[NDArray[np.bool_], ...]
    pairs: int
    unit: str
    world: str = OPTICAL_WORLD
    in_base: bool = False
    scales: tuple[ScaleEstimate, ...] = ()
    misfit: float = float("nan")
    about: tuple[str, ...] = ()

    def intrinsics(self, image: int) -> Matrix:
        """K (3, 3) of the whole image file, upright."""
        return self.images[image].original_intrinsics(self.scene.intrinsics[image])

    def depth(self, image: int) -> NDArray[np.float32]:
        """(h, w) of the kept pixels, NaN elsewhere."""
        return np.where(self.kept[image], self.scene.depth[image], np.float32(np.nan)).astype(np.float32)

    def cloud(self, most: int) -> tuple[PointCloud, NDArray[np.intp], NDArray[np.float64]]:
        """At most so many kept points, evenly taken; the image (N,) and the pixel there (N, 2) u, v of each."""
        pixels = [np.argwhere(kept)[:, ::-1] for kept in self.kept]
        step = max(1, -(-sum(map(len, pixels)) // most))
        chosen = [own[::step] for own in pixels]
        take = [(own[:, 1], own[:, 0]) for own in chosen]
        points = np.concatenate([self.scene.points(image)[at] for image, at in enumerate(take)])
        colours = np.concatenate([self.images[image].pixels[at] for image, at in enumerate(take)])
        sure = np.concatenate([self.scene.confidence[image][at] for image, at in enumerate(take)])
        image = np.repeat(np.arange(len(chosen)), [len(own) for own in chosen])
        cloud = PointCloud(points, colours, (1.0 - 1.0 / np.maximum(sure, 1.0)).astype(np.float32))
        return cloud, image, np.concatenate(chosen).astype(np.float64)
