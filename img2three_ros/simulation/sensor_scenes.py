"""The primitives as sensors meet them, reckoned in float64: affine maps, outlines in images, extents across the sun.

The frame of a view has the axes of the world and its origin at the sensor: what views of one instant share is reckoned
once, and vectors of all views can be handled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry.transforms import inverse
from ..structures import Matrix
from .primitives import PrimitiveSet
from .ray_casting import NEAR, SensorScene

_SMALLEST_CASTER = 0.5  # metres across; the shadows of trifles are left out
_CORNERS = np.array([(x, y, z, 1.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


def sensor_scene(primitives: PrimitiveSet, T_world_sensor: Matrix, sun: NDArray[np.float64],
                 device: torch.device | str) -> SensorScene:
    """Primitives as one sensor meets them, in its optical frame. sun: (3,) unit vector towards the sun, world."""
    moved = primitives.moved(inverse(T_world_sensor))
    return views_scene((moved,), np.eye(4)[None], T_world_sensor[:3, :3].T @ sun, device)


def views_scene(primitives: Sequence[PrimitiveSet], T_world_sensor: Matrix, sun: NDArray[np.float64],
                device: torch.device | str) -> SensorScene:
    """The primitives of V views, those of one view after the other, each in the world's axes about the view's sensor.

    T_world_sensor: (V, 4, 4); sun: (3,) unit vector, world. What views of one instant give as the same object is looked
    at once.
    """
    axes = np.vstack((np.linalg.svd(sun[None, :])[2][1:], sun))
    known: dict[int, _Shapes] = {}
    to_unit, seen, casters, first = [], [], [], 0
    for one, T in zip(primitives, T_world_sensor, strict=True):
        if id(one) not in known:
            known[id(one)] = _shapes(one, axes)
        shapes = known[id(one)]
        centre = (one.centre - T[:3, 3]).T
        to_unit.append(np.concatenate((shapes.inverse, -(shapes.inverse * centre).sum(1)[:, None]), axis=1)
                       .reshape(12, -1))
        seen.append(_seen(one, T, first))
        along = axes @ centre[:, shapes.casters]
        casters.append((shapes.casters + first, np.concatenate((along - shapes.half, along + shapes.half))))
        first += len(one)

    def tensor(values: NDArray[np.floating]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    visible, outline = _padded(seen)
    numbers, extent = _padded(casters)
    near, outline = tensor(outline[:, 0]), tensor(outline[:, 1:])
    low, high = tensor(extent[:, :3]), tensor(extent[:, 3:])
    kind = torch.tensor(np.concatenate([one.kind for one in primitives]), device=device)
    return SensorScene(kind, tensor(np.concatenate(to_unit, axis=1)), torch.tensor(visible, device=device), near,
                       outline, tensor(axes), torch.tensor(numbers, device=device), low, high)


@dataclass(frozen=True, eq=False)
class _Shapes:
    """What views of the same P primitives share. inverse: (3, 3, P) of the linear parts; casters: (D,) numbers of those
    that cast shadows, largest first; half: (3, D) their half extents along the axes of the sun."""

    inverse: NDArray[np.float64]
    casters: NDArray[np.int64]
    half: NDArray[np.float64]


def _shapes(primitives: PrimitiveSet, axes: NDArray[np.float64]) -> _Shapes:
    linear = primitives.T_world_unit[:, :3, :3]
    # Half extents of the hull along an axis: the sum over its edges.
    half = np.abs(axes @ linear).sum(2)
    size = 2.0 * half.max(1)
    order = np.argsort(-size, kind="stable")
    order = order[size[order] > _SMALLEST_CASTER]
    return _Shapes(_inverses(linear), order, half[order].T)


def _inverses(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses (3, 3, P) of matrices (P, 3, 3)."""
    a, b, c = linear.transpose(2, 1, 0)  # columns, (3, P) each

    def cross(v: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack((v[1] * w[2] - v[2] * w[1], v[2] * w[0] - v[0] * w[2], v[0] * w[1] - v[1] * w[0]))

    rows = np.stack((cross(b, c), cross(c, a), cross(a, b)))
    return np.asarray(rows / (a * rows[0]).sum(0))


def _seen(primitives: PrimitiveSet, T_world_sensor: Matrix, first: int) -> tuple[
        NDArray[np.int64], NDArray[np.float64]]:
    """Numbers (C,), counted from ``first``, of the primitives in front of a sensor, nearest first, and (5, C) their
    smallest depth and outline."""
    forward = T_world_sensor[:3, 2]
    centre = (primitives.centre - T_world_sensor[:3, 3]) @ forward
    half = np.abs(forward @ primitives.T_world_unit[:, :3, :3]).sum(1)
    ahead = np.flatnonzero(centre + half > NEAR)
    order = ahead[np.argsort((centre - half)[ahead], kind="stable")]
    corners = ((inverse(T_world_sensor) @ primitives.T_world_unit[order])[:, :3] @ _CORNERS.T).transpose(0, 2, 1)
    near = np.maximum((centre - half)[order], NEAR)
    return order + first, np.concatenate((near[None], _outline(corners).T))


def _outline(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 8, 3) hull corners -> (P, 4) bounds of x/z, y/z of the part of the hull in front of NEAR."""
    first, second = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    crosses = (first[..., 2] > NEAR) != (second[..., 2] > NEAR)
    step = np.where(crosses, second[..., 2] - first[..., 2], 1.0)
    cut = first + ((NEAR - first[..., 2]) / step)[..., None] * (second - first)
    points = np.concatenate((corners, cut), axis=1)
    seen = np.concatenate((corners[..., 2] > NEAR, crosses), axis=1)
    slopes = points[..., :2] / np.maximum(points[..., 2:], NEAR)
    low = np.where(seen[..., None], slopes, np.inf).min(1)
    high = np.where(seen[..., None], slopes, -np.inf).max(1)
    return np.concatenate((low, high), axis=1)


def _padded(views: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> tuple[
        NDArray[np.int64], NDArray[np.float64]]:
    """Numbers (C,) and values (rows, C) of every view -> (V, most) and (V, rows, most); the extents of what is missing
    are empty, since nothing is lower than inf in any row."""
    most = max(len(numbers) for numbers, _ in views)
    joined = np.zeros((len(views), most), dtype=np.int64)
    values = np.full((len(views), len(views[0][1]), most), np.inf)
    for view, (numbers, rows) in enumerate(views):
        joined[view, :len(numbers)], values[view, :, :len(numbers)] = numbers, rows
    return joined, values
