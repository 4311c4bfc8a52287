"""Depth, confidence and the objective at full resolution, once poses, focals and pair similarities stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .pairs import PairPointmaps
from .residuals import FLOOR, State
from .similarity import inverse

CHUNK = 1 << 15
ROUNDS = 12
_FAINT = 1e-6  # weight of pixels of confidence 1: they follow what there is, and count for nothing


@dataclass(frozen=True, eq=False)
class DenseDepth:
    """depth, confidence: per image (H, W) float32; pair_loss: (E, 2) share of every pair and slot in the loss."""

    depth: tuple[Tensor, ...]
    confidence: tuple[Tensor, ...]
    pair_loss: Tensor


def solve_depths(pairs: PairPointmaps, state: State, masks: Mapping[int, Tensor] | None = None,
                 unit: float = 1.0) -> DenseDepth:
    """The depth of every pixel that is nearest to what all its pairs say, weighted by log confidence.

    Depth of a pixel with no information at all (not finite in every pair) is NaN. Confidence is the largest of all
    pairs. unit: mean distance of the pairs' points; distances far below it count as squares. pair_loss sums to the
    objective: mean over pixels and pairs of log(confidence) * distance.
    """
    pair_loss = torch.zeros(len(pairs.edges), 2, dtype=torch.float64, device=pairs.device)
    depths, confidences = [], []
    for image, size in sorted(pairs.sizes.items()):
        views = [(edge, slot) for edge, (i, j) in enumerate(pairs.edges) for slot, held in ((1, i), (2, j))
                 if held == image]
        mask = None if masks is None or image not in masks else masks[image].to(pairs.device).reshape(-1)
        depth, confidence, losses = _image(pairs, state, image, views, mask, 0.5 * FLOOR * unit)
        depths.append(depth.view(size))
        confidences.append(confidence.view(size))
        for (edge, slot), loss in zip(views, losses, strict=True):
            pair_loss[edge, slot - 1] = loss / (size[0] * size[1] * len(pairs.edges))
    return DenseDepth(tuple(depths), tuple(confidences), pair_loss)


def _image(pairs: PairPointmaps, state: State, image: int, views: list[tuple[int, int]],
           mask: Tensor | None, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (H W,), confidence (H W,), and per view the sum over pixels of weight * distance."""
    width = pairs.sizes[image][1]
    clouds = [pairs.observation(edge, slot) for edge, slot in views]
    into_camera = (inverse(state.camera[image]) @ state.edge[[edge for edge, _ in views]]).float()
    focal_x, focal_y, centre_x, centre_y = state.intrinsics[image].tolist()
    count = clouds[0][1].numel()
    depth = torch.empty(count, device=pairs.device)
    best = torch.empty(count, device=pairs.device)
    losses = torch.zeros(len(views), dtype=torch.float64, device=pairs.device)
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        index = torch.arange(part.start, part.stop, device=pairs.device)
        rays = torch.stack(((index % width - centre_x) / focal_x,
                            (torch.div(index, width, rounding_mode="floor") - centre_y) / focal_y,
                            torch.ones_like(index, dtype=torch.float32))).float()
        confidence = torch.stack([c.reshape(-1)[part] for _, c in clouds]).float()
        points = torch.stack([into_camera[k, :3, :3] @ cloud.reshape(-1, 3)[part].T.float()
                              + into_camera[k, :3, 3:] for k, (cloud, _) in enumerate(clouds)])
        usable = torch.isfinite(points).all(1) & torch.isfinite(confidence)
        points = torch.where(usable.unsqueeze(1), points, 0.0)
        weights = torch.where(usable, confidence, 1.0).clamp(min=1.0).log()
        if mask is not None:
            weights = weights * mask[part]
        depth[part], distance = _depth(points, rays, weights + _FAINT * usable, floor)
        best[part] = torch.where(usable, confidence, 1.0).amax(0)
        losses += (weights * distance).sum(1, dtype=torch.float64)
    return depth, best, losses


def _depth(points: Tensor, rays: Tensor, weights: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Points (K, 3, N) in the camera frame -> depth (N,) and distances (K, N) of the points from it."""
    square = rays.square().sum(0)
    nearest = (points * rays).sum(1) / square
    off = (points - nearest.unsqueeze(1) * rays).square().sum(1) + floor ** 2
    robust, depth = weights, None
    for _ in range(ROUNDS):
        total = robust.sum(0)
        depth = (robust * nearest).sum(0) / total
        robust = weights * torch.rsqrt(square * (nearest - depth).square() + off)
    assert depth is not None
    depth = torch.where(depth > 0, depth, depth.clamp(min=floor))
    distance = (square * (nearest - depth).square() + off - floor ** 2).clamp(min=0).sqrt()
    return depth, torch.nan_to_num(distance)
