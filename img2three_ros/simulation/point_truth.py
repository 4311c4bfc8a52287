"""Truth about points: where they move, and rays through them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry.transforms import apply, inverse
from ..structures import Matrix
from .ray_casting import TILE, RayTiles
from .street_world import StreetWorld

_VELOCITY_STEP = 0.004  # seconds


def moved_points(world: StreetWorld, points: NDArray[np.floating], identity: NDArray[np.integer], seconds: float,
                 later: float) -> NDArray[np.floating]:
    """(N, 3) where points (N, 3) of the world, on objects ``identity`` (N,) at an instant, are at another instant."""
    found = np.array(points, dtype=np.float64)
    for number in np.unique(identity):
        if number <= 0 or not world.moving[number]:
            continue
        chosen = identity == number
        before, after = (world.objects[number - 1].pose_at(instant) for instant in (seconds, later))
        # An object repeats with the street; its points belong to the nearest copy.
        lap = np.zeros((int(chosen.sum()), 3))
        lap[:, 0] = world.road.length * np.round((found[chosen, 0] - before[0, 3]) / world.road.length)
        found[chosen] = apply(after @ inverse(before), found[chosen] - lap) + lap
    return found


def pixel_velocity(world: StreetWorld, depth: NDArray[np.float32], identity: NDArray[np.int32],
                   directions: NDArray[np.floating], T_world_camera: Matrix, seconds: float) -> NDArray[np.float32]:
    """(H, W, 3) velocity of what every pixel shows, m/s in the optical frame; NaN where depth (H, W) is NaN.

    directions: (H, W, 3) of the pixels, z = 1.
    """
    velocity = np.where(np.isfinite(depth)[..., None], np.float32(0.0), np.float32(np.nan)) * np.ones(3, np.float32)
    moving = np.isfinite(depth) & (identity > 0) & world.moving[np.maximum(identity, 0)]
    points = apply(T_world_camera, directions[moving] * depth[moving][:, None])
    step = _VELOCITY_STEP / 2.0
    ends = [moved_points(world, points, identity[moving], seconds, seconds + sign * step) for sign in (-1.0, 1.0)]
    velocity[moving] = ((ends[1] - ends[0]) / _VELOCITY_STEP) @ T_world_camera[:3, :3]
    return velocity


def ray_bundle(points: NDArray[np.floating], device: torch.device | str) -> tuple[RayTiles, NDArray[np.int64]]:
    """Rays through points (N, 3) before a sensor, and the place (N,) of each point's ray among T * R.

    Neighbouring rays share a tile.
    """
    slopes = points[:, :2] / points[:, 2:]
    size, count = TILE * TILE, len(points)
    strips = max(1, round((count / size) ** 0.5))
    strip = np.empty(count, dtype=np.int64)
    strip[np.argsort(slopes[:, 0], kind="stable")] = np.arange(count) * strips // count
    order = np.lexsort((slopes[:, 1], strip))
    padded = np.pad(slopes[order], ((0, -count % size), (0, 0)), mode="edge").reshape(-1, size, 2)
    places = np.empty(count, dtype=np.int64)
    places[order] = np.arange(count)
    directions = np.concatenate((padded, np.ones((*padded.shape[:2], 1))), axis=2).transpose(2, 0, 1)
    bounds = np.concatenate((padded.min(1), padded.max(1)), axis=1)
    rays = RayTiles(torch.tensor(np.ascontiguousarray(directions), dtype=torch.float32, device=device),
                    torch.tensor(bounds, dtype=torch.float32, device=device), TILE, TILE * len(padded))
    return rays, places
