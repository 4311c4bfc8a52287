"""Similarities (scale, rotation, translation) as (..., 4, 4) matrices [[s R, t], [0, 1]], in batches.

Closed form: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_similarity(source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The similarity that brings source closest to target: least squares of w |target - s R source - t|^2.

    source, target: (..., N, 3); weights: (..., N) >= 0. Returns (..., 4, 4).
    Where the source has no extent the scale is 1 and only the centres agree.
    """
    total = weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    weights = (weights / total).unsqueeze(-1)
    source_centre, target_centre = (weights * source).sum(-2), (weights * target).sum(-2)
    centred = source - source_centre.unsqueeze(-2)
    weighted = weights * centred
    covariance = (target - target_centre.unsqueeze(-2)).transpose(-1, -2) @ weighted
    variance = (weighted * centred).sum((-1, -2))
    left, singular, right = torch.linalg.svd(covariance)
    sign = torch.ones_like(singular)
    sign[..., 2] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
    rotation = (left * sign.unsqueeze(-2)) @ right
    extent = variance > 1e-20 * (target_centre.square().sum(-1) + source_centre.square().sum(-1) + 1e-30)
    scale = torch.where(extent, (singular * sign).sum(-1) / variance.clamp(min=1e-300), torch.ones_like(variance))
    scale = scale.clamp(min=1e-12)
    return compose(scale, rotation, target_centre - scale.unsqueeze(-1) * apply_rotation(rotation, source_centre))


def robust_similarity(source: Tensor, target: Tensor, weights: Tensor, rounds: int = 4) -> Tensor:
    """As ``weighted_similarity``, but of distances, not of their squares: reweighted least squares, so that
    points that moved or were guessed wrong pull less."""
    result = weighted_similarity(source, target, weights)
    spread = (weights.unsqueeze(-1) * target.abs()).sum((-1, -2)) / weights.sum(-1).clamp(min=1e-30)
    floor = (1e-3 * spread).square().unsqueeze(-1) + 1e-30
    for _ in range(rounds):
        distance = (target - transform(result, source)).square().sum(-1)
        result = weighted_similarity(source, target, weights * torch.rsqrt(distance + floor))
    return result


def compose(scale: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """scale (...,), rotation (..., 3, 3), translation (..., 3) -> (..., 4, 4)."""
    result = torch.zeros(*rotation.shape[:-2], 4, 4, dtype=rotation.dtype, device=rotation.device)
    result[..., :3, :3] = scale[..., None, None] * rotation
    result[..., :3, 3] = translation
    result[..., 3, 3] = 1.0
    return result


def decompose(similarity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(..., 4, 4) -> scale (...,), rotation (..., 3, 3), translation (..., 3)."""
    scaled = similarity[..., :3, :3]
    scale = scaled.square().sum((-1, -2)).div(3.0).sqrt()
    return scale, scaled / scale[..., None, None], similarity[..., :3, 3]


def inverse(similarity: Tensor) -> Tensor:
    """(..., 4, 4) -> (..., 4, 4)."""
    scale, rotation, translation = decompose(similarity)
    back = rotation.transpose(-1, -2)
    return compose(1.0 / scale, back, -apply_rotation(back, translation) / scale.unsqueeze(-1))


def transform(similarity: Tensor, points: Tensor) -> Tensor:
    """(..., 4, 4) and (..., N, 3) -> (..., N, 3)."""
    return points @ similarity[..., :3, :3].transpose(-1, -2) + similarity[..., None, :3, 3]


def apply_rotation(rotation: Tensor, vectors: Tensor) -> Tensor:
    """(..., 3, 3) and (..., 3) -> (..., 3)."""
    return (rotation @ vectors.unsqueeze(-1)).squeeze(-1)


def rotation_exp(vectors: Tensor) -> Tensor:
    """Rotation vectors (..., 3) in radians -> (..., 3, 3)."""
    return torch.matrix_exp(skew(vectors))


def rotation_log(rotation: Tensor) -> Tensor:
    """(..., 3, 3) -> rotation vectors (..., 3), angle below pi."""
    vee = torch.stack((rotation[..., 2, 1] - rotation[..., 1, 2], rotation[..., 0, 2] - rotation[..., 2, 0],
                       rotation[..., 1, 0] - rotation[..., 0, 1]), -1) / 2.0
    sine = vee.norm(dim=-1)
    cosine = (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0) / 2.0
    angle = torch.atan2(sine, cosine)
    return vee * torch.where(sine > 1e-12, angle / sine.clamp(min=1e-12), torch.ones_like(sine)).unsqueeze(-1)


def skew(vectors: Tensor) -> Tensor:
    """(..., 3) -> (..., 3, 3) with skew(a) b = a x b."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(*vectors.shape[:-1], 3, 3)
