"""Which pixels of an aligned scene are worth a point: not sky, confident, and not floating before another surface."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import inverse
from .scene import AlignedScene

SURE = 3.0
"""Confidence above which a pixel counts; 1 = knows nothing. Networks of this family are usually cut here."""


def valid_pixels(scene: AlignedScene, masks: Mapping[int, NDArray[np.bool_]] | None = None,
                 confidence: float = SURE) -> list[NDArray[np.bool_]]:
    """Per image (H, W) bool: has depth in front of the camera, confident enough, and not masked.

    masks: image -> (H, W) bool, False = sky or the vehicle itself. Without one, sky is what no pair is sure of.
    """
    kept = []
    for image, (depth, sure) in enumerate(zip(scene.depth, scene.confidence, strict=True)):
        good = np.isfinite(depth) & (depth > 0) & (sure > confidence)
        if masks is not None and image in masks:
            good &= masks[image]
        kept.append(good)
    return kept


def without_floating(scene: AlignedScene, keep: list[NDArray[np.bool_]], tolerance: float = 0.02,
                     ) -> list[NDArray[np.bool_]]:
    """Per image (H, W) bool: what is left of ``keep`` when points are removed that hang before a more confident depth.

    A point of image i that projects into image j nearer than j's depth by more than ``tolerance`` of that depth cannot
    be there, if j is right: the less confident of the two goes. What moved between the images disappears this way too.
    """
    images = len(scene.cameras)
    points = [scene.points(image) for image in range(images)]
    result = [kept.copy() for kept in keep]
    for i in range(images):
        rows, columns = np.nonzero(keep[i])
        world, sure = points[i][rows, columns].astype(np.float64), scene.confidence[i][rows, columns]
        for j in range(images):
            if j != i:
                floating = _before(scene, j, keep[j], world, sure, tolerance)
                result[i][rows[floating], columns[floating]] = False
    return result


def _before(scene: AlignedScene, image: int, keep: NDArray[np.bool_], world: NDArray[np.float64],
            sure: NDArray[np.float32], tolerance: float) -> NDArray[np.bool_]:
    """(N,) bool: which points (N, 3) hang before a more confident surface of one image."""
    pose = inverse(scene.cameras[image])
    seen = world @ pose[:3, :3].T + pose[:3, 3]
    front = seen[:, 2] > 0
    K, (height, width) = scene.intrinsics[image], scene.depth[image].shape
    z = np.where(front, seen[:, 2], 1.0)
    limit = 1e6
    u = np.rint(np.clip(K[0, 0] * seen[:, 0] / z + K[0, 2], -limit, limit)).astype(np.int64)
    v = np.rint(np.clip(K[1, 1] * seen[:, 1] / z + K[1, 2], -limit, limit)).astype(np.int64)
    inside = front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v = np.where(inside, u, 0), np.where(inside, v, 0)
    surface = scene.depth[image][v, u]
    return inside & keep[v, u] & (seen[:, 2] < (1.0 - tolerance) * surface) & (sure < scene.confidence[image][v, u])
