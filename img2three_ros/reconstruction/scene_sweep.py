"""Planes swept once more, with what the networks found as the expectation: the matching of ``scene_rematch``.

Every pixel chooses among inverse-depth planes. A plane costs what the images of the sources disagree there (windows of
grey, zero-mean normalised cross-correlation, indifferent to exposure), and minus the logarithm of how likely the
network's estimate makes it: a Laplace distribution as wide as the estimate says it errs, or, now and then, anything.
Semi-global aggregation (Hirschmüller, TPAMI 2008) makes neighbours agree except across edges of the image: the most
likely surface, given networks and images. Two finer looks around it, along the surface, give fractions of a plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry.plane_sweep import PairWarp, inverse_depth_planes
from ..models.semi_global import Smoothness, Workspace, semi_global
from ..structures import Matrix
from .scene_memory import RememberedView
from .scene_refinement import Estimate
from .sweep_confidence import surface_support
from .sweep_cost import BestSources, Level, WindowStatistics, correlate
from .sweep_prior import GroundPrior
from .sweep_refinement import inverse_depth_at, rematch, smooth, sub_plane_minimum, upsample

_PLANES, _NEAREST, _FARTHEST = 40, 1.5, 100.0
_SMOOTHNESS = Smoothness(step=0.04)
_SURPRISE = 0.3
"""Share of pixels where the networks may be wrong by anything: more than in simulation, where they learned."""
_NAT = 0.3
"""Matching cost that weighs as much as a factor e of likelihood."""
_ALONE = 0.5
"""What the score of a source counts where no other sees the surface, so that nobody can say it matches by chance."""
_LEAST_SCALE = 0.03
_CHUNK = 8
"""Planes that are matched together."""
_MARGIN = 8
"""Rows around what is wanted that windows touch."""
_WINDOW = 2
"""Half side of a window, pixels of the matched images."""
_LOOKS = ((-0.4, 0.0, 0.4), (-0.15, 0.0, 0.15))
"""Planes around the surface found so far."""
_STIFFNESS = 0.08
"""Cost of leaving it by one plane, squared."""
_AROUND, _SAME_SURFACE = 2, 1.5
_NO_MATCH, _MATCH = 0.1, 0.4
"""Scores up to which the estimate stays, and from which it is replaced."""


@dataclass(frozen=True, eq=False)
class MatchSource:
    """Another view of the same scene. camera: its name if it is one of this instant, "" if of an earlier one."""

    seen: RememberedView
    T_source_reference: Matrix
    camera: str = ""

    def warp(self, reference: Level) -> PairWarp:
        """From pixels of ``reference`` into those of this view's fine scale."""
        level = self.seen.pyramid.fine
        return PairWarp.between(self.T_source_reference, reference.intrinsics, reference.size, level.intrinsics,
                                level.size)


@dataclass(frozen=True, eq=False)
class Asked:
    """A view to be matched: what is believed of it, and with what."""

    estimate: Estimate
    reference: RememberedView
    sources: Sequence[MatchSource]

    @property
    def level(self) -> Level:
        """The image that is matched."""
        return self.reference.pyramid.fine

    def shrunk(self, values: Tensor) -> Tensor:
        """(h, w) at the scale of the matched image, of (H, W) like the estimate's."""
        block = self.estimate.view.size[0] // self.level.size[0]
        return functional.avg_pool2d(values[None, None], block)[0, 0]


@dataclass(frozen=True, eq=False)
class Match:
    """What matching says, (h, w) each at the scale of the matched image.

    log_depth: of the surface that was found; the estimate's by 1 - ``trust`` (0..1), all of it where nothing matches.
    score: ZNCC 0..1 of the last look. matched: ZNCC 0..1 of the plane next to it. surface: ``surface_support``.
    """

    log_depth: Tensor
    trust: Tensor
    score: Tensor
    matched: Tensor
    surface: Tensor


