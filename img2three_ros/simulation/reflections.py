"""Mirror images: what wet ground, glossy surfaces and the vehicle's own body reflect.

A reflected ray is looked up in the image itself where it shows the place (a few steps along the ray, compared with
the depth seen there), otherwise in ``sky.surroundings``. The lookups need no camera model: a table leads from
normalised coordinates to rays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import distort
from ..structures import CameraCalibration, Matrix
from .ray_casting import TILE, RayTiles
from .sky import Light, surroundings
from .textures import SolidNoise

_CELLS = 384
_STEPS = (0.6, 1.6, 3.5, 7.0, 14.0, 30.0, 80.0)  # metres along the reflected ray


@dataclass(frozen=True, eq=False)
class RayTable:
    """Place among the rays (T * R) of every cell of a grid over x/z, y/z; -1 outside the image.

    place: (_CELLS * _CELLS,) int64; low: smallest x/z and y/z; scale: cells per unit of x/z and y/z.
    """

    place: Tensor
    low: tuple[float, float]
    scale: tuple[float, float]

    def find(self, direction: Tensor) -> Tensor:
        """(N,) places of directions (3, N) of any length; -1 = outside the image or behind the camera."""
        ahead = direction[2] > 1e-3
        depth = torch.where(ahead, direction[2], 1.0)
        column = ((direction[0] / depth - self.low[0]) * self.scale[0]).round()
        row = ((direction[1] / depth - self.low[1]) * self.scale[1]).round()
        inside = ahead & (column >= 0) & (row >= 0) & (column < _CELLS) & (row < _CELLS)
        cell = torch.where(inside, row * _CELLS + column, 0.0).to(torch.int64)
        return torch.where(inside, self.place.index_select(0, cell), -1)


def ray_table(rays: RayTiles, calibration: CameraCalibration) -> RayTable:
    """The table of a camera."""
    bounds = rays.bounds.cpu().numpy().astype(np.float64)
    low, high = bounds[:, :2].min(0), bounds[:, 2:].max(0)
    scale = (_CELLS - 1) / np.maximum(high - low, 1e-6)
    y, x = np.mgrid[0:_CELLS, 0:_CELLS].reshape(2, -1)
    pixel = np.round(distort(np.stack((x / scale[0] + low[0], y / scale[1] + low[1]), axis=1), calibration))
    inside = np.asarray((pixel >= 0) & (pixel < (rays.columns, rays.rows))).all(axis=1)
    column, row = np.where(inside.reshape(-1, 1), pixel, 0).astype(np.int64).T
    tile = (row // TILE) * -(-rays.columns // TILE) + column // TILE
    place = np.where(inside, tile * TILE * TILE + (row % TILE) * TILE + column % TILE, -1)
    return RayTable(torch.tensor(place, device=rays.directions.device), (float(low[0]), float(low[1])),
                    (float(scale[0]), float(scale[1])))


def mirrored(direction: Tensor, normal: Tensor) -> Tensor:
    """Directions (3, N) after reflection at surfaces with unit normals (3, N) or (3, 1)."""
    return direction - 2.0 * (direction * normal).sum(0) * normal


def fresnel(cosine: Tensor, straight: float | Tensor) -> Tensor:
    """Share of light mirrored at an angle (Schlick 1994); straight: share at normal incidence."""
    return straight + (1.0 - straight) * (1.0 - cosine.clamp(0.0, 1.0)) ** 5


def reflected(origin: Tensor, direction: Tensor, radiance: Tensor, depth: Tensor, table: RayTable, rotation: Matrix,
              noise: SolidNoise, light: Light) -> Tensor:
    """(3, N) radiance that arrives along reflected rays, origin and unit direction (3, N) in the optical frame.

    radiance: (3, T * R) and depth: (T * R,) of the image (inf = sky, NaN = not to be used); rotation: optical frame
    into world.
    """
    found = torch.full_like(direction[0], -1, dtype=torch.int64)
    for step in _STEPS:
        point = origin + step * direction
        place = table.find(point)
        seen = depth.index_select(0, place.clamp(min=0))
        # The ray has passed behind a surface that is not much nearer: this surface is what it meets.
        hit = (place >= 0) & (found < 0) & (seen < point[2]) & (seen > 0.75 * point[2] - 1.0)
        found = torch.where(hit, place, found)
    place = table.find(direction)
    sky = (place >= 0) & (found < 0) & torch.isinf(depth.index_select(0, place.clamp(min=0)))
    found = torch.where(sky, place, found)
    r = torch.tensor(rotation, dtype=torch.float32, device=direction.device)
    around = surroundings(r @ direction, noise, light)
    return torch.where(found >= 0, radiance.index_select(1, found.clamp(min=0)), around)
