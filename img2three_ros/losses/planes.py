"""Cross-entropy of a distribution over depth hypotheses."""

from __future__ import annotations

import torch
from torch import Tensor

from .masked import masked_mean


def two_bin_target(log_depth: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
    """The plane below each depth (int64) and the share (0..1) of the plane after it: their mix is that log depth.

    log_depth: any shape, no NaN; depths outside the planes (inf = sky too) go to the nearest plane.
    planes: (D,) ascending.
    """
    below = (torch.searchsorted(planes, log_depth.contiguous(), right=True) - 1).clamp(0, len(planes) - 2)
    low, high = planes[below], planes[below + 1]
    return below, ((log_depth - low) / (high - low)).clamp(0.0, 1.0)


def plane_cross_entropy(logits: Tensor, planes: Tensor, log_depth: Tensor, keep: Tensor) -> Tensor:
    """Mean cross-entropy against the two planes around the true depth, shared linearly between them.

    logits: (V, D, h, w). planes: (D,) log depth, ascending. log_depth: (V, h, w), inf = sky, which belongs to the
    last plane; keep: (V, h, w) bool.
    """
    below, share = two_bin_target(torch.where(keep, log_depth, planes[0]), planes)
    pair = torch.stack((below, below + 1), 1)
    log_probability = logits.gather(1, pair) - logits.logsumexp(1, keepdim=True)
    return masked_mean(-((1.0 - share) * log_probability[:, 0] + share * log_probability[:, 1]), keep)
