"""Tiles on the faces of primitives (bricks, planks, stripes, checks, prints): anchored to the primitive, the same from
every view; what is finer than a pixel's footprint fades into its mean, so that nothing aliases."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .primitives import BOX, CYLINDER, PrimitiveSet
from .textures import SolidNoise, tile_coordinate

_MARKS = 5.0  # marks of a print per tile, along and across
_MARK_SHAPE = 1.7  # a mark is that much narrower than high


class Tiles:
    """The patterns of P primitives as (rows, P) tensors."""

    def __init__(self, primitives: PrimitiveSet, device: torch.device | str) -> None:
        def tensor(values: NDArray[np.float64]) -> Tensor:
            return torch.tensor(np.ascontiguousarray(values.T), dtype=torch.float32, device=device)

        self._kind = torch.tensor(primitives.kind, device=device)
        self._half, self._pattern = tensor(primitives.half_size), tensor(primitives.pattern)
        self._salt = torch.tensor(primitives.owner % 997 * 13, dtype=torch.float32, device=device)

    def colour(self, noise: SolidNoise, plain: Tensor, local: Tensor, primitive: Tensor, footprint: Tensor) -> Tensor:
        """(3, N) albedo with tiles. plain: (3, N) albedo without; local: (3, N) metres from the primitive's centre
        along its axes; primitive: (N,) int64; footprint: (N,) size of a pixel on the surface, metres."""
        tiled = (self._pattern[0].index_select(0, primitive) > 0.0).nonzero().squeeze(1)
        if len(tiled) == 0:
            return plain
        chosen, size = primitive[tiled], footprint[tiled]
        pattern = self._pattern.index_select(1, chosen)
        u, v = self._along_face(local[:, tiled], chosen)
        found = plain.clone()
        found[:, tiled] = _tile_colour(noise, plain[:, tiled], pattern, u, v, size, self._salt[chosen])
        return found

    def _along_face(self, local: Tensor, primitive: Tensor) -> tuple[Tensor, Tensor]:
        """Metres along and up a face: boxes flat, cylinders and ellipsoids unrolled about their z axis."""
        half, kind = self._half.index_select(1, primitive), self._kind[primitive]
        unit = local / half
        size = unit.abs()
        on_x = (size[0] >= size[1]) & (size[0] >= size[2])
        on_top = (size[2] > size[1]) & ~on_x
        is_box, round_top = kind == BOX, (kind == CYLINDER) & (size[2] > torch.hypot(unit[0], unit[1]))
        flat = torch.where(is_box, on_top, round_top)
        around = torch.atan2(unit[1], unit[0]) * 0.5 * (half[0] + half[1])
        side = torch.where(on_x, local[1], local[0])
        u = torch.where(is_box, side, torch.where(round_top, local[0], around))
        return u, torch.where(flat, local[1], local[2])


def _tile_colour(noise: SolidNoise, plain: Tensor, pattern: Tensor, u: Tensor, v: Tensor, footprint: Tensor,
                 salt: Tensor) -> Tensor:
    """(3, M) albedo at face coordinates u, v (M,) for patterns (13, M)."""
    pitch_u, pitch_v, stagger, slant, joint, joint_tone, spread, hue, fine, alternate = pattern[:10]
    row, up = tile_coordinate(v + 0.5 * pitch_v, pitch_v)
    column, along = tile_coordinate(u + slant * v + stagger * pitch_u * torch.remainder(row, 2.0), pitch_u)
    # Distance to the tile's edge: colours of neighbours meet in a blend as wide as a pixel.
    gap_u, gap_v = 0.5 * pitch_u - along.abs(), 0.5 * pitch_v - up.abs()
    soft = (2.0 * torch.minimum(gap_u, gap_v) / footprint).clamp(0.0, 1.0)
    soft = soft * (torch.minimum(pitch_u, pitch_v) / footprint - 0.8).clamp(0.0, 1.0)
    i, j = column + salt, row - salt
    tone = torch.exp(spread * soft * noise.cell(i, j, 21))
    marks, _ = tile_coordinate(u, pitch_u / (_MARKS * _MARK_SHAPE))
    lines, _ = tile_coordinate(v, pitch_v / _MARKS)
    sharp = (torch.minimum(pitch_u / _MARK_SHAPE, pitch_v) / (_MARKS * footprint) - 0.8).clamp(0.0, 1.0)
    tone = tone * (1.0 - fine * sharp * (noise.cell(marks + salt, lines - salt, 22) > 0.1))
    # A joint's share of the pixel; where tiles are all smaller than pixels this is its share of the tile.
    narrow = torch.minimum(gap_u, gap_v)
    inside = ((joint - narrow) / footprint + 0.5).clamp(0.0, 1.0) * (joint > 0.0)
    inside = torch.minimum(inside, 2.0 * joint / footprint)
    tone = tone * (1.0 + inside * (joint_tone - 1.0))
    parity = torch.remainder(column + row, 2.0) * 2.0 - 1.0
    even = (2.0 * gap_u / footprint).clamp(0.0, 1.0) * (2.0 * gap_v / footprint).clamp(0.0, 1.0)
    share = alternate * (0.5 + 0.5 * parity * even)
    mixed = plain + share * (pattern[10:13] - plain)
    own = torch.stack([0.45 + 0.45 * noise.cell(i, j, 23 + channel) for channel in range(3)])
    return (mixed + hue * soft * (own - mixed)) * tone
