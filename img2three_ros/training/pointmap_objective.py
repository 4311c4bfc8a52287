"""What training wants of the pointmap network: one number from its prediction and the truth, and its named parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import setting
from ..data.pointmap_pairs import PairGroup, T_between, moved, points_of, true_matches
from ..losses.masked import masked_mean
from ..losses.pointmap import confident_error, confident_matching, matching_error, point_error
from ..models.pointmap_network import Pointmaps
from ..structures import InputError

PARTS = ("confident", "error", "log_confidence", "matching")


@dataclass(frozen=True)
class PointmapObjectiveConfig:
    """Regression with confidence (DUSt3R) and, with descriptors, matching (MASt3R)."""

    alpha: float = setting(0.2, "reward for confidence: c error - alpha log c", low=0.0)
    sky: float = setting(2.0, "error that sky counts with, so that confidence falls there; 0 leaves sky out", low=0.0)
    metric: bool = setting(False, "points in metres (MASt3R); otherwise up to a scale of each pair (DUSt3R)")
    farthest: float = setting(100.0, "points farther from their camera have no truth", unit="m", low=1.0)
    matching: float = setting(0.075, "weight of the loss of descriptors, for networks that have them", low=0.0)
    matches: int = setting(1024, "true matches of a pair that are compared with each other", low=2)
    temperature: float = setting(0.05, "of the similarity of descriptors", low=1e-3)
    matching_alpha: float = setting(10.0, "reward for the confidence of descriptors", low=0.0)


@dataclass(frozen=True, eq=False)
class PairTruth:
    """Of P pairs: points (P, 2, H, W, 3) of both views in the frame of the first, metres; keep (P, 2, H, W) bool, where
    there is one; sky (P, 2, H, W) bool; depth (P, 2, H, W) of each pixel in its own view."""

    points: Tensor
    keep: Tensor
    sky: Tensor
    depth: Tensor


def pair_truth(group: PairGroup, farthest: float) -> PairTruth:
    """The truth of the pairs of a group. farthest: metres along the optical axis beyond which there is none."""
    views = group.views
    own = points_of(views)
    points = torch.stack([torch.stack((own[first], moved(T_between(views, first, second), own[second])))
                          for first, second in group.pairs.tolist()])
    depth, mask = views.depth[group.pairs], views.mask[group.pairs]
    return PairTruth(points, mask & depth.isfinite() & (depth <= farthest), mask & depth.isposinf(), depth)


def pointmap_objective(maps: Pointmaps, groups: Sequence[PairGroup], config: PointmapObjectiveConfig,
                       ) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The loss (a scalar) and its parts (detached scalars). maps: of all pairs of the groups, one after the other.

    Raises InputError('parameter') for descriptors that no weight teaches.
    """
    truths = [pair_truth(group, config.farthest) for group in groups]
    points, keep, sky = (torch.cat([getattr(truth, name) for truth in truths]) for name in ("points", "keep", "sky"))
    metric = torch.full((len(points),), config.metric, device=points.device)
    found = torch.stack((maps.points1, maps.points2_in_1), 1)
    error = point_error(found.flatten(1, 3), points.flatten(1, 3), keep.flatten(1), metric).view(keep.shape)
    confidence = torch.stack((maps.confidence1, maps.confidence2), 1)
    confident = torch.stack([confident_error(error[:, view], confidence[:, view], keep[:, view], sky[:, view],
                                             config.alpha, config.sky) for view in range(2)]).sum()
    matching = confident.new_zeros(())
    if maps.descriptors1 is not None:
        matching = _matching(maps, groups, config)
    parts = {"confident": confident, "error": masked_mean(error, keep),
             "log_confidence": masked_mean(confidence.log(), keep), "matching": matching}
    return confident + config.matching * matching, {name: value.detach() for name, value in parts.items()}


def _matching(maps: Pointmaps, groups: Sequence[PairGroup], config: PointmapObjectiveConfig) -> Tensor:
    if config.matching <= 0.0:
        raise InputError("parameter", "the network has descriptors, but objective.matching = 0 teaches them nothing: "
                         "set network.descriptors=0 or a weight")
    matches = [true_matches(group.views, first, second, config.matches)
               for group in groups for first, second in group.pairs.tolist()]
    pixels1, pixels2, keep = (torch.stack(parts) for parts in zip(*matches, strict=True))
    pair = torch.arange(len(keep), device=keep.device)[:, None]

    def at(values: Tensor | None, pixels: Tensor) -> Tensor:
        assert values is not None
        return values[pair, pixels[..., 1], pixels[..., 0]]

    error = matching_error(at(maps.descriptors1, pixels1), at(maps.descriptors2, pixels2), keep, config.temperature)
    return confident_matching(error, at(maps.descriptor_confidence1, pixels1),
                              at(maps.descriptor_confidence2, pixels2), keep, config.matching_alpha)
