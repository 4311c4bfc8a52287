"""From the aggregated volume to depth at image size: sub-plane minimum, edge-aware upsampling, local re-matching.

Hypotheses are continuous plane numbers; re-matching warps with the current depth map itself, so that windows follow
slanted surfaces instead of lying parallel to the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.plane_sweep import PairWarp
from .sweep_cost import BestSources, Level, WindowStatistics, box_sum, correlate

_SAME_SURFACE = 2.0
_GREY_SIGMA = 0.06


def sub_plane_minimum(aggregated: Tensor) -> Tensor:
    """Continuous plane number (B, H, W) of the minimum of cost (B, D, H, W), by a parabola through three planes."""
    count = aggregated.shape[1]
    best = aggregated.argmin(1, keepdim=True)
    below, here, above = (aggregated.gather(1, (best + shift).clamp(0, count - 1)) for shift in (-1, 0, 1))
    bend = below + above - 2.0 * here
    offset = torch.where(bend > 1e-6, 0.5 * (below - above) / bend.clamp(min=1e-6), torch.zeros_like(bend))
    inner = (best > 0) & (best < count - 1)
    return (best + torch.where(inner, offset.clamp(-0.5, 0.5), torch.zeros_like(offset)))[:, 0]


def inverse_depth_at(number: Tensor, planes: Tensor) -> Tensor:
    """Inverse depth of continuous plane numbers (any shape), linear between planes (D,)."""
    number = number.clamp(0.0, len(planes) - 1.0)
    lower = number.floor().long().clamp(max=len(planes) - 2)
    return torch.lerp(planes[lower], planes[lower + 1], number - lower)


def upsample(values: Tensor, numbers: Tensor, coarse_guide: Tensor, fine_guide: Tensor, offset: float) -> Tensor:
    """Twice the resolution without mixing surfaces: (..., C, h, w) values -> (..., C, H, W), H = 2h, W = 2w.

    numbers (..., h, w): plane numbers that tell surfaces apart; guides: grey (..., h, w) and (..., H, W); offset:
    position of a coarse sample within its 2 x 2 fine pixels (0 = on the first, 0.5 = in their middle).
    """
    channels = torch.cat((values, numbers.unsqueeze(-3), coarse_guide.unsqueeze(-3)), -3)
    out = values.new_empty(*values.shape[:-2], *fine_guide.shape[-2:])
    padded = F.pad(channels, (1, 1, 1, 1), mode="replicate")
    for row in (0, 1):
        for column in (0, 1):
            target = fine_guide[..., row::2, column::2]
            out[..., row::2, column::2] = _blend(padded, target, 0.5 * (row - offset), 0.5 * (column - offset))
    return out


def _blend(padded: Tensor, target: Tensor, down: float, right: float) -> Tensor:
    """Mix of the four coarse samples around a fine position ``down``, ``right`` (in coarse pixels) of the sample."""
    height, width = target.shape[-2:]
    top, left = (1 if down >= 0 else 0), (1 if right >= 0 else 0)
    fraction_y, fraction_x = down % 1.0, right % 1.0
    neighbours, weights = [], []
    for dy, wy in ((0, 1.0 - fraction_y), (1, fraction_y)):
        for dx, wx in ((0, 1.0 - fraction_x), (1, fraction_x)):
            if wy * wx > 0.0:
                sample = padded[..., top + dy:top + dy + height, left + dx:left + dx + width]
                likeness = (sample[..., -1, :, :] - target).abs_().mul_(-1.0 / _GREY_SIGMA).exp_()
                neighbours.append(sample)
                weights.append(likeness.mul_(wy * wx).add_(1e-6))
    leader, most = neighbours[0][..., -2, :, :], weights[0]
    for sample, weight in zip(neighbours[1:], weights[1:], strict=True):
        leader = torch.where(weight > most, sample[..., -2, :, :], leader)
        most = torch.maximum(most, weight)
    total = torch.zeros_like(neighbours[0][..., :-2, :, :])
    norm = torch.full_like(most, 1e-9)
    for sample, weight in zip(neighbours, weights, strict=True):
        weight.mul_((sample[..., -2, :, :] - leader).abs_() < _SAME_SURFACE)
        total.addcmul_(sample[..., :-2, :, :], weight.unsqueeze(-3))
        norm += weight
    return total.div_(norm.unsqueeze(-3))


def smooth(number: Tensor, weight: Tensor, guide: Tensor, radius: int, spread: float) -> Tensor:
    """Bilateral mean of plane numbers (..., H, W): neighbours of like grey ``guide`` (..., H, W), within ``spread``
    planes, weighted by ``weight`` (..., H, W)."""
    height, width = number.shape[-2:]
    stack = torch.stack((number, weight, guide.mul(1.0 / _GREY_SIGMA)), -3)
    numbers, strengths, greys = F.pad(stack, (radius,) * 4, mode="replicate").unbind(-3)
    grey = stack[..., 2, :, :]
    norm = weight + 1e-3
    total = number * norm
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            if dy == radius and dx == radius:
                continue
            part = (..., slice(dy, dy + height), slice(dx, dx + width))
            other, apart = numbers[part], numbers[part] - number
            share = (greys[part] - grey).abs_().addcmul_(apart, apart, value=1.0 / spread ** 2)
            share.neg_().exp_().mul_(strengths[part])
            total.addcmul_(share, other)
            norm += share
    return total.div_(norm)


def rematch(number: Tensor, statistics: WindowStatistics, sources: Sequence[tuple[Level, PairWarp]], planes: Tensor,
            offsets: Sequence[float], stiffness: float) -> tuple[Tensor, Tensor]:
    """Correct plane numbers (H, W) by matching the warped sources at ``offsets`` (ascending, equal steps) around them.

    statistics: of the reference, every pixel; sources: images with the warps into them.
    ``stiffness``: cost per squared plane of leaving the present number. Returns plane numbers and the ZNCC there.
    """
    shifts = torch.tensor(offsets, device=number.device).reshape(-1, 1, 1)
    inverse_depth = inverse_depth_at(number + shifts, planes)
    best = BestSources(tuple(inverse_depth.shape), number.device)
    for source, warp in sources:
        best.add(correlate(statistics, source, warp, inverse_depth))
    score = best.score().clamp(min=0.0)
    around = box_sum(torch.ones_like(number)[None, None], 1)
    cost = (box_sum((1.0 - score)[None], 1) / around)[0] + stiffness * shifts ** 2
    step = offsets[1] - offsets[0]
    place = sub_plane_minimum(cost[None])[0]
    corrected = (number + offsets[0] + step * place).clamp(0.0, len(planes) - 1.0)
    winner = place.round().long().clamp(0, len(offsets) - 1)
    return corrected, score.gather(0, winner[None])[0]
