"""Truth at the resolution of a prediction, without depths that lie on no surface."""

from __future__ import annotations

import torch
from torch import Tensor

from ..structures import InputError

_SAME_SURFACE = 1.05


def sample_depth(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """True depth (V, H, W) metres at the pixel centres of a smaller image (V, h, w); NaN = unknown, inf = sky.

    H and W must be the same multiple of h and w (InputError ``shape`` otherwise). An average over a cell would lie
    between the surfaces on both sides of an edge, where nothing is. So the four pixels around the centre of the
    cell decide: where they are one surface (within 5 %), their mean inverse depth, which is exact for a plane;
    otherwise the nearest of them, because the nearer surface is the one that matters to a vehicle. Where all four
    are unknown (sparse LiDAR), the known pixel of the cell that is closest to its centre.
    """
    height, width = depth.shape[1:]
    factor = height // size[0]
    if (size[0] * factor, size[1] * factor) != (height, width) or factor < 1:
        raise InputError("shape", f"truth of {height} x {width} pixels cannot be sampled at {size[0]} x {size[1]}: "
                         "not a whole divisor")
    if factor == 1:
        return depth
    inverse = torch.where(depth.isnan(), -1.0, 1.0 / depth)
    cells = inverse.reshape(len(depth), size[0], factor, size[1], factor).permute(0, 1, 3, 2, 4)
    first = (factor - 1) // 2
    last = factor // 2 + 1
    middle = cells[..., first:last, first:last].flatten(3)
    nearest, farthest = middle.amax(3), middle.amin(3)
    one_surface = (farthest >= 0.0) & (nearest <= _SAME_SURFACE * farthest)
    chosen = torch.where(one_surface, middle.mean(3), nearest)
    return 1.0 / torch.where(chosen >= 0.0, chosen, _closest_known(cells, factor))


def _closest_known(cells: Tensor, factor: int) -> Tensor:
    """Inverse depth of the known (>= 0) pixel closest to the centre of each cell (V, h, w, f, f); NaN = none."""
    offset = torch.arange(factor, device=cells.device) - (factor - 1) / 2
    rank = -(offset[:, None].square() + offset.square()).flatten()
    flat = cells.flatten(3)
    known = flat >= 0.0
    index = torch.where(known, rank, -torch.inf).argmax(3, keepdim=True)
    return torch.where(known.any(3), flat.gather(3, index)[..., 0], torch.nan)
