"""Where objects stand: helpers that put parts beside a road, in rows along it, and along the roads that cross it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..structures import Matrix
from .primitives import Part
from .section import Crossings, Section
from .settings import SimulationConfig
from .trajectories import Road

LinearBuilder = Callable[[Generator, float], list[Part]]
_MOST_PARTS = 14.0  # per metre of road: bounds the cost of an image
_TRIFLES = ("tree", "furniture", "structure", "pole", "vehicle")


@dataclass(frozen=True, eq=False)
class WorldObject:
    """An object of the street. pose_at: seconds -> ``T_world_object`` (4, 4); moving: whether it ever changes."""

    category: str
    parts: tuple[Part, ...]
    pose_at: Callable[[float], Matrix]
    moving: bool


@dataclass(frozen=True, eq=False)
class Site:
    """A road being furnished. random: source of all choices; variety: share of unusual objects; found: the objects
    so far."""

    random: Generator
    road: Road
    config: SimulationConfig
    variety: float
    found: list[WorldObject] = field(default_factory=list)

    @property
    def section(self) -> Section:
        """The section of the road."""
        return self.road.section

    def add(self, category: str, parts: Sequence[Part], pose: Matrix) -> None:
        """Add an object that stays where it is."""
        self.found.append(WorldObject(category, tuple(parts), lambda seconds: pose, False))

    def put(self, category: str, parts: Sequence[Part], x: float, lateral: float, turn: float = 0.0,
            tilted: bool = False, sink: float = 0.0) -> None:
        """Add an object beside the road, turned against its heading; on the pavement where that begins.

        sink: metres below the ground, for things that stand on a slope.
        """
        px, py, heading = self.road.place(x, lateral)
        raised = self.section.kerb if abs(lateral) > self.section.half_width else 0.0
        self.add(category, parts, self.road.stand(px, py, heading + turn, raised - sink, tilted))

    def line(self, category: str, builder: LinearBuilder, lateral: float, start: float, end: float,
             piece: float = 8.0, same: bool = True) -> None:
        """Pieces of what runs along the road from x = start to end, all alike if ``same``; along the slope."""
        count = max(1, round((end - start) / piece))
        seed = int(self.random.integers(1 << 31))
        raised = self.section.kerb if abs(lateral) > self.section.half_width else 0.0
        for number in range(count):
            random = np.random.default_rng(seed) if same else self.random
            first, last = (self._point(start + (number + share) * (end - start) / count, lateral) for share in (0, 1))
            chord = last - first
            length = float(np.linalg.norm(chord))
            x, y, z = (first + last) / 2
            pose = self.road.stand(x, y, math.atan2(chord[1], chord[0]), 0.0, True, length)
            pose[2, 3] = z + raised
            self.add(category, builder(random, length + 0.03), pose)

    def _point(self, x: float, lateral: float) -> NDArray[np.float64]:
        """World x, y, z (3,) of a point on the terrain beside the road."""
        px, py, _ = self.road.place(x, lateral)
        return np.array((px, py, self.road.height(px, py)))

    def sinking(self, x: float, lateral: float, width: float, depth: float) -> float:
        """How far the ground falls off under a footprint (metres), so that walls reach it everywhere."""
        if self.road.terrain.flat:
            return 0.0
        heights = [self.road.height(*self.road.place(x + dx * width, lateral + dy)[:2])
                   for dx in (-0.5, 0.0, 0.5) for dy in (0.0, math.copysign(depth, lateral))]
        px, py, _ = self.road.place(x, lateral)
        return max(0.0, self.road.height(px, py) - min(heights))


def crossing_places(road: Road) -> list[float]:
    """x of the middle of every crossing road, on the middle of the road."""
    crossings = road.section.crossings
    if crossings is None:
        return []
    return [crossings.first + number * crossings.spacing for number in range(round(road.length / crossings.spacing))]


def free_of_crossings(road: Road, x: float, lateral: float, half_length: float, margin: float = 0.0) -> bool:
    """Whether something ``half_length`` to both sides of x stays off the crossing roads and their pavements."""
    crossings = road.section.crossings
    if crossings is None or (crossings.side and crossings.side * lateral < 0.0):
        return True
    offset = x - crossings.first - crossings.skew * lateral
    distance = abs((offset + 0.5 * crossings.spacing) % crossings.spacing - 0.5 * crossings.spacing)
    return distance > crossings.half_width + half_length + margin


@dataclass(frozen=True)
class CrossingArm:
    """One arm of a crossing road. origin: world x, y of the middle of the crossing; heading: outwards, radians."""

    origin: tuple[float, float]
    heading: float

    def at(self, road: Road, along: float, left: float, turn: float = 0.0, lift: float = 0.0,
           tilted: bool = False) -> Matrix:
        """``T_world_object`` of something ``along`` metres out and ``left`` metres to the left of the arm's middle."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        x, y = self.origin[0] + along * c - left * s, self.origin[1] + along * s + left * c
        return road.stand(x, y, self.heading + turn, lift, tilted)


def crossing_arms(road: Road) -> list[CrossingArm]:
    """All arms of all crossing roads."""
    crossings = road.section.crossings
    if crossings is None:
        return []
    sides = (crossings.side,) if crossings.side else (1, -1)
    return [arm_of(road, crossings, x, side) for x in crossing_places(road) for side in sides]


def arm_of(road: Road, crossings: Crossings, x: float, side: int) -> CrossingArm:
    """The arm that leaves to the left (side = 1) or right (-1) at x."""
    return CrossingArm((x, road.centre(x)), math.atan2(side, side * crossings.skew))


def thinned(site: Site) -> list[WorldObject]:
    """The objects, without as many trees, parked vehicles and small things as are beyond what an image can afford."""
    random, found = site.random, site.found
    allowed = _MOST_PARTS * site.road.length
    trifles = [index for index, one in enumerate(found)
               if one.category in _TRIFLES and not one.moving and len(one.parts) > 8]
    total, dropped = sum(len(one.parts) for one in found), set[int]()
    for index in random.permutation(trifles):
        if total <= allowed:
            break
        total -= len(found[int(index)].parts)
        dropped.add(int(index))
    return [one for index, one in enumerate(found) if index not in dropped]


def reach_of(parts: Sequence[Part]) -> float:
    """Half the length of an object along its x axis, metres."""
    return max(abs(float(part.T_object_unit[0, 3])) + float(np.abs(part.T_object_unit[0, :3]).sum()) for part in parts)
