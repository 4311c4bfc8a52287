"""How likely a depth is right: peak of the aggregated cost, photo-consistency, parallax and agreement between views.

Each clue becomes a number; a logistic function fitted on simulated streets (not on recordings) turns them into the
probability that depth is within 25 % of the truth, so that views and cameras can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.plane_sweep import PairWarp

_TEMPERATURE = 0.05
_MATCHING_PRECISION = 0.5
_WEIGHTS = (0.31, 0.8, 1.09, -2.31, 0.21, -1.37, -1.8)
_BIAS = 0.11
_SOME_MATCH, _SOME_PARALLAX, _GUESS = 0.15, 0.25, 0.4


def probability_near(aggregated: Tensor, numbers: Tensor, planes: Tensor, tolerance: float = 1.25) -> Tensor:
    """Mass (B, H, W) of the softmax of -cost (B, D, H, W) within a factor ``tolerance`` of plane ``numbers``."""
    mass = torch.softmax(aggregated / -_TEMPERATURE, 1).cumsum_(1)
    best = numbers.round().long().clamp(0, len(planes) - 1)
    lower = torch.searchsorted(planes, planes / tolerance)
    upper = torch.searchsorted(planes, planes * tolerance, right=True) - 1
    below = lower[best] - 1
    under = mass.gather(1, below.clamp(min=0)[:, None])[:, 0] * (below >= 0)
    return (mass.gather(1, upper[best][:, None])[:, 0] - under).clamp(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class OtherDepth:
    """A depth map to agree with: inverse depth and its confidence (h, w), and the warp into it (``PairWarp``)."""

    inverse_depth: Tensor
    confidence: Tensor
    warp: PairWarp


def agreement(inverse_depth: Tensor, others: Sequence[OtherDepth]) -> tuple[Tensor, Tensor]:
    """How much other depth maps support or contradict inverse depth (h, w): two tensors (h, w) in 0..1.

    A point that the other view sees at the same depth is supported; one in front of what the other view sees there
    is contradicted (the other looks through it); one behind is merely hidden.
    """
    support = torch.zeros_like(inverse_depth)
    conflict = torch.zeros_like(inverse_depth)
    for other in others:
        grid, factor = other.warp.grid(inverse_depth[None])
        there = torch.stack((other.inverse_depth, other.confidence))[None]
        seen = F.grid_sample(there, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0]
        expected = factor[0].clamp(min=1e-3) / inverse_depth
        ratio = torch.log((expected * seen[0]).clamp(min=1e-3))
        support = torch.maximum(support, seen[1] * torch.exp(-(ratio / 0.1) ** 2))
        conflict = torch.maximum(conflict, seen[1] * ((-ratio - 0.15) / 0.15).clamp(0.0, 1.0) * (seen[1] > 0.0))
    return support, conflict


def parallax(inverse_depth: Tensor, warps: Sequence[tuple[PairWarp, tuple[int, int]]]) -> Tensor:
    """(h, w) largest movement over sources, in source pixels, that 10 % of depth cause at inverse depth (h, w).

    warps: into each source, with the (height, width) whose pixels count.
    """
    most = torch.zeros_like(inverse_depth)
    for warp, (height, width) in warps:
        scale = inverse_depth.new_tensor((width / 2.0, height / 2.0))
        here, _ = warp.grid(inverse_depth[None])
        there, _ = warp.grid(inverse_depth[None] / 1.1)
        inside = (here.abs() < 1.0).all(-1)[0]
        u, v = ((there - here) * scale)[0].unbind(-1)
        most = torch.maximum(most, torch.hypot(u, v) * inside)
    return most


def surface_support(number: Tensor) -> Tensor:
    """(h, w) share of the 7 x 7 surroundings that lie within two planes of plane numbers (h, w)."""
    height, width = number.shape
    padded = F.pad(number[None, None], (3, 3, 3, 3), mode="replicate")[0, 0]
    count = torch.zeros_like(number)
    for dy in range(0, 7, 2):
        for dx in range(0, 7, 2):
            count += ((padded[dy:dy + height, dx:dx + width] - number).abs() < 2.0).float()
    return count / 16.0


def discontinuity(inverse_depth: Tensor, reach: int = 3) -> tuple[Tensor, Tensor]:
    """How near (h, w) a pixel is to a depth edge, as the nearer and as the farther side: two tensors 0..1.

    Windows that overlap an edge carry the nearer depth over it, so what lies next to a jump to the background is less
    certain the nearer it is to it.
    """
    logarithm = torch.log(inverse_depth)[None, None]
    near, far = torch.zeros_like(inverse_depth), torch.zeros_like(inverse_depth)
    for radius in range(1, reach + 1):
        highest = _highest(logarithm, radius)
        lowest = -_highest(-logarithm, radius)
        near += ((logarithm - lowest)[0, 0] > 0.25) / reach
        far += ((highest - logarithm)[0, 0] > 0.25) / reach
    return near, far


def _highest(values: Tensor, radius: int) -> Tensor:
    """Maximum over squares of ``2 radius + 1`` of (1, 1, H, W), first along columns, then along rows."""
    side = 2 * radius + 1
    return F.max_pool2d(F.max_pool2d(values, (side, 1), stride=1, padding=(radius, 0)), (1, side), stride=1,
                        padding=(0, radius))


def clues(peak: Tensor, matched: Tensor, support: Tensor, conflict: Tensor, surface: Tensor,
          inverse_depth: Tensor) -> Tensor:
    """(7, h, w) the numbers that ``confidence`` weighs; all arguments (h, w)."""
    peak = peak.clamp(0.002, 0.998)
    near, far = discontinuity(inverse_depth)
    return torch.stack((torch.log(peak / (1.0 - peak)), matched, support, conflict, surface, near, far))


def confidence(values: Tensor, matched: Tensor, moved: Tensor) -> Tensor:
    """Probability (h, w) that depth is within 25 % of the truth, from ``clues`` (7, h, w).

    What only follows from the surroundings and the ground, because nothing matches (``matched`` (h, w), ZNCC) or
    nothing moves (``moved`` (h, w), see ``parallax``), is a guess, however well it fits.
    """
    weights = values.new_tensor(_WEIGHTS).reshape(-1, 1, 1)
    likely = torch.sigmoid((weights * values).sum(0) + _BIAS)
    evidence = (matched / _SOME_MATCH).clamp(0.0, 1.0) * (moved / _SOME_PARALLAX).clamp(0.0, 1.0)
    return torch.lerp(likely.clamp(max=_GUESS), likely, evidence)


def relative_sigma(moved: Tensor) -> Tensor:
    """Standard deviation of log depth where the match is right, from ``parallax`` (h, w)."""
    return (_MATCHING_PRECISION * 0.1 / moved.clamp(min=0.05)).clamp(0.02, 0.5)
