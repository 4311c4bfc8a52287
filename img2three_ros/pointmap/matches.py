"""Which pixels of two images show the same point: by place in 3D, or by descriptors.

Both keep only reciprocal pairs: each is the other's nearest. The descriptor search follows the fast reciprocal
matching of V. Leroy et al., Grounding Image Matching in 3D with MASt3R, ECCV 2024: from a grid of seeds, hop to the
nearest neighbour in the other image and back until a hop returns to where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from ..structures import InputError
from .scene import AlignedScene

_BLOCK = 1 << 13


@dataclass(frozen=True, eq=False)
class Matches:
    """M pixel pairs. first, second: (M, 2) integer u, v in either image; score: (M,) larger = better."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)


def scene_matches(scene: AlignedScene, first: int, second: int, confidence: float = 3.0,
                  tolerance: float = 0.02) -> Matches:
    """Reciprocal nearest points of two images of an aligned scene; see ``point_matches``.

    tolerance: of the smaller depth of the two: points farther apart are no match.
    """
    keep = [scene.confidence[image] > confidence for image in (first, second)]
    found = point_matches(scene.points(first), scene.points(second), *keep)
    near = np.minimum(scene.depth[first][found.first[:, 1], found.first[:, 0]],
                      scene.depth[second][found.second[:, 1], found.second[:, 0]])
    good = -found.score <= tolerance * near
    return Matches(found.first[good], found.second[good], found.score[good])


def point_matches(first: NDArray[np.floating], second: NDArray[np.floating],
                  keep_first: NDArray[np.bool_] | None = None,
                  keep_second: NDArray[np.bool_] | None = None) -> Matches:
    """Reciprocal nearest neighbours of two pointmaps (H, W, 3) in one frame; score = minus the distance.

    keep: (H, W) bool, pixels that take part (confident ones); points that are not finite never do.
    """
    pixels, clouds = [], []
    for points, keep in ((first, keep_first), (second, keep_second)):
        usable = np.isfinite(points).all(-1) & (True if keep is None else keep)
        rows, columns = np.nonzero(usable)
        pixels.append(np.stack((columns, rows), 1))
        clouds.append(points[usable])
    if not len(clouds[0]) or not len(clouds[1]):
        return _nothing()
    distance, there = cKDTree(clouds[1]).query(clouds[0])
    _, back = cKDTree(clouds[0]).query(clouds[1][there])
    mutual = back == np.arange(len(there))
    return Matches(pixels[0][mutual], pixels[1][there[mutual]], -distance[mutual])


def descriptor_matches(first: Tensor, second: Tensor, stride: int = 8, rounds: int = 10,
                       confidence_first: Tensor | None = None, confidence_second: Tensor | None = None,
                       least_confidence: float = 0.0) -> Matches:
    """Reciprocal matches of two descriptor images (H1, W1, D) and (H2, W2, D), unit length, by dot product.

    stride: distance of the seeds in either image, pixels; 1 finds every reciprocal match. rounds: most hops.
    confidence: (H, W) of the descriptors; the score is the geometric mean of the two, or the dot product without
    them; matches below ``least_confidence`` are left out.
    """
    if first.ndim != 3 or second.ndim != 3 or first.shape[2] != second.shape[2]:
        raise InputError("shape", f"descriptors must be (H, W, D) with one D; given {tuple(first.shape)} and "
                         f"{tuple(second.shape)}")
    flat = first.reshape(-1, first.shape[2]), second.reshape(-1, second.shape[2])
    forward = _reciprocal(flat[0], flat[1], _seeds(first, stride), rounds)
    backward = _reciprocal(flat[1], flat[0], _seeds(second, stride), rounds)
    one, two = torch.cat((forward[0], backward[1])), torch.cat((forward[1], backward[0]))
    pairs = torch.unique(torch.stack((one, two), 1), dim=0)
    one, two = pairs[:, 0], pairs[:, 1]
    if confidence_first is not None and confidence_second is not None:
        score = (confidence_first.reshape(-1)[one] * confidence_second.reshape(-1)[two]).sqrt()
        sure = score >= least_confidence
        one, two, score = one[sure], two[sure], score[sure]
    else:
        score = (flat[0][one] * flat[1][two]).sum(1)
    return Matches(_pixels(one, first.shape[1]), _pixels(two, second.shape[1]), score.double().cpu().numpy())


def _reciprocal(source: Tensor, target: Tensor, seeds: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Indices (M,) into both of the fixed points that the seeds lead to."""
    current, fixed_source, fixed_target = seeds, [], []
    for _ in range(rounds):
        there = _nearest(source[current], target)
        back = _nearest(target[there], source)
        fixed = back == current
        fixed_source.append(current[fixed])
        fixed_target.append(there[fixed])
        current = torch.unique(back[~fixed])
        if not len(current):
            break
    return torch.cat(fixed_source), torch.cat(fixed_target)


def _nearest(queries: Tensor, target: Tensor) -> Tensor:
    """(Q,) index of the target with the largest dot product, in blocks of bounded memory."""
    best = torch.full((len(queries),), -torch.inf, dtype=queries.dtype, device=queries.device)
    index = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    for start in range(0, len(target), _BLOCK):
        value, position = (queries @ target[start:start + _BLOCK].T).max(1)
        better = value > best
        best, index = torch.where(better, value, best), torch.where(better, position + start, index)
    return index


def _seeds(descriptors: Tensor, stride: int) -> Tensor:
    height, width = descriptors.shape[:2]
    rows = torch.arange(stride // 2, height, stride, device=descriptors.device)
    columns = torch.arange(stride // 2, width, stride, device=descriptors.device)
    return (rows.unsqueeze(1) * width + columns).reshape(-1)


def _pixels(index: Tensor, width: int) -> NDArray[np.int64]:
    return torch.stack((index % width, torch.div(index, width, rounding_mode="floor")), 1).cpu().numpy()


def _nothing() -> Matches:
    empty = np.zeros((0, 2), dtype=np.int64)
    return Matches(empty, empty, np.zeros(0))
