"""The ``sweep`` engine: plane sweep over this instant's other cameras and earlier keyframes, without weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..config import SweepConfig
from ..geometry.plane_sweep import PairWarp, inverse_depth_planes
from ..models.semi_global import Smoothness, Workspace, semi_global
from ..structures import Matrix
from .ego_mask import EgoMask
from .keyframe_alignment import aligned_keyframes
from .sources import Source, choose_sources, parallax_notes
from .sweep_confidence import (
    OtherDepth,
    agreement,
    clues,
    confidence,
    parallax,
    probability_near,
    relative_sigma,
    surface_support,
)
from .sweep_cost import Level, Pyramid, WindowStatistics, build_pyramid, cost_volume, grey
from .sweep_prior import GroundPrior
from .sweep_refinement import inverse_depth_at, rematch, smooth, sub_plane_minimum, upsample
from .views import DepthView, Geometry, PreparedFrame, View, relative_pose

_REMEMBERED_FRAMES = 9
_FARTHEST = 0.5
"""Plane numbers up to this are the sky or beyond reach: no depth."""


@dataclass(eq=False)
class _Estimate:
    """What is known of one view. number: (Hf, Wf) plane numbers at the fine scale, the rest on every second pixel."""

    view: View
    pyramid: Pyramid
    sources: list[Source] = field(default_factory=list)
    number: Tensor = field(default_factory=lambda: torch.zeros(0))
    peak: Tensor = field(default_factory=lambda: torch.zeros(0))
    matched: Tensor = field(default_factory=lambda: torch.zeros(0))
    rematched: Tensor = field(default_factory=lambda: torch.zeros(0))
    inverse_depth: Tensor = field(default_factory=lambda: torch.zeros(0))
    sigma: Tensor = field(default_factory=lambda: torch.zeros(0))
    confidence: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def T_base_camera(self) -> Matrix:
        """Pose of the view's camera, (4, 4)."""
        return self.view.T_base_camera

    @property
    def trusted(self) -> Tensor:
        """(h, w) bool: matched, and most likely right; empty before the view was reconstructed."""
        if self.confidence.numel() == 0:
            return torch.zeros(0, dtype=torch.bool)
        return (self.confidence > 0.7) & (self.matched > 0.5)

    @property
    def grid_intrinsics(self) -> Tensor:
        """Intrinsics of the grid of every second pixel of the fine scale."""
        return self.pyramid.fine.intrinsics.new_tensor((0.5, 0.5, 1.0)).diag() @ self.pyramid.fine.intrinsics


