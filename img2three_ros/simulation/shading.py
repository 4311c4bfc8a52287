"""Colours of what the rays hit: solid textures, one sun with shadows, skylight, haze, and the camera's response.

All colours are linear RGB until ``camera_response``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..structures import Matrix
from . import facades
from .ground import GroundView, ground_albedo
from .patterns import Tiles
from .primitives import BOX, CYLINDER, PrimitiveSet
from .ray_casting import RayTiles, SensorScene, shadows
from .textures import SolidNoise, band

_SUN = (1.30, 1.22, 1.08)
_SKYLIGHT = (0.42, 0.47, 0.55)
_HAZE = (0.62, 0.68, 0.76)
_HAZE_DEPTH = 420.0
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


def shade(rays: RayTiles, depth: Tensor, primitive: Tensor, ground: GroundView, scene: SensorScene,
          tables: PrimitiveTables, noise: SolidNoise, pixel: float, cast_shadows: bool) -> tuple[Tensor, Tensor]:
    """Radiance (3, T, R) and depth (T, R) with window openings followed; sky = inf.

    pixel: size of a pixel at depth 1.
    """
    shape = depth.shape
    flat_depth, flat_primitive = depth.reshape(-1).clone(), primitive.reshape(-1)
    directions = rays.directions.reshape(3, -1)
    length = torch.sqrt((directions * directions).sum(0))
    albedo, normal = torch.zeros_like(directions), torch.zeros_like(directions)
    up = torch.tensor(ground.rotation[2], dtype=torch.float32, device=depth.device)

    on_objects = (flat_primitive >= 0).nonzero().squeeze(1)
    if len(on_objects):
        d = directions[:, on_objects]
        hits = surface_hits(d, flat_depth[on_objects], flat_primitive[on_objects], scene, tables)
        flat_depth[on_objects] = hits.depth
        normal[:, on_objects] = hits.normal
        cosine = (hits.normal * d).sum(0).abs() / length[on_objects]
        footprint = hits.depth * pixel * torch.rsqrt(cosine.clamp(min=0.08))
        albedo[:, on_objects] = surface_albedo(hits, footprint, tables, noise)
    on_ground = ((flat_primitive < 0) & torch.isfinite(flat_depth)).nonzero().squeeze(1)
    points = directions * torch.where(torch.isfinite(flat_depth), flat_depth, 0.0)
    if len(on_ground):
        d = directions[:, on_ground]
        cosine = (up[0] * d[0] + up[1] * d[1] + up[2] * d[2]).abs() / length[on_ground]
        footprint = flat_depth[on_ground] * pixel * torch.rsqrt(cosine.clamp(min=0.02))
        albedo[:, on_ground] = ground_albedo(noise, ground.road, *ground.world(points[:, on_ground]), footprint)
        normal[:, on_ground] = up[:, None]

    facing = (normal * scene.sun[2][:, None]).sum(0)
    lit = facing > 0.0
    if cast_shadows:
        lit &= ~shadows(points.reshape(3, *shape), primitive, lit.reshape(shape), scene).reshape(-1)
    sunlight = torch.where(lit, facing, 0.0)
    skylight = 0.75 + 0.25 * (normal * up[:, None]).sum(0)
    clear = torch.exp(-flat_depth / _HAZE_DEPTH)
    sky = (~torch.isfinite(flat_depth)).nonzero().squeeze(1)
    radiance = torch.stack([
        clear * albedo[c] * (_SUN[c] * sunlight + _SKYLIGHT[c] * skylight) + (1.0 - clear) * _HAZE[c]
        for c in range(3)])
    if len(sky):
        radiance[:, sky] = _sky(directions[:, sky] / length[sky], up, ground.rotation, noise, pixel)
    return radiance.reshape(3, *shape), flat_depth.reshape(shape)


def _sky(direction: Tensor, up: Tensor, rotation: Matrix, noise: SolidNoise, pixel: float) -> Tensor:
    """(3, N) radiance of the sky with clouds; it depends on the direction only."""
    elevation = (direction * up[:, None]).sum(0).clamp(min=0.0)
    r = torch.tensor(rotation[:2], dtype=torch.float32, device=direction.device)
    spread = 1.6 / (elevation + 0.22)
    across = [(r[i, 0] * direction[0] + r[i, 1] * direction[1] + r[i, 2] * direction[2]) * spread for i in range(2)]
    cloud, _ = noise.octaves(across[0], across[1], torch.zeros_like(elevation) + 7.0, 4.0 * pixel * spread)
    cloud = (0.45 + 0.9 * cloud).clamp(0.0, 1.0)
    low = torch.exp(-6.0 * elevation)
    clear = (0.26, 0.42, 0.72)
    return torch.stack([(clear[c] + (_HAZE[c] - clear[c]) * low) * (1.0 - 0.75 * cloud) + 0.75 * cloud * 0.88
                        for c in range(3)])


def camera_response(radiance: Tensor, gain: float, noise_level: float, seed: int) -> NDArray[np.uint8]:
    """Radiance (3, H, W) -> (H, W, 3) uint8: the lens's slight blur, exposure, sensor noise, sRGB-like curve.

    noise_level: standard deviation in grey levels; the noise is drawn on the CPU, equal on every device.
    """
    linear = _blurred(_blurred(radiance, 1), 2)
    exposed = (gain * linear).clamp(0.0, None)
    compressed = exposed / (1.0 + 0.18 * exposed * exposed)  # a soft shoulder instead of clipping
    grey = 255.0 * compressed.clamp(0.0, 1.0) ** (1.0 / 2.2)
    if noise_level > 0.0:
        generator = torch.Generator().manual_seed(seed)
        grey = grey + noise_level * torch.randn(grey.shape, generator=generator).to(grey.device)
    return grey.round().clamp(0.0, 255.0).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def _blurred(image: Tensor, axis: int, share: float = 0.11) -> Tensor:
    """Three-tap blur along an axis; borders repeat."""
    size = image.shape[axis]
    before = torch.cat((image.narrow(axis, 0, 1), image.narrow(axis, 0, size - 1)), axis)
    after = torch.cat((image.narrow(axis, 1, size - 1), image.narrow(axis, size - 1, 1)), axis)
    return (1.0 - 2.0 * share) * image + share * (before + after)
