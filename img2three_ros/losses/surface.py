"""Losses of the shape of surfaces: differences between neighbouring pixels, and normals. Maps (V, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor

from .masked import log_error, masked_mean

_SAME_SURFACE = 0.05
"""Neighbours whose log depths differ by more are taken for two surfaces: there is no normal between them."""


def gradient(log_depth: Tensor, truth: Tensor, keep: Tensor, scales: int = 4) -> Tensor:
    """Mean |difference of the log error| between neighbours, over every 1st, 2nd, 4th, ... pixel.

    The multi-scale gradient term of Li & Snavely 2018 ("MegaDepth", eq. 4): sharp edges where truth has them, flat
    error between. A pair counts where both pixels are kept.
    """
    error = log_error(log_depth, truth, keep)
    total = error.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        part, known = error[:, ::step, ::step], keep[:, ::step, ::step]
        for axis in (1, 2):
            if part.shape[axis] > 1:
                count = part.shape[axis] - 1
                both = known.narrow(axis, 1, count) & known.narrow(axis, 0, count)
                total = total + masked_mean(part.diff(dim=axis).abs(), both)
    return total / scales


def normals(log_depth: Tensor, intrinsics: Tensor, step: int = 1) -> Tensor:
    """(V, 3, H - step, W - step) unit normals of the surface, pointing away from the camera (z positive).

    With l the log depth, a point is exp(l) · r(u, v); the cross product of its derivatives is proportional to
    (-fx l_u, -fy l_v, 1 + (u - cx) l_u + (v - cy) l_v). Differences go ``step`` pixels right and down.
    intrinsics: (V, 3, 3) without skew, pixels of these maps.
    """
    height, width = (size - step for size in log_depth.shape[1:])
    corner = log_depth[:, :height, :width]
    l_u = (log_depth[:, :height, step:] - corner) / step
    l_v = (log_depth[:, step:, :width] - corner) / step
    fx, fy, cx, cy = (intrinsics[:, i, j, None, None].to(log_depth.dtype) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    u = torch.arange(width, device=log_depth.device, dtype=log_depth.dtype)
    v = torch.arange(height, device=log_depth.device, dtype=log_depth.dtype)[:, None]
    vector = torch.stack((-fx * l_u, -fy * l_v, 1.0 + (u - cx) * l_u + (v - cy) * l_v), 1)
    return vector / vector.norm(dim=1, keepdim=True).clamp(min=1e-6)


def normal(log_depth: Tensor, truth: Tensor, keep: Tensor, intrinsics: Tensor, step: int = 2) -> Tensor:
    """Mean 1 - cos of the angle between predicted and true normals, where truth is one surface."""
    right, down = _shifted(keep, step)
    known = torch.where(keep, truth, 0.0)
    corner = known[:, :-step, :-step]
    to_right, to_down = _shifted(known, step)
    smooth = ((to_right - corner).abs() < _SAME_SURFACE) & ((to_down - corner).abs() < _SAME_SURFACE)
    cosine = (normals(log_depth, intrinsics, step) * normals(known, intrinsics, step)).sum(1)
    return masked_mean(1.0 - cosine, keep[:, :-step, :-step] & right & down & smooth)


def _shifted(values: Tensor, step: int) -> tuple[Tensor, Tensor]:
    return values[:, :-step, step:], values[:, step:, :-step]
