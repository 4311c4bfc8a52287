"""Semi-global aggregation of a cost volume along eight directions (Hirschmüller, TPAMI 2008), batched over views.

Each step of a scan handles one row (or column) of all views and of both senses at once; a jump of up to two planes
costs in proportion to its size, so that slanted roads are not torn into steps, any larger jump a constant that falls
where the image has an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class Workspace:
    """Tensors of the size of a cost volume that are used again: new memory for each would cost as much as the work."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Uninitialised float32 (shape), the same memory as the last time if the shape is."""
        known = self._tensors.get(name)
        if known is None or known.shape != shape or known.device != device:
            known = self._tensors[name] = torch.empty(shape, dtype=torch.float32, device=device)
        return known


def semi_global(cost: Sequence[Tensor] | Tensor, guide: Tensor, smoothness: Smoothness,
                workspace: Workspace | None = None) -> Tensor:
    """Aggregated cost (B, D, H, W), mean over eight directions, of B costs (D, H, W) guided by grey (B, H, W).

    workspace: where the result lives, until the next call with it; None = the result's own.
    """
    workspace = Workspace() if workspace is None else workspace
    views, device = len(cost), guide.device
    planes, height, width = cost[0].shape
    rows = workspace.take("rows", (height, planes, views, width), device)
    columns = workspace.take("columns", (width, planes, views, height), device)
    for index in range(views):
        rows[:, :, index] = cost[index].permute(1, 0, 2)
        columns[:, :, index] = cost[index].permute(2, 0, 1)
    total = workspace.take("total", tuple(rows.shape), device)
    across = workspace.take("across", tuple(columns.shape), device)
    _vertical(rows, guide.permute(1, 0, 2), smoothness, total)
    _straight(columns, guide.permute(2, 0, 1), smoothness, across)
    aggregated = total.permute(2, 1, 0, 3)
    for index in range(views):
        aggregated[index] += across[:, :, index].permute(1, 2, 0)
    total /= 8.0
    return aggregated


def _penalty(difference: Tensor, smoothness: Smoothness) -> Tensor:
    fall = smoothness.contrast / (smoothness.contrast + difference.abs())
    return smoothness.edge + (smoothness.jump - smoothness.edge) * fall


def _step(previous: Tensor, cost: Tensor, jump: Tensor, step: float) -> Tensor:
    """One step of a path. previous (D, ...); cost (D, ...) like it or broadcast; jump (...)."""
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


def _straight(cost: Tensor, guide: Tensor, smoothness: Smoothness, total: Tensor) -> None:
    """Into ``total``, like cost (S, D, B, X): sum of both senses of paths along the first axis; guide (S, B, X)."""
    count = len(cost)
    penalty = _penalty(guide[1:] - guide[:-1], smoothness)
    total.zero_()
    total[0] += cost[0]
    total[-1] += cost[-1]
    paths = torch.stack((cost[0], cost[-1]), 1)
    for index in range(1, count):
        paths = _step(paths, torch.stack((cost[index], cost[-1 - index]), 1),
                      torch.stack((penalty[index - 1], penalty[-index])), smoothness.step)
        total[index] += paths[:, 0]
        total[-1 - index] += paths[:, 1]


def _vertical(cost: Tensor, guide: Tensor, smoothness: Smoothness, total: Tensor) -> None:
    """Into ``total``, like cost (S, D, B, X): sum of the six paths that advance along the first axis, straight and
    both diagonals; guide (S, B, X)."""
    count, planes, views, width = cost.shape
    jumps = [_penalty(guide[1:] - _moved(guide[:-1], shift), smoothness) for shift in (0, 1, -1)]
    back = [_penalty(guide[:-1] - _moved(guide[1:], shift), smoothness).flip(0) for shift in (0, 1, -1)]
    penalty = torch.stack(jumps + back, 1)
    total.zero_()
    total[0].add_(cost[0], alpha=3.0)
    total[-1].add_(cost[-1], alpha=3.0)
    paths = torch.stack([cost[0]] * 3 + [cost[-1]] * 3, 1).reshape(planes, 2, 3, views, width)
    # A diagonal path that enters at the border starts there: its first and last columns stay zero.
    previous = torch.zeros_like(paths)
    for index in range(1, count):
        previous[:, :, 0] = paths[:, :, 0]
        previous[:, :, 1, :, 1:] = paths[:, :, 1, :, :-1]
        previous[:, :, 2, :, :-1] = paths[:, :, 2, :, 1:]
        here = torch.stack((cost[index], cost[-1 - index]), 1).unsqueeze(2)
        paths = _step(previous, here, penalty[index - 1].reshape(2, 3, views, width), smoothness.step)
        sums = paths.sum(2)
        total[index] += sums[:, 0]
        total[-1 - index] += sums[:, 1]


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
