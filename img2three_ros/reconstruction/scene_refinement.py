"""The refinement stage of the ``scene`` engine: depth of all views of an instant, held against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..config import SceneConfig
from ..models.depth_refinement import Correction, DepthRefinement, Witness
from ..models.lifting import LiftedView
from ..models.scene_network import STRIDE, at_stride
from .views import DepthView, PreparedFrame, View, relative_pose


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the networks believe of one view.

    mask: (H, W) bool, True = shows the world. log_depth, log_scale, confidence: (H, W), the last one as logit. lifted:
    the same at 1 / STRIDE of the padded image of ``size`` (height, width). log_spread: (H, W), as log_scale, where
    depth is right within 25 %; None = not known apart.
    """

    view: View
    mask: Tensor
    log_depth: Tensor
    log_scale: Tensor
    confidence: Tensor
    lifted: LiftedView
    size: tuple[int, int]
    log_spread: Tensor | None = None

    def corrected(self, correction: Correction) -> Estimate:
        """With a correction of ``lifted``, also at full size."""
        height, width = self.view.size
        log_depth, log_scale, confidence = functional.interpolate(
            torch.stack(list(vars(correction).values()))[None], scale_factor=float(STRIDE), mode="bilinear",
            align_corners=False)[0, :, :height, :width]
        return replace(self, log_depth=self.log_depth + log_depth, log_scale=self.log_scale + log_scale,
                       confidence=self.confidence + confidence, lifted=correction.applied(self.lifted))

    def depth(self, config: SceneConfig) -> DepthView:
        """As it is given out: valid where it is finite, near and confident enough, and shows the world."""
        confidence, farthest = torch.sigmoid(self.confidence), math.log(config.max_depth)
        known = torch.isfinite(self.log_depth + confidence + self.log_scale)
        valid = known & self.mask & (confidence >= config.min_confidence) & (self.log_depth <= farthest)
        depth, sigma = self.log_depth, self.log_scale if self.log_spread is None else self.log_spread
        if not known.all():
            depth, sigma = torch.where(known, depth, farthest), torch.where(known, sigma, 0.0)
        depth, sigma = depth.exp(), sigma.exp().mul_(math.sqrt(2.0))
        return DepthView(self.view, depth, torch.where(valid, confidence, 0.0), sigma, valid)


class Refiner:
    """Corrects the estimates of a frame. Witnesses of a view are the other cameras of the same instant.

    Keyframes are none: a view was matched with their images already, and what was found of them made precise depth of
    real recordings worse (DDAD front AbsRel .080 -> .085), as odometry and all that moves err there.
    """

    def __init__(self, network: DepthRefinement, arithmetic: Callable[[], AbstractContextManager[object]]) -> None:
        self._network, self._arithmetic = network, arithmetic

    def __call__(self, frame: PreparedFrame, estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
        """Estimates of the views of ``frame``, by camera."""
        found = {}
        for name, estimate in estimates.items():
            witnesses = [Witness(other.lifted, at_stride(other.view.intrinsics), torch.from_numpy(
                relative_pose(frame, estimate.view, frame, other.view)))
                for other in estimates.values() if other is not estimate]
            with self._arithmetic():
                looks = self._network(estimate.lifted, at_stride(estimate.view.intrinsics), witnesses)
            found[name] = estimate.corrected(looks[-1]) if looks else estimate
        return found
