"""Losses of log depth, pixel by pixel. All maps (V, H, W); ``keep`` (V, H, W) bool says which pixels count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .masked import log_error, masked_mean


def scale_invariant(log_depth: Tensor, truth: Tensor, keep: Tensor, balance: float = 0.5) -> Tensor:
    """Mean over views of mean(d²) - balance · mean(d)², d = log depth - true log depth.

    Eigen et al. 2014 ("Depth Map Prediction from a Single Image using a Multi-Scale Deep Network"), eq. 4: with
    balance 1 a common factor on the depth of a view costs nothing, with 0 this is the squared log error. Views
    without a kept pixel are left out.
    """
    error = log_error(log_depth, truth, keep).flatten(1)
    count = keep.flatten(1).sum(1)
    pixels = count.clamp(min=1)
    mean = error.sum(1) / pixels
    per_view = error.square().sum(1) / pixels - balance * mean.square()
    return per_view.sum() / (count > 0).sum().clamp(min=1)


def huber(log_depth: Tensor, truth: Tensor, keep: Tensor, width: float = 0.02) -> Tensor:
    """Mean size of the log error d: |d| - width / 2 beyond ``width``, d² / (2 width) within (Huber 1964, divided by
    its width)."""
    error = log_error(log_depth, truth, keep)
    return masked_mean(functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=width) / width,
                       keep)


def confidence_weighted(loss: Tensor, log_confidence: Tensor, keep: Tensor, alpha: float = 1.0,
                        focus: float = 1.0) -> Tensor:
    """Mean of c · loss - alpha · log c with c = exp(log_confidence): DUSt3R (Wang et al. 2024, eq. 4).

    With loss = |log error|, c = 1 / b and alpha = 1 this is the negative log likelihood of a Laplace distribution of
    scale b (less log 2): best where b = mean |log error|. Because of the factor c, sure pixels move depth much more
    than unsure ones; each pixel is weighted with c^(focus - 1), held fixed: focus = 1 is DUSt3R's loss, focus = 0
    moves depth as the plain loss does (Seitzer et al. 2022, "On the Pitfalls of Heteroscedastic Uncertainty
    Estimation", beta = 1 - focus). The best c is the same.
    """
    confidence = log_confidence.exp()
    weight = (log_confidence.detach() * (focus - 1.0)).exp()
    return masked_mean(weight * (confidence * loss - alpha * log_confidence), keep)


def right_within(log_depth: Tensor, truth: Tensor, keep: Tensor, factor: float = 1.25) -> Tensor:
    """(V, H, W) bool, depth within the factor of the truth; False where not kept."""
    limit = torch.log(torch.tensor(factor, dtype=log_depth.dtype, device=log_depth.device))
    return keep & (log_error(log_depth, truth, keep).abs() < limit)


def confidence_cross_entropy(confidence: Tensor, right: Tensor, keep: Tensor) -> Tensor:
    """Mean binary cross-entropy of ``confidence`` (logits) against ``right`` (bool) over the kept pixels."""
    return masked_mean(functional.binary_cross_entropy_with_logits(confidence, right.to(confidence.dtype),
                                                                   reduction="none"), keep)
