"""Which other views a reference view is matched with: enough overlap, enough but not too much parallax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..structures import Matrix

_DEPTHS = np.array([4.0, 8.0, 16.0, 32.0])
_FULL_PARALLAX = 4.0
_ANGLE = 0.5
_WORTH = 0.02


@dataclass(frozen=True, eq=False)
class Frustum:
    """What a camera sees. intrinsics: (3, 3) in pixels of its image; size: (height, width) of that image."""

    intrinsics: NDArray[np.floating]
    size: tuple[int, int]


def best_sources(reference: Frustum, others: Sequence[Frustum], T_others_reference: Sequence[Matrix],
                 count: int) -> list[tuple[int, float]]:
    """Up to ``count`` of the other views, best first, each with what it adds (0..1); none without parallax.

    Greedy: every sample of the reference's frustum wants two sources that show it with parallax; a source is worth
    what it adds to what the chosen ones already show.
    """
    if not others:
        return []
    quality = _qualities(reference, others, np.stack(T_others_reference))
    chosen: list[tuple[int, float]] = []
    shown = np.zeros((2, *quality.shape[1:]))
    remaining = set(range(len(others)))
    while remaining and len(chosen) < count:
        gains = {index: _gain(shown, quality[index]) for index in remaining}
        best = max(sorted(gains), key=lambda index: gains[index])
        if gains[best] < _WORTH:
            break
        chosen.append((best, gains[best]))
        shown = np.sort(np.concatenate((shown, quality[best][None])), axis=0)[1:]
        remaining.remove(best)
    return chosen


def _gain(shown: NDArray[np.float64], quality: NDArray[np.float64]) -> float:
    better = np.sort(np.concatenate((shown, quality[None])), axis=0)[1:]
    return float((better.sum(0) - shown.sum(0)).mean())


def _qualities(view: Frustum, sources: Sequence[Frustum], T_sources_view: NDArray[np.float64]) -> NDArray[np.float64]:
    """Use of sources for samples of the reference's frustum (source, depth, row, column), 0..1; poses (source, 4, 4).

    Grows with the pixels a depth change of 10 % moves the projection, falls where the two see a surface from too
    different directions to look alike, 0 outside the source.
    """
    height, width = view.size
    v, u = np.meshgrid((np.arange(6) + 0.5) * height / 6, (np.arange(8) + 0.5) * width / 8, indexing="ij")
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(view.intrinsics.astype(np.float64)).T
    points = (_DEPTHS[:, None, None, None] * rays).reshape(-1, 3)
    intrinsics = np.stack([source.intrinsics for source in sources]).astype(np.float64)
    pixels, depth = _project(intrinsics, T_sources_view, points)
    farther, _ = _project(intrinsics, T_sources_view, 1.1 * points)
    rows, columns = np.array([source.size for source in sources], dtype=np.float64).T[:, :, None]
    inside = ((depth > 0.3) & (pixels >= 0).all(-1) & (pixels[..., 0] < columns) & (pixels[..., 1] < rows))
    parallax = np.linalg.norm(farther - pixels, axis=-1)
    to_source = points - np.linalg.inv(T_sources_view)[:, None, :3, 3]
    cosine = (points * to_source).sum(-1) / (np.linalg.norm(points, axis=-1) * np.linalg.norm(to_source, axis=-1))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    usefulness = np.minimum(parallax / _FULL_PARALLAX, 1.0) / (1.0 + (angle / _ANGLE) ** 2)
    return np.where(inside, usefulness, 0.0).reshape(len(sources), len(_DEPTHS), *v.shape)


def _project(intrinsics: NDArray[np.float64], T_sources_view: NDArray[np.float64], points: NDArray[np.float64],
             ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (source, N, 2) and depth (source, N) of points (N, 3) in each source."""
    moved = points @ T_sources_view[:, :3, :3].transpose(0, 2, 1) + T_sources_view[:, None, :3, 3]
    homogeneous = moved @ intrinsics.transpose(0, 2, 1)
    depth = homogeneous[..., 2]
    return homogeneous[..., :2] / np.maximum(depth, 1e-3)[..., None], depth
