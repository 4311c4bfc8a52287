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


def normal(log_depth: Tensor, truth: Tensor, keep: Tensor, intrinsics: Tensor, step: int = 2) -> Tensor:
    """Mean 1 - cos of the angle between predicted and true normals, where truth is one surface.

    Slopes are taken over ``step`` pixels to the right and down. intrinsics: (V, 3, 3) of these maps, without skew.
    """
    known = torch.where(keep, truth, 0.0)
    corner, right, down = _neighbours(known, step)
    corner_kept, right_kept, down_kept = _neighbours(keep, step)
    smooth = ((right - corner).abs() < _SAME_SURFACE) & ((down - corner).abs() < _SAME_SURFACE)
    x, y, z = _direction(log_depth, intrinsics, step)
    true_x, true_y, true_z = _direction(known, intrinsics, step)
    lengths = (x * x + y * y + z * z) * (true_x * true_x + true_y * true_y + true_z * true_z)
    cosine = (x * true_x + y * true_y + z * true_z) * torch.rsqrt(lengths + 1e-12)
    return masked_mean(1.0 - cosine, corner_kept & right_kept & down_kept & smooth)


def _direction(log_depth: Tensor, intrinsics: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, z (V, H - step, W - step) of a vector along the normal, away from the camera.

    With l the log depth, a point is exp(l) · r(u, v); the cross product of its derivatives by u and v is proportional
    to (-fx l_u, -fy l_v, 1 + (u - cx) l_u + (v - cy) l_v).
    """
    corner, right, down = _neighbours(log_depth, step)
    l_u, l_v = (right - corner) / step, (down - corner) / step
    fx, fy, cx, cy = (intrinsics[:, i, j, None, None].to(log_depth.dtype) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    u = torch.arange(corner.shape[2], device=log_depth.device, dtype=log_depth.dtype)
    v = torch.arange(corner.shape[1], device=log_depth.device, dtype=log_depth.dtype)[:, None]
    return -fx * l_u, -fy * l_v, 1.0 + (u - cx) * l_u + (v - cy) * l_v


def _neighbours(values: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each pixel that has both neighbours, the pixel ``step`` to its right, and the one ``step`` below."""
    return values[:, :-step, :-step], values[:, :-step, step:], values[:, step:, :-step]
