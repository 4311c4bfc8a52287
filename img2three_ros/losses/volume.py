"""Losses of what rays meet in a volume, and of the volume itself.

weights: (R, S), share of each sample of a ray in what the ray shows, >= 0, their sum (opacity) <= 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .depth import huber


def distortion(weights: Tensor, edges: Tensor) -> Tensor:
    """Mean over rays of sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 d_i: mass of a ray lies in one place (Barron et
    al., "Mip-NeRF 360", CVPR 2022, eq. 15). edges: (R, S + 1) ascending, m and d middles and widths between them.

    Linear in S: with samples in order, sum_ij w_i w_j |m_i - m_j| = 2 sum_i w_i (m_i W_i - M_i), W and M the sums of w
    and w m over earlier samples.
    """
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    width = edges[:, 1:] - edges[:, :-1]
    moment = weights * middle
    mass_before = weights.cumsum(1) - weights
    moment_before = moment.cumsum(1) - moment
    between = 2.0 * (weights * (middle * mass_before - moment_before)).sum(1)
    within = (weights.square() * width).sum(1) / 3.0
    return (between + within).mean()


def expected_depth(weights: Tensor, distances: Tensor, truth: Tensor, keep: Tensor) -> Tensor:
    """Log error of the expected distance of rays: distances (R, S) of the samples, truth (R,) and keep (R,).

    The mean over the weights (not the median, which has no gradient), of what the ray meets at all.
    """
    opacity = weights.sum(1)
    mean = (weights * distances).sum(1) / opacity.clamp(min=1e-6)
    known = keep & (opacity > 1e-3)
    target = torch.where(known, truth, 1.0).clamp(min=1e-3).log()
    return huber(mean.clamp(min=1e-3).log()[None], target[None], known[None])


def opacity_entropy(opacity: Tensor) -> Tensor:
    """Mean entropy (nats) of opacities 0..1: a ray meets something or nothing (Kim et al., "InfoNeRF", CVPR 2022)."""
    inner = opacity.clamp(1e-6, 1.0 - 1e-6)
    return -(inner * inner.log() + (1.0 - inner) * (1.0 - inner).log()).mean()


def total_variation(grids: Sequence[Tensor]) -> Tensor:
    """Mean squared difference between neighbouring cells, along every axis but the first, summed over axes; the mean
    over ``grids``, each (C, ...) with two or three spatial axes (K-Planes, Fridovich-Keil et al., CVPR 2023)."""
    parts = [sum((grid.diff(dim=axis).square().mean() for axis in range(1, grid.ndim)), grid.new_zeros(()))
             for grid in grids]
    return torch.stack(parts).mean()
