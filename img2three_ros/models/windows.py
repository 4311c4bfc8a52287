"""Matching of windows along the estimated surface: what decides between depths a few percent apart.

Zero-mean normalised cross-correlation of grey images at 1/2, indifferent to exposure, without weights and so right on
any camera. Each window is warped with the depth of all its pixels, not of its centre: it lies on the surface, slanted
or not. Descriptors of single pixels at 1/4 tell such depths hardly apart; these windows do (median error of a good
estimate on held-out simulated drives, 3.0 %: with descriptors 3.3 %, with windows, before any training, 1.9 %).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .matching import PairWarps

_REACH = 3
"""Pixels at 1/2 from the middle of a window to its border."""

NOISE_VARIANCE = (0.5 / 255.0) ** 2
"""Of sensor noise and JPEG loss on averaged intensities 0..1: what contrast must exceed to be evidence."""


class WindowScores(NamedTuple):
    """Scores of D candidates of R views, at half the resolution of the samples.

    alike: (R, D, h, w), ZNCC 0..1, mean of the two sources that agree best (a surface hidden from some sources, or
        moved before them, still matches in others); 0 = none.
    seen: (R, 1, h, w), share of the candidates that any source sees.
    moved: (R, 1, h, w), log of the pixels of the image between the projections of the first and last candidate, in the
        source where they are most.
    texture: (R, 1, h, w), log of the standard deviation of grey in the reference's window.
    """

    alike: Tensor
    seen: Tensor
    moved: Tensor
    texture: Tensor


def grey_half(images: Tensor) -> Tensor:
    """(V, 1, H/2, W/2) luma, -0.5..0.5, of RGB images (V, 3, H, W) in 0..1."""
    return functional.avg_pool2d(luma(images), 2)


def luma(images: Tensor) -> Tensor:
    """(V, 1, H, W) luma -0.5..0.5 of RGB images (V, 3, H, W) in 0..1."""
    weights = images.new_tensor((0.299, 0.587, 0.114)).reshape(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True) - 0.5


def usable_half(mask: Tensor) -> Tensor:
    """(V, 1, H/2, W/2) 1.0 where a window holds nothing of the ego vehicle (masks (V, H, W), False) and lies in the
    image, otherwise 0.0."""
    inner = functional.pad(functional.avg_pool2d(mask[:, None].float(), 2).floor(), (_REACH,) * 4)
    return -functional.max_pool2d(-inner, 2 * _REACH + 1, stride=1)


def sweep_windows(reference: Tensor, sources: Tensor, warps: PairWarps, inverse_depth: Tensor) -> Tensor:
    """ZNCC (R, D, H/8, W/8) of hypotheses inverse_depth (D,), parallel to the image.

    reference: grey (R, 1, H/2, W/2); sources: grey and usable (N, 2, H/2, W/2); warps: from 1/2 to 1/2. Every second
    pixel of every second row of a window is compared, not blurred: a quarter of the work, nearly as good. Windows lie
    one pixel of the image to the right of and below the centres of the blocks of 8 x 8.
    """
    return _match(reference[..., 1::2, 1::2], sources, warps.every_second(), inverse_depth.reshape(1, -1, 1, 1)).alike


def match_windows(reference: Tensor, sources: Tensor, warps: PairWarps, log_depths: Tensor) -> WindowScores:
    """Scores of candidates log_depths (R, D, H/4, W/4), each a surface; the rest as in ``sweep_windows``."""
    surfaces = functional.interpolate(log_depths.float(), scale_factor=2.0, mode="bilinear", align_corners=False)
    return _match(reference, sources, warps, torch.exp(-surfaces))


@torch.no_grad()
def _match(reference: Tensor, sources: Tensor, warps: PairWarps, inverse_depth: Tensor) -> WindowScores:
    """Windows around each 2 x 2 samples of the reference (R, 1, h, w). Nothing is learned, so no gradient.

    inverse_depth: (R or 1, D, h or 1, w or 1) of the samples.
    """
    window = _Window(reference.float())
    shape = len(reference), inverse_depth.shape[1], reference.shape[2] // 2, reference.shape[3] // 2
    first = inverse_depth.new_full(shape, -1.0)
    second, moved = first.clone(), first[:, :1].clone()
    height, width = warps.source_size
    to_grid = inverse_depth.new_tensor((2.0 / width, 2.0 / height))
    for slot in range(warps.present.shape[1]):
        if not torch.jit.is_tracing() and not bool(warps.present[:, slot].any()):
            continue
        pixels, front = warps.pixels(slot, inverse_depth)
        grid = ((pixels + 0.5) * to_grid - 1.0).clamp(-3.0, 3.0)
        sampled = _sample(sources[warps.source_rows[:, slot]].float(), grid)
        seen = (sampled[:, 1] > 0.99) & front
        score = torch.where(seen[..., ::2, ::2] & seen[..., 1::2, 1::2], window.correlation(sampled[:, 0]), -1.0)
        second = torch.maximum(second, torch.minimum(first, score))
        first = torch.maximum(first, score)
        step = (pixels[:, -1:, ::2, ::2] - pixels[:, :1, ::2, ::2]).norm(dim=-1)
        moved = torch.maximum(moved, torch.where(warps.present[:, slot, None, None, None], step, -1.0))
    alike = torch.where(second > -1.0, 0.5 * (first + second), first).clamp(min=0.0)
    return WindowScores(alike, (first > -1.0).float().mean(1, keepdim=True), (2.0 * moved).clamp(0.05, 200.0).log(),
                        window.variance.log() * 0.5)


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    """(R, C, D, h, w) of images (R, C, H, W) at (R, D, h, w, 2); 0 outside."""
    count, planes, rows, columns, _ = grid.shape
    flat = grid.reshape(count, planes * rows, columns, 2)
    return functional.grid_sample(images, flat, align_corners=False).unflatten(2, (planes, rows))


class _Window:
    """Moments of windows of 6 x 6 samples around each 2 x 2 of them."""

    def __init__(self, reference: Tensor) -> None:
        self._reference = reference
        self._mean = _mean(reference)
        self.variance = (_mean(reference.square()) - self._mean.square()).clamp(min=0.0) + NOISE_VARIANCE

    def correlation(self, warped: Tensor) -> Tensor:
        """ZNCC (R, D, h/2, w/2) of warped grey (R, D, h, w) with the reference (R, 1, h, w)."""
        mean = _mean(warped)
        variance = (_mean(warped.square()) - mean.square()).clamp(min=0.0) + NOISE_VARIANCE
        covariance = _mean(warped * self._reference) - mean * self._mean
        return covariance * (variance * self.variance).rsqrt()


def _mean(values: Tensor) -> Tensor:
    """Over 6 x 6 around each 2 x 2 block, less at the border: means of the 3 x 3 blocks around it."""
    return functional.avg_pool2d(functional.avg_pool2d(values, 2), 3, stride=1, padding=1, count_include_pad=False)
