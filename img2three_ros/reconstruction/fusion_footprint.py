"""What the pixels over a voxel agree on: windowed minima and means of an image, looked up by footprint.

A voxel near the camera covers many pixels. Asking only the pixel at its centre would carve away a pole that
covers a few of them; the minimum over the footprint keeps it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

OCTAVES = (1, 2, 3, 4, 5)
"""The image is halved this often; each octave has windows of 5 and of 7 of its cells."""
RADII = tuple(float(half << octave) for octave in OCTAVES for half in (2, 3))
"""Pixels around any point of an image that a window is sure to cover: 4, 6, 8, 12 ... 96."""
BLOCK = 1 << OCTAVES[-1]
"""Pixels of an edge of the blocks that bounds are kept of."""
NEAREST = 0.5
"""Nearer to the camera than this, metres, nothing is bounded."""
_BEFORE_FIRST = (struct.unpack("i", struct.pack("f", RADII[0]))[0] >> 22) - 1
"""Exponent and first bit of the mantissa of a float32 just below RADII[0]."""


class FootprintImage:
    """Minimum of ``lower`` and mean of ``support`` over square windows of an image.

    lower: (H, W) metres, non-negative: up to which depth a pixel may show free space. support: (H, W) 0..1.
    Outside the image both are 0: a window that leaves it shows nothing.
    """

    def __init__(self, lower: Tensor, support: Tensor) -> None:
        minima, means, shapes = [], [], []
        height, width = lower.shape
        padding = (0, -width % BLOCK, 0, -height % BLOCK)
        lower, support = F.pad(lower, padding), F.pad(support, padding)
        for _ in OCTAVES:
            lower = _halves(lower, torch.minimum)
            support = _halves(support, torch.add) * 0.25
            for window_min, window_mean in zip(_window_minima(lower), _window_means(support), strict=True):
                minima.append(window_min.flatten())
                means.append(window_mean.flatten())
                shapes.append(lower.shape)
        self._bounds = _bounds(minima[0].view(shapes[0]))
        starts = [0]
        for level_height, level_width in shapes:
            starts.append(starts[-1] + level_height * level_width)
        device = lower.device
        self._minima, self._means = torch.cat(minima), torch.cat(means)
        self._starts = torch.tensor(starts[:-1], dtype=torch.float32, device=device)
        self._widths = torch.tensor([float(level_width) for _, level_width in shapes], device=device)
        self._scales = torch.tensor([0.5**octave for octave in OCTAVES for _ in range(2)], device=device)

    def locate(self, u: Tensor, v: Tensor, radius: Tensor) -> Tensor:
        """(...,) int64 place of the smallest window that covers ``radius`` pixels around u, v; for ``lower_at``.

        u, v must lie in the image and the radius must not exceed RADII[-1].
        """
        # As RADII are the powers of 2 and their 1.5-folds, exponent and first bit of the mantissa tell the level.
        level = radius.view(torch.int32).sub(1).bitwise_right_shift_(22).sub_(_BEFORE_FIRST).clamp_(min=0).flatten()
        scale, width, start = (table.index_select(0, level).view(radius.shape)
                               for table in (self._scales, self._widths, self._starts))
        cell_v, cell_u = ((v + 0.5) * scale).floor_(), ((u + 0.5) * scale).floor_()
        return cell_v.mul_(width).add_(cell_u).add_(start).long()

    def upper_bound(self, ends: Tensor) -> Tensor:
        """(N,) at least ``lower_at`` anywhere on lines between two points; inf for lines too slanted or too near.

        ends: (2, 3, N) homogeneous pixels; what of a line lies outside the image does not count.
        """
        rows, columns = self._bounds.shape[1:]
        pixels = ends[:, :2] / ends[:, 2:].clamp(min=NEAREST)
        blocks = torch.stack((pixels.amin(0) - 0.1, pixels.amax(0) + 0.1)).add_(0.5).div_(BLOCK).floor_()
        u = blocks[:, 0].clamp(0, columns - 1)
        v = blocks[:, 1].clamp(0, rows - 1)
        bound = torch.take(self._bounds, ((v[0] * rows + v[1]) * columns + u[0]).long())
        known = (u[1] - u[0] <= 1.0).logical_and_(ends[:, 2].amin(0) > NEAREST)
        return bound.masked_fill_(known.logical_not_(), torch.inf)

    def lower_at(self, place: Tensor) -> Tensor:
        """Minimum of ``lower`` over the windows at ``place``."""
        return torch.take(self._minima, place)

    def support_at(self, place: Tensor) -> Tensor:
        """Mean of ``support`` over the windows at ``place``."""
        return torch.take(self._means, place)


def _bounds(minima: Tensor) -> Tensor:
    """(R, R, B) maxima of the smallest windows' minima (H / 2, W / 2) in rows first..last of blocks and in two blocks
    side by side. A larger window around the same point holds the smallest one: its minimum is no greater."""
    cells = BLOCK // 2
    height, width = minima.shape
    blocks = minima.view(height // cells, cells, width).amax(dim=1).view(-1, width // cells, cells).amax(dim=2)
    pairs = torch.maximum(blocks, F.pad(blocks[:, 1:], (0, 1)))
    row = torch.arange(len(pairs), device=pairs.device)
    return torch.where((row >= row[:, None])[..., None], pairs, 0.0).cummax(dim=1).values


def _halves(image: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Every 2 x 2 cells combined into one."""
    rows = combine(image[0::2], image[1::2])
    return combine(rows[:, 0::2], rows[:, 1::2])


def _window_minima(image: Tensor) -> tuple[Tensor, Tensor]:
    """Minima over 5 x 5 and 7 x 7 cells around each cell; 0 outside."""
    five, seven = (_running_minimum(_running_minimum(F.pad(image, (half,) * 4), 1, half), 0, half) for half in (2, 3))
    return five, seven


def _running_minimum(image: Tensor, axis: int, half: int) -> Tensor:
    """Minimum over 2 * half + 1 cells along an axis, which becomes 2 * half shorter."""
    count = image.shape[axis]
    pairs = torch.minimum(image.narrow(axis, 0, count - 1), image.narrow(axis, 1, count - 1))
    result = torch.minimum(pairs.narrow(axis, 0, count - 2), pairs.narrow(axis, 1, count - 2))
    for _ in range(half - 1):
        count = result.shape[axis]
        result = torch.minimum(result.narrow(axis, 0, count - 2), result.narrow(axis, 2, count - 2))
    return result


def _window_means(image: Tensor) -> tuple[Tensor, Tensor]:
    """Means over 5 x 5 and 7 x 7 cells around each cell; 0 outside."""
    five, seven = (_running_mean(_running_mean(F.pad(image, (half,) * 4), 1, half), 0, half) for half in (2, 3))
    return five, seven


def _running_mean(image: Tensor, axis: int, half: int) -> Tensor:
    """Mean over 2 * half + 1 cells along an axis, which becomes 2 * half shorter."""
    count = image.shape[axis] - 2 * half
    total = image.narrow(axis, 0, count) + image.narrow(axis, 1, count)
    for offset in range(2, 2 * half + 1):
        total += image.narrow(axis, offset, count)
    return total.mul_(1.0 / (2 * half + 1))
