"""How likely a depth is right."""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 0.05


def probability_near(aggregated: Tensor, numbers: Tensor, planes: Tensor, tolerance: float = 1.25) -> Tensor:
    """Probability (B, H, W) that depth lies within a factor ``tolerance`` of plane ``numbers`` (B, H, W)."""
    mass = torch.softmax(aggregated / -TEMPERATURE, 1).cumsum_(1)
    best = numbers.round().long().clamp(0, len(planes) - 1)
    lower = torch.searchsorted(planes, planes / tolerance)
    upper = torch.searchsorted(planes, planes * tolerance, right=True) - 1
    below = lower[best] - 1
    under = mass.gather(1, below.clamp(min=0)[:, None])[:, 0] * (below >= 0)
    return mass.gather(1, upper[best][:, None])[:, 0] - under
