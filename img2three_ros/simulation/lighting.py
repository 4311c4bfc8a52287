"""Light that arrives at a camera: sun with cast shadows, skylight, lamps, mirror images, haze. Linear RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..structures import Matrix
from .ground import GroundView, ground_albedo, outside_road, terrain_height
from .ray_casting import RayTiles, SensorScene, shadows, turned
from .reflections import RayTable, fresnel, mirrored, reflected
from .shading import PrimitiveTables, SurfaceHits, surface_albedo, surface_hits
from .sky import Light, sky, transmission
from .textures import SolidNoise

_PANE = 0.25  # share mirrored by window panes
_WATER = 0.03
_PAVED_BESIDE = 4.0  # metres beside the road with puddles
_LIT_WINDOWS = 0.35  # cells of the noise above this are lit at night
_MATT = 0.01  # surfaces that mirror less are not followed
_GLINT = 120  # sharpness of the sun on glossy surfaces
_SLOPE_STEP = 0.25  # metres between the heights that give the slope of terrain


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What lights V views. lamps: irradiance (3, N) of points (3, N) with normals (3, N), both in the frames of the
    views, or None by day; pixel: (V,) size of a pixel at depth 1; tables: of every view, to find mirror images, None
    where nothing mirrors; rotations: (3, 3) optical frame of every view into the world."""

    light: Light
    noise: SolidNoise
    lamps: Callable[[Tensor, Tensor], Tensor] | None
    pixel: Tensor
    tables: Sequence[RayTable | None]
    rotations: Sequence[Matrix]

    def pixel_of(self, index: Tensor, rays: int) -> Tensor:
        """(N,) or (1,) size of the pixels of rays ``index`` (N,) of all ``rays``."""
        return self.pixel if len(self.pixel) == 1 else self.pixel[index // (rays // len(self.pixel))]


@dataclass(frozen=True, eq=False)
class Shaded:
    """radiance: (3, T, R); depth: (T, R) with window openings followed, sky = inf; normal: (3, T, R) unit, frames
    of the views, 0 where there is sky."""

    radiance: Tensor
    depth: Tensor
    normal: Tensor


@dataclass(frozen=True, eq=False)
class _Surfaces:
    """What N rays meet: depth (N,); albedo, normal (3, N); mirror (N,) share mirrored at normal incidence; glow
    (3, N) light of its own, in units of albedo."""

    depth: Tensor
    albedo: Tensor
    normal: Tensor
    mirror: Tensor
    glow: Tensor


def shade(rays: RayTiles, depth: Tensor, primitive: Tensor, ground: GroundView, scene: SensorScene,
          tables: PrimitiveTables, around: Surroundings) -> Shaded:
    """What rays show that meet primitives (T, R), -1 = ground, at a depth (T, R), inf = sky. The tiles are those of one
    view after the other, as many of each, and everything lies in the frames of the views: the world's axes."""
    light, shape = around.light, depth.shape
    directions = rays.directions.reshape(3, -1)
    length = torch.sqrt((directions * directions).sum(0))
    met = _surfaces(directions, length, depth.reshape(-1), primitive.reshape(-1), ground, scene, tables, around)
    points = directions * torch.where(torch.isfinite(met.depth), met.depth, 0.0)
    up = torch.tensor(ground.rotation[2], dtype=torch.float32, device=depth.device)
    facing = (met.normal * scene.sun[2][:, None]).sum(0)
    lit = facing > 0.0
    if light.casts:
        lit &= ~shadows(points.reshape(3, *shape), primitive, lit.reshape(shape), scene).reshape(-1)
    sunlight = torch.where(lit, facing, 0.0)
    skylight = 0.75 + 0.25 * (met.normal * up[:, None]).sum(0)
    lamps = around.lamps(points, met.normal) if around.lamps else None
    far = met.depth * length if light.weather.haze_depth < 400.0 else met.depth
    clear = transmission(far, light.weather)
    surface = [met.albedo[c] * (light.sun[c] * sunlight + light.skylight[c] * skylight) for c in range(3)]
    if lamps is not None:
        surface = [surface[c] + met.albedo[c] * (lamps[c] + light.night * met.glow[c]) for c in range(3)]
    radiance = torch.stack([clear * surface[c] + (1.0 - clear) * light.haze[c] for c in range(3)])
    above = (~torch.isfinite(met.depth)).nonzero().squeeze(1)
    if len(above):
        radiance[:, above] = sky(directions[:, above] / length[above], up, ground.rotation, around.noise,
                                 around.pixel_of(above, len(length)), light)
    if any(table is not None for table in around.tables):
        _mirror(radiance, directions / length, points, met, clear, lit, scene.sun[2], around)
    return Shaded(radiance.reshape(3, *shape), met.depth.reshape(shape), met.normal.reshape(3, *shape))


def _surfaces(directions: Tensor, length: Tensor, depth: Tensor, primitive: Tensor, ground: GroundView,
              scene: SensorScene, tables: PrimitiveTables, around: Surroundings) -> _Surfaces:
    depth, weather = depth.clone(), around.light.weather
    albedo, normal = torch.zeros_like(directions), torch.zeros_like(directions)
    mirror, glow = torch.zeros_like(depth), torch.zeros_like(directions)
    on_objects = (primitive >= 0).nonzero().squeeze(1)
    if len(on_objects):
        d = directions[:, on_objects]
        hits = surface_hits(d, depth[on_objects], primitive[on_objects], scene, tables)
        depth[on_objects], normal[:, on_objects] = hits.depth, hits.normal
        cosine = (hits.normal * d).sum(0).abs() / length[on_objects]
        footprint = hits.depth * around.pixel_of(on_objects, len(depth)) * torch.rsqrt(cosine.clamp(min=0.08))
        albedo[:, on_objects] = surface_albedo(hits, footprint, tables, around.noise)
        if weather.gloss > 0.0:
            shine = tables.look[6].index_select(0, hits.primitive)
            mirror[on_objects] = (weather.gloss * torch.where(hits.window == 1, _PANE, shine)).clamp(max=0.8)
        if around.lamps is not None:
            glow[:, on_objects] = _glow(hits, tables, around.noise)
    on_ground = ((primitive < 0) & torch.isfinite(depth)).nonzero().squeeze(1)
    if len(on_ground):
        up = torch.tensor(ground.rotation[2], dtype=torch.float32, device=depth.device)
        d = directions[:, on_ground]
        cosine = (up[0] * d[0] + up[1] * d[1] + up[2] * d[2]).abs() / length[on_ground]
        pixel = around.pixel_of(on_ground, len(depth))
        footprint = depth[on_ground] * pixel * torch.rsqrt(cosine.clamp(min=0.02))
        x, y, z = ground.world(d * depth[on_ground], on_ground, len(depth))
        colour = ground_albedo(around.noise, ground.road, x, y, z, footprint)
        if weather.wet > 0.0:
            water, _ = around.noise.octaves(0.6 * x, 0.6 * y, torch.zeros_like(x) + 3.0, footprint.clamp(min=0.6))
            water = (3.0 * (water + 1.4 * weather.wet - 0.7)).clamp(0.0, 1.0) * weather.wet
            water = water * (_PAVED_BESIDE - outside_road(ground.road, x, y)).clamp(0.0, 1.0)  # grass does not mirror
            colour = colour * (1.0 - 0.3 * weather.wet - 0.25 * water)
            mirror[on_ground] = _WATER * (0.4 * weather.wet + 0.6 * water)
        albedo[:, on_ground] = colour
        normal[:, on_ground] = _ground_normal(ground, x, y, up)
    return _Surfaces(depth, albedo, normal, mirror, glow)


def _glow(hits: SurfaceHits, tables: PrimitiveTables, noise: SolidNoise) -> Tensor:
    """(3, N) light of lamps and lit windows at night, in units of albedo."""
    salt = tables.owner[hits.primitive].to(torch.float32) * 13.0
    column, row = hits.number[0] + salt, hits.number[1] + salt
    bright = 9.0 * (noise.cell(column, row, 9) - _LIT_WINDOWS).clamp(min=0.0)
    warm = 0.5 + 0.5 * noise.cell(column, row, 10)
    lamp = 0.3 * tables.look[7].index_select(0, hits.primitive)
    pane = hits.window == 1
    return torch.stack([torch.where(pane, bright * (1.0 + share * warm), lamp) for share in (0.25, 0.0, -0.55)])


def _ground_normal(ground: GroundView, x: Tensor, y: Tensor, up: Tensor) -> Tensor:
    """(3, N) or (3, 1) unit normals of the ground (kerbs left out), optical frame."""
    if ground.road.terrain.flat:
        return up[:, None]
    here = terrain_height(ground.road, x, y)
    ahead = (terrain_height(ground.road, x + _SLOPE_STEP, y) - here) / _SLOPE_STEP
    aside = (terrain_height(ground.road, x, y + _SLOPE_STEP) - here) / _SLOPE_STEP
    rotation = torch.tensor(ground.rotation, dtype=torch.float32, device=x.device)
    normal = up[:, None] - rotation[0][:, None] * ahead - rotation[1][:, None] * aside
    return normal * torch.rsqrt(1.0 + ahead * ahead + aside * aside)


def _mirror(radiance: Tensor, direction: Tensor, points: Tensor, met: _Surfaces, clear: Tensor, lit: Tensor,
            sun: Tensor, around: Surroundings) -> None:
    """Mirror images into radiance (3, N), in place. direction: (3, N) unit; sun: (3,) towards the sun, both in the
    frames of the views; each view is mirrored in itself."""
    rays = radiance.shape[1] // len(around.tables)
    least = _MATT * (1.0 if around.light.weather.wet == 0.0 else 0.2)
    for view, (table, rotation) in enumerate(zip(around.tables, around.rotations, strict=True)):
        own = slice(view * rays, (view + 1) * rays)
        chosen = (met.mirror[own] > least).nonzero().squeeze(1)
        if table is None or len(chosen) == 0:
            continue
        towards, normal, mirror = direction[:, own][:, chosen], met.normal[:, own][:, chosen], met.mirror[own][chosen]
        share = fresnel(-(towards * normal).sum(0), mirror)
        # What mirrors little when seen straight is rough: it does not become a perfect mirror at grazing angles either.
        share = torch.minimum(share, 20.0 * mirror) * clear[own][chosen]
        outward = mirrored(towards, normal)
        place = turned(points[:, own][:, chosen], rotation.T)
        image = reflected(place, turned(outward, rotation.T), radiance[:, own], met.depth[own], table, rotation,
                          around.noise, around.light)
        if max(around.light.sun) > 0.0:
            glint = (outward * sun[:, None]).sum(0).clamp(min=0.0) ** _GLINT
            colour = torch.tensor(around.light.sun, device=glint.device)[:, None]
            image = image + 6.0 * glint * lit[own][chosen] * colour
        radiance[:, own][:, chosen] += share * (image - radiance[:, own][:, chosen])
