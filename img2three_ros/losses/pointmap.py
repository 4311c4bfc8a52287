"""Losses of pointmaps: points of both images of a pair in one frame, up to a scale, and descriptors that match.

B pairs, N points: the pixels of both images, one after the other. Wang et al., "DUSt3R: Geometric 3D Vision Made Easy"
(CVPR 2024); Leroy et al., "Grounding Image Matching in 3D with MASt3R" (ECCV 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .depth import confidence_weighted

_NOTHING = -1e4  # a logit that takes no part


def mean_distance(points: Tensor, keep: Tensor) -> Tensor:
    """(B,) mean distance to the origin of the kept points (B, N, 3), keep (B, N) bool; 1 where none is kept.

    DUSt3R, eq. 3: with the points of both images, all in the frame of the first, it is the scale of a pair.
    """
    count = keep.sum(1)
    mean = torch.where(keep, _length(points), 0.0).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, mean, 1.0).clamp(min=1e-6)


def point_error(points: Tensor, truth: Tensor, keep: Tensor, metric: Tensor) -> Tensor:
    """(B, N) distance of each point (B, N, 3) from its truth, in units of the mean distance of the truth; 0 where not
    kept, whatever truth holds there.

    DUSt3R, eq. 2: points and truth are each divided by their own ``mean_distance``. metric (B,) bool: pairs whose
    points are to be in the unit of the truth: both are divided by that of the truth (MASt3R, section 3.1).
    """
    wanted = torch.where(keep[..., None], truth, 0.0)
    true_scale = mean_distance(wanted, keep)
    scale = torch.where(metric, true_scale, mean_distance(points, keep))
    error = _length(points / scale[:, None, None] - wanted / true_scale[:, None, None])
    return torch.where(keep, error, 0.0)


def confident_error(error: Tensor, confidence: Tensor, keep: Tensor, sky: Tensor, alpha: float = 0.2,
                    sky_error: float = 2.0) -> Tensor:
    """Mean of c · error - alpha · log c over the kept and the sky pixels, all (B, N); DUSt3R, eq. 4.

    confidence c: 1 and above. sky: bool, pixels without any point, which count as if their error was sky_error, so that
    confidence falls there (as in MASt3R); sky_error 0 leaves them out.
    """
    if sky_error <= 0.0:
        return confidence_weighted(error, confidence.log(), keep, alpha)
    return confidence_weighted(torch.where(sky, sky_error, error), confidence.log(), keep | sky, alpha)


def matching_error(descriptors1: Tensor, descriptors2: Tensor, keep: Tensor, temperature: float = 0.05) -> Tensor:
    """(B, M) how badly each of M true matches is found by its descriptors, nats; 0 where not kept.

    descriptors1, descriptors2: (B, M, D) unit vectors of both pixels of match m; keep (B, M) bool. InfoNCE both ways
    (MASt3R, eq. 10): the other kept matches are what each must not be taken for; the sum of both cross-entropies.
    """
    similarity = descriptors1 @ descriptors2.transpose(1, 2) / temperature
    right = similarity.diagonal(dim1=1, dim2=2)
    forward = similarity.masked_fill(~keep[:, None, :], _NOTHING).logsumexp(2) - right
    backward = similarity.masked_fill(~keep[:, :, None], _NOTHING).logsumexp(1) - right
    return torch.where(keep, forward + backward, 0.0)


def confident_matching(error: Tensor, confidence1: Tensor, confidence2: Tensor, keep: Tensor,
                       alpha: float = 10.0) -> Tensor:
    """Mean of c · error - alpha · log c over the kept matches, all (B, M); c: the mean of the descriptor confidences of
    the two pixels, above 0. Confident are the matches that are found: c = alpha / error is best."""
    return confidence_weighted(error, (0.5 * (confidence1 + confidence2)).log(), keep, alpha)


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length over the last axis; at 0 its gradient is 0."""
    return vectors.square().sum(-1).clamp(min=1e-16).sqrt()
