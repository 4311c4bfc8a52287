"""Surfaces that rays hit: where exactly (window openings are followed), which way they face, and their albedo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import facades
from .patterns import Tiles
from .primitives import BOX, CYLINDER, PrimitiveSet
from .ray_casting import SensorScene
from .textures import SolidNoise, band

_WINDOW_FRAME = 0.05


@dataclass(frozen=True, eq=False)
class SurfaceHits:
    """What N rays hit on primitives.

    primitive: (N,) int64; depth: (N,); local: (3, N) metres from the primitive's centre along its axes;
    normal: (3, N) unit, optical frame; window: (N,) 0 wall or anything else, 1 pane, 2 reveal; number: (2, N) column
    and row of the window; frame: (N,) metres from the edge of the opening.
    """

    primitive: Tensor
    depth: Tensor
    local: Tensor
    normal: Tensor
    window: Tensor
    number: Tensor
    frame: Tensor


class PrimitiveTables:
    """Per-primitive constants as (rows, P) tensors, ready to be gathered per ray."""

    def __init__(self, primitives: PrimitiveSet, device: torch.device | str) -> None:
        def tensor(values: NDArray[np.float64]) -> Tensor:
            return torch.tensor(np.ascontiguousarray(values.T), dtype=torch.float32, device=device)

        self.half_size, self.offset = tensor(primitives.half_size), tensor(primitives.offset)
        self.look, self.facade = tensor(primitives.look), tensor(primitives.facade)
        self.tiles = Tiles(primitives, device)
        self.owner = torch.tensor(primitives.owner, device=device)


def surface_hits(directions: Tensor, depth: Tensor, primitive: Tensor, scene: SensorScene,
                 tables: PrimitiveTables) -> SurfaceHits:
    """Surface of N rays (directions (3, N), depth (N,)) that hit primitives; follows them into window openings."""
    affine = scene.to_unit.index_select(1, primitive)
    half = tables.half_size.index_select(1, primitive)
    step = torch.stack([affine[4 * i] * directions[0] + affine[4 * i + 1] * directions[1]
                        + affine[4 * i + 2] * directions[2] for i in range(3)])
    unit = step * depth + affine[3::4]
    kind = scene.kind[primitive]
    normal = _unit_normals(unit, kind)
    local, local_step = unit * half, step * half
    normal_camera = torch.stack([sum(affine[4 * i + j] * normal[i] for i in range(3)) for j in range(3)])
    normal_camera = normal_camera * torch.rsqrt((normal_camera * normal_camera).sum(0).clamp(min=1e-20))
    window = torch.zeros_like(primitive)
    number, frame = torch.zeros_like(local[:2]), torch.full_like(depth, 9.0)
    facade = tables.facade.index_select(1, primitive)
    walls = ((facade[0] > 0.0) & (normal[2] == 0.0)).nonzero().squeeze(1)
    if len(walls):
        f, h, at, move = facade[:, walls], half[:, walls], local[:, walls], local_step[:, walls]
        on_x = normal[0, walls] != 0.0
        found = facades.openings(torch.where(on_x, at[1], at[0]), at[2] + h[2], torch.where(on_x, h[1], h[0]),
                                 2.0 * h[2], f)
        inward = torch.where(on_x, move[0], move[1]).abs()
        extra, pane = facades.enter(found, f, inward, torch.where(on_x, move[1], move[0]), move[2])
        depth, local = depth.clone(), local.clone()
        depth[walls] += extra
        local[:, walls] += extra * move
        window[walls] = torch.where(pane, 1, torch.where(found.inside, 2, 0))
        number[:, walls] = torch.stack((found.column + 40.0 * on_x, found.row))
        frame[walls] = torch.minimum(0.5 * f[2] - found.across.abs(), 0.5 * f[3] - found.up.abs())
    return SurfaceHits(primitive, depth, local, normal_camera, window, number, frame)


def _unit_normals(unit: Tensor, kind: Tensor) -> Tensor:
    """(3, N) normals (not normalised) of points on unit primitives."""
    size = unit.abs()
    largest = size.amax(0)
    box = torch.where(size == largest, torch.sign(unit), 0.0)
    box[1] = torch.where(box[0] != 0.0, 0.0, box[1])
    box[2] = torch.where((box[0] != 0.0) | (box[1] != 0.0), 0.0, box[2])
    on_cap = size[2] > torch.sqrt(unit[0] ** 2 + unit[1] ** 2)
    cylinder = torch.stack((torch.where(on_cap, 0.0, unit[0]), torch.where(on_cap, 0.0, unit[1]),
                            torch.where(on_cap, torch.sign(unit[2]), 0.0)))
    return torch.where(kind == BOX, box, torch.where(kind == CYLINDER, cylinder, unit))


def surface_albedo(hits: SurfaceHits, footprint: Tensor, tables: PrimitiveTables, noise: SolidNoise) -> Tensor:
    """(3, N) linear albedo of primitives."""
    look = tables.look.index_select(1, hits.primitive)
    place = (hits.local + tables.offset.index_select(1, hits.primitive)) / look[5]
    detail, colour = noise.octaves(place[0], place[1], place[2], footprint / look[5])
    pane, reveal = hits.window == 1, hits.window == 2
    salt = tables.owner[hits.primitive].to(torch.float32) * 13.0
    curtain = noise.cell(hits.number[0] + salt, hits.number[1] + salt, 5)
    glass = 0.075 + 0.30 * (curtain - 0.25).clamp(min=0.0)
    frame = band(hits.frame, _WINDOW_FRAME, footprint) * pane
    shade = torch.exp(look[3] * detail) * torch.where(reveal, 0.8, 1.0)
    plain = tables.tiles.colour(noise, look[:3], hits.local, hits.primitive, footprint)
    albedo = []
    for channel, sign in enumerate((1.0, 0.25, -1.0)):
        wall = plain[channel] * (1.0 + sign * look[4] * colour)
        base = torch.where(pane, glass * (1.0 - 0.1 * sign), wall)
        albedo.append((base + frame * (0.5 - base)) * shade)
    return torch.stack(albedo).clamp(0.005, 0.95)
