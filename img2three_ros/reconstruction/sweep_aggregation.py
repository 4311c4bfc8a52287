"""Semi-global aggregation of a cost volume along eight directions (Hirschmüller, TPAMI 2008), batched over views.

Each step of a scan handles one row (or column) of all views and of both senses at once; a jump of up to two planes
costs in proportion to its size, so that slanted roads are not torn into steps, any larger jump a constant that falls
where the image has an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Smoothness:
    """Penalties in units of matching cost: ``step`` per plane up to two, ``jump`` for more, ``edge`` the jump's lower
    bound at strong image edges, ``contrast`` the intensity difference (0..1) at which half of the fall is reached."""

    step: float = 0.02
    jump: float = 0.8
    edge: float = 0.2
    contrast: float = 0.05


def semi_global(cost: Tensor, guide: Tensor, smoothness: Smoothness) -> Tensor:
    """Aggregated cost (B, D, H, W), mean over eight directions, of cost (B, D, H, W) guided by grey (B, H, W)."""
    rows = cost.permute(2, 1, 0, 3).contiguous()
    total = _vertical(rows, guide.permute(1, 0, 2), smoothness)
    columns = cost.permute(3, 1, 0, 2).contiguous()
    across = _straight(columns, guide.permute(2, 0, 1), smoothness)
    return (total.permute(2, 1, 0, 3) + across.permute(2, 1, 3, 0)) / 8.0


def _penalty(difference: Tensor, smoothness: Smoothness) -> Tensor:
    fall = smoothness.contrast / (smoothness.contrast + difference.abs())
    return smoothness.edge + (smoothness.jump - smoothness.edge) * fall


def _step(previous: Tensor, cost: Tensor, jump: Tensor, step: float) -> Tensor:
    """One step of a path. previous, cost (D, ...); jump (...)."""
    lowest = previous.amin(0)
    best = torch.minimum(previous, lowest + jump)
    near = previous + step
    torch.minimum(best[1:], near[:-1], out=best[1:])
    torch.minimum(best[:-1], near[1:], out=best[:-1])
    near += step
    torch.minimum(best[2:], near[:-2], out=best[2:])
    torch.minimum(best[:-2], near[2:], out=best[:-2])
    best += cost
    best -= lowest
    return best


def _straight(cost: Tensor, guide: Tensor, smoothness: Smoothness) -> Tensor:
    """Sum of both senses of paths along the first axis of cost (S, D, B, X); guide (S, B, X)."""
    count = len(cost)
    jump = _penalty(guide[1:] - guide[:-1], smoothness)
    total = cost.clone()
    total += cost
    forward, backward = cost[0], cost[-1]
    for index in range(1, count):
        pair = _step(torch.stack((forward, backward), 1), torch.stack((cost[index], cost[-1 - index]), 1),
                     torch.stack((jump[index - 1], jump[-index])), smoothness.step)
        forward, backward = pair[:, 0], pair[:, 1]
        total[index] += forward - cost[index]
        total[-1 - index] += backward - cost[-1 - index]
    return total


def _vertical(cost: Tensor, guide: Tensor, smoothness: Smoothness) -> Tensor:
    """Sum of the six paths that advance along the rows of cost (S, D, B, X): straight and both diagonals."""
    count = len(cost)
    total = 6.0 * cost
    jumps = [_penalty(guide[1:] - _moved(guide[:-1], shift), smoothness) for shift in (0, 1, -1)]
    back = [_penalty(guide[:-1] - _moved(guide[1:], shift), smoothness) for shift in (0, 1, -1)]
    paths = torch.stack([cost[0]] * 3 + [cost[-1]] * 3, 1)
    for index in range(1, count):
        previous = torch.stack([_moved(paths[:, 3 * sense + number], shift)
                                for sense in (0, 1) for number, shift in enumerate((0, 1, -1))], 1)
        here = torch.stack((cost[index], cost[-1 - index]), 1).repeat_interleave(3, 1)
        jump = torch.stack([jump[index - 1] for jump in jumps] + [jump[-index] for jump in back])
        paths = _step(previous, here, jump, smoothness.step)
        sums = paths.reshape(paths.shape[0], 2, 3, *paths.shape[2:]).sum(2)
        total[index] += sums[:, 0] - 3.0 * cost[index]
        total[-1 - index] += sums[:, 1] - 3.0 * cost[-1 - index]
    return total


def _moved(values: Tensor, shift: int) -> Tensor:
    """Shift along the last axis by one; what enters at the border is zero, a path that starts there."""
    if shift == 0:
        return values
    moved = torch.zeros_like(values)
    if shift > 0:
        moved[..., 1:] = values[..., :-1]
    else:
        moved[..., :-1] = values[..., 1:]
    return moved
