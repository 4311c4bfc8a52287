"""Evidence that stays where it belongs in the world while the vehicle moves: a rolling grid of log-odds.

The grid's axes are fixed in ``odom``, and it follows the vehicle by whole voxels, so that evidence is never
resampled while it is kept. The output grid in ``base_link`` is looked up in it once per frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.transforms import inverse
from ..geometry.voxel_grid import GridSize
from ..structures import Matrix

MAX_TILT = math.radians(5.0)
"""Pitch and roll against the anchor that the grid has room for; beyond, it starts anew (evidence is lost: unknown)."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of the rolling grid that reach into the output box, and the part of each that lies in it.

    index: (C,) int64 into the grid's (Y * X) columns. cells: (C, 3) float32 cell coordinates x, y, z of the centre
    of the lowest voxel taken of each column. lowest: (C,) int64 its z index. levels: how many voxels of each.
    distance: (C,) float32 horizontal distance from ``base_link``, metres.
    """

    index: Tensor
    cells: Tensor
    lowest: Tensor
    levels: int
    distance: Tensor


class EvidenceGrid:
    """Log-odds (Z, Y, X) float32 on the device, in cells of the world.

    Cell coordinates: voxel (z, y, x) covers x..x+1, y..y+1, z..z+1; ``cell_from_base`` (4, 4) float64 maps metres of
    ``base_link`` into them. Evidence 0 = unknown, positive = occupied, negative = free.
    """

    def __init__(self, size: GridSize, device: torch.device) -> None:
        self._size, self._device = size, device
        low, high, voxel = np.array(size.low), np.array(size.high), size.voxel_size
        radius = float(np.hypot(*np.maximum(np.abs(low[:2]), np.abs(high[:2]))))
        room = radius * math.sin(MAX_TILT)
        first = np.array((-radius, -radius, low[2] - room))
        last = np.array((radius, radius, high[2] + room))
        self._first_cell = np.floor((first - low) / voxel).astype(np.int64) - 2
        counts = np.ceil((last - low) / voxel).astype(np.int64) + 2 - self._first_cell
        self.log_odds = torch.zeros(*(int(n) for n in counts[::-1]), device=device)
        self.cell_from_base = np.eye(4)
        self._corner = self._first_cell
        self._T_odom_anchor: Matrix | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next ``move`` anchors the grid anew."""
        self.log_odds.zero_()
        self._T_odom_anchor = None
        self._place(np.eye(4))

    def move(self, T_odom_base: Matrix | None, decay: float) -> None:
        """Follow the vehicle to its pose and weaken all evidence by the factor ``decay``.

        Without a pose the grid is emptied and lies on ``base_link``, voxel on voxel.
        """
        if T_odom_base is None or self._T_odom_anchor is None:
            self.reset()
            self._T_odom_anchor = T_odom_base
            return
        T_anchor_base = inverse(self._T_odom_anchor) @ T_odom_base
        if T_anchor_base[2, 2] < math.cos(MAX_TILT):
            self.reset()
            self._T_odom_anchor = T_odom_base
            return
        before = self._corner
        self._place(T_anchor_base)
        self._scroll(self._corner - before, decay)

    def _place(self, T_anchor_base: Matrix) -> None:
        """Choose the whole-voxel corner nearest to the vehicle and the transform that goes with it."""
        voxel, low = self._size.voxel_size, np.array(self._size.low)
        self._corner = self._first_cell + np.floor(T_anchor_base[:3, 3] / voxel + 0.5).astype(np.int64)
        cell_from_base = T_anchor_base.copy()
        cell_from_base[:3, 3] -= low
        cell_from_base[:3] /= voxel
        cell_from_base[:3, 3] -= self._corner
        self.cell_from_base = cell_from_base

    def _scroll(self, shift: np.ndarray, decay: float) -> None:
        """Move the content by -shift (x, y, z) voxels and decay it; what enters is unknown."""
        if not shift.any():
            self.log_odds.mul_(decay)
            return
        moved = torch.zeros_like(self.log_odds)
        counts = np.array(self.log_odds.shape[::-1])
        if (np.abs(shift) < counts).all():
            source = [slice(max(0, s), min(n, n + s)) for s, n in zip(shift, counts, strict=True)]
            target = [slice(max(0, -s), min(n, n - s)) for s, n in zip(shift, counts, strict=True)]
            torch.mul(self.log_odds[tuple(source[::-1])], decay, out=moved[tuple(target[::-1])])
        self.log_odds = moved

    def columns(self) -> Columns:
        """The part of the grid that lies in the output box, one voxel around it included."""
        size = self._size
        depth, height, width = self.log_odds.shape
        base_from_cell = np.linalg.inv(self.cell_from_base)
        origin = torch.from_numpy(base_from_cell[:3, 3] + base_from_cell[:3, :3] @ (0.5, 0.5, 0.5)).float()
        steps = torch.from_numpy(base_from_cell[:3, :3]).float()
        x = torch.arange(width, dtype=torch.float32, device=self._device)
        y = torch.arange(height, dtype=torch.float32, device=self._device)[:, None]
        at_bottom = [(origin[i] + steps[i, 0] * x + steps[i, 1] * y) for i in range(3)]
        rise = float(steps[2, 2])
        lowest = ((size.low[2] - at_bottom[2]) / rise - 1.0).floor().clamp(0, depth - 1)
        middle = lowest + 0.5 * (size.high[2] - size.low[2]) / rise
        base_x, base_y = (at_bottom[i] + float(steps[i, 2]) * middle for i in (0, 1))
        edge = size.voxel_size
        inside = (base_x > size.low[0] - edge) & (base_x < size.high[0] + edge)
        inside &= (base_y > size.low[1] - edge) & (base_y < size.high[1] + edge)
        index = inside.flatten().nonzero().squeeze(1)
        levels = min(depth, math.ceil((size.high[2] - size.low[2]) / rise) + 3)
        start = lowest.flatten()[index].clamp(max=depth - levels)
        row = torch.div(index, width, rounding_mode="floor")
        cells = torch.stack((index - row * width + 0.5, row + 0.5, start + 0.5), dim=1)
        distance = torch.hypot(base_x, base_y).flatten()[index]
        return Columns(index, cells.float(), start.long(), levels, distance)

    def flat_index(self, columns: Columns) -> Tensor:
        """(levels, C) int64 into the flattened grid: all voxels of the columns."""
        plane = self.log_odds.shape[1] * self.log_odds.shape[2]
        level = torch.arange(columns.levels, device=self._device)[:, None]
        return (columns.lowest * plane + columns.index) + level * plane

    def lookup(self, free_log_odds: float) -> tuple[Tensor, Tensor]:
        """The output grid: (log-odds of the nearest voxel, free or not), both (Z, Y, X) in ``base_link``.

        Free = all voxels of the world that the output voxel overlaps (two per axis) are at most ``free_log_odds``:
        sampling never makes a voxel free that holds part of one that is not.
        """
        free = self.log_odds <= free_log_odds
        matrix, position = self._output_cells()
        near = [torch.floor(axis + offset) for axis, offset in zip(matrix, position, strict=True)]
        flat = self._flatten(near)
        log_odds = torch.take(self.log_odds, flat)
        if np.allclose(self.cell_from_base[:3, :3] * self._size.voxel_size, np.eye(3), atol=1e-6) and np.allclose(
                position % 1.0, 0.5, atol=1e-3):
            return log_odds, torch.take(free, flat)
        for axis in range(3):
            following = free.narrow(axis, 1, free.shape[axis] - 1)
            free = free.narrow(axis, 0, free.shape[axis] - 1) & following
            free = torch.nn.functional.pad(free, (0, 0) * (2 - axis) + (0, 1))
        lower = [torch.floor(axis + (offset - 0.5)) for axis, offset in zip(matrix, position, strict=True)]
        return log_odds, torch.take(free, self._flatten(lower))

    def _output_cells(self) -> tuple[list[Tensor], np.ndarray]:
        """Cell coordinates of the output voxels' centres: three float32 to which (3,) is to be added.

        They have the shape (Z, Y, X), or one that broadcasts to it where the vehicle stands upright.
        The constant part stays apart in float64, so that a floor is exact on an aligned grid.
        """
        depth, height, width = self._size.shape
        steps = torch.from_numpy(self.cell_from_base[:3, :3] * self._size.voxel_size).float().to(self._device)
        x = torch.arange(width, dtype=torch.float32, device=self._device)
        y = torch.arange(height, dtype=torch.float32, device=self._device)[:, None]
        z = torch.arange(depth, dtype=torch.float32, device=self._device)[:, None, None]
        upright = not (steps[:2, 2].any() or steps[2, :2].any())
        varying = [steps[i, 0] * x + steps[i, 1] * y for i in range(3)]
        varying = [*varying[:2], steps[2, 2] * z] if upright else [varying[i] + steps[i, 2] * z for i in range(3)]
        first = np.array(self._size.low) + 0.5 * self._size.voxel_size
        return varying, self.cell_from_base[:3, :3] @ first + self.cell_from_base[:3, 3]

    def _flatten(self, cells: list[Tensor]) -> Tensor:
        """Cell indices x, y, z (floats) -> int64 into the flattened grid, clamped into it."""
        depth, height, width = self.log_odds.shape
        x, y, z = (axis.clamp_(0, count - 1) for axis, count in zip(cells, (width, height, depth), strict=True))
        if depth * height * width >= 1 << 24:
            x, y, z = x.long(), y.long(), z.long()
        return (z * (height * width) + (y * width).add_(x)).long()
