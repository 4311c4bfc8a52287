"""Losses of occupancy at points of space. logit, occupied (bool), keep (bool): all of one shape, here called (N,)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def occupancy_cross_entropy(logit: Tensor, occupied: Tensor, keep: Tensor, occupied_weight: float = 1.0) -> Tensor:
    """Mean binary cross-entropy over the kept points; each occupied one counts ``occupied_weight`` times.

    Free space along a ray is taught with it too: points before the surface are free, whatever is behind is not kept.
    """
    loss = functional.binary_cross_entropy_with_logits(logit, occupied.to(logit.dtype), reduction="none")
    weight = torch.where(occupied, occupied_weight, 1.0)
    return torch.where(keep, weight * loss, 0.0).sum() / torch.where(keep, weight, 0.0).sum().clamp(min=1e-6)


def lovasz_hinge(logit: Tensor, occupied: Tensor, keep: Tensor) -> Tensor:
    """The Lovász extension of 1 - IoU of the occupied points, on hinge errors 1 - logit · (±1) (Berman et al., "The
    Lovász-Softmax loss", CVPR 2018, section 3.1).

    Errors are sorted; each is weighted by how much the Jaccard loss rises when that point goes wrong after all points
    with larger errors have. 0 without kept points. Without occupied ones only the largest error counts.
    """
    kept, truth = logit[keep], occupied[keep]
    if kept.numel() == 0:
        return logit.sum() * 0.0
    sign = truth.to(kept.dtype) * 2.0 - 1.0
    errors, order = torch.sort(1.0 - kept * sign, descending=True)
    truth = truth[order].to(kept.dtype)
    intersection = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1.0 - truth).cumsum(0)
    jaccard = 1.0 - intersection / union
    rise = torch.cat((jaccard[:1], jaccard.diff()))
    return (functional.relu(errors) * rise).sum()

