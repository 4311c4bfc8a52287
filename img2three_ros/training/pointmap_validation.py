"""How good pointmaps of held-out pairs are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.pointmap_pairs import PairGroup
from ..losses.pointmap import mean_distance
from ..models.pointmap_network import Pointmaps
from ..visualization.colours import confidence_colours, depth_colours
from .pointmap_objective import PairTruth, pair_truth

SCORES = ("error", "error_confident", "error_first", "error_second", "within", "scale", "confidence_sky",
          "confidence_solid")

Estimate = Callable[[PairGroup], Pointmaps]


def pair_scores(maps: Pointmaps, truth: PairTruth) -> list[dict[str, float]]:
    """``SCORES`` of each pair (NaN where nothing counts); pointmaps and truth are each divided by their mean distance
    first.

    error: median distance of points from their truth, as a share of the median true depth; error_first and
    error_second: of the pixels of either view; error_confident: each pixel weighted with log confidence. within: share
    of points that are off by less than 10 % of their depth. scale: of the prediction over that of the truth (1 =
    metres). confidence_sky, confidence_solid: median confidence.
    """
    points = torch.stack((maps.points1, maps.points2_in_1), 1).float()
    confidence = torch.stack((maps.confidence1, maps.confidence2), 1).float()
    flat = truth.keep.flatten(1)
    scale, true_scale = (mean_distance(torch.where(truth.keep[..., None], values, 0.0).flatten(1, 3), flat)
                         for values in (points, truth.points))
    rows = []
    for pair in range(len(points)):
        keep, sky = truth.keep[pair], truth.sky[pair]
        error = (points[pair] * (true_scale[pair] / scale[pair]) - truth.points[pair]).norm(dim=-1)
        middle = float(truth.depth[pair][keep].median()) if bool(keep.any()) else float("nan")
        weight = confidence[pair].log()
        within = (error < 0.1 * truth.depth[pair])[keep].float()
        rows.append({
            "error": _median(error[keep]) / middle, "error_first": _median(error[0][keep[0]]) / middle,
            "error_second": _median(error[1][keep[1]]) / middle,
            "error_confident": _weighted_median(error[keep], weight[keep]) / middle,
            "within": float(within.mean()), "scale": float(scale[pair] / true_scale[pair]),
            "confidence_sky": _median(confidence[pair][sky]), "confidence_solid": _median(confidence[pair][keep])})
    return rows


@torch.no_grad()
def validate_pairs(estimate: Estimate, groups: Sequence[PairGroup], farthest: float) -> dict[str, float]:
    """Means of ``pair_scores`` over all pairs of the groups."""
    rows = [row for group in groups for row in pair_scores(estimate(group), pair_truth(group, farthest))]
    columns = {name: np.array([row[name] for row in rows]) for name in SCORES}
    return {name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
            for name, values in columns.items()}


@torch.no_grad()
def picture_of_pair(estimate: Estimate, group: PairGroup, farthest: float) -> NDArray[np.uint8]:
    """(2 H, 4 W, 3) RGB of the first pair, a row for each view: image, true and found depth in the frame of the first,
    confidence."""
    maps, truth = estimate(group), pair_truth(group, farthest)
    keep = truth.keep[0]
    points = torch.stack((maps.points1[0], maps.points2_in_1[0])).float()
    scale, true_scale = (float(mean_distance(torch.where(keep[..., None], values, 0.0).reshape(1, -1, 3),
                                             keep.reshape(1, -1))) for values in (points, truth.points[0]))
    found = points[..., 2] * (true_scale / scale)
    true = torch.where(keep, truth.points[0][..., 2], torch.nan)
    confidence = torch.stack((maps.confidence1[0], maps.confidence2[0])).float()
    rows = []
    for place, view in enumerate(group.pairs[0].tolist()):
        image = group.views.images[view].permute(1, 2, 0).cpu().numpy()
        depths = [depth_colours(_positive(depth[place])) for depth in (true, found)]
        sure = confidence_colours(1.0 - 1.0 / confidence[place].cpu().numpy())
        rows.append(np.concatenate((image, *depths, sure), 1))
    return np.concatenate(rows)


def _positive(depth: Tensor) -> NDArray[np.float32]:
    """What lies behind the first camera, or nowhere, as unknown."""
    values = depth.cpu().numpy()
    return np.where(values > 0.0, values, np.nan)


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else float("nan")


def _weighted_median(values: Tensor, weights: Tensor) -> float:
    """The smallest value up to which half of the weight lies."""
    if not len(values) or float(weights.sum()) <= 0.0:
        return float("nan")
    ordered, order = values.sort()
    reached = weights[order].double().cumsum(0)
    return float(ordered[int(torch.searchsorted(reached, 0.5 * reached[-1]))])
