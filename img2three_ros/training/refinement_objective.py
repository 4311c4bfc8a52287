"""What training wants of the refinement: corrected depth that is nearer to the truth, and a belief that knows it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..losses.consistency import overlap
from ..losses.depth import confidence_cross_entropy, confidence_weighted, huber, right_within
from ..losses.masked import log_error
from ..losses.pyramid import sample_depth
from ..models.depth_refinement import Correction, confidence_logit, seen_by, view_rays
from ..models.lifting import LiftedView
from ..models.scene_network import at_stride
from .prepared_scene import PreparedScene, witnesses_of

_FARTHEST = 160.0
_DISCOUNT = 0.6
_LIKELIHOOD, _CONFIDENCE, _FOCUS = 0.1, 0.3, 0.5


def refinement_objective(views: Sequence[LiftedView], found: Sequence[Sequence[Correction]], depth: Tensor,
                         mask: Tensor) -> Tensor:
    """The loss (a scalar) of the corrections of views after each look; later looks count more (RAFT, eq. 7).

    depth: (V, H, W) true metres, NaN = unknown, inf = sky; mask: (V, H, W), False = not to be learned. Depth, its
    likelihood under the Laplace distribution, and the confidence that it is within 25 %, as for the depth network.
    """
    looks = max(map(len, found), default=0)
    losses = []
    for number, (view, of_view) in enumerate(zip(views, found, strict=True)):
        truth = sample_depth(torch.where(mask[number], depth[number], torch.nan)[None], tuple(view.log_depth.shape))
        for look, correction in enumerate(of_view):
            losses.append(_DISCOUNT ** (looks - 1 - look) * _of_look(view, correction, truth))
    return torch.stack(losses).sum() / len(views) if losses else depth.new_zeros(())


def overlap_objective(prepared: PreparedScene, found: Sequence[Sequence[Correction]]) -> Tensor:
    """Disagreement of the corrected depth of the newest views with what the others found: a scalar. Gradients reach the
    corrections alone."""
    group = prepared.sample.group
    losses = []
    for row, view, of_view in zip(prepared.instants[0].rows, prepared.instants[0].views, found, strict=True):
        if not of_view:
            continue
        log_depth = view.log_depth + of_view[-1].log_depth
        rays = view_rays(view, at_stride(group.intrinsics[row]))
        for witness in witnesses_of(prepared, row):
            place = seen_by(rays * log_depth.exp(), witness)
            losses.append(overlap(place.log_depth, place.found[0], place.seen & view.mask))
    return torch.stack(losses).mean() if losses else group.depth.new_zeros(())


def _of_look(view: LiftedView, correction: Correction, truth: Tensor) -> Tensor:
    log_depth = (view.log_depth + correction.log_depth)[None]
    log_scale = (view.log_scale + correction.log_scale)[None]
    known, solid = ~truth.isnan(), truth.isfinite() & (truth < _FARTHEST)
    target = truth.clamp(max=_FARTHEST).log()
    likelihood = confidence_weighted(log_error(log_depth, target, solid).abs(), -log_scale, solid, focus=_FOCUS)
    right = right_within(log_depth.detach(), truth.log(), solid)
    belief = confidence_cross_entropy((confidence_logit(view) + correction.confidence)[None], right, known)
    return huber(log_depth, target, solid) + _LIKELIHOOD * likelihood + _CONFIDENCE * belief
