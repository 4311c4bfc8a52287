"""The ground: roads, pavements a kerb higher, and the terrain below both; where rays meet it and how it looks.

Flat ground is met in closed form. Terrain is marched over in steps that grow with the distance, and the depth refined
between the last two; of a tile, five rays first: where their inverse depths fit one plane, the others start from it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..structures import Matrix
from .ground_looks import crossing_offset, plain_albedo, section_albedo
from .ray_casting import NEAR, TILE, RayTiles, turned
from .terrain import TENSORS
from .textures import SolidNoise
from .trajectories import Road

GROUND_RANGE = 700.0
"""Beyond this depth the ground is haze (sky), metres."""

_STEPS = (*(2.5 * 1.18**index for index in range(34)), GROUND_RANGE)
_REFINEMENTS = 6
_GUESS_REFINEMENTS = 2
_KERB_REFINEMENTS = 2
_PLANE = 0.05
"""Share by which the inverse depth in the middle of a tile may differ from a plane through its corners."""


def lateral_offset(road: Road, x: Tensor, y: Tensor) -> Tensor:
    """Offset from the middle of the road at world x, y, positive to the left, metres."""
    centre, slope = torch.zeros_like(x), torch.zeros_like(x)
    for amplitude, k, phase in road.terms:
        angle = k * x + phase
        centre += amplitude * torch.sin(angle)
        slope += amplitude * k * torch.cos(angle)
    return (y - centre) * torch.rsqrt(1.0 + slope * slope)


def outside_road(road: Road, x: Tensor, y: Tensor) -> Tensor:
    """Metres outside the paved road at world x, y, negative on it; crossing roads and their corners are road."""
    return _outside(road, x, lateral_offset(road, x, y))


def _outside(road: Road, x: Tensor, lateral: Tensor) -> Tensor:
    beside = lateral.abs() - road.section.half_width
    crossings = road.section.crossings
    if crossings is None:
        return beside
    # Two half planes joined over a corner of this radius.
    radius = crossings.radius
    across = crossing_offset(crossings, x, lateral).abs() - crossings.half_width
    corner = radius - torch.hypot((radius - beside).clamp(min=0.0), (radius - across).clamp(min=0.0))
    return torch.where(torch.minimum(beside, across) < radius, corner, torch.minimum(beside, across))


def terrain_height(road: Road, x: Tensor, y: Tensor) -> Tensor:
    """Height of the terrain (without kerbs) at world x, y, metres."""
    if road.terrain.flat:
        return torch.zeros_like(x)
    centre = torch.zeros_like(x)
    for amplitude, k, phase in road.terms:
        centre += amplitude * torch.sin(k * x + phase)
    return road.terrain.height(x, y - centre, TENSORS)


def height(road: Road, x: Tensor, y: Tensor) -> Tensor:
    """Height of the ground at world x, y, metres."""
    kerb = torch.where(outside_road(road, x, y) < 0.0, 0.0, road.section.kerb)
    return kerb if road.terrain.flat else kerb + terrain_height(road, x, y)


def _not_zero(value: Tensor) -> Tensor:
    return torch.where(value.abs() < 1e-9, 1e-9, value)


def _of(here: Tensor, index: Tensor, share: int = 1) -> Tensor:
    """Columns of (4, N) that belong to ``index`` where each serves ``share`` indices; a single column (4, 1), which
    serves all, stays as it is."""
    if here.shape[1] == 1:
        return here
    return here[:, index if share == 1 else index // share]


class GroundView:
    """The ground as V sensors see it whose frames have the same axes, their rays one view after the other.

    The street's x counts from the start of each sensor's lap (precision). Where ``here`` is asked for, it is (4, N) or
    (4, 1): x, y, z of the sensor that every ray comes from, and its height above the ground, metres.
    """

    def __init__(self, road: Road, T_world_sensor: Matrix) -> None:
        """T_world_sensor: (4, 4), or (V, 4, 4) that differ in their places only."""
        self.road = road
        poses = np.asarray(T_world_sensor).reshape(-1, 4, 4)
        self.rotation = poses[0, :3, :3]
        places = [(float(np.mod(x, road.length)), float(y), float(z)) for x, y, z in poses[:, :3, 3]]
        self._here = [(x, y, z, max(z - road.height(x, y), 0.01)) for x, y, z in places]

    def _from_here(self, vectors: Tensor, index: Tensor, rays: int) -> Tensor:
        """(4, N) or (4, 1) where rays ``index`` (N,) of all ``rays`` come from, on the device of ``vectors``."""
        here = torch.tensor(self._here, dtype=vectors.dtype, device=vectors.device).T
        return _of(here, index, rays // len(self._here))

    def world(self, points: Tensor, index: Tensor, rays: int) -> tuple[Tensor, Tensor, Tensor]:
        """Points (3, N) in the sensors' frames, on rays ``index`` (N,) of all ``rays`` -> world x (from the start of
        the lap), y, z."""
        here = self._from_here(points, index, rays)
        x, y, z = turned(points, self.rotation)
        return x + here[0], y + here[1], z + here[2]

    def hits(self, rays: RayTiles) -> Tensor:
        """(T, R) depth at which the rays meet the ground, inf where they do not."""
        shape = rays.directions.shape[1:]
        ray = turned(rays.directions, self.rotation)
        depth = torch.full_like(ray[0], torch.inf)
        tile = torch.arange(shape[0], device=depth.device)
        here = self._from_here(depth, tile, shape[0])
        kerb, flat = self.road.section.kerb, self.road.terrain.flat
        if flat:
            below = torch.where(ray[2] < 0.0, ray[2], -1e-9)
            upper, lower = ((level - here[2])[:, None] / below for level in (kerb, 0.0))
            index = ((ray[2] < 0.0) & (upper < GROUND_RANGE)).reshape(-1).nonzero().squeeze(1)
        else:
            lower, upper = (level.reshape(-1) for level in self._on_terrain(ray, here))
            index = (torch.isfinite(lower) | torch.isfinite(upper)).nonzero().squeeze(1)
        if len(index) == 0:
            return depth
        ray, here = ray.reshape(3, -1)[:, index], _of(here, index, shape[1])
        last = found = lower.reshape(-1)[index]
        if kerb and flat:
            found = self._with_kerbs(ray, here, upper.reshape(-1)[index], last)
        elif kerb:
            found = self._with_kerbs_on_terrain(ray, here, upper.reshape(-1)[index], last)
        depth.view(-1)[index] = torch.where(found > NEAR, found, torch.inf)
        return depth

    def _with_kerbs_on_terrain(self, ray: Tensor, here: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """As ``_with_kerbs`` for rays (3, N); ``first`` is NaN where it is still to be found, ``last`` inf for rays
        that pass over a crest of the road's level."""
        kerb, found = self.road.section.kerb, last.clone()
        # Well inside the road no pavement lies before; rays that graze the ground pass farther below its level.
        passed = kerb * last / (here[3] - kerb).clamp(min=0.2) * torch.hypot(ray[0], ray[1])
        beside = self._beside(ray, here, torch.where(torch.isfinite(last), last, first))
        index = (torch.isfinite(last) & (torch.isfinite(first) | (beside > -2.0 * passed))).nonzero().squeeze(1)
        if len(index):
            chosen, origin, before = ray[:, index], _of(here, index), first[index]
            before = torch.where(torch.isfinite(before), before, self._pavement_before(chosen, origin, last[index]))
            found[index] = self._with_kerbs(chosen, origin, before, last[index])
        crest = torch.isinf(last) & torch.isfinite(first) & (beside >= 0.0)
        return torch.where(crest, first, found)

    def _with_kerbs(self, ray: Tensor, here: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Depth at which rays end that meet the level of pavements at ``first`` and of roads at ``last``."""
        at_first, at_last = self._beside(ray, here, first), self._beside(ray, here, last)
        found = torch.where(at_first >= 0.0, first, last)
        # Rays that pass the pavement's level above the road and reach the road's level inside the kerb.
        kerb = ((at_first < 0.0) & (at_last >= 0.0)).nonzero().squeeze(1)
        if len(kerb):
            found[kerb] = self._kerb(ray[:, kerb], _of(here, kerb), first[kerb], last[kerb], at_first[kerb],
                                     at_last[kerb])
        return found

    def _on_terrain(self, ray: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        """Depths (T, R) at which rays (3, T, R) along the world's axes meet the terrain, and the terrain raised by the
        kerb; inf where they do not. The latter are NaN in the midst of the ground, where they come shortly before the
        former. here: by tiles."""
        corners = [0, TILE - 1, TILE * (TILE - 1), TILE * TILE - 1, TILE * TILE // 2 + TILE // 2]
        tiles = ray.shape[1]
        samples = ray[:, :, corners]
        extent = (samples[:, :, 3] - samples[:, :, 0]).square().sum(0).sqrt()
        each = torch.arange(tiles, device=ray.device)
        depth, clear = self._marched(samples.reshape(3, -1), _of(here, each.repeat_interleave(5)), None,
                                     extent.repeat_interleave(5))
        inverse, clear = 1.0 / depth.reshape(tiles, 5), clear.reshape(tiles, 5).amin(1)
        share = torch.arange(TILE, device=ray.device, dtype=ray.dtype) / (TILE - 1)
        down, across = share.repeat_interleave(TILE), share.repeat(TILE)
        weights = torch.stack(((1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across))
        guess = sum(inverse[:, i, None] * weights[i] for i in range(4))
        met = (inverse > 0.0).all(1)
        plane = met & ((guess[:, corners[4]] - inverse[:, 4]).abs() < _PLANE * inverse[:, 4])
        sky = clear == len(_STEPS)
        found = torch.full_like(ray[0], torch.inf)
        rest = (~plane & ~sky).nonzero().squeeze(1)
        if bool(plane.any()):
            started, sure = self._from_guess(ray[:, plane], _of(here, plane)[:, :, None], 1.0 / guess[plane])
            found[plane] = torch.where(sure, started, torch.nan)
        found[rest] = torch.nan
        open_rays = torch.isnan(found).reshape(-1).nonzero().squeeze(1)
        raised = torch.full_like(found, torch.nan)
        if len(open_rays):
            start = clear.repeat_interleave(TILE * TILE)[open_rays]
            chosen, origin = ray.reshape(3, -1)[:, open_rays], _of(here, open_rays, TILE * TILE)
            found.view(-1)[open_rays] = self._marched(chosen, origin, start)[0]
            horizon = (~met).repeat_interleave(TILE * TILE)[open_rays]
            if self.road.section.kerb and bool(horizon.any()):
                above = self._marched(chosen[:, horizon], _of(origin, horizon), start[horizon],
                                      lift=self.road.section.kerb)[0]
                raised.view(-1)[open_rays[horizon]] = above
        return found, raised

    def _from_guess(self, ray: Tensor, here: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Depths near a first guess at which rays (3, ...) meet the terrain (secant), and where that is sure."""
        value = self._clearance(ray, here, depth)
        before, at_before = depth, value
        depth = depth * (1.0 + (value / here[3]).clamp(-0.2, 0.2))
        for _ in range(_GUESS_REFINEMENTS):
            value = self._clearance(ray, here, depth)
            step = value * (depth - before) / _not_zero(value - at_before)
            before, at_before = depth, value
            depth = depth - torch.clamp(step, -0.1 * depth, 0.1 * depth)
        return depth, value.abs() < 0.004

    def _clearance(self, ray: Tensor, here: Tensor, depth: Tensor) -> Tensor:
        """Height of rays (3, ...) above the terrain (without kerbs) at a depth."""
        x, y, z, _ = here
        return z + depth * ray[2] - terrain_height(self.road, x + depth * ray[0], y + depth * ray[1])

    def _marched(self, rays: Tensor, here: Tensor, start: Tensor | None = None,
                 extent: Tensor | None = None, lift: float = 0.0) -> tuple[Tensor, Tensor]:
        """Of N rays (3, N): depth (N,) at which they meet the terrain, inf where they do not, and the number (N,) of
        the last step up to which the ground stays farther below them than ``extent`` (N,) times the depth.

        start: (N,) number of the step to begin with; lift: metres by which the terrain is raised.
        """
        terrain = self.road.terrain
        low, high = torch.zeros_like(rays[0]), torch.full_like(rays[0], torch.inf)
        at_low, at_high = here[3].expand_as(low).clone(), torch.zeros_like(low)
        begin = torch.zeros_like(low, dtype=torch.int64) if start is None else start
        clear = torch.full_like(begin, len(_STEPS))
        rising = rays[2] >= terrain.steepest * torch.hypot(rays[0], rays[1])
        begin = torch.where(rising, len(_STEPS), begin)
        waiting, before = begin[:0], 0.0
        for number, step in enumerate(_STEPS):
            waiting = torch.cat((waiting, (begin == number).nonzero().squeeze(1)))
            if len(waiting) == 0:
                before = step
                continue
            ray, origin = rays[:, waiting], _of(here, waiting)
            value = self._clearance(ray, origin, torch.full_like(ray[0], step)) - lift
            if extent is not None:
                close = waiting[value < extent[waiting] * step]
                clear[close] = clear[close].clamp(max=max(number - 1, 0))
            met = value <= 0.0
            high[waiting], at_high[waiting] = torch.where(met, step, torch.inf), value
            low[waiting] = torch.where(met, before, step)
            at_low[waiting] = torch.where(met, at_low[waiting], value)
            # What rises and is above all ground already never comes back to it.
            gone = (ray[2] >= 0.0) & (origin[2] + step * ray[2] > terrain.highest + lift)
            waiting, before = waiting[~met & ~gone], step
        index = torch.isfinite(high).nonzero().squeeze(1)
        depth = torch.full_like(low, torch.inf)
        depth[index] = self._between(rays[:, index], _of(here, index), low[index], high[index], at_low[index],
                                     at_high[index], lift)
        return depth, clear

    def _between(self, ray: Tensor, here: Tensor, low: Tensor, high: Tensor, at_low: Tensor, at_high: Tensor,
                 lift: float) -> Tensor:
        """Depths between low and high where rays (3, N) meet the terrain (regula falsi after Illinois)."""
        before = None
        for _ in range(_REFINEMENTS):
            middle = low + (high - low) * (at_low / (at_low - at_high).clamp(min=1e-9)).clamp(0.0, 1.0)
            value = self._clearance(ray, here, middle) - lift
            above = value > 0.0
            # An end that stays twice counts half, so that the next point falls on its side.
            half = 1.0 if before is None else torch.where(above == before, 0.5, 1.0)
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
            at_low, at_high = torch.where(above, value, half * at_low), torch.where(above, half * at_high, value)
            before = above
        return low + (high - low) * (at_low / (at_low - at_high).clamp(min=1e-9)).clamp(0.0, 1.0)

    def _pavement_before(self, ray: Tensor, here: Tensor, last: Tensor) -> Tensor:
        """Depths at which rays (3, N) meet the terrain raised by the kerb, shortly before they meet the terrain
        itself at ``last`` (secant)."""
        kerb = self.road.section.kerb
        after, at_after = last, torch.full_like(last, -kerb)
        depth = (last * (1.0 - kerb / here[3].clamp(min=2.0 * kerb))).maximum(0.3 * last)
        for _ in range(_KERB_REFINEMENTS):
            value = self._clearance(ray, here, depth) - kerb
            slope = (at_after - value) / _not_zero(after - depth)
            after, at_after = depth, value
            depth = torch.minimum((depth - value / slope.clamp(max=-1e-4)).maximum(0.3 * last), last)
        return depth

    def _beside(self, ray: Tensor, here: Tensor, depth: Tensor) -> Tensor:
        """Distance outside the road's edge (negative = on the road) along rays at a depth."""
        return outside_road(self.road, here[0] + depth * ray[0], here[1] + depth * ray[1])

    def _kerb(self, ray: Tensor, here: Tensor, low: Tensor, high: Tensor, at_low: Tensor, at_high: Tensor) -> Tensor:
        """Depth of the road's edge between two depths (regula falsi; the edge is almost straight there)."""
        for _ in range(4):
            middle = low + (high - low) * (at_low / (at_low - at_high)).clamp(0.0, 1.0)
            value = self._beside(ray, here, middle)
            inside = value < 0.0
            low, at_low = torch.where(inside, middle, low), torch.where(inside, value, at_low)
            high, at_high = torch.where(inside, high, middle), torch.where(inside, at_high, value)
        return low + (high - low) * (at_low / (at_low - at_high).clamp(max=-1e-9)).clamp(0.0, 1.0)


def ground_albedo(noise: SolidNoise, road: Road, x: Tensor, y: Tensor, z: Tensor, footprint: Tensor) -> Tensor:
    """(3, N) linear albedo of the ground at world points; x from the start of a lap."""
    x = torch.remainder(x, road.length)
    lateral, section = lateral_offset(road, x, y), road.section
    if section.materials is None:
        level = z if road.terrain.flat else z - terrain_height(road, x, y)
        return plain_albedo(noise, road.length, x, y, level, lateral, footprint)
    return section_albedo(noise, section, section.materials, x, y, z, lateral, _outside(road, x, lateral), footprint)
