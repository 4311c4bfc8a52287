"""What the world is made of: affine images of a unit box, a unit cylinder and a unit sphere, in numpy arrays.

The box is [-1, 1]^3; the cylinder has radius 1 about z and -1 <= z <= 1; the sphere has radius 1; leaves are a sphere
whose skin has holes (``leaves``). ``T_world_unit``
(4, 4) places, turns and stretches it: ray parameters survive affine maps, so one intersection per kind serves
oriented boxes, elliptic cylinders and ellipsoids alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import from_xyz_rpy
from ..structures import Matrix

Place = Sequence[float] | NDArray[np.float64]
"""Three numbers: a point or sizes, metres."""

BOX, CYLINDER, SPHERE, LEAVES = 0, 1, 2, 3
KINDS = (BOX, CYLINDER, SPHERE, LEAVES)


@dataclass(frozen=True)
class Facade:
    """Windows in the upright faces of a box: a grid of openings with panes set back into the wall.

    pitch: distance of windows along the wall and of storeys, metres; opening: width and height, metres;
    recess: depth of the pane behind the wall, metres; sill: height of the first sill above the foot of the box.
    """

    pitch: tuple[float, float] = (2.6, 3.1)
    opening: tuple[float, float] = (1.2, 1.5)
    recess: float = 0.18
    sill: float = 0.9


@dataclass(frozen=True)
class Pattern:
    """A grid of tiles laid on the faces of a primitive: bricks, planks, panels, stripes, checks, prints.

    pitch: width and height of a tile, metres; stagger: shift of every other row, in tiles; slant: shift of a row per
    metre of height, metres (diagonal stripes); joint: half width of the joints, metres, 0 = none; joint_tone:
    brightness of the joints relative to the tiles; spread: how much tiles differ in brightness (natural logarithm);
    hue: how much tiles differ in colour, 0..1; fine: contrast of a print of small random marks on the tiles, 0..1;
    other: albedo of every other tile, None = like the rest.
    """

    pitch: tuple[float, float]
    stagger: float = 0.0
    slant: float = 0.0
    joint: float = 0.0
    joint_tone: float = 0.6
    spread: float = 0.0
    hue: float = 0.0
    fine: float = 0.0
    other: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Surface:
    """Look of a primitive. albedo: linear RGB 0..1; contrast: strength of the solid noise; tint: strength of its
    colour variation; scale: size of the noise relative to the default; facade: windows (boxes only); pattern: tiles;
    shine: share of light it mirrors, 0..1; glow: light of its own at night, in units of albedo."""

    albedo: tuple[float, float, float]
    contrast: float = 0.5
    tint: float = 0.1
    scale: float = 1.0
    facade: Facade | None = None
    pattern: Pattern | None = None
    shine: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True, eq=False)
class Part:
    """One primitive of an object. T_object_unit: (4, 4) affine, unit primitive into the object's frame."""

    kind: int
    T_object_unit: Matrix
    surface: Surface