class ExpectantSweep:
    """Matches views of one size. Not thread-safe: memory of the last sweep is used again."""

    def __init__(self, device: torch.device) -> None:
        self.planes = inverse_depth_planes(_PLANES, _NEAREST, _FARTHEST).to(device)
        self._workspace = Workspace()

    def __call__(self, group: Sequence[Asked]) -> list[Match]:
        """A match of each view, which all have sources and images of one size."""
        volumes, costs = zip(*(self._costs(asked) for asked in group), strict=True)
        guides = torch.stack([asked.level.image[0, 0, ::2, ::2] for asked in group])
        aggregated = semi_global(costs, guides, _SMOOTHNESS, self._workspace)
        found = []
        for index, (asked, volume) in enumerate(zip(group, volumes, strict=True)):
            cost = aggregated[index:index + 1].contiguous()
            number = sub_plane_minimum(cost)[0]
            winner = number.round().long().clamp(0, len(self.planes) - 1)
            matched = (1.0 - volume.gather(0, winner[None])[0]).clamp(0.0, 1.0)
            found.append(self._refined(asked, number, matched))
        return found

    def _costs(self, asked: Asked) -> tuple[Tensor, Tensor]:
        """Cost (D, h, w) of each plane on every second pixel: 0..1 by images alone, and with all that is expected."""
        height, width = asked.level.size
        expected = asked.shrunk(asked.estimate.log_depth)[::2, ::2].exp()
        ground = GroundPrior(asked.estimate.view, asked.level.intrinsics, self.planes, (height // 2, width // 2),
                             expected)
        alone = self._disagreement(asked, ground.wanted)
        return alone, ground.add_to(alone + self._surprise(asked))

    def _disagreement(self, asked: Asked, wanted: Tensor) -> Tensor:
        """1 where no source sees a plane; anything in 0..1 in rows that are not wanted (D, h)."""
        level = asked.level
        height, width = level.size
        windows = WindowStatistics(level, _WINDOW, 2)
        best = BestSources((len(self.planes), height // 2, width // 2), self.planes.device)
        rows = [_rows(wanted[begin:begin + _CHUNK], height) for begin in range(0, len(self.planes), _CHUNK)]
        for source in asked.sources:
            warp = source.warp(level)
            for index, (top, bottom) in enumerate(rows):
                chunk = slice(_CHUNK * index, _CHUNK * (index + 1))
                seen = warp.seen(self.planes[chunk], margin=12)
                part = slice(max(top, seen[0].start), min(bottom, seen[0].stop)), seen[1]
                if part[0].stop <= part[0].start:
                    continue
                score = correlate(windows.window(*part), source.seen.pyramid.fine, warp.window(*part),
                                  self.planes[chunk].reshape(-1, 1, 1))
                best.add(score, slice(part[0].start // 2, part[0].stop // 2),
                         slice(part[1].start // 2, part[1].stop // 2), chunk)
        score = best.score().clamp_(min=0.0)
        return torch.where(best.second > -1.0, score, _ALONE * score).neg_().add_(1.0)

    def _surprise(self, asked: Asked) -> Tensor:
        """Cost (D, h, w) of what the networks make unlikely; 0 of the likeliest plane."""
        log_depth, scale = (asked.shrunk(values)[::2, ::2] for values in (asked.estimate.log_depth,
                                                                        asked.estimate.log_scale))
        plane = -self.planes.log().reshape(-1, 1, 1)
        log_depth = torch.minimum(torch.maximum(log_depth, plane[-1]), plane[0])  # the sky is expected farthest
        spacing = torch.gradient(plane[:, 0, 0])[0].abs().reshape(-1, 1, 1)
        scale = torch.maximum(scale.exp().clamp(min=_LEAST_SCALE), 0.5 * spacing)
        likely = (1.0 - _SURPRISE) * torch.exp(-(plane - log_depth).abs() / scale) / (2.0 * scale)
        surprise = -torch.log(likely + _SURPRISE / (plane[0] - plane[-1])).nan_to_num(0.0)
        return _NAT * (surprise - surprise.amin(0))

    def _refined(self, asked: Asked, number: Tensor, matched: Tensor) -> Match:
        """The surface at the scale of the matched image. All (h, w) of every second pixel."""
        level = asked.level
        guide = level.image[0, 0]
        number, matched, surface = upsample(torch.stack((number, matched, surface_support(number))), number,
                                            guide[::2, ::2], guide, 0.0)
        windows = WindowStatistics(level, _WINDOW, 1)
        sources = [(source.seen.pyramid.fine, source.warp(level)) for source in asked.sources]
        score = torch.zeros_like(number)
        for offsets in _LOOKS:
            number, score = rematch(number, windows, sources, self.planes, offsets, _STIFFNESS)
            number = smooth(number, score, guide, _AROUND, _SAME_SURFACE)
        inverse_depth = inverse_depth_at(number, self.planes)
        before = asked.shrunk(asked.estimate.log_depth)
        found = -inverse_depth.log()
        last = len(self.planes) - 1
        found = torch.where(number < 0.5, torch.maximum(found, before), found)  # planes end here, the world does not
        found = torch.where(number > last - 0.5, torch.minimum(found, before), found)
        trust = ((score - _NO_MATCH) / (_MATCH - _NO_MATCH)).clamp(0.0, 1.0) * (level.usable[0, 0] > 0.5)
        log_depth = torch.where(trust > 0.0, torch.lerp(before, found, trust), before)
        return Match(log_depth, trust, score, matched, surface)


def _rows(wanted: Tensor, height: int) -> tuple[int, int]:
    """First and one past the last row of the image that any of these planes (N, h) is wanted in, with a margin."""
    rows = torch.nonzero(wanted.any(0))
    if len(rows) == 0:
        return 0, 0
    first, last = 2 * int(rows[0]), 2 * int(rows[-1])
    return max(0, first - _MARGIN) // 4 * 4, min(height, -(-(last + _MARGIN) // 4) * 4)
