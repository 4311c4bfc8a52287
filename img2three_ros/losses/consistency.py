"""Losses of what has to agree with itself: cameras with each other, a moment with the next, coarse with fine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .masked import masked_mean

_OCCLUDED = 0.2


def overlap(log_depth: Tensor, other: Tensor, keep: Tensor) -> Tensor:
    """Disagreement of two cameras, or of one at two times, about surfaces that both see: mean |log ratio| of the depth
    of points in a camera and of the depth found there, all (...).

    Larger ratios than 20 % are mostly occlusions: they count as 20 %, and pull at nothing.
    """
    return masked_mean((other - log_depth).abs().clamp(max=_OCCLUDED), keep)


def between_times(logit: Tensor, earlier: Tensor, keep: Tensor, stride: float = 4.0) -> Tensor:
    """Disagreement of two moments about the occupancy of the same places of the world: the Jensen-Shannon divergence
    of both probabilities, nats, mean over places (...). Logits are limited to +-``stride``: to be surer is no
    contradiction."""
    first, second = (torch.sigmoid(values.clamp(-stride, stride)) for values in (logit, earlier))
    middle = 0.5 * (first + second)
    divergence = _entropy(middle) - 0.5 * (_entropy(first) + _entropy(second))
    return masked_mean(divergence, keep)


def coarse_to_fine(coarse: Tensor, edges: Tensor, fine: Tensor, distances: Tensor) -> Tensor:
    """How much weight along rays lies where the coarse look expects less (mip-NeRF 360, Barron et al., CVPR 2022,
    eq. 13): sum of max(0, w - bound)^2 / w over samples, mean over rays. The bound of a sample is the coarse weight of
    the step that holds it and of both its neighbours, shared by nobody else.

    coarse: (R, S) weights of steps with edges (S + 1,); fine: (R, F) weights at distances (R, F). Gradients reach the
    coarse weights alone.
    """
    target = fine.detach()
    padded = functional.pad(coarse, (1, 1))
    wide = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    step = (torch.searchsorted(edges, distances.contiguous(), right=True) - 1).clamp(0, coarse.shape[1] - 1)
    total = torch.zeros_like(coarse).scatter_add_(1, step, target)
    excess = functional.relu(total - wide).square() / (total + 1e-4)
    return excess.sum(1).mean()


def _entropy(probability: Tensor) -> Tensor:
    return -(probability * probability.log() + (1.0 - probability) * (1.0 - probability).log())
