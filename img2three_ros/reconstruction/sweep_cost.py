"""Photo-consistency of a reference view with its sources over inverse-depth hypotheses.

Zero-mean normalised cross-correlation (indifferent to exposure and gain between cameras) of warped intensities at two
scales. Fronto-parallel planes are joined by horizontal ones: the road seen from a moving car changes its depth
within one matching window by more than a plane, and correlates only when the window lies on the road.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.plane_sweep import PairWarp, horizontal_plane_inverse_depth, scaled_intrinsics, upward_component
from ..models.windows import NOISE_VARIANCE, luma
from ..structures import Matrix
from .views import View

_CHUNK = 16
_FEW_PLANES = 8
"""Up to this many planes, sums of shifted images are faster than a convolution, which works on 16 at a time."""
_FINE_RADIUS = 2
_COARSE_RADIUS = 2
_COARSE_SHARE = 0.3
_MARGIN = 8
"""Fine pixels around what is wanted that windows of both scales touch."""


@dataclass(frozen=True, eq=False)
class Level:
    """One view at one scale: image (1, 1, H, W) grey, usable (1, 1, H, W) float 1/0, intrinsics of this scale.

    usable is 0 where a matching window would touch the border or the ego vehicle.
    """

    image: Tensor
    usable: Tensor
    intrinsics: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.image.shape[2]), int(self.image.shape[3])

    @cached_property
    def appearance(self) -> Tensor:
        """(4, H, W): the image with local mean removed and local contrast made one, indifferent to exposure; its
        gradients along u and v; usable."""
        count = box_sum(torch.ones_like(self.image), 4)
        mean = box_sum(self.image, 4) / count
        variance = box_sum(self.image ** 2, 4) / count - mean ** 2
        looks = (self.image - mean) / (variance.clamp(min=0.0).sqrt() + 0.02)
        along_u = F.pad(0.5 * (looks[..., 2:] - looks[..., :-2]), (1, 1))
        along_v = F.pad(0.5 * (looks[..., 2:, :] - looks[..., :-2, :]), (0, 0, 1, 1))
        return torch.cat((looks, along_u, along_v, self.usable), 1)[0]


@dataclass(frozen=True, eq=False)
class Pyramid:
    """The two scales of one view that are matched; coarse has half the resolution of fine.

    step: image pixels per pixel of the fine scale, 1 or 2.
    """

    fine: Level
    coarse: Level
    step: int


def grey(image: Tensor) -> Tensor:
    """(1, 1, H, W) luma -0.5..0.5 of an RGB image (3, H, W) in 0..1."""
    return luma(image[None])


def build_pyramid(view: View, usable: Tensor, step: int = 2) -> Pyramid:
    """Grey images of a view at two scales; usable (H, W) bool = shows the world; step see ``Pyramid``."""
    full = grey(view.image)
    mask = None if usable.all() else usable[None, None].to(full.dtype)
    levels = []
    for block in (step, 2 * step):
        image = F.avg_pool2d(full, block)
        inner = (torch.ones_like(image) if mask is None else
                 -F.max_pool2d(-F.avg_pool2d(mask, block).floor(), 3, stride=1, padding=1))
        inner[..., [0, -1], :] = 0.0
        inner[..., [0, -1]] = 0.0
        levels.append(Level(image, inner, scaled_intrinsics(view.intrinsics, 1.0 / block)))
    return Pyramid(levels[0], levels[1], step)


class WindowStatistics:
    """Moments of the reference image in every matching window, computed once and used with every source.

    stride 2 places windows on every second pixel of the level.
    """

    def __init__(self, level: Level, radius: int, stride: int) -> None:
        self.radius, self.stride = radius, stride
        self.image = level.image[0]
        ones = torch.ones_like(level.image)
        self.count = self._sum(ones)
        self.mean = self._sum(level.image) / self.count
        self.variance = (self._sum(level.image ** 2) / self.count - self.mean ** 2).clamp(min=0.0) + NOISE_VARIANCE

    def window(self, rows: slice, columns: slice) -> WindowStatistics:
        """The same for a part of the image; bounds are multiples of the stride."""
        part = copy.copy(self)
        part.image = self.image[:, rows, columns]
        small = tuple(slice(bound.start // self.stride, -(-bound.stop // self.stride)) for bound in (rows, columns))
        part.count, part.mean, part.variance = (
            values[..., small[0], small[1]] for values in (self.count, self.mean, self.variance))
        return part

    def correlation(self, warped: Tensor) -> Tensor:
        """ZNCC (N, h, w) in -1..1 of warped source intensities (N, H, W) with the reference."""
        warped = warped.unsqueeze(0)
        mean = self._sum(warped) / self.count
        variance = (self._sum(warped * warped) / self.count).addcmul_(mean, mean, value=-1.0).clamp_(min=0.0)
        variance += NOISE_VARIANCE
        covariance = (self._sum(warped * self.image) / self.count).addcmul_(mean, self.mean, value=-1.0)
        return covariance.mul_(variance.mul_(self.variance).rsqrt_())[0]

    def _sum(self, stack: Tensor) -> Tensor:
        return box_sum(stack, self.radius, self.stride)


def box_sum(stack: Tensor, radius: int, stride: int = 1) -> Tensor:
    """Sums (1, N, h, w) of (1, N, H, W) over squares of ``2 radius + 1`` pixels, nothing beyond the border."""
    planes = int(stack.shape[1])
    if stride == 1 and planes <= _FEW_PLANES:
        padded = F.pad(stack, (radius,) * 4)
        return _running_sum(_running_sum(padded, 2, radius), 3, radius)
    weight = stack.new_ones(planes, 1, 2 * radius + 1, 2 * radius + 1)
    return F.conv2d(stack, weight, stride=stride, padding=radius, groups=planes)


def _running_sum(padded: Tensor, axis: int, radius: int) -> Tensor:
    length = int(padded.shape[axis]) - 2 * radius
    total = padded.narrow(axis, 0, length) + padded.narrow(axis, 1, length)
    for shift in range(2, 2 * radius + 1):
        total += padded.narrow(axis, shift, length)
    return total


def correlate(statistics: WindowStatistics, source: Level, warp: PairWarp, inverse_depth: Tensor) -> Tensor:
    """ZNCC (N, h, w) of a source at inverse depths (N, H or 1, W or 1); -1 where the source does not see."""
    parts = []
    for begin in range(0, len(inverse_depth), _CHUNK):
        grid, _ = warp.grid(inverse_depth[begin:begin + _CHUNK])
        planes, height, width, _ = grid.shape
        warped = F.grid_sample(source.image, grid.reshape(1, planes * height, width, 2), mode="bilinear",
                               padding_mode="border", align_corners=False).reshape(planes, height, width)
        centres = grid[:, ::statistics.stride, ::statistics.stride]
        seen = F.grid_sample(source.usable, centres.reshape(1, -1, centres.shape[2], 2), mode="nearest",
                             padding_mode="zeros", align_corners=False)
        score = statistics.correlation(warped)
        parts.append(score.masked_fill_(seen.reshape(score.shape) < 0.5, -1.0))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class BestSources:
    """Running combination of sources: the mean of the best two that see a hypothesis.

    A surface hidden from, or moved before, some of the sources still matches in others ("best half", Kang et al.
    2001).
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.first = torch.full(shape, -1.0, device=device)
        self.second = torch.full(shape, -1.0, device=device)

    def add(self, score: Tensor, rows: slice = slice(None), columns: slice = slice(None),
            planes: slice = slice(None)) -> None:
        """Take in one source's scores (N, h, w) of these rows, columns and planes; -1 = not seen."""
        first, second = self.first[planes, rows, columns], self.second[planes, rows, columns]
        second.copy_(torch.maximum(second, torch.minimum(first, score)))
        first.copy_(torch.maximum(first, score))

    def score(self) -> Tensor:
        """Combined ZNCC; -1 where no source sees the hypothesis."""
        both = 0.5 * (self.first + self.second)
        return torch.where(self.second > -1.0, both, self.first)


