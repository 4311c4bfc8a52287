"""How every pair relates to its two images: shapes compared by robust similarities, before anything is optimised.

Of every image one observation is its model; all others are brought onto it. What pairs say of the relative placement
of two images follows by composition, and how well the shapes agree says which pairs can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .samples import Samples
from .similarity import inverse, robust_similarity, transform

CANDIDATES = 3
TOLERANCE = 0.1
"""Of the distance to the camera: points that far apart count half as agreeing."""
REGISTRATION_SAMPLES = 400


@dataclass(frozen=True, eq=False)
class Registration:
    """The models of n images and the way into them from E pairs.

    model: (n,) which observation is the model of each image.
    in_camera_frame: (n,) bool, whether the model lies in the image's own camera frame (up to scale); False for images
        that are never the first of a pair.
    to_model: (O, 4, 4) similarity from the pair's frame into the model's frame.
    agreement: (O,) share of the confident pixels that agree in shape with the model, 0..1.
    """

    model: Tensor
    in_camera_frame: Tensor
    to_model: Tensor
    agreement: Tensor

    def second_to_first(self, samples: Samples) -> Tensor:
        """(E, 4, 4) what each pair (i, j) says: the model frame of j into that of i."""
        first, second = samples.by_slot(1), samples.by_slot(2)
        return self.to_model[first] @ inverse(self.to_model[second])

    def quality(self, samples: Samples) -> Tensor:
        """(E,) agreement of each pair with its two models times the log confidence of both sides."""
        first, second = samples.by_slot(1), samples.by_slot(2)
        certainty = samples.weights.mean(1)
        return (self.agreement * certainty)[first] * (self.agreement * certainty)[second]


def register(samples: Samples) -> Registration:
    """Choose the model of every image (the one that others agree with most) and bring the others onto it."""
    thin = samples.thinned(REGISTRATION_SAMPLES)
    points = thin.points.transpose(1, 2)
    count = len(samples.image)
    models, in_camera = [], []
    to_model = torch.zeros(count, 4, 4, dtype=points.dtype, device=points.device)
    agreement = torch.zeros(count, dtype=points.dtype, device=points.device)
    for group in samples.groups:
        candidates = _candidates(samples, group)
        own = bool(samples.slot[candidates[0]] == 1)
        target = points[candidates].unsqueeze(1)
        source = points[group].unsqueeze(0)
        weights = (thin.weights[candidates].unsqueeze(1) * thin.weights[group].unsqueeze(0)).sqrt()
        shape = (len(candidates), group.stop - group.start, -1, -1)
        fits = robust_similarity(source.expand(shape), target.expand(shape), weights)
        shares = _agreement(fits, source, target, weights)
        best = int((shares * samples.weights[group].mean(1)).sum(1).argmax())
        models.append(candidates[best])
        in_camera.append(own)
        to_model[group], agreement[group] = fits[best], shares[best]
    return Registration(torch.tensor(models, device=points.device), torch.tensor(in_camera, device=points.device),
                        to_model, agreement)


def _candidates(samples: Samples, group: slice) -> list[int]:
    """The most confident observations of an image, those in its own camera frame if there is any."""
    members = range(group.start, group.stop)
    own = [member for member in members if int(samples.slot[member]) == 1 and bool((samples.weights[member] > 0).any())]
    eligible = own or list(members)
    certainty = samples.weights.mean(1).tolist()
    return sorted(eligible, key=lambda member: -certainty[member])[:CANDIDATES]


def _agreement(fits: Tensor, source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    distance = (transform(fits, source) - target).norm(dim=-1)
    size = TOLERANCE * target.norm(dim=-1).clamp(min=1e-12)
    share = 1.0 / (1.0 + (distance / size).square())
    return (weights * share).sum(-1) / weights.sum(-1).clamp(min=1e-12)
