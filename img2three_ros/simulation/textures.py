"""Solid procedural textures: value noise in three dimensions, the same from every view and at every distance.

Detail finer than a pixel's footprint fades out, so that textures do not alias.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_LATTICE = 64
_CELLS = (3.1, 1.13, 0.41, 0.152, 0.057, 0.021)
_WEIGHTS = (0.30, 0.30, 0.36, 0.44, 0.50, 0.50)
_TURN = ((0.728, -0.386, 0.567), (0.609, 0.730, -0.309), (-0.315, 0.563, 0.764))
_SHIFT = ((0.0, 0.0, 0.0), (17.3, 5.1, 41.7), (33.9, 21.2, 9.6), (7.7, 50.3, 27.1), (45.4, 12.9, 60.2),
          (25.5, 38.8, 3.3))


class SolidNoise:
    """Noise fields of one seed.

    The lattice is a table of 64^3 random values that repeats; the octaves have incommensurable cells and shifts, so
    that their sum does not repeat within a street.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        random = np.random.default_rng((seed, 11))
        lattice = random.uniform(-1.0, 1.0, (_LATTICE,) * 3)
        side = _LATTICE + 1  # one more layer, so that the upper neighbours need no wrapping
        self._table = torch.tensor(np.pad(lattice, ((0, 1),) * 3, mode="wrap").reshape(-1), dtype=torch.float32,
                                   device=device)
        self._cells = torch.tensor(random.uniform(-1.0, 1.0, 1 << 16), dtype=torch.float32, device=device)
        self._strides = (side * side, side, 1)

    def octaves(self, x: Tensor, y: Tensor, z: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of all octaves, and of the two coarsest with another sign (for colour), both (N,), about -1..1.

        x, y, z: (N,) texture coordinates, metres; footprint: (N,) size of a pixel on the surface, metres.
        """
        turned = [row[0] * x + row[1] * y + row[2] * z for row in _TURN]
        total, colour = torch.zeros_like(x), torch.zeros_like(x)
        for number, (cell, weight) in enumerate(zip(_CELLS, _WEIGHTS, strict=True)):
            fade = (cell / footprint - 0.8).clamp(0.0, 1.0)
            visible = None
            if number >= 2:
                visible = (fade > 0.0).nonzero().squeeze(1)
                if len(visible) == 0:
                    break
                if len(visible) == len(x):
                    visible = None
            at = [(axis if visible is None else axis[visible]) / cell + shift
                  for axis, shift in zip(turned, _SHIFT[number], strict=True)]
            value = self._interpolated(*at)
            strength = weight * (fade if visible is None else fade[visible])
            if visible is None:
                total += strength * value
            else:
                total.index_add_(0, visible, strength * value)
            if number < 2:
                colour += (1.0 if number else -1.0) * weight * value
        return total, colour

    def cell(self, i: Tensor, j: Tensor, salt: int) -> Tensor:
        """A random value in -1..1 for every integer pair (given as floats), (N,) each."""
        mixed = i.to(torch.int32) * 7919 + j.to(torch.int32) * 104729 + salt * 15485863 % 65521
        mixed = mixed ^ (mixed >> 7)
        return self._cells.index_select(0, mixed & 0xFFFF)

    def _interpolated(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        corner, weights = None, []
        for axis, stride in zip((x, y, z), self._strides, strict=True):
            floor = axis.floor()
            part = axis - floor
            weights.append(part * part * (3.0 - 2.0 * part))
            index = (floor.to(torch.int32) & (_LATTICE - 1)) * stride
            corner = index if corner is None else corner + index
        a, b, _ = self._strides
        edges = [self._between(corner, step, weights[2]) for step in (0, b, a, a + b)]
        low, high = torch.lerp(edges[0], edges[1], weights[1]), torch.lerp(edges[2], edges[3], weights[1])
        return torch.lerp(low, high, weights[0])

    def _between(self, corner: Tensor, step: int, weight: Tensor) -> Tensor:
        return torch.lerp(self._table.index_select(0, corner + step), self._table.index_select(0, corner + step + 1),
                          weight)


def band(distance: Tensor, half_width: float | Tensor, footprint: Tensor) -> Tensor:
    """Share 0..1 of a pixel covered by a stripe |distance| < half_width, blurred over the pixel's footprint."""
    low = torch.maximum(distance - 0.5 * footprint, torch.as_tensor(-half_width, device=distance.device))
    high = torch.minimum(distance + 0.5 * footprint, torch.as_tensor(half_width, device=distance.device))
    return ((high - low) / footprint).clamp(0.0, 1.0)


def tile_coordinate(position: Tensor, pitch: float | Tensor) -> tuple[Tensor, Tensor]:
    """Position along a row of tiles -> number of the tile, and offset from its middle in metres."""
    number = torch.floor(position / pitch)
    return number, position - (number + 0.5) * pitch
