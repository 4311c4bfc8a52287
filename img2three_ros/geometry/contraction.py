"""The contracted grid of the scene representation: uniform cells near the vehicle, growing ones far away.

Along each axis a cell coordinate rises by one per ``cell`` metres up to a limit; beyond it cells grow in proportion to
the distance from the limit, so that a bounded number of cells reaches far (the idea of the contraction of mip-NeRF
360, Barron et al., CVPR 2022, and 6Img-to-3D, axis by axis, so that the near cells are those of the planner's grid and
axes stay axes):

    s(d) = d                                  for d <= near
    s(d) = near + growth ln(1 + (d - near) / growth)   beyond,   cell coordinate = s / cell

Value and slope are continuous at the limit. x and y contract to both sides of ``base_link``, z upwards only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ContractedGrid:
    """Cells (Z, Y, X) around ``base_link``.

    cell: edge of the near cells, m. near, growth, side: horizontal limit, growth and number of cells from the vehicle
    to the border. z_low: lower face, m. z_near, z_growth: metres above it that are uniform, and the growth beyond.
    levels: number of cells upwards.
    """

    cell: float = 0.4
    near: float = 20.0
    growth: float = 16.0
    side: int = 144
    z_low: float = -1.8
    z_near: float = 6.4
    z_growth: float = 1.6
    levels: int = 24

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) numbers of cells."""
        return self.levels, 2 * self.side, 2 * self.side

    @property
    def reach(self) -> float:
        """Horizontal distance of the border, m."""
        return float(_expand(torch.tensor(self.side * self.cell, dtype=torch.float64), self.near, self.growth))

    @property
    def top(self) -> float:
        """Height of the upper face in ``base_link``, m."""
        height = torch.tensor(self.levels * self.cell, dtype=torch.float64)
        return self.z_low + float(_expand(height, self.z_near, self.z_growth))

    def cells(self, points: Tensor) -> Tensor:
        """Cell coordinates (..., 3) x, y, z of points (..., 3) of ``base_link``, metres; cell i covers i .. i + 1.

        Defined everywhere; points outside the grid lie outside 0 .. (X, Y, Z).
        """
        flat = points[..., :2]
        horizontal = torch.sign(flat) * _contract(flat.abs(), self.near, self.growth) / self.cell + self.side
        height = points[..., 2:] - self.z_low
        vertical = torch.where(height > 0.0, _contract(height.clamp(min=0.0), self.z_near, self.z_growth), height)
        return torch.cat((horizontal, vertical / self.cell), -1)

    def points(self, cells: Tensor) -> Tensor:
        """Points (..., 3) of ``base_link`` at cell coordinates (..., 3): the inverse of ``cells``."""
        flat = (cells[..., :2] - self.side) * self.cell
        horizontal = torch.sign(flat) * _expand(flat.abs(), self.near, self.growth)
        height = cells[..., 2:] * self.cell
        vertical = torch.where(height > 0.0, _expand(height.clamp(min=0.0), self.z_near, self.z_growth), height)
        return torch.cat((horizontal, vertical + self.z_low), -1)

    def centres(self, device: torch.device | str = "cpu") -> Tensor:
        """(Z, Y, X, 3) float32 centres of all cells in ``base_link``, metres."""
        z, y, x = (torch.arange(count, dtype=torch.float32, device=device) + 0.5 for count in self.shape)
        grid = torch.meshgrid(z, y, x, indexing="ij")
        return self.points(torch.stack(grid[::-1], -1))

    def inside(self, cells: Tensor) -> Tensor:
        """(...) bool: cell coordinates (..., 3) lie in the grid."""
        levels, rows, columns = self.shape
        upper = cells.new_tensor((columns, rows, levels))
        return ((cells >= 0.0) & (cells < upper)).all(-1)

    def flat_index(self, cells: Tensor) -> Tensor:
        """(...) int64 index into the flattened (Z, Y, X) of the cell at coordinates (..., 3) inside the grid."""
        _, rows, columns = self.shape
        x, y, z = cells.floor().long().unbind(-1)
        return (z * rows + y) * columns + x

    def sampling_grid(self, cells: Tensor) -> Tensor:
        """(..., 3) coordinates -1..1 for ``grid_sample`` (align_corners=False) of cell coordinates (..., 3)."""
        levels, rows, columns = self.shape
        return cells / cells.new_tensor((columns, rows, levels)) * 2.0 - 1.0


def _contract(distance: Tensor, near: float, growth: float) -> Tensor:
    """Contracted metres of distances >= 0."""
    return torch.where(distance <= near, distance,
                       near + growth * torch.log1p((distance - near).clamp(min=0.0) / growth))


def _expand(contracted: Tensor, near: float, growth: float) -> Tensor:
    """The inverse of ``_contract``."""
    return torch.where(contracted <= near, contracted,
                       near + growth * torch.expm1((contracted - near).clamp(min=0.0) / growth))
