"""Exact truth about the street: what is solid, and where the objects are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..structures import Matrix
from .facades import in_recess
from .ground import height
from .leaves import in_leaf
from .primitives import BOX, CYLINDER, LEAVES, PrimitiveSet
from .street_world import ObjectBox, StreetWorld
from .trajectories import Road

_CHUNK = 16384


def occupied(points: NDArray[np.floating], primitives: PrimitiveSet, road: Road,
             device: torch.device | str) -> NDArray[np.bool_]:
    """(N,) bool: whether world points (N, 3) lie below the ground's surface or inside a primitive.

    Panes of windows are solid, the hollow before them is not.
    """
    world = torch.tensor(np.asarray(points, dtype=np.float64), device=device).T
    solid = world[2] < height(road, torch.remainder(world[0], road.length), world[1])
    low, high = primitives.centre - primitives.reach, primitives.centre + primitives.reach
    for start in range(0, world.shape[1], _CHUNK):
        part = world[:, start:start + _CHUNK]
        if part.shape[1] == 0:
            continue
        near = ((low <= part.amax(1).cpu().numpy()) & (high >= part.amin(1).cpu().numpy())).all(axis=1)
        for index in np.flatnonzero(near):
            solid[start:start + _CHUNK] |= _inside(part, primitives, int(index), low[index], high[index])
    return solid.cpu().numpy()


def _inside(points: Tensor, primitives: PrimitiveSet, index: int, low: NDArray[np.float64],
            high: NDArray[np.float64]) -> Tensor:
    """(N,) bool: whether points (3, N) lie inside one primitive with the given axis-aligned bounds."""
    found = torch.ones_like(points[0], dtype=torch.bool)
    for axis in range(3):
        found &= (points[axis] >= float(low[axis])) & (points[axis] <= float(high[axis]))
    chosen = found.nonzero().squeeze(1)
    if len(chosen) == 0:
        return found
    affine = torch.tensor(np.linalg.inv(primitives.T_world_unit[index])[:3], device=points.device)
    unit = affine[:, :3] @ points[:, chosen] + affine[:, 3:]
    kind = int(primitives.kind[index])
    if kind == BOX:
        inside = (unit.abs() <= 1.0).all(0)
        facade = torch.tensor(primitives.facade[index], device=points.device)[:, None].expand(6, len(chosen))
        if float(primitives.facade[index, 0]) > 0.0:
            half = torch.tensor(primitives.half_size[index], device=points.device)[:, None].expand(3, len(chosen))
            inside &= ~in_recess(unit * half, half, facade)
    elif kind == CYLINDER:
        inside = (unit[:2].square().sum(0) <= 1.0) & (unit[2].abs() <= 1.0)
    elif kind == LEAVES:
        inside = in_leaf(unit)
    else:
        inside = unit.square().sum(0) <= 1.0
    found[chosen] = inside
    return found


def object_boxes(world: StreetWorld, primitives: PrimitiveSet, T_base_world: Matrix,
                 max_distance: float) -> tuple[ObjectBox, ...]:
    """Boxes around all objects with a part whose centre is within max_distance of the vehicle, nearest first.

    A box is aligned with its object's first part, upright. Copies of one object (laps of the street) share a number.
    """
    distance = np.linalg.norm((primitives.centre - np.linalg.inv(T_base_world)[:3, 3])[:, :2], axis=1)
    found = []
    laps = np.floor((primitives.centre[:, 0] - primitives.centre[:, 0].min()) / world.road.length + 0.5)
    for owner, lap in sorted({(int(o), int(n)) for o, n in zip(primitives.owner[distance < max_distance],
                                                               laps[distance < max_distance], strict=True)}):
        parts = primitives.select((primitives.owner == owner) & (laps == lap))
        columns = parts.T_world_unit[0, :3, :3]
        axes = columns / np.linalg.norm(columns, axis=0)
        corners = np.concatenate([parts.centre + parts.T_world_unit[:, :3, :3] @ np.array(sign, dtype=float)
                                  for sign in np.ndindex(2, 2, 2)
                                  for sign in [2 * np.array(sign) - 1]]) @ axes
        middle = np.eye(4)
        middle[:3, :3] = axes
        middle[:3, 3] = axes @ ((corners.min(0) + corners.max(0)) / 2.0)
        one = world.objects[owner - 1]
        found.append(ObjectBox(owner, one.category, T_base_world @ middle, corners.max(0) - corners.min(0), one.moving))
    return tuple(sorted(found, key=lambda item: float(np.linalg.norm(item.T_base_box[:2, 3]))))
