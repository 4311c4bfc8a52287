"""Matching once more with what the networks found as the expectation: the last refinement of engine ``scene``.

Networks know what streets look like, images where surfaces are: ``scene_sweep`` finds the most likely surface given
both. Nothing here is learned from images, so it is right on any camera. Where nothing matches - moving things, blank
walls, glass - the estimate stays as it was.

How sure the result is follows from a few clues by linear functions, fitted on simulated drives
(``benchmarks/rematch.py``), never on recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry.plane_sweep import PairWarp
from ..models.depth_refinement import Correction
from ..models.scene_network import STRIDE
from .scene_refinement import Estimate
from .scene_sweep import Asked, ExpectantSweep, Match
from .sweep_confidence import OtherDepth, agreement, parallax

_LEAST_MOVED, _MOST_MOVED, _LEAST_CHANGE = 0.05, 8.0, 0.01

SCALE_WEIGHTS = (1.1971, 1.4695, -0.4705, -0.7252, -0.0904, -0.4956, 0.1064)
SPREAD_WEIGHTS = (-0.4952, 0.9006, -0.5878, -0.6477, -0.1990, -0.4616, 0.1015)
"""Of ``scale_clues``: for the expected error of log depth, and for that of depth within 25 % of the truth."""
CONFIDENCE_WEIGHTS = (-0.9944, 0.8937, -0.1417, 0.7233, 1.1185, 1.0275, -1.4783)
"""Of ``confidence_clues``: for the logit of the probability that depth is within 25 % of the truth."""


class Rematcher:
    """Corrects the estimates of an instant. Not thread-safe."""

    def __init__(self, device: torch.device) -> None:
        self._sweep = ExpectantSweep(device)

    def __call__(self, views: Sequence[Asked]) -> dict[str, Estimate]:
        """Estimates by camera; those without sources as they were."""
        before = {asked.estimate.view.name: asked.estimate for asked in views}
        found, matches = dict(before), self.matches(views)
        for asked in views:
            name = asked.estimate.view.name
            if name in matches:
                found[name] = _corrected(asked, matches[name], consistency(asked, matches, before))
        return found

    def matches(self, views: Sequence[Asked]) -> dict[str, Match]:
        """By camera, of the views that have sources."""
        sizes: dict[tuple[int, int], list[Asked]] = {}
        for asked in views:
            if asked.sources:
                sizes.setdefault(asked.level.size, []).append(asked)
        return {asked.estimate.view.name: match for group in sizes.values()
                for asked, match in zip(group, self._sweep(group), strict=True)}


def consistency(asked: Asked, matches: Mapping[str, Match], estimates: Mapping[str, Estimate],
                ) -> tuple[Tensor, Tensor]:
    """``agreement`` (h, w) of a view's match with the depth of its sources: those of this instant as they are now
    (``matches``; how sure, by ``estimates``), earlier ones as they were given out."""
    inverse_depth = torch.exp(-matches[asked.estimate.view.name].log_depth[::2, ::2])
    others = []
    for source in asked.sources:
        known, sure = source.seen.inverse_depth, source.seen.confidence
        if source.camera in matches:
            estimate = estimates[source.camera]
            known = torch.exp(-matches[source.camera].log_depth[::2, ::2])
            sure = torch.sigmoid(functional.avg_pool2d(estimate.confidence[None, None], 4)[0, 0])
            sure = torch.where(known.isfinite() & sure.isfinite() & estimate.mask[::4, ::4], sure, 0.0)
            known = known.nan_to_num(1.0)
        if known.numel():
            size = (int(known.shape[0]), int(known.shape[1]))
            warp = PairWarp.between(source.T_source_reference, asked.reference.grid_intrinsics,
                                    (int(inverse_depth.shape[0]), int(inverse_depth.shape[1])),
                                    source.seen.grid_intrinsics, size)
            others.append(OtherDepth(known, sure, warp))
    support, conflict = (functional.interpolate(values[None, None], scale_factor=2.0, mode="bilinear",
                                                align_corners=False)[0, 0]
                         for values in agreement(inverse_depth, others))
    return support, conflict


def scale_clues(asked: Asked, match: Match, log_scale: Tensor) -> Tensor:
    """(7, h, w) what the logarithm of the expected error is a linear function of. log_scale: (h, w) by the networks."""
    level = asked.level
    moved = parallax(torch.exp(-match.log_depth), [(source.warp(level), source.seen.pyramid.fine.size)
                                                   for source in asked.sources])
    moved = torch.log(moved.clamp(_LEAST_MOVED, _MOST_MOVED))
    change = torch.log((match.log_depth - asked.shrunk(asked.estimate.log_depth)).abs() + _LEAST_CHANGE)
    return torch.stack((torch.ones_like(moved), log_scale, match.trust, match.trust * match.score, match.trust * moved,
                        match.trust * log_scale, change))


def confidence_clues(match: Match, logit: Tensor, support: Tensor, conflict: Tensor) -> Tensor:
    """(7, h, w) what the logit of the confidence is a linear function of. logit: (h, w) by the networks; support,
    conflict: ``consistency``."""
    return torch.stack((torch.ones_like(logit), logit, match.score, match.matched, match.surface, support, conflict))


def _linear(weights: Sequence[float], clues: Tensor) -> Tensor:
    return torch.einsum("k,khw->hw", clues.new_tensor(weights), clues)


def _corrected(asked: Asked, match: Match, agreed: tuple[Tensor, Tensor]) -> Estimate:
    estimate = asked.estimate
    log_scale, logit = asked.shrunk(estimate.log_scale), asked.shrunk(estimate.confidence)
    about_scale = scale_clues(asked, match, log_scale)
    change = torch.stack((match.log_depth - asked.shrunk(estimate.log_depth),
                          _linear(SCALE_WEIGHTS, about_scale) - log_scale,
                          _linear(CONFIDENCE_WEIGHTS, confidence_clues(match, logit, *agreed)) - logit,
                          _linear(SPREAD_WEIGHTS, about_scale) - log_scale))
    return _applied(estimate, torch.where(change.isfinite().all(0), change, 0.0), asked.level.size)


def _applied(estimate: Estimate, change: Tensor, size: tuple[int, int]) -> Estimate:
    """change: (4, h, w) at ``size``: of log depth, log scale and logit, and from log scale to log spread."""
    height, width = estimate.view.size
    full = functional.interpolate(change[None], scale_factor=float(height // size[0]), mode="bilinear",
                                  align_corners=False)
    rows, columns = estimate.lifted.log_depth.shape
    padded = functional.pad(full, (0, STRIDE * columns - width, 0, STRIDE * rows - height))
    lifted = Correction(*functional.avg_pool2d(padded[:, :3], STRIDE)[0]).applied(estimate.lifted)
    log_depth, log_scale, logit, spread = full[0]
    return replace(estimate, log_depth=estimate.log_depth + log_depth, log_scale=estimate.log_scale + log_scale,
                   confidence=estimate.confidence + logit, log_spread=estimate.log_scale + spread, lifted=lifted)