@dataclass(frozen=True, eq=False)
class PrimitiveSet:
    """P primitives of the world at one instant.

    kind: (P,); T_world_unit: (P, 4, 4); half_size: (P, 3) metres; offset: (P, 3) origin of the solid texture;
    look: (P, 8) albedo rgb, contrast, tint, scale, shine, glow; facade: (P, 6) pitch u, pitch v, opening u,
    opening v, recess, sill, all 0 = none; pattern: (P, 13) pitch u, pitch v, stagger, slant, joint, joint tone,
    spread, hue, fine, alternate 0/1, other rgb, all 0 = none; owner: (P,) index of the object they belong to.
    """

    kind: NDArray[np.int64]
    T_world_unit: Matrix
    half_size: NDArray[np.float64]
    offset: NDArray[np.float64]
    look: NDArray[np.float64]
    facade: NDArray[np.float64]
    pattern: NDArray[np.float64]
    owner: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def centre(self) -> NDArray[np.float64]:
        """(P, 3) centres, metres."""
        return self.T_world_unit[:, :3, 3]

    @property
    def reach(self) -> NDArray[np.float64]:
        """(P, 3) half extents of the axis-aligned boxes around the primitives, metres."""
        return np.abs(self.T_world_unit[:, :3, :3]).sum(axis=2)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> PrimitiveSet:
        """The primitives where ``keep`` (P,) bool or indices."""
        return PrimitiveSet(*(getattr(self, item.name)[keep] for item in fields(self)))

    def moved(self, T_world_object: Matrix) -> PrimitiveSet:
        """All primitives moved by (4, 4), or each by its own (P, 4, 4)."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["T_world_unit"] = T_world_object @ self.T_world_unit
        return PrimitiveSet(**values)

    def shifted(self, dx: float) -> PrimitiveSet:
        """All primitives shifted along x by dx metres."""
        shift = np.eye(4)
        shift[0, 3] = dx
        return self.moved(shift)


def gather(parts: Sequence[Part], owners: Sequence[int], salt: int) -> PrimitiveSet:
    """Parts, in the frames of their owners, as one set; textures of different owners differ (by ``salt`` too)."""
    count = len(parts)
    transforms = np.array([part.T_object_unit for part in parts]).reshape(count, 4, 4)
    random = np.random.default_rng((salt, 7)).uniform(0.0, 50.0, (max(owners, default=0) + 1, 3))
    owner = np.asarray(owners, dtype=np.int64)
    # Parts of one object share the origin of the texture's coordinates up to their own place in the object.
    offset = random[owner] + transforms[:, :3, 3] if count else np.zeros((0, 3))
    look = [(*one.albedo, one.contrast, one.tint, one.scale, one.shine, one.glow)
            for one in (part.surface for part in parts)]
    windows = [_facade_row(part.surface.facade) for part in parts]
    tiles = [_pattern_row(part.surface.pattern) for part in parts]
    return PrimitiveSet(
        np.array([part.kind for part in parts], dtype=np.int64), transforms,
        np.linalg.norm(transforms[:, :3, :3], axis=1), offset,
        np.array(look, dtype=np.float64).reshape(count, 8), np.array(windows, dtype=np.float64).reshape(count, 6),
        np.array(tiles, dtype=np.float64).reshape(count, 13), owner)


def concatenate(sets: Sequence[PrimitiveSet]) -> PrimitiveSet:
    """Several sets as one."""
    return PrimitiveSet(*(np.concatenate([getattr(one, item.name) for one in sets]) for item in fields(PrimitiveSet)))


def box(centre: Place, size: Place, surface: Surface, yaw: float = 0.0) -> Part:
    """A box of full size (x, y, z) about its centre, turned by yaw (rad), in the object's frame."""
    return Part(BOX, _affine(centre, np.asarray(size) / 2.0, yaw), surface)


def cylinder(foot: Place, radius: float, height: float, surface: Surface) -> Part:
    """An upright cylinder standing on its foot point."""
    centre = (foot[0], foot[1], foot[2] + height / 2.0)
    return Part(CYLINDER, _affine(centre, (radius, radius, height / 2.0)), surface)


def wheel(centre: Place, radius: float, width: float, surface: Surface) -> Part:
    """A cylinder lying along the object's y axis."""
    transform = np.eye(4)
    transform[:3, :3] = [[radius, 0, 0], [0, 0, width / 2.0], [0, -radius, 0]]
    transform[:3, 3] = centre
    return Part(CYLINDER, transform, surface)


def point(x: float, y: float, z: float) -> NDArray[np.float64]:
    """A place to reckon with, (3,) metres."""
    return np.array((x, y, z))


def rod(start: Place, end: Place, radius: float, surface: Surface) -> Part:
    """A cylinder between two points: branches, limbs, rails, wires."""
    return Part(CYLINDER, _between(start, end, radius, radius), surface)


