"""Light of the night: street lamps on a jittered grid, and the vehicle's own headlights and tail lights.

Lamps shine through what stands between (no cast shadows): near a lamp that is hard to see, and costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.transforms import apply, inverse
from ..structures import Matrix

_CELL = 26.0  # metres between street lamps
_NEAREST = 7
_SODIUM, _WHITE = (1.0, 0.58, 0.24), (0.92, 1.0, 1.05)
_STREET = 34.0  # irradiance of a street lamp straight below it at 1 m
_HEAD, _TAIL = 70.0, 0.5
_HEAD_PLACES = ((3.7, 0.62, 0.65), (3.7, -0.62, 0.65))
_TAIL_PLACES = ((-0.95, 0.65, 0.8), (-0.95, -0.65, 0.8))


@dataclass(frozen=True, eq=False)
class Lamps:
    """Street lamps near a sensor. place: (L, 3) world; colour: (L, 3) irradiance straight below at 1 m."""

    place: NDArray[np.floating]
    colour: NDArray[np.floating]


def street_lamps(seed: int, position: NDArray[np.floating], height: float = 0.0) -> Lamps:
    """The lamps around a position (3,), the same from everywhere; height: of the ground."""
    column, row = (math.floor(position[axis] / _CELL) for axis in (0, 1))
    place, colour = [], []
    warm = np.random.default_rng((seed, 21)).random()
    for i in range(column - 2, column + 3):
        for j in range(row - 2, row + 3):
            random = np.random.default_rng((seed, 22, i % 100_003, j % 100_003))
            x, y = random.uniform(0.1, 0.9, 2)
            if random.random() < 0.75:
                place.append(((i + x) * _CELL, (j + y) * _CELL, height + random.uniform(4.5, 9.0)))
                base = np.array(_SODIUM if random.random() < warm else _WHITE)
                colour.append(base * _STREET * random.uniform(0.4, 1.6))
    order = np.argsort(np.linalg.norm(np.array(place) - position, axis=1), kind="stable")[:_NEAREST]
    return Lamps(np.array(place)[order], np.array(colour)[order])


def lamp_light(points: Tensor, normal: Tensor, lamps: Lamps, T_world_camera: Matrix, T_world_base: Matrix,
               strength: float) -> Tensor:
    """(3, N) irradiance of points (3, N) with unit normals (3, N), both in the optical frame."""
    T_camera_world = inverse(T_world_camera)
    total = torch.zeros_like(points)
    for place, colour in zip(apply(T_camera_world, lamps.place), lamps.colour, strict=True):
        towards, near, facing = _towards(points, normal, place)
        above = _along(T_camera_world[:3, 2], towards).clamp_(min=0.0)
        _add(total, facing * above * near.pow(4), colour * strength)
    T_camera_base = T_camera_world @ T_world_base
    x, y, z = (T_camera_base[:3, axis] for axis in range(3))
    for place in apply(T_camera_base, np.array(_HEAD_PLACES)):
        towards, near, facing = _towards(points, normal, place)
        ahead, aside, above = (-_along(axis, towards) * near for axis in (x, y, z))
        beam = torch.exp(-8.0 * aside * aside - 60.0 * (above + 0.03).clamp(min=-0.02) ** 2) * (ahead > 0.0)
        _add(total, facing * beam * near.pow(3), strength * _HEAD * np.array((1.0, 0.97, 0.88)))
    for place in apply(T_camera_base, np.array(_TAIL_PLACES)):
        towards, near, facing = _towards(points, normal, place)
        behind = _along(x, towards).clamp_(min=0.0)
        _add(total, facing * behind * near.pow(4), strength * _TAIL * np.array((1.0, 0.08, 0.05)))
    return total


def _towards(points: Tensor, normal: Tensor, place: NDArray[np.floating]) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors (3, N) from points to a lamp, 1 / distance (N,), and the component (N,) of the vectors along the normals
    (not below 0)."""
    towards = torch.tensor(place, dtype=torch.float32, device=points.device)[:, None] - points
    x, y, z = towards
    square = torch.addcmul(torch.addcmul(x * x, y, y), z, z).clamp_(min=0.3)
    facing = torch.addcmul(torch.addcmul(x * normal[0], y, normal[1]), z, normal[2]).clamp_(min=0.0)
    return towards, torch.rsqrt(square), facing


def _along(axis: NDArray[np.floating], vectors: Tensor) -> Tensor:
    """(N,) component of vectors (3, N) along an axis (3,)."""
    first, second, third = (float(value) for value in axis)
    return torch.add(vectors[0] * first, vectors[1], alpha=second).add_(vectors[2], alpha=third)


def _add(total: Tensor, share: Tensor, colour: NDArray[np.floating]) -> None:
    for channel in range(3):
        total[channel].add_(share, alpha=float(colour[channel]))


def draw_lamps(radiance: Tensor, depth: Tensor, pixels: NDArray[np.floating], distance: NDArray[np.floating],
               lamps: Lamps, focal: float, strength: float) -> None:
    """Bright lamp heads into an image in place. radiance: (3, H, W); depth: (H, W), sky = inf; pixels: (L, 2) and
    distance: (L,) depth of the lamps in the image."""
    height, width = depth.shape
    for (u, v), far, colour in zip(pixels, distance, lamps.colour, strict=True):
        if far < 1.0 or not (0 <= u < width and 0 <= v < height):
            continue
        size = min(max(focal * 0.16 / far, 0.7), 14.0)
        reach = math.ceil(size)
        rows = slice(max(int(v) - reach, 0), int(v) + reach + 1)
        columns = slice(max(int(u) - reach, 0), int(u) + reach + 1)
        y = torch.arange(rows.start, min(rows.stop, height), device=depth.device)[:, None] - v
        x = torch.arange(columns.start, min(columns.stop, width), device=depth.device)[None, :] - u
        cover = (size + 0.5 - torch.sqrt(x * x + y * y)).clamp(0.0, 1.0) * (depth[rows, columns] > far)
        glow = torch.tensor(0.4 * strength * colour, dtype=torch.float32, device=depth.device)[:, None, None]
        radiance[:, rows, columns] += cover * (glow - radiance[:, rows, columns])