@dataclass(frozen=True, eq=False)
class _Matcher:
    """One source of a cost volume. rows, columns: what it sees of the reference, fine scale. road (D, h, w): best ZNCC
    of horizontal planes at the fronto-parallel plane next to them, of that part, -1 = none."""

    source: Pyramid
    to_fine: PairWarp
    to_coarse: PairWarp
    rows: slice
    columns: slice
    road: Tensor


def cost_volume(reference: Pyramid, sources: Sequence[tuple[Pyramid, Matrix]], planes: Tensor,
                T_base_camera: Matrix, wanted: Tensor | None = None) -> Tensor:
    """Matching cost (D, h, w) in 0..1 on every second pixel of the fine scale of the reference.

    sources: pyramids with ``T_source_reference``. planes (D,) inverse depths. 1 = no agreement or not seen. wanted
    (D, h) bool: other rows of a plane are not needed and may cost anything in 0..1; None = all are.
    """
    fine = reference.fine
    detail = WindowStatistics(fine, radius=_FINE_RADIUS, stride=2)
    context = WindowStatistics(reference.coarse, radius=_COARSE_RADIUS, stride=1)
    heights = torch.linspace(-0.5, 0.5, 11, device=planes.device)
    upward = upward_component(T_base_camera, fine.intrinsics, *fine.size)
    flat = horizontal_plane_inverse_depth(upward, float(T_base_camera[2, 3]), heights)
    matchers = [matcher for source, pose in sources
                if (matcher := _matcher(reference, detail, source, pose, planes, flat)) is not None]
    shape = (int(detail.mean.shape[2]), int(detail.mean.shape[3]))
    cost = torch.ones(len(planes), *shape, device=planes.device)
    needed = [(0, shape[0])] * len(planes) if wanted is None else _row_ranges(wanted)
    for begin in range(0, len(planes), _CHUNK):
        chunk = slice(begin, min(begin + _CHUNK, len(planes)))
        ranges = [bounds for bounds in needed[chunk] if bounds[1] > bounds[0]]
        if not ranges:
            continue
        rows = slice(2 * min(low for low, _ in ranges) - _MARGIN, 2 * max(high for _, high in ranges) + _MARGIN)
        top, bottom = max(0, rows.start // 4 * 2), min(shape[0], -(-rows.stop // 4) * 2)
        best = BestSources((chunk.stop - begin, bottom - top, shape[1]), planes.device)
        for matcher in matchers:
            seen = matcher.to_fine.seen(planes[chunk], margin=12)
            part = slice(max(2 * top, matcher.rows.start, seen[0].start),
                         min(2 * bottom, matcher.rows.stop, seen[0].stop))
            columns = slice(max(matcher.columns.start, seen[1].start), min(matcher.columns.stop, seen[1].stop))
            if part.stop <= part.start or columns.stop <= columns.start:
                continue
            score = _plane_scores(matcher, detail, context, planes, chunk, (part, columns))
            best.add(score, slice(part.start // 2 - top, part.stop // 2 - top), _halved(columns))
        cost[chunk, top:bottom] -= best.score().clamp_(min=0.0)
    return cost


def _matcher(reference: Pyramid, detail: WindowStatistics, source: Pyramid, T_source_reference: Matrix,
             planes: Tensor, flat: Tensor) -> _Matcher | None:
    """A source with its warps and the scores of horizontal planes ``flat`` (N, H, W); None if it sees nothing."""
    fine, coarse = reference.fine, reference.coarse
    to_fine = PairWarp.between(T_source_reference, fine.intrinsics, fine.size, source.fine.intrinsics, source.fine.size)
    to_coarse = PairWarp.between(T_source_reference, coarse.intrinsics, coarse.size,
                                 source.coarse.intrinsics, source.coarse.size)
    rows, columns = to_fine.seen(planes, margin=12)
    if rows.stop == rows.start:
        return None
    height, width = ((part.stop - part.start) // 2 for part in (rows, columns))
    road = torch.full((len(planes), height, width), -1.0, device=planes.device)
    below_horizon = torch.nonzero(flat[:, rows, columns].amax((0, 2)) > 0.0)
    if len(below_horizon):
        first = max(0, int(below_horizon[0]) - _MARGIN) // 4 * 4
        part = slice(rows.start + first, rows.stop)
        meets = flat[:, part, columns]
        score = correlate(detail.window(part, columns), source.fine, to_fine.window(part, columns), meets)
        meets = meets[:, ::2, ::2]
        score.masked_fill_(meets <= 0.0, -1.0)
        road[:, first // 2:].scatter_reduce_(0, _nearest_plane(meets, planes), score, "amax")
    return _Matcher(source, to_fine, to_coarse, rows, columns, road)


def _plane_scores(matcher: _Matcher, detail: WindowStatistics, context: WindowStatistics, planes: Tensor,
                  chunk: slice, part: tuple[slice, slice]) -> Tensor:
    """ZNCC (N, h, w) of a chunk of planes at both scales in a ``part`` of the fine scale; -1 where not seen."""
    part2 = _halved(part[0]), _halved(part[1])
    stack = planes[chunk].reshape(-1, 1, 1)
    score = correlate(detail.window(*part), matcher.source.fine, matcher.to_fine.window(*part), stack)
    blurred = correlate(context.window(*part2), matcher.source.coarse, matcher.to_coarse.window(*part2), stack)
    share = torch.where((score > -1.0) & (blurred > -1.0), _COARSE_SHARE, 0.0)
    top, left = ((here.start - whole.start) // 2 for here, whole in zip(part, (matcher.rows, matcher.columns),
                                                                       strict=True))
    road = matcher.road[chunk, top:top + score.shape[1], left:left + score.shape[2]]
    torch.maximum(score, road, out=score)
    return torch.lerp(score, blurred, share)


def _halved(bounds: slice) -> slice:
    return slice(bounds.start // 2, bounds.stop // 2)


def _row_ranges(wanted: Tensor) -> list[tuple[int, int]]:
    """First and one past the last True of each row of wanted (D, h); equal where there is none."""
    height = wanted.shape[1]
    place = torch.arange(height, device=wanted.device)
    low = torch.where(wanted, place, height).amin(1)
    high = torch.where(wanted, place + 1, 0).amax(1)
    return [(first, max(first, last)) for first, last in zip(low.tolist(), high.tolist(), strict=True)]


def _nearest_plane(inverse_depth: Tensor, planes: Tensor) -> Tensor:
    middles = 0.5 * (planes[1:] + planes[:-1])
    return torch.bucketize(inverse_depth.contiguous(), middles)