def spindle(start: Place, end: Place, width: float, thickness: float, surface: Surface, leafy: bool = False) -> Part:
    """An ellipsoid from point to point, of half widths ``width`` (level) and ``thickness``: fronds, twigs in leaf.
    ``leafy``: a skin of leaves with holes."""
    return Part(LEAVES if leafy else SPHERE, _between(start, end, thickness, width), surface)


def leaf_ball(centre: Place, radii: Place, surface: Surface, rpy: tuple[float, float, float]) -> Part:
    """An ellipsoid, turned by roll, pitch and yaw (rad), whose skin is leaves and holes."""
    scale = np.diag((*np.asarray(radii, dtype=np.float64), 1.0))
    return Part(LEAVES, from_xyz_rpy(tuple(centre), rpy) @ scale, surface)


def tilted_box(centre: Place, size: Place, surface: Surface,
               rpy: tuple[float, float, float]) -> Part:
    """A box of full size (x, y, z) about its centre, turned by roll, pitch and yaw (rad)."""
    scale = np.diag((*(np.asarray(size, dtype=np.float64) / 2.0), 1.0))
    return Part(BOX, from_xyz_rpy(tuple(centre), rpy) @ scale, surface)


def leaning_box(centre: Place, size: Place, surface: Surface, lean: tuple[float, float]) -> Part:
    """A box of full size (x, y, z) whose top lies ``lean`` (x, y) metres off its bottom: windscreens, ramps, roofs."""
    transform = _affine(centre, np.asarray(size, dtype=np.float64) / 2.0)
    transform[:2, 2] = lean[0] / 2.0, lean[1] / 2.0
    return Part(BOX, transform, surface)


def placed(parts: Sequence[Part], x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> list[Part]:
    """Parts built in a frame of their own, moved to x, y, z (metres) and turned by yaw (rad) in another object."""
    pose = from_xyz_rpy((x, y, z), (0.0, 0.0, yaw))
    return [Part(part.kind, pose @ part.T_object_unit, part.surface) for part in parts]


def ellipsoid(centre: Place, radii: Place, surface: Surface, yaw: float = 0.0) -> Part:
    """An ellipsoid with its half axes along the object's axes, turned by yaw (rad)."""
    return Part(SPHERE, _affine(centre, radii, yaw), surface)


def _affine(centre: Place, half: Place, yaw: float = 0.0) -> Matrix:
    c, s = np.cos(yaw), np.sin(yaw)
    transform = np.eye(4)
    transform[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * np.asarray(half)
    transform[:3, 3] = centre
    return transform


def _between(start: Place, end: Place, upward: float, sideways: float) -> Matrix:
    """Unit primitive stretched along its z from one point to another, (4, 4); its y stays level."""
    first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    half = (last - first) / 2.0
    axis = half / max(float(np.linalg.norm(half)), 1e-9)
    level = np.cross((0.0, 0.0, 1.0), axis) if abs(axis[2]) < 0.99 else np.cross((1.0, 0.0, 0.0), axis)
    level /= np.linalg.norm(level)
    transform = np.eye(4)
    transform[:3, :3] = np.column_stack((upward * np.cross(level, axis), sideways * level, half))
    transform[:3, 3] = first + half
    return transform


def _facade_row(facade: Facade | None) -> tuple[float, ...]:
    if facade is None:
        return (0.0,) * 6
    return (*facade.pitch, *facade.opening, facade.recess, facade.sill)


def _pattern_row(pattern: Pattern | None) -> tuple[float, ...]:
    if pattern is None:
        return (0.0,) * 13
    other = pattern.other or (0.0, 0.0, 0.0)
    return (*pattern.pitch, pattern.stagger, pattern.slant, pattern.joint, pattern.joint_tone, pattern.spread,
            pattern.hue, pattern.fine, float(pattern.other is not None), *other)