class SweepEngine:
    """Plane sweep stereo, see ``reconstruct``. Remembers a few frames to check depths against and what it learned of
    the ego vehicle's outline. Not thread-safe."""

    def __init__(self, config: SweepConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.planes = inverse_depth_planes(config.planes, config.min_depth, config.max_depth).to(device)
        self.smoothness = Smoothness()
        self._workspace = Workspace()
        self.ego_mask = EgoMask()
        self._frames: OrderedDict[int, dict[str, _Estimate]] = OrderedDict()

    def reset(self) -> None:
        """Forget the past: remembered frames and learned masks."""
        self._frames.clear()
        self.ego_mask.reset()

    @torch.no_grad()
    def reconstruct(self, frame: PreparedFrame, keyframes: Sequence[PreparedFrame]) -> Geometry:
        """Depth and confidence of every view of ``frame``; keyframes with ego poses, oldest first."""
        estimates = self._remember(frame)
        for keyframe in keyframes:
            self._remember(keyframe)
        self.ego_mask.learn_frame(frame, keyframes, lambda of, view: self._frames[of.stamp][view.name].pyramid)
        keyframes = aligned_keyframes(frame, keyframes, lambda other: self._frames[other.stamp])
        for view in frame.views:
            estimates[view.name].sources = choose_sources(frame, view, keyframes, self.config.max_sources)
        groups = [[estimates[view.name] for view in frame.views if view.size == size]
                  for size in sorted({view.size for view in frame.views})]
        for group in groups:
            self._sweep(group)
            self._refine(group)
        for view in frame.views:
            self._judge(frame, estimates[view.name], keyframes)
        found = {depth.view.name: depth for group in groups for depth in self._finish(group)}
        depths = tuple(found[view.name] for view in frame.views)
        blind = [name for name, estimate in estimates.items() if not estimate.sources]
        return Geometry(depths, parallax_notes(frame, keyframes, blind))

    def _remember(self, frame: PreparedFrame) -> dict[str, _Estimate]:
        """Estimates of a frame by camera, with pyramids; made if it is new, bounded in number."""
        if frame.stamp not in self._frames:
            self._frames[frame.stamp] = {
                view.name: _Estimate(view, build_pyramid(view, view.mask & self.ego_mask.mask(view), self._step(frame)))
                for view in frame.views}
        self._frames.move_to_end(frame.stamp)
        while len(self._frames) > _REMEMBERED_FRAMES:
            self._frames.popitem(last=False)
        return self._frames[frame.stamp]

    def _step(self, frame: PreparedFrame) -> int:
        """Few or small cameras are matched at full resolution, many at half; a lost camera does not change it."""
        pixels = sum(view.size[0] * view.size[1] for view in frame.views) / max(len(frame.views), 1)
        return 1 if pixels * (len(frame.views) + len(frame.missing)) <= self.config.full_resolution_pixels else 2

    def _sweep(self, group: list[_Estimate]) -> None:
        """Cost volumes and aggregation of views of one size: plane number, peak and matching score."""
        volumes = [self._volume(estimate) for estimate in group]
        guides = torch.stack([estimate.pyramid.fine.image[0, 0, ::2, ::2] for estimate in group])
        aggregated = semi_global(volumes, guides, self.smoothness, self._workspace)
        for index, (estimate, volume) in enumerate(zip(group, volumes, strict=True)):
            costs = aggregated[index:index + 1].contiguous()
            estimate.number = sub_plane_minimum(costs)[0]
            estimate.peak = probability_near(costs, estimate.number[None], self.planes)[0]
            winner = estimate.number.round().long().clamp(0, len(self.planes) - 1)
            estimate.matched = 1.0 - volume.gather(0, winner[None])[0].clamp(0.0, 1.0)

    def _volume(self, estimate: _Estimate) -> Tensor:
        view, pyramid = estimate.view, estimate.pyramid
        matched = [(self._source_pyramid(source), source.T_source_reference) for source in estimate.sources]
        height, width = pyramid.fine.size
        ground = GroundPrior(view, pyramid.fine.intrinsics, self.planes, (height // 2, width // 2))
        return ground.add_to(cost_volume(pyramid, matched, self.planes, view.T_base_camera, ground.wanted))

    def _source_pyramid(self, source: Source) -> Pyramid:
        return self._frames[source.frame.stamp][source.view.name].pyramid

    def _refine(self, group: list[_Estimate]) -> None:
        """Fine scale of views of one size, re-matched along the surface."""
        guide = torch.stack([estimate.pyramid.fine.image[0, 0] for estimate in group])
        coarse = torch.stack([estimate.number for estimate in group])
        peaks = torch.stack([estimate.peak for estimate in group])
        number, peak = upsample(torch.stack((coarse, peaks), 1), coarse, guide[:, ::2, ::2], guide, 0.0).unbind(1)
        score = torch.zeros_like(number)
        sources = [self._warped_sources(estimate) for estimate in group]
        windows = [WindowStatistics(estimate.pyramid.fine, radius=2, stride=1) for estimate in group]
        for offsets in ((-1.0, -0.5, 0.0, 0.5, 1.0), (-0.3, 0.0, 0.3)):
            matched = [index for index, seen in enumerate(sources) if seen]
            for index in matched:
                number[index], score[index] = rematch(number[index], windows[index], sources[index], self.planes,
                                                      offsets, 0.02)
            if matched:
                number[matched] = smooth(number[matched], peak[matched] * score[matched], guide[matched], 2, 1.5)
        for index, estimate in enumerate(group):
            estimate.number, estimate.rematched = number[index], score[index, ::2, ::2]
            estimate.inverse_depth = inverse_depth_at(number[index, ::2, ::2], self.planes)

    def _warped_sources(self, estimate: _Estimate) -> list[tuple[Level, PairWarp]]:
        """The sources' fine images, with the warps into them."""
        fine = estimate.pyramid.fine
        levels = [(self._source_pyramid(source).fine, source.T_source_reference) for source in estimate.sources]
        return [(level, PairWarp.between(pose, fine.intrinsics, fine.size, level.intrinsics, level.size))
                for level, pose in levels]

    def _judge(self, frame: PreparedFrame, estimate: _Estimate, keyframes: Sequence[PreparedFrame]) -> None:
        """Confidence from all clues, and the uncertainty that parallax leaves."""
        coarse = estimate.number[::2, ::2]
        moved = parallax(estimate.inverse_depth, [
            (self._grid_warp(estimate, self._frames[source.frame.stamp][source.view.name],
                             source.T_source_reference), source.view.size) for source in estimate.sources])
        support, conflict = agreement(estimate.inverse_depth, self._other_depths(frame, estimate, keyframes))
        estimate.confidence = confidence(clues(estimate.peak, estimate.matched, support, conflict,
                                               surface_support(coarse), estimate.inverse_depth),
                                         estimate.matched, moved)
        estimate.sigma = relative_sigma(moved)

    def _finish(self, group: list[_Estimate]) -> list[DepthView]:
        """Views of one size at full resolution."""
        guide = torch.stack([estimate.pyramid.fine.image[0, 0] for estimate in group])
        number = torch.stack([estimate.number for estimate in group])
        coarse = number[:, ::2, ::2]
        judged = torch.stack([torch.stack((estimate.confidence, estimate.sigma)) for estimate in group])
        sure, sigma = upsample(judged, coarse, guide[:, ::2, ::2], guide, 0.0).unbind(1)
        if group[0].pyramid.step == 2:
            full = torch.stack([grey(estimate.view.image)[0, 0] for estimate in group])
            number, sure, sigma = upsample(torch.stack((number, sure, sigma), 1), number, guide, full, 0.5).unbind(1)
        usable = torch.stack([estimate.view.mask & self.ego_mask.mask(estimate.view) for estimate in group])
        valid = usable & (number > _FARTHEST) & (sure >= self.config.min_confidence)
        sure = torch.where(valid, sure.clamp(0.0, 1.0), torch.zeros_like(sure))
        depth = 1.0 / inverse_depth_at(number, self.planes)
        return [DepthView(estimate.view, depth[index], sure[index], sigma[index], valid[index])
                for index, estimate in enumerate(group)]

    def _other_depths(self, frame: PreparedFrame, estimate: _Estimate, keyframes: Sequence[PreparedFrame],
                      ) -> list[OtherDepth]:
        """Depth maps of this instant's other cameras and of keyframes that were reconstructed in their time."""
        others = []
        for other_frame in (frame, *keyframes):
            for other in self._frames[other_frame.stamp].values():
                if other is estimate or other.inverse_depth.numel() == 0:
                    continue
                T_other_view = relative_pose(frame, estimate.view, other_frame, other.view)
                trust = other.peak * other.rematched if other.confidence.numel() == 0 else other.confidence
                others.append(OtherDepth(other.inverse_depth, trust,
                                         self._grid_warp(estimate, other, T_other_view)))
        return others

    def _grid_warp(self, estimate: _Estimate, other: _Estimate, T_other_view: Matrix) -> PairWarp:
        def size(item: _Estimate) -> tuple[int, int]:
            return item.pyramid.fine.size[0] // 2, item.pyramid.fine.size[1] // 2

        return PairWarp.between(T_other_view, estimate.grid_intrinsics, size(estimate),
                                other.grid_intrinsics, size(other))
