"""Ray casting in torch: nearest hits of a camera's rays with boxes, cylinders and ellipsoids, and cast shadows.

Rays are grouped into square tiles. A primitive is tried only on the tiles its outline can touch, nearest primitives
first, and no more on tiles that nearer hits have filled; all tiles try their next candidates together, so the
number of torch calls stays small. The same code runs on CPU and CUDA; results do not depend on ``chunk``.

Lengths along a ray are multiples of its direction, whose z is 1 in the optical frame: a length *is* a depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..structures import Matrix
from .leaves import dappled, first_leaf
from .primitives import BOX, CYLINDER, KINDS, LEAVES, PrimitiveSet

TILE = 16
NEAR = 0.05
"""Nothing nearer to a sensor than this (metres) is seen."""

_NEVER_ZERO = 1e-20  # keeps rays along an axis from dividing 0 by 0; lost in rounding otherwise
_SMALLEST_CASTER = 0.5  # metres across
_NEAREST_ROUNDS = (2, 2, 4, 8, 16)  # candidates a tile tries at once: few at first, since near ones hide others
_SHADOW_ROUNDS = (4, 8, 16)
_PAIRS = 256  # of tiles and candidates that a round tries at least, where there are as many
_CORNERS = np.array([(x, y, z, 1.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


@dataclass(frozen=True, eq=False)
class RayTiles:
    """Rays of one sensor in its optical frame, in tiles of TILE x TILE.

    directions: (3, T, R) with z = 1; bounds: (T, 4) smallest x, y and largest x, y of each tile's directions.
    rows, columns: size of the sensor; row and column counts are padded to whole tiles by repeating the last rays.
    """

    directions: Tensor
    bounds: Tensor
    rows: int
    columns: int

    def to_image(self, values: Tensor) -> Tensor:
        """(..., T, R) -> (..., rows, columns)."""
        down, across = -(-self.rows // TILE), -(-self.columns // TILE)
        lead = values.shape[:-2]
        grid = values.reshape(*lead, down, across, TILE, TILE).transpose(-3, -2)
        return grid.reshape(*lead, down * TILE, across * TILE)[..., : self.rows, : self.columns]


def ray_tiles(directions: NDArray[np.float64], device: torch.device | str) -> RayTiles:
    """Directions (rows, columns, 3) with z = 1 -> tiles of rays."""
    rows, columns = directions.shape[:2]
    padded = np.pad(directions, ((0, -rows % TILE), (0, -columns % TILE), (0, 0)), mode="edge")
    down, across = padded.shape[0] // TILE, padded.shape[1] // TILE
    tiles = padded.reshape(down, TILE, across, TILE, 3).transpose(4, 0, 2, 1, 3).reshape(3, down * across, -1)
    bounds = np.stack((tiles[0].min(1), tiles[1].min(1), tiles[0].max(1), tiles[1].max(1)), axis=1)
    return RayTiles(torch.tensor(tiles, dtype=torch.float32, device=device),
                    torch.tensor(bounds, dtype=torch.float32, device=device), rows, columns)


@dataclass(frozen=True, eq=False)
class SensorScene:
    """P primitives in a sensor's optical frame, of which V may be seen; tensors on the device.

    kind: (P,); to_unit: (12, P) rows of the (3, 4) affine from the optical frame into the unit primitive.
    visible: (V,) places of those in front of the sensor, nearest first; near: (V,) their smallest depth;
    outline: (V, 4) smallest x/z, y/z and largest x/z, y/z of their hulls.
    sun: (3, 3) rows: two axes across the sunlight and the direction towards the sun; sun_low, sun_high: (3, P)
    extent of the primitives along these axes.
    """

    kind: Tensor
    to_unit: Tensor
    visible: Tensor
    near: Tensor
    outline: Tensor
    sun: Tensor
    sun_low: Tensor
    sun_high: Tensor


def sensor_scene(primitives: PrimitiveSet, T_world_sensor: Matrix, sun: NDArray[np.float64],
                 device: torch.device | str) -> SensorScene:
    """Primitives as a sensor meets them (computed in float64). sun: (3,) unit vector towards the sun, world."""
    T_sensor_unit = np.linalg.inv(T_world_sensor) @ primitives.T_world_unit
    linear, centre = T_sensor_unit[:, :3, :3], T_sensor_unit[:, :3, 3]
    towards = T_world_sensor[:3, :3].T @ sun
    axes = np.vstack((np.linalg.svd(towards[None, :])[2][1:], towards))
    # Half extents of the hull along an axis: the sum over its edges.
    along_sun, half_sun = centre @ axes.T, np.abs(np.einsum("ai,pij->paj", axes, linear)).sum(2)
    half_depth = np.abs(linear[:, 2]).sum(1)
    ahead = np.flatnonzero(centre[:, 2] + half_depth > NEAR)
    order = ahead[np.argsort((centre[:, 2] - half_depth)[ahead], kind="stable")]
    corners = (T_sensor_unit[order, :3] @ _CORNERS.T).transpose(0, 2, 1)

    def tensor(values: NDArray[np.float64]) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32, device=device)

    return SensorScene(
        torch.tensor(primitives.kind, device=device), tensor(_inverted(linear, centre)),
        torch.tensor(order, device=device), tensor(np.maximum((centre[:, 2] - half_depth)[order], NEAR)),
        tensor(_outline(corners)), tensor(axes), tensor((along_sun - half_sun).T), tensor((along_sun + half_sun).T))


def _inverted(linear: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses (12, P), row by row, of affine maps with linear parts (P, 3, 3) and places (P, 3)."""
    a, b, c = linear.transpose(2, 1, 0)  # columns, (3, P) each

    def cross(v: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack((v[1] * w[2] - v[2] * w[1], v[2] * w[0] - v[0] * w[2], v[0] * w[1] - v[1] * w[0]))

    rows = np.stack((cross(b, c), cross(c, a), cross(a, b)))
    rows /= (a * rows[0]).sum(0)
    return np.concatenate((rows, -(rows * centre.T).sum(1)[:, None]), axis=1).reshape(12, -1)


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


def nearest_hits(rays: RayTiles, scene: SensorScene, limit: Tensor, chunk: int = 1 << 16) -> tuple[Tensor, Tensor]:
    """Nearest hit of every ray.

    limit: (T, R) depth beyond which nothing is looked for (the ground, or inf). chunk: intersections computed at a
    time; it changes speed and memory only.
    Returns depth (T, R), where nothing is hit equal to ``limit``, and primitive (T, R) int64, -1 = none.
    """
    best, found = limit.clone(), torch.full_like(limit, -1, dtype=torch.int64)
    low, high = rays.bounds[:, :2].T, rays.bounds[:, 2:].T
    kinds, box_low, box_high = scene.kind[scene.visible], scene.outline[:, :2].T, scene.outline[:, 2:].T
    in_image = ((box_low <= high.amax(1)[:, None]) & (box_high >= low.amin(1)[:, None])).all(0)
    for kind in KINDS:
        chosen = (in_image & (kinds == kind)).nonzero().squeeze(1)
        touches = _overlapping(box_low[:, chosen], box_high[:, chosen], low, high)
        for tile, candidates in _rounds(touches, _NEAREST_ROUNDS, partial(_may_hide, best, scene.near[chosen])):
            for t, c in _chunks(tile, candidates, chunk // best.shape[1]):
                primitive = scene.visible[chosen[c.clamp(min=0)]]
                depth = _hit(kind, scene.to_unit[:, primitive], rays.directions[:, t])
                # A padded place repeats some primitive: harmless, except that it must not win.
                depth = torch.where((depth > NEAR) & (c >= 0).unsqueeze(-1), depth, torch.inf)
                depth, which = depth.min(1)
                before = best[t]
                nearer = depth < before
                best[t] = torch.where(nearer, depth, before)
                found[t] = torch.where(nearer, primitive.gather(1, which), found[t])
    return best, found


def _may_hide(best: Tensor, near: Tensor, tile: Tensor, candidate: Tensor) -> Tensor:
    """(K,) bool: whether a candidate begins before a tile's farthest hit so far."""
    return best[tile].amax(1) > near[candidate]


def shadows(points: Tensor, owner: Tensor, lit: Tensor, scene: SensorScene, chunk: int = 1 << 16) -> Tensor:
    """(T, R) bool: whether something stands between a point and the sun.

    points: (3, T, R) in the optical frame; owner: (T, R) primitive a point lies on (convex: never shades itself);
    lit: (T, R) which points matter.
    """
    dark = ~lit
    along = [axis[0] * points[0] + axis[1] * points[1] + axis[2] * points[2] for axis in scene.sun]
    low = torch.stack([torch.where(lit, one, torch.inf).amin(1) for one in along])
    high = torch.stack([torch.where(lit, one, -torch.inf).amax(1) for one in along])
    high[2] = torch.inf  # casters stand anywhere towards the sun
    # Large casters first: tiles they darken altogether need no others. Trifles are left out.
    size = (scene.sun_high - scene.sun_low).amax(0)
    order = torch.argsort(size, descending=True, stable=True)
    matter = (size > _SMALLEST_CASTER) & ((scene.sun_low <= high.amax(1)[:, None])
                                          & (scene.sun_high >= low.amin(1)[:, None])).all(0)
    order = order[matter[order]]
    for kind in KINDS:
        chosen = order[scene.kind[order] == kind]
        touches = _overlapping(scene.sun_low[:, chosen], scene.sun_high[:, chosen], low, high)
        for tile, candidates in _rounds(touches, _SHADOW_ROUNDS, lambda t, c: ~dark[t].all(1)):
            for t, c in _chunks(tile, candidates, chunk // lit.shape[1]):
                primitive = chosen[c.clamp(min=0)]  # a padded place repeats a candidate of the round
                covered = _covers(kind, scene.to_unit[:, primitive], points[:, t], scene.sun[2])
                covered &= (owner[t][:, None] != primitive[:, :, None]) & (c >= 0).unsqueeze(-1)
                dark[t] |= covered.any(1)
    return dark & lit


def _overlapping(box_low: Tensor, box_high: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(P, T) bool: whether boxes (A, P) and boxes (A, T) overlap along all A axes."""
    touches = torch.ones(box_low.shape[1], low.shape[1], dtype=torch.bool, device=low.device)
    for axis in range(len(low)):
        touches &= box_low[axis, :, None] <= high[axis]
        touches &= box_high[axis, :, None] >= low[axis]
    return touches


def _rounds(touches: Tensor, sizes: tuple[int, ...],
            is_open: Callable[[Tensor, Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """(P, T) which primitives may touch which tiles -> rounds of (tiles (K,), candidates (K, size), -1 = none left).

    Every open tile tries its candidates in the order of P; ``sizes`` are the least candidates per round, the last
    repeats; few tiles try more at once. is_open: tiles (K,) and their next candidates (K,) -> (K,) bool; what is
    closed stays closed.
    """
    turn = touches.cumsum(0, dtype=torch.int32) - 1
    primitive, tile = touches.nonzero(as_tuple=True)
    counts = touches.sum(0)
    most = int(counts.max()) if len(primitive) else 0
    table = torch.full((touches.shape[1], most), -1, dtype=torch.int64, device=touches.device)
    table[tile, turn[primitive, tile].long()] = primitive
    waiting, start, number = (counts > 0).nonzero().squeeze(1), 0, 0
    while len(waiting):
        waiting = waiting[is_open(waiting, table[waiting, start])]
        if len(waiting) == 0:
            break
        size = max(sizes[min(number, len(sizes) - 1)], _PAIRS // len(waiting))
        yield waiting, table[waiting, start:start + size]
        start, number = start + size, number + 1
        waiting = waiting[counts[waiting] > start]


def _chunks(tile: Tensor, candidates: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Tiles and their candidates in portions of about ``size`` pairs."""
    step = max(1, size // candidates.shape[1])
    for start in range(0, len(tile), step):
        yield tile[start:start + step], candidates[start:start + step]


def _hit(kind: int, affine: Tensor, directions: Tensor) -> Tensor:
    """Depth (K, C, R) at which rays (3, K, R) from the optical centre enter C unit primitives each (12, K, C).

    inf or less than NEAR = miss.
    """
    m = affine.unsqueeze(-1)
    x, y, z = directions.unsqueeze(2)
    local = [torch.addcmul(torch.addcmul(m[4 * i] * x, m[4 * i + 1], y), m[4 * i + 2], z) for i in range(3)]
    if kind == LEAVES:
        return first_leaf([m[3], m[7], m[11]], local)
    enter, leave = _interval(kind, [m[3], m[7], m[11]], local)
    return torch.where(enter <= leave, enter, torch.inf)


def _covers(kind: int, affine: Tensor, points: Tensor, sun: Tensor) -> Tensor:
    """(K, C, R) bool: whether rays from points (3, K, R) towards the sun meet C unit primitives each (12, K, C)."""
    m = affine.unsqueeze(-1)
    x, y, z = points.unsqueeze(2)
    origin = [torch.addcmul(torch.addcmul(torch.addcmul(m[4 * i + 3], m[4 * i], x), m[4 * i + 1], y),
                            m[4 * i + 2], z) for i in range(3)]
    direction = [m[4 * i] * sun[0] + m[4 * i + 1] * sun[1] + m[4 * i + 2] * sun[2] for i in range(3)]
    if kind == LEAVES:
        return dappled(origin, direction)
    enter, leave = _interval(kind, origin, direction)
    return (enter <= leave) & (leave > 1e-3)


def _interval(kind: int, origin: list[Tensor], direction: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Lengths at which rays enter and leave a unit primitive; enter > leave (or NaN) = they miss it."""
    if kind == BOX:
        slabs = [_slab(o, d) for o, d in zip(origin, direction, strict=True)]
        enter = torch.maximum(torch.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
        return enter, torch.minimum(torch.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])
    axes = range(2) if kind == CYLINDER else range(3)
    a = sum(direction[i] * direction[i] for i in axes) + _NEVER_ZERO
    b = sum(direction[i] * origin[i] for i in axes)
    # The distance of the ray's nearest point, not b^2 - a c: the latter cancels for far and thin primitives.
    nearest = -b / a
    miss = sum((origin[i] + nearest * direction[i]) ** 2 for i in axes)
    half = torch.sqrt((1.0 - miss) / a)  # NaN where the ray passes by
    enter, leave = nearest - half, nearest + half
    if kind == CYLINDER:
        low, high = _slab(origin[2], direction[2])
        enter, leave = torch.maximum(enter, low), torch.minimum(leave, high)
    return enter, leave


def _slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths at which a ray enters and leaves -1..1 along one axis."""
    inverse = 1.0 / (direction + _NEVER_ZERO)
    middle, half = -origin * inverse, inverse.abs()
    return middle - half, middle + half
