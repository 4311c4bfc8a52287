"""From an aligned scene to the depth of a view: how sure it is, and back at the size of the view.

Networks of this family are trained with conf * error - alpha * log(conf) (DUSt3R, eq. 4; alpha = 0.2, error in units of
the mean distance of the points), whose minimum lies where conf = alpha / error: their confidence tells the error that
they expect; here alpha / (conf - 1) is taken, as 1 is said where nothing is known. What is added to it, as independent
errors: how far the pairs disagree about the pixel, how far the metre is in doubt, and how far the images contradict the
known pose of the camera. The mean relative error that results is that of a Laplace distribution, which gives the
probability of being within 25 % and the standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.rays import pixel_rays
from ..geometry.transforms import inverse
from ..pointmap.pairs import PairPointmaps
from ..pointmap.scene import AlignedScene
from .views import DepthView, View

ALPHA = 0.2
_NEAR = math.log(1.25)
_LEAST_ERROR = 0.005
_SMOOTH = 1.05
"""Neighbouring depths that differ by less than this factor are one surface: interpolated, else the nearest is taken."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Of one image at the network's size. depth: (h, w) float32 metres, NaN = not known. error: (h, w) float32 mean
    relative error that is expected, > 0, infinite where nothing is known."""

    depth: Tensor
    error: Tensor


def expected_error(confidence: Tensor, distance: Tensor) -> Tensor:
    """Mean relative error (h, w) that a network means by confidence (h, w) >= 1; infinite at 1, where it knows nothing.

    distance: (h, w) of the points from the camera, NaN = unknown; its mean is the unit of the training loss.
    """
    known = torch.isfinite(distance)
    mean = distance[known].mean() if bool(known.any()) else distance.new_tensor(float("nan"))
    absolute = ALPHA / (confidence - 1.0).clamp(min=0.0)
    return torch.where(known, absolute * mean / distance.clamp(min=1e-6), torch.full_like(distance, float("inf")))


def estimate(pairs: PairPointmaps, scene: AlignedScene, image: int, doubts: Sequence[float] = ()) -> Estimate:
    """Depth of one image of the scene and its expected error. doubts: further relative errors of all its pixels."""
    depth = torch.from_numpy(scene.depth[image]).to(pairs.device)
    confidence = torch.from_numpy(scene.confidence[image]).to(pairs.device)
    depth = torch.where(depth > 0, depth, torch.full_like(depth, float("nan")))
    rays = pixel_rays(torch.from_numpy(scene.intrinsics[image]).float().to(pairs.device), *depth.shape)
    error = expected_error(confidence, depth * rays.norm(dim=-1)).square()
    error = error + disagreement(pairs, scene, image, depth).square() + sum(doubt ** 2 for doubt in doubts)
    error = torch.where(torch.isfinite(depth), error.sqrt(), torch.full_like(error, float("inf")))
    return Estimate(depth, error.clamp(min=_LEAST_ERROR))


def disagreement(pairs: PairPointmaps, scene: AlignedScene, image: int, depth: Tensor) -> Tensor:
    """(h, w) mean relative distance of what the pairs say of an image's depth (h, w), weighted by log confidence."""
    total, weight = torch.zeros_like(depth), torch.zeros_like(depth)
    for edge, members in enumerate(pairs.edges):
        if image not in members or not scene.pair_used[edge]:
            continue
        points, confidence = pairs.observation(edge, 1 + members.index(image))
        into = torch.from_numpy(inverse(scene.cameras[image]) @ scene.pair_similarity[edge]).float().to(depth.device)
        told = points @ into[2, :3] + into[2, 3]
        log = torch.nan_to_num(confidence).clamp(min=1.0).log()
        off = (told / depth - 1.0).abs()
        known = torch.isfinite(off)
        total += torch.where(known, log * off, torch.zeros_like(off))
        weight += torch.where(known, log, torch.zeros_like(off))
    return torch.where(weight > 0, total / weight.clamp(min=1e-12), torch.full_like(depth, float("inf")))


def probability_near(error: Tensor) -> Tensor:
    """Of depth within 25 %, from the mean of a Laplace-distributed relative error."""
    return 1.0 - torch.exp(-_NEAR / error)


def depth_view(view: View, found: Estimate | None, max_depth: float, min_confidence: float) -> DepthView:
    """At the size of the view. None: nothing is known of it."""
    if found is None:
        blank = torch.ones(view.size, device=view.image.device)
        return DepthView(view, blank, torch.zeros_like(blank), blank.clone(), torch.zeros_like(view.mask))
    depth, error = resized(found, view.size)
    confidence = probability_near(error)
    valid = view.mask & torch.isfinite(depth) & (depth > 0) & (depth <= max_depth) & (confidence >= min_confidence)
    depth = torch.where(torch.isfinite(depth), depth, torch.ones_like(depth))
    sigma = (math.sqrt(2.0) * error).clamp(max=10.0)
    return DepthView(view, depth, torch.where(valid, confidence, torch.zeros_like(confidence)), sigma, valid)


def resized(found: Estimate, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Depth and error at another size: inverse depth interpolated on a surface, the nearest pixel at its borders."""
    known = torch.isfinite(found.depth)
    inverse_depth = torch.where(known, 1.0 / found.depth, torch.zeros_like(found.depth))
    layers = torch.stack((inverse_depth, torch.where(known, found.error, torch.full_like(found.error, np.inf))))[None]
    nearest, error = F.interpolate(layers, size, mode="nearest-exact")[0]
    smooth = F.interpolate(inverse_depth[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    ratio = smooth / nearest
    one_surface = (ratio < _SMOOTH) & (ratio > 1.0 / _SMOOTH)
    depth = 1.0 / torch.where(one_surface, smooth, nearest)
    return torch.where(nearest > 0, depth, torch.full_like(depth, float("nan"))), error
