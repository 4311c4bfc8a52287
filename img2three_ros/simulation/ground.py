"""The ground: roads, pavements a kerb higher, and the terrain below both; where rays meet it and how it looks.

Flat ground is met in closed form. Terrain is marched over in steps that grow with the distance (what rays have met
is left out of the next step), then the depth is refined between the last two steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..structures import Matrix
from .ground_looks import crossing_offset, plain_albedo, section_albedo
from .ray_casting import NEAR, RayTiles
from .terrain import TENSORS
from .textures import SolidNoise
from .trajectories import Road

GROUND_RANGE = 700.0
"""Beyond this depth the ground is haze (sky), metres."""

_STEPS = (*(2.5 * 1.4**index for index in range(17)), GROUND_RANGE)
_REFINEMENTS = 5
_KERB_REFINEMENTS = 2


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


class GroundView:
    """The ground as one sensor sees it, with the street's x counted from the start of the sensor's lap (precision)."""

    def __init__(self, road: Road, T_world_sensor: Matrix) -> None:
        self.road = road
        self.rotation = T_world_sensor[:3, :3]
        x, y, z = T_world_sensor[:3, 3]
        self.origin = (float(np.mod(x, road.length)), float(y), float(z))

    def world(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points (3, ...) in the optical frame -> world x (from the start of the lap), y, z."""
        moved = [self.rotation[i, 0] * points[0] + self.rotation[i, 1] * points[1] + self.rotation[i, 2] * points[2]
                 + self.origin[i] for i in range(3)]
        return moved[0], moved[1], moved[2]

    def hits(self, rays: RayTiles) -> Tensor:
        """(T, R) depth at which the rays meet the ground, inf where they do not."""
        r = self.rotation
        x, y, z = rays.directions
        down = r[2, 0] * x + r[2, 1] * y + r[2, 2] * z
        depth = torch.full_like(down, torch.inf)
        kerb, flat = self.road.section.kerb, self.road.terrain.flat
        if flat:
            below = torch.where(down < 0.0, down, -1e-9)
            upper, lower = (kerb - self.origin[2]) / below, -self.origin[2] / below
            index = ((down < 0.0) & (upper < GROUND_RANGE)).reshape(-1).nonzero().squeeze(1)
        else:
            level = torch.hypot(r[0, 0] * x + r[0, 1] * y + r[0, 2] * z, r[1, 0] * x + r[1, 1] * y + r[1, 2] * z)
            index = (down < self.road.terrain.steepest * level).reshape(-1).nonzero().squeeze(1)
        if len(index) == 0:
            return depth
        dx = (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z).reshape(-1)[index]
        dy = (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z).reshape(-1)[index]
        if flat:
            first, last = upper.reshape(-1)[index], lower.reshape(-1)[index]
        else:
            met, first, last = self._on_terrain(dx, dy, down.reshape(-1)[index])
            index, dx, dy = index[met], dx[met], dy[met]
        found = self._with_kerbs(dx, dy, first, last) if kerb else last
        depth.view(-1)[index] = torch.where(found > NEAR, found, torch.inf)
        return depth

    def _with_kerbs(self, dx: Tensor, dy: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Depth at which rays end that meet the level of pavements at ``first`` and of roads at ``last``."""
        at_first, at_last = self._beside(dx, dy, first), self._beside(dx, dy, last)
        found = torch.where(at_first >= 0.0, first, last)
        # Rays that pass the pavement's level above the road and reach the road's level inside the kerb.
        kerb = ((at_first < 0.0) & (at_last >= 0.0)).nonzero().squeeze(1)
        if len(kerb):
            found[kerb] = self._kerb(dx[kerb], dy[kerb], first[kerb], last[kerb], at_first[kerb], at_last[kerb])
        return found

    def _clearance(self, dx: Tensor, dy: Tensor, dz: Tensor, depth: Tensor) -> Tensor:
        """Height of rays above the terrain (without kerbs) at a depth."""
        x, y, z = self.origin
        return z + depth * dz - terrain_height(self.road, x + depth * dx, y + depth * dy)

    def _on_terrain(self, dx: Tensor, dy: Tensor, dz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which of N rays meet the terrain (indices (M,)), and depths (M,) of meeting the pavement's level and the
        road's."""
        low, high = torch.zeros_like(dx), torch.full_like(dx, torch.inf)
        at_low, at_high = torch.full_like(dx, self._clearance_here()), torch.zeros_like(dx)
        waiting = torch.arange(len(dx), device=dx.device)
        ray = torch.stack((dx, dy, dz))
        before, above, nearest = 0.0, at_low, self.road.terrain.highest
        for step in _STEPS:
            value = self._clearance(ray[0], ray[1], ray[2], torch.full_like(ray[0], step))
            met = value <= 0.0
            hit = met.nonzero().squeeze(1)
            where = waiting[hit]
            low[where], high[where], at_low[where], at_high[where] = before, step, above[hit], value[hit]
            # What rises and is above all ground already never comes back to it.
            gone = (ray[2] >= 0.0) & (self.origin[2] + step * ray[2] > nearest)
            left = (~met & ~gone).nonzero().squeeze(1)
            if len(left) == 0:
                break
            waiting, ray, above, before = waiting[left], ray[:, left], value[left], step
        index = torch.isfinite(high).nonzero().squeeze(1)
        ray = torch.stack((dx, dy, dz))[:, index]
        last, slope = self._refined(ray, low[index], high[index], at_low[index], at_high[index])
        if not self.road.section.kerb:
            return index, last, last
        return index, self._pavement_before(ray, last, slope), last

    def _clearance_here(self) -> float:
        x, y, z = self.origin
        return z - self.road.height(x, y)

    def _refined(self, ray: Tensor, low: Tensor, high: Tensor, at_low: Tensor, at_high: Tensor) -> tuple[Tensor,
                                                                                                         Tensor]:
        """Depths between low and high where rays (3, N) meet the terrain, and their change of clearance per depth
        there (regula falsi after Illinois)."""
        slope = (at_high - at_low) / (high - low)
        before = None
        for _ in range(_REFINEMENTS):
            middle = low + (high - low) * (at_low / (at_low - at_high).clamp(min=1e-9)).clamp(0.0, 1.0)
            value = self._clearance(ray[0], ray[1], ray[2], middle)
            above = value > 0.0
            # An end that stays twice counts half, so that the next point falls on its side.
            half = 1.0 if before is None else torch.where(above == before, 0.5, 1.0)
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
            at_low, at_high = torch.where(above, value, half * at_low), torch.where(above, half * at_high, value)
            before = above
        return low + (high - low) * (at_low / (at_low - at_high).clamp(min=1e-9)).clamp(0.0, 1.0), slope

    def _pavement_before(self, ray: Tensor, last: Tensor, slope: Tensor) -> Tensor:
        """Depths at which rays (3, N) meet the terrain raised by the kerb, shortly before they meet the terrain
        itself at ``last`` (secant)."""
        kerb = self.road.section.kerb
        after, at_after = last, torch.full_like(last, -kerb)
        depth = (last + kerb / slope.clamp(max=-1e-3)).clamp(min=0.0).maximum(0.3 * last)
        for _ in range(_KERB_REFINEMENTS):
            value = self._clearance(ray[0], ray[1], ray[2], depth) - kerb
            change = (at_after - value) / (after - depth).clamp(min=1e-4)
            depth = torch.minimum((depth - value / change.clamp(max=-1e-4)).maximum(0.3 * last), last)
        return depth

    def _beside(self, dx: Tensor, dy: Tensor, depth: Tensor) -> Tensor:
        """Distance outside the road's edge (negative = on the road) along rays at a depth."""
        return outside_road(self.road, self.origin[0] + depth * dx, self.origin[1] + depth * dy)

    def _kerb(self, dx: Tensor, dy: Tensor, low: Tensor, high: Tensor, at_low: Tensor, at_high: Tensor) -> Tensor:
        """Depth of the road's edge between two depths (regula falsi; the edge is almost straight there)."""
        for _ in range(4):
            middle = low + (high - low) * (at_low / (at_low - at_high)).clamp(0.0, 1.0)
            value = self._beside(dx, dy, middle)
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
