"""Losses of rendered colour."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .masked import masked_mean


def colour(rendered: Tensor, truth: Tensor, keep: Tensor) -> Tensor:
    """Mean squared error of RGB (..., 3) over what is kept (...)."""
    return masked_mean((rendered - truth).square().mean(-1), keep)


def perceptual(rendered: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Distance of two pictures as a network sees them: mean over layers of the mean squared distance between features
    of unit length per pixel (Zhang et al., "The Unreasonable Effectiveness of Deep Features", CVPR 2018, without the
    learned weights of channels). Layers: (V, C, h, w) of both pictures.

    The features of any fixed backbone do; here those of the image encoder, so that nothing has to be downloaded.
    """
    parts = [(_unit(one) - _unit(other)).square().sum(1).mean() for one, other in zip(rendered, truth, strict=True)]
    return torch.stack(parts).mean()


def _unit(features: Tensor) -> Tensor:
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-6)
