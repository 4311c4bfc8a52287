"""What training wants of the depth network: one number from its prediction and the truth, and its named parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..config import setting
from ..losses.depth import (
    confidence_cross_entropy,
    confidence_weighted,
    huber,
    right_within,
    scale_invariant,
)
from ..losses.masked import log_error
from ..losses.planes import plane_cross_entropy
from ..losses.pyramid import sample_depth
from ..losses.surface import gradient, normal
from ..models.depth_network import DepthPrediction


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the parts of the loss, each a mean over the pixels with truth; 0 leaves a part out."""

    planes: float = setting(0.5, "cross-entropy of the depth hypotheses (1/8)", low=0.0)
    matching: float = setting(0.3, "cross-entropy of the depth hypotheses from matching alone", low=0.0)
    stages: float = setting(0.5, "log error of every stage before the last, each at its own resolution", low=0.0)
    depth: float = setting(1.0, "log error at full resolution", low=0.0)
    scale_invariant: float = setting(0.5, "scale-invariant squared log error (Eigen)", low=0.0)
    gradient: float = setting(0.5, "differences of the log error between neighbours, four scales", low=0.0)
    normal: float = setting(0.1, "1 - cos of the angle between normals", low=0.0)
    likelihood: float = setting(0.1, "confidence-aware loss: error / b + log b (DUSt3R)", low=0.0)
    focus: float = setting(0.5, "how much more sure pixels move depth in it: 0 = not, 1 = as DUSt3R", low=0.0, high=1.0)
    confidence: float = setting(0.3, "cross-entropy of the confidence that depth is within 25 %", low=0.0)


PARTS = ("planes", "matching", "stages", "depth", "scale_invariant", "gradient", "normal", "likelihood", "confidence")
assert {field.name for field in fields(ObjectiveConfig)} == {*PARTS, "focus"}


def objective(prediction: DepthPrediction, planes: Tensor, depth: Tensor, mask: Tensor, intrinsics: Tensor,
              config: ObjectiveConfig) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The loss (a scalar) and its unweighted parts (detached scalars), for V views.

    planes: (D,) log depth. depth: (V, H, W) metres, NaN = unknown, inf = sky. mask: (V, H, W) bool, False = the ego
    vehicle and other pixels that are ignored. intrinsics: (V, 3, 3) at H x W.
    Sky belongs to the last plane, has no depth, and must not be confident. Depth outside the planes is pulled to
    the outermost plane, no farther.
    """
    truth = torch.where(mask, depth, torch.nan)
    near, far = float(planes[0].exp()), float(planes[-1].exp())
    found: dict[str, Tensor] = {}
    coarse = sample_depth(truth, tuple(prediction.plane_logits.shape[2:]))
    found["planes"] = plane_cross_entropy(prediction.plane_logits, planes, coarse.log(), ~coarse.isnan())
    found["matching"] = plane_cross_entropy(prediction.match_logits, planes, coarse.log(), ~coarse.isnan())
    stages = [_stage(stage, truth, near, far) for stage in prediction.log_depths[:-1]]
    found["stages"] = torch.stack(stages).mean() if stages else planes.new_zeros(())
    final = prediction.log_depths[-1]
    known, solid = ~truth.isnan(), truth.isfinite()
    target = truth.clamp(near, far).log()
    found["depth"] = huber(final, target, solid)
    found["scale_invariant"] = scale_invariant(final, target, solid)
    found["gradient"] = gradient(final, target, solid)
    found["normal"] = normal(final, target, solid, intrinsics)
    found["likelihood"] = confidence_weighted(log_error(final, target, solid).abs(), -prediction.log_scale, solid,
                                              focus=config.focus)
    right = right_within(final.detach(), truth.log(), solid)
    found["confidence"] = confidence_cross_entropy(prediction.confidence, right, known)
    total = torch.stack([getattr(config, name) * found[name] for name in PARTS]).sum()
    return total, {name: value.detach() for name, value in found.items()}


def _stage(log_depth: Tensor, truth: Tensor, near: float, far: float) -> Tensor:
    sampled = sample_depth(truth, tuple(log_depth.shape[1:]))
    return huber(log_depth, sampled.clamp(near, far).log(), sampled.isfinite())
