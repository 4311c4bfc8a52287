"""The ground: a road surface at z = 0, kerbs, and pavements KERB_HEIGHT higher; where rays meet it and how it looks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..structures import Matrix
from .ray_casting import NEAR, RayTiles
from .street_world import KERB_HEIGHT, ROAD_HALF_WIDTH
from .textures import SolidNoise, band, tile_coordinate
from .trajectories import Road

GROUND_RANGE = 700.0
"""Beyond this depth the ground is haze (sky), metres."""


def lateral_offset(road: Road, x: Tensor, y: Tensor) -> Tensor:
    """Offset from the middle of the road at world x, y, positive to the left, metres."""
    centre, slope = torch.zeros_like(x), torch.zeros_like(x)
    for amplitude, k, phase in road.terms:
        angle = k * x + phase
        centre += amplitude * torch.sin(angle)
        slope += amplitude * k * torch.cos(angle)
    return (y - centre) * torch.rsqrt(1.0 + slope * slope)


def height(road: Road, x: Tensor, y: Tensor) -> Tensor:
    """Height of the ground at world x, y, metres."""
    return torch.where(lateral_offset(road, x, y).abs() < ROAD_HALF_WIDTH, 0.0, KERB_HEIGHT)


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
        below = torch.where(down < 0.0, down, -1e-9)
        upper, lower = (KERB_HEIGHT - self.origin[2]) / below, -self.origin[2] / below
        index = ((down < 0.0) & (upper < GROUND_RANGE)).reshape(-1).nonzero().squeeze(1)
        if len(index) == 0:
            return depth
        dx = (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z).reshape(-1)[index]
        dy = (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z).reshape(-1)[index]
        first, last = upper.reshape(-1)[index], lower.reshape(-1)[index]
        at_first, at_last = self._beside(dx, dy, first), self._beside(dx, dy, last)
        found = torch.where(at_first >= 0.0, first, last)
        # Rays that pass the pavement's level above the road and reach the road's level inside the kerb.
        kerb = ((at_first < 0.0) & (at_last >= 0.0)).nonzero().squeeze(1)
        if len(kerb):
            found[kerb] = self._kerb(dx[kerb], dy[kerb], first[kerb], last[kerb], at_first[kerb], at_last[kerb])
        depth.view(-1)[index] = torch.where(found > NEAR, found, torch.inf)
        return depth

    def _beside(self, dx: Tensor, dy: Tensor, depth: Tensor) -> Tensor:
        """Distance outside the road's edge (negative = on the road) along rays at a depth."""
        lateral = lateral_offset(self.road, self.origin[0] + depth * dx, self.origin[1] + depth * dy)
        return lateral.abs() - ROAD_HALF_WIDTH

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
    lateral = lateral_offset(road, x, y)
    beside = lateral.abs()
    detail, colour = noise.octaves(x, y, 1.3 * z, footprint)
    # Points on the upright face of the kerb lie on the edge itself, give or take rounding.
    on_road = beside < ROAD_HALF_WIDTH - 0.004
    kerb = ~on_road & (beside < ROAD_HALF_WIDTH + 0.28)
    paved = torch.where(kerb, _kerb_stones(noise, x, footprint), _slabs(noise, x, lateral, footprint))
    grey = torch.where(on_road, _asphalt(noise, x, lateral, footprint), paved)
    grey = grey * torch.exp(torch.where(on_road, 0.75, 0.6) * detail)
    paint = _paint(road, x, lateral, footprint) * (0.75 + 0.5 * detail).clamp(0.25, 1.0) * on_road
    grey = grey + paint * (0.55 * (1.0 + 0.2 * detail) - grey)
    yard = (beside > 13.0).to(grey.dtype) * 0.5
    return torch.stack((grey * (1.02 + 0.10 * colour - 0.3 * yard), grey * (1.0 + 0.03 * colour + 0.1 * yard),
                        grey * (0.97 - 0.10 * colour - 0.8 * yard)))


def _asphalt(noise: SolidNoise, x: Tensor, lateral: Tensor, footprint: Tensor) -> Tensor:
    """Asphalt with mended patches, darker wheel tracks and manhole covers."""
    along, _ = tile_coordinate(x, 5.3)
    across, _ = tile_coordinate(lateral, 1.7)
    patch = noise.cell(along, across, 1)
    grey = 0.13 * (1.0 + 0.30 * patch * (patch.abs() > 0.55))
    track = (((lateral.abs() - 1.85).abs() - 0.75).abs() < 0.3).to(grey.dtype)
    grey = grey * (1.0 - 0.12 * track)
    number, offset = tile_coordinate(x, 17.0)
    side = 2.6 * noise.cell(number, number, 2)
    distance = torch.sqrt((offset + 5.0 * noise.cell(number, number, 3)) ** 2 + (lateral - side) ** 2)
    cover = band(distance, 0.33, footprint)
    rim = band(distance - 0.30, 0.03, footprint)
    return grey * (1.0 - 0.45 * cover) + 0.12 * rim


def _slabs(noise: SolidNoise, x: Tensor, lateral: Tensor, footprint: Tensor) -> Tensor:
    """Paving slabs of different tones with joints."""
    row, across = tile_coordinate(lateral, 0.62)
    column, along = tile_coordinate(x + 0.31 * torch.remainder(row, 2.0), 0.93)
    sharp = (0.31 / footprint - 0.5).clamp(0.0, 1.0)
    tone = 1.0 + 0.22 * sharp * noise.cell(column, row, 4)
    joint = torch.maximum(band(across.abs() - 0.31, 0.012, footprint), band(along.abs() - 0.465, 0.012, footprint))
    return 0.27 * tone * (1.0 - 0.5 * sharp * joint)


def _kerb_stones(noise: SolidNoise, x: Tensor, footprint: Tensor) -> Tensor:
    """Kerb stones of a metre with joints."""
    number, along = tile_coordinate(x, 1.0)
    sharp = (0.5 / footprint - 0.5).clamp(0.0, 1.0)
    tone = 1.0 + 0.2 * sharp * noise.cell(number, number, 6)
    return 0.36 * tone * (1.0 - 0.5 * band(along.abs() - 0.5, 0.012, footprint))


def _paint(road: Road, x: Tensor, lateral: Tensor, footprint: Tensor) -> Tensor:
    """Cover 0..1 of road markings: dashed middle line, parking places, zebra crossings."""
    dash = road.length / max(1, round(road.length / 8.0))
    _, along = tile_coordinate(x, dash)
    cover = band(lateral, 0.07, footprint) * band(along, 1.7, footprint)
    place = road.length / int(road.length // 6.6)
    _, along = tile_coordinate(x + 0.5 * place, place)
    edge = lateral.abs() - (ROAD_HALF_WIDTH - 2.25)
    cover = torch.maximum(cover, band(edge, 0.06, footprint) * band(along, 0.8, footprint))
    cover = torch.maximum(cover, band(along, 0.05, footprint) * (edge > 0.0))
    crossing = road.length / max(1, round(road.length / 65.0))
    _, along = tile_coordinate(x, crossing)
    _, across = tile_coordinate(lateral, 1.1)
    zebra = band(along, 1.6, footprint) * band(across, 0.28, footprint) * (edge < -0.2)
    return torch.maximum(cover, zebra)
