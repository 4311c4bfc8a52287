"""Ray casting in torch: nearest hits of sensors' rays with boxes, cylinders and ellipsoids, and cast shadows.

Rays are grouped into square tiles. A primitive is tried only on the tiles its outline can touch, nearest primitives
first, and no more on tiles that nearer hits have filled; all tiles of all views try their next candidates together,
so the number of torch calls stays small. The same code runs on CPU and CUDA; results depend neither on ``chunk`` nor
on the other views of a batch.

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
from .primitives import BOX, CYLINDER, KINDS, LEAVES

TILE = 16
NEAR = 0.05
"""Nothing nearer to a sensor than this (metres) is seen."""

_NEVER_ZERO = 1e-20  # keeps rays along an axis from dividing 0 by 0; lost in rounding otherwise
_NEAREST_ROUNDS = (2, 2, 4, 8, 16)  # candidates a tile tries at once: few at first, since near ones hide others
_SHADOW_ROUNDS = (4, 8, 16)
_PAIRS = {"cpu": 256, "cuda": 1 << 15}  # of tiles and candidates that a round tries at least, where there are as many
_CHUNK = {"cpu": 1 << 16, "cuda": 1 << 24}  # intersections at a time: a CPU's caches hold them, a GPU has enough to do
_ROUNDING = 1e-3  # share by which rounding may bring a hit before the smallest depth of its primitive


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


def turned(vectors: Tensor, rotation: Matrix) -> Tensor:
    """Vectors (3, ...) multiplied by a rotation (3, 3)."""
    r = rotation
    return torch.stack([float(r[i, 0]) * vectors[0] + float(r[i, 1]) * vectors[1] + float(r[i, 2]) * vectors[2]
                        for i in range(3)])


@dataclass(frozen=True, eq=False)
class SensorScene:
    """The P primitives of V views together, each view with its own, in a frame of each view; tensors on the device.

    kind: (P,); to_unit: (12, P) rows of the (3, 4) affine from the frame of the view into the unit primitive.
    visible: (V, C) numbers of those in front of a view, nearest first; near: (V, C) their smallest depth;
    outline: (V, 4, C) smallest x/z, y/z and largest x/z, y/z of their hulls in the optical frame.
    sun: (3, 3) rows: two axes across the sunlight and the direction towards the sun, the same in all frames;
    casters: (V, D) numbers of those large enough to cast shadows, largest first; caster_low, caster_high: (V, 3, D)
    their extent along these axes. Places that a view does not need have an empty outline or extent.
    """

    kind: Tensor
    to_unit: Tensor
    visible: Tensor
    near: Tensor
    outline: Tensor
    sun: Tensor
    casters: Tensor
    caster_low: Tensor
    caster_high: Tensor


def nearest_hits(rays: RayTiles, scene: SensorScene, limit: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Nearest hit of every ray.

    rays: the tiles of one view after the other, as many of each, directions in the frames of the views. limit: (T, R)
    depth beyond which nothing is looked for (the ground, or inf). chunk: intersections computed at a time; it changes
    speed and memory only.
    Returns depth (T, R), where nothing is hit equal to ``limit``, and primitive (T, R) int64, -1 = none.
    """
    best, found = limit.clone(), torch.full_like(limit, -1, dtype=torch.int64)
    chunk = chunk or _CHUNK[limit.device.type]
    low, high = rays.bounds.reshape(len(scene.visible), -1, 4).transpose(1, 2).split(2, dim=1)
    box_low, box_high = scene.outline.split(2, dim=1)
    in_image = ((box_low <= high.amax(2, keepdim=True)) & (box_high >= low.amin(2, keepdim=True))).all(1)
    kinds, surely_near = scene.kind[scene.visible], (1.0 - _ROUNDING) * scene.near
    for kind in KINDS:
        chosen = in_image & (kinds == kind)
        table, picked = _touch_table(chosen, box_low, box_high, low, high)
        numbers, near = scene.visible.reshape(-1)[picked], surely_near.reshape(-1)[picked]
        for tile, candidates in _rounds(table, _NEAREST_ROUNDS, partial(_may_hide, best, near)):
            for t, c in _chunks(tile, candidates, chunk // best.shape[1]):
                primitive = numbers[c.clamp(min=0)]
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


def shadows(points: Tensor, owner: Tensor, lit: Tensor, scene: SensorScene, chunk: int | None = None) -> Tensor:
    """(T, R) bool: whether something stands between a point and the sun.

    points: (3, T, R) in the frames of the views, tiles as in ``nearest_hits``; owner: (T, R) primitive a point lies on
    (convex: never shades itself); lit: (T, R) which points matter.
    """
    dark, chunk = ~lit, chunk or _CHUNK[lit.device.type]
    along = [axis[0] * points[0] + axis[1] * points[1] + axis[2] * points[2] for axis in scene.sun]
    low = torch.stack([torch.where(lit, one, torch.inf).amin(1) for one in along])
    high = torch.stack([torch.where(lit, one, -torch.inf).amax(1) for one in along])
    high[2] = torch.inf  # casters stand anywhere towards the sun
    views = len(scene.casters)
    low, high = (side.reshape(3, views, -1).transpose(0, 1) for side in (low, high))
    # Large casters first: tiles they darken altogether need no others.
    matter = ((scene.caster_low <= high.amax(2, keepdim=True))
              & (scene.caster_high >= low.amin(2, keepdim=True))).all(1)
    kinds = scene.kind[scene.casters]
    for kind in KINDS:
        table, picked = _touch_table(matter & (kinds == kind), scene.caster_low, scene.caster_high, low, high)
        numbers = scene.casters.reshape(-1)[picked]
        for tile, candidates in _rounds(table, _SHADOW_ROUNDS, lambda t, c: ~dark[t].all(1)):
            for t, c in _chunks(tile, candidates, chunk // lit.shape[1]):
                primitive = numbers[c.clamp(min=0)]  # a padded place repeats a candidate of the round
                covered = _covers(kind, scene.to_unit[:, primitive], points[:, t], scene.sun[2])
                covered &= (owner[t][:, None] != primitive[:, :, None]) & (c >= 0).unsqueeze(-1)
                dark[t] |= covered.any(1)
    return dark & lit


def _touch_table(chosen: Tensor, box_low: Tensor, box_high: Tensor, low: Tensor,
                 high: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the chosen boxes (V, C) of a view may touch which of its tiles.

    box_low, box_high: (V, A, C) and low, high: (V, A, T) extents of boxes and tiles along A axes.
    Returns (V * T, most) candidates of every tile in the order of C, -1 = none, and for every candidate its place (K,)
    among V * C.
    """
    views, total = chosen.shape
    places, view = _places_of(chosen), torch.arange(views, device=chosen.device)[:, None]
    width = places.shape[1]
    touches = (places >= 0)[:, None, :].repeat(1, low.shape[2], 1)
    index = places.clamp(min=0)
    for axis in range(low.shape[1]):
        touches &= box_low[:, axis].gather(1, index)[:, None, :] <= high[:, axis, :, None]
        touches &= box_high[:, axis].gather(1, index)[:, None, :] >= low[:, axis, :, None]
    table = _places_of(touches.flatten(0, 1))
    if views > 1:
        first = (width * view).expand(-1, low.shape[2]).reshape(-1, 1)
        table = torch.where(table >= 0, table + first, -1)
    return table, (index + total * view).reshape(-1)


def _places_of(mask: Tensor) -> Tensor:
    """(N, C) bool -> (N, most) places of what is true in every row, in their order, -1 = no more."""
    row, place = mask.nonzero(as_tuple=True)
    counts = mask.sum(1)
    most = int(counts.max()) if len(row) else 0
    found = torch.full((len(mask), most), -1, dtype=torch.int64, device=mask.device)
    number = torch.arange(len(row), device=mask.device) - (counts.cumsum(0) - counts)[row]
    found[row, number] = place
    return found


def _rounds(table: Tensor, sizes: tuple[int, ...],
            is_open: Callable[[Tensor, Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """(T, most) candidates of every tile -> rounds of (tiles (K,), candidates (K, size), -1 = none left).

    ``sizes`` are the least candidates per round, the last repeats; few tiles try more at once. is_open: tiles (K,) and
    their next candidates (K,) -> (K,) bool; what is closed stays closed.
    """
    if table.shape[1] == 0:
        return
    pairs = _PAIRS[table.device.type]
    waiting, start, number = (table[:, 0] >= 0).nonzero().squeeze(1), 0, 0
    while len(waiting):
        waiting = waiting[is_open(waiting, table[waiting, start])]
        if len(waiting) == 0:
            break
        size = max(sizes[min(number, len(sizes) - 1)], pairs // len(waiting))
        yield waiting, table[waiting, start:start + size]
        start, number = start + size, number + 1
        if start >= table.shape[1]:
            break
        waiting = waiting[table[waiting, start] >= 0]


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
