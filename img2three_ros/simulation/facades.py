"""Windows set back into the walls of boxes: exact geometry of the openings, for rays and for points.

Along a wall, columns of ``pitch[0]`` are centred on the face; upwards, openings start at ``sill`` and repeat every
``pitch[1]`` as long as half a metre of wall remains above them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TOP_MARGIN = 0.5


@dataclass(frozen=True, eq=False)
class Openings:
    """Where points of a wall lie relative to its windows, (N,) each.

    inside: within an opening; across, up: offset from the middle of the nearest opening, metres; column, row: number
    of the window (floats, may be negative outside the grid).
    """

    inside: Tensor
    across: Tensor
    up: Tensor
    column: Tensor
    row: Tensor


def openings(along: Tensor, height: Tensor, half_length: Tensor, top: Tensor, facade: Tensor) -> Openings:
    """along: metres from the middle of the face; height: metres above its foot; half_length, top: of the face;
    facade: (6, N) rows as in PrimitiveSet.facade."""
    pitch, storey, width, tall, _, sill = facade.clamp(min=1e-3)
    columns = torch.floor(2.0 * half_length / pitch)
    column = torch.floor(along / pitch + 0.5 * columns)
    across = along - (column + 0.5 - 0.5 * columns) * pitch
    row = torch.floor((height - sill + 0.5 * (storey - tall)) / storey)
    up = height - sill - 0.5 * tall - row * storey
    exists = (column >= 0) & (column < columns) & (row >= 0) & (row * storey + sill + tall + _TOP_MARGIN <= top)
    inside = exists & (across.abs() < 0.5 * width) & (up.abs() < 0.5 * tall) & (facade[0] > 0.0)
    return Openings(inside, across, up, column, row)


def enter(found: Openings, facade: Tensor, inward: Tensor, along: Tensor, upward: Tensor) -> tuple[Tensor, Tensor]:
    """Follow rays that meet the wall's plane on into the openings.

    inward, along, upward: (N,) direction of the rays in metres per unit of depth. Returns the additional depth (0
    where there is wall) and whether the ray ends on the pane (otherwise on a reveal, or on the wall).
    """
    tiny = 1e-6
    _, _, width, tall, recess, _ = facade
    to_pane = recess / inward.clamp(min=tiny)
    to_side = (0.5 * width - torch.sign(along) * found.across) / along.abs().clamp(min=tiny)
    to_lintel = (0.5 * tall - torch.sign(upward) * found.up) / upward.abs().clamp(min=tiny)
    extra = torch.minimum(to_pane, torch.minimum(to_side, to_lintel))
    return torch.where(found.inside, extra, 0.0), found.inside & (extra >= to_pane)


def in_recess(local: Tensor, half_size: Tensor, facade: Tensor) -> Tensor:
    """(N,) bool: whether points inside boxes lie in the hollow before a pane.

    local: (3, N) metres from the centre of the box; half_size: (3, N).
    """
    height, top = local[2] + half_size[2], 2.0 * half_size[2]
    hollow = torch.zeros_like(local[0], dtype=torch.bool)
    for face, wall in ((0, 1), (1, 0)):
        shallow = half_size[face] - local[face].abs() < facade[4]
        hollow |= shallow & openings(local[wall], height, half_size[wall], top, facade).inside
    return hollow
