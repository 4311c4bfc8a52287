"""Matching once more along the surfaces that were found: the last refinement of engine ``scene``.

The networks say where a surface is to within some percent; the images themselves say it to a fraction of that. So each
view is compared with its sources at a few depths around the estimate, as far as its own uncertainty reaches: windows of
grey images (zero-mean normalised cross-correlation, indifferent to exposure) that lie on the estimated surface, slanted
or not. Nothing here is learned from images, so it is right on any camera. Where nothing matches - moving things, blank
walls, glass - the estimate stays as it was.

How sure the result is follows from a few clues by linear functions, fitted on simulated drives
(``benchmarks/rematch.py``), never on recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry.plane_sweep import PairWarp
from ..models.depth_refinement import Correction
from ..models.scene_network import STRIDE
from ..structures import Matrix
from .scene_refinement import Estimate
from .sweep_confidence import parallax
from .sweep_cost import BestSources, Level, WindowStatistics, box_sum, correlate


@dataclass(frozen=True)
class Look:
    """Depths around the estimate. steps: to either side; unit: between two, in scales of the estimate's error, limited
    to ``nearest`` .. ``farthest`` in log depth."""

    steps: int
    unit: float
    nearest: float
    farthest: float


LOOKS = (Look(3, 0.9, 0.01, 0.06), Look(2, 0.35, 0.005, 0.025))
"""The second is finer, around what the first one found."""

_WINDOW, _AROUND = 2, 2
"""Half sides, pixels: of a window, and of the square over which scores are averaged."""
_TEMPERATURE = 0.06
_NO_MATCH, _MATCH = 0.35, 0.65
"""Scores up to which nothing is corrected, and from which the correction counts in full."""
_LEAST_MOVED, _MOST_MOVED, _LEAST_SPREAD = 0.05, 8.0, 0.003

SCALE_WEIGHTS = (0.6142, 1.328, 2.9707, -0.3399, -0.2064, 1.0561, -0.6195)
SPREAD_WEIGHTS = (-1.2653, 0.7143, 2.8095, -0.9217, -0.2841, 0.9416, -0.5679)
"""Of ``scale_clues``: for the expected error of log depth, and for that of depth within 25 % of the truth."""
CONFIDENCE_WEIGHTS = (-0.2572, 1.1446, -2.0026, 1.1306, 0.0402, -0.2569, -0.5156, -0.735)
"""Of ``confidence_clues``: for the logit of the probability that depth is within 25 % of the truth."""


@dataclass(frozen=True, eq=False)
class Match:
    """What matching says, (h, w) each at the scale of the matched images.

    shift: correction of log depth, already weighed by ``trust``, 0..1, by which all clues count. score: ZNCC 0..1 at
    the best depth. spread: standard deviation of log depth, by scores and estimate. moved: ``parallax``. at_end: 1
    where the best depth is the nearest or farthest that was tried.
    """

    shift: Tensor
    trust: Tensor
    score: Tensor
    spread: Tensor
    moved: Tensor
    at_end: Tensor


def rematched(estimate: Estimate, reference: Level, sources: Sequence[tuple[Level, Matrix]]) -> Estimate:
    """The estimate of a view, corrected by matching its image with sources: images and ``T_source_reference`` (4, 4).
    Without any, only how sure it is is said anew."""
    block = estimate.view.size[0] // reference.size[0]
    log_depth, log_scale, logit = (functional.avg_pool2d(values[None, None], block)[0, 0] for values in (
        estimate.log_depth, estimate.log_scale, estimate.confidence))
    found = match(log_depth, log_scale, reference, sources)
    about_scale, about_confidence = scale_clues(found, log_scale), confidence_clues(found, logit)
    change = torch.stack((found.shift, _linear(SCALE_WEIGHTS, about_scale) - log_scale,
                          _linear(CONFIDENCE_WEIGHTS, about_confidence) - logit,
                          _linear(SPREAD_WEIGHTS, about_scale) - log_scale))
    return _corrected(estimate, torch.where(change.isfinite().all(0), change, 0.0), block)


def match(log_depth: Tensor, log_scale: Tensor, reference: Level, sources: Sequence[tuple[Level, Matrix]]) -> Match:
    """log_depth, log_scale: (h, w) of the reference's image, the latter of the expected error (Laplace) of the former.
    The result of the last look, its shift the sum of all."""
    nothing = torch.zeros_like(log_depth)
    found = Match(nothing, nothing, nothing, torch.ones_like(nothing), nothing, nothing)
    if not sources:
        return found
    warps = [(source, PairWarp.between(pose, reference.intrinsics, reference.size, source.intrinsics, source.size))
             for source, pose in sources]
    windows, scale, shift = WindowStatistics(reference, _WINDOW, 1), log_scale.exp(), nothing
    for look in LOOKS:
        found = _look_around(log_depth + shift, scale, look, windows, reference, warps)
        shift = shift + found.shift
    return replace(found, shift=shift)


def scale_clues(found: Match, log_scale: Tensor) -> Tensor:
    """(7, h, w) what the logarithm of the expected error is a linear function of."""
    moved, spread = _logarithms(found)
    return torch.stack((torch.ones_like(moved), log_scale, found.trust, found.trust * found.score, found.trust * moved,
                        found.trust * spread, found.trust * log_scale))


def confidence_clues(found: Match, logit: Tensor) -> Tensor:
    """(8, h, w) what the logit of the confidence is a linear function of."""
    moved, spread = _logarithms(found)
    return torch.stack((torch.ones_like(moved), logit, found.trust, found.trust * found.score, found.trust * moved,
                        found.trust * logit, found.trust * spread, found.trust * found.at_end))


def _look_around(log_depth: Tensor, scale: Tensor, look: Look, windows: WindowStatistics, reference: Level,
                 sources: Sequence[tuple[Level, PairWarp]]) -> Match:
    unit = (look.unit * scale).clamp(look.nearest, look.farthest)
    steps = torch.arange(-look.steps, look.steps + 1, dtype=scale.dtype, device=scale.device).reshape(-1, 1, 1)
    shifts = steps * unit
    inverse_depth = torch.exp(-(log_depth + shifts))
    best = BestSources(tuple(shifts.shape), scale.device)
    for source, warp in sources:
        best.add(correlate(windows, source, warp, inverse_depth))
    score = best.score()
    seen = (score > -1.0).all(0) & (reference.usable[0, 0] > 0.5)
    around = box_sum(torch.ones_like(scale)[None, None], _AROUND)
    score = (box_sum(score.clamp(min=0.0)[None], _AROUND) / around)[0]
    share = torch.softmax(score / _TEMPERATURE - shifts.abs() / scale, 0)
    winner = share.argmax(0, keepdim=True)
    near = share * ((steps + look.steps - winner).abs() <= 1.0)  # between the best depth and its neighbours
    shift = (near * shifts).sum(0) / near.sum(0)
    reached = score.gather(0, winner)[0]
    trust = ((reached - _NO_MATCH) / (_MATCH - _NO_MATCH)).clamp(0.0, 1.0) * seen
    spread = (share * (shifts - shift).square()).sum(0).sqrt()
    moved = parallax(torch.exp(-log_depth), [(warp, source.size) for source, warp in sources])
    at_end = ((winner == 0) | (winner == 2 * look.steps))[0].to(scale.dtype)
    return Match(trust * shift, trust, reached, spread, moved, at_end)


def _logarithms(found: Match) -> tuple[Tensor, Tensor]:
    return (torch.log(found.moved.clamp(_LEAST_MOVED, _MOST_MOVED)), torch.log(found.spread.clamp(min=_LEAST_SPREAD)))


def _linear(weights: Sequence[float], clues: Tensor) -> Tensor:
    return torch.einsum("k,khw->hw", clues.new_tensor(weights), clues)


def _corrected(estimate: Estimate, change: Tensor, block: int) -> Estimate:
    """change: (4, h, w) of every ``block`` x ``block`` pixels: of log depth, log scale and logit, and from log scale
    to log spread."""
    height, width = estimate.view.size
    full = functional.interpolate(change[None], scale_factor=float(block), mode="bilinear", align_corners=False)
    full = functional.pad(full, (0, width - full.shape[3], 0, height - full.shape[2]))
    rows, columns = estimate.lifted.log_depth.shape
    padded = functional.pad(full, (0, STRIDE * columns - width, 0, STRIDE * rows - height))
    lifted = Correction(*functional.avg_pool2d(padded[:, :3], STRIDE)[0]).applied(estimate.lifted)
    log_depth, log_scale, logit, spread = full[0]
    return replace(estimate, log_depth=estimate.log_depth + log_depth, log_scale=estimate.log_scale + log_scale,
                   confidence=estimate.confidence + logit, log_spread=estimate.log_scale + spread, lifted=lifted)
