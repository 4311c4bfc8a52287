"""The ``sweep`` engine: plane sweep over this instant's other cameras and earlier keyframes, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import SweepConfig
from ..geometry.plane_sweep import inverse_depth_planes
from ..structures import Matrix
from .sweep_aggregation import Smoothness, semi_global
from .sweep_confidence import probability_near
from .sweep_cost import Level, Pyramid, build_pyramid, cost_volume
from .sweep_prior import add_ground_prior
from .sweep_refinement import inverse_depth_at, rematch, smooth, sub_plane_minimum, upsample
from .sweep_sources import Source, choose_sources
from .views import DepthView, Geometry, PreparedFrame, View


class SweepEngine:
    """Plane sweep stereo; see ``reconstruct``. Not thread-safe."""

    def __init__(self, config: SweepConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.planes = inverse_depth_planes(config.planes, config.min_depth, config.max_depth).to(device)
        self.smoothness = Smoothness()

    @torch.no_grad()
    def reconstruct(self, frame: PreparedFrame, keyframes: Sequence[PreparedFrame]) -> Geometry:
        """Depth and confidence of every view of ``frame``; keyframes with ego poses, oldest first."""
        pyramids = {id(view): build_pyramid(view) for other in (frame, *keyframes) for view in other.views}
        chosen = [choose_sources(frame, view, keyframes, self.config.max_sources) for view in frame.views]
        depths: list[DepthView | None] = [None] * len(frame.views)
        sizes = sorted({view.size for view in frame.views})
        for size in sizes:
            group = [index for index, view in enumerate(frame.views) if view.size == size]
            volumes = torch.stack([self._volume(frame.views[index], chosen[index], pyramids) for index in group])
            guides = torch.stack([pyramids[id(frame.views[index])].half.image[0, 0, ::2, ::2] for index in group])
            aggregated = semi_global(volumes, guides, self.smoothness)
            numbers = sub_plane_minimum(aggregated)
            confidences = probability_near(aggregated, numbers, self.planes)
            for place, index in enumerate(group):
                depths[index] = self._finish(frame.views[index], numbers[place], confidences[place],
                                             chosen[index], pyramids)
        return Geometry(tuple(depth for depth in depths if depth is not None), ())

    def _volume(self, view: View, sources: list[Source], pyramids: dict[int, Pyramid]) -> Tensor:
        matched = [(pyramids[id(source.view)], source.T_source_reference) for source in sources]
        volume = cost_volume(pyramids[id(view)], matched, self.planes, view.T_base_camera)
        return add_ground_prior(volume, view, pyramids[id(view)].half.intrinsics, self.planes)

    def _finish(self, view: View, number: Tensor, confidence: Tensor, sources: list[Source],
                pyramids: dict[int, Pyramid]) -> DepthView:
        half = pyramids[id(view)].half
        guide = half.image[0, 0]
        fine, sure = upsample(torch.stack((number, confidence)), number, guide[::2, ::2], guide, 0.0)
        matched = [(pyramids[id(source.view)].half, source.T_source_reference) for source in sources]
        if matched:
            for offsets in ((-1.0, -0.5, 0.0, 0.5, 1.0), (-0.3, 0.0, 0.3)):
                fine, score = rematch(fine, half, matched, self.planes, offsets, 0.02)
                fine = smooth(fine, sure * score, guide, 2, 1.5)
        grey = view.image.new_tensor((0.299, 0.587, 0.114)).reshape(3, 1, 1)
        full = (view.image * grey).sum(0) - 0.5
        fine, sure = upsample(torch.stack((fine, sure)), fine, guide, full, 0.5)
        inverse_depth = inverse_depth_at(fine, self.planes)
        depth = 1.0 / inverse_depth
        valid = view.mask & (fine > 0.5)
        sure = torch.where(valid, sure.clamp(0.0, 1.0), torch.zeros_like(sure))
        return DepthView(view, depth, sure, torch.full_like(depth, 0.1), valid)
