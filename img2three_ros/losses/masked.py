"""Means over the pixels that count, safe against unknown truth."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Mean of ``values`` where ``keep`` (same shape, bool); 0 where nothing is kept."""
    return torch.where(keep, values, 0.0).sum() / keep.sum().clamp(min=1)


def log_error(prediction: Tensor, truth: Tensor, keep: Tensor) -> Tensor:
    """``prediction`` - ``truth`` where ``keep``, 0 (and no gradient) elsewhere, whatever truth holds there.

    All of one shape; log depth.
    """
    return torch.where(keep, prediction - torch.where(keep, truth, 0.0), 0.0)
