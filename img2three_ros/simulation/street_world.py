"""The procedural street: which objects stand where, and where the moving ones are at an instant.

World frame: x along the street, y left, z up; the road surface is z = 0, pavements lie KERB_HEIGHT higher.
The street repeats every ``road.length`` metres and its traffic every ``period`` seconds, so that the world is
endless and a drive of one period ends where it began, one length further on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ..structures import Matrix
from . import street_objects as build
from .layouts import furnish
from .placement import Site, WorldObject, thinned
from .primitives import Part, PrimitiveSet, concatenate, gather
from .section import KERB_HEIGHT, LANE_CENTRE, ROAD_HALF_WIDTH
from .settings import SimulationConfig
from .traffic import populate
from .trajectories import Drive, Road, make_drive, make_road

_PARKING = ROAD_HALF_WIDTH - 1.15
_FRONT = 9.6  # lateral offset from which houses begin


@dataclass(frozen=True, eq=False)
class ObjectBox:
    """Truth about one object. T_base_box: (4, 4) centre and axes in ``base_link``; size: (3,) full size, metres;
    identity: the number in ``RenderedView.identity``."""

    identity: int
    category: str
    T_base_box: Matrix
    size: np.ndarray
    moving: bool


class StreetWorld:
    """The street of a seed. Objects are numbered; number 0 is the ground."""

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        self.road: Road = make_road(config)
        self.drive: Drive = make_drive(config, self.road)
        random = np.random.default_rng((config.seed, 3))
        self.objects = self._plain_street(random) if config.plain else self._scene(random)
        parts = [part for one in self.objects for part in one.parts]
        owners = [index for index, one in enumerate(self.objects, start=1) for _ in one.parts]
        local = gather(parts, owners, config.seed)
        self.moving = np.array([False] + [one.moving for one in self.objects])
        poses = np.array([np.eye(4)] + [one.pose_at(0.0) for one in self.objects])
        still = ~self.moving[local.owner]
        self._static = local.select(still).moved(poses[local.owner[still]])
        self._moving = local.select(~still)

    def _plain_street(self, random: Generator) -> list[WorldObject]:
        road, config = self.road, self.config
        return [*_houses(random, road), *_roadside(random, road), *_parked(random, road, config.parked),
                *_traffic(random, road, self.drive, config), *_walkers(random, road, config)]

    def _scene(self, random: Generator) -> list[WorldObject]:
        variety = self.config.variety or 0.7
        site = Site(random, self.road, self.config, variety)
        furnish(site)
        populate(site, self.drive)
        return thinned(site)

    def primitives(self, seconds: float, x: float) -> PrimitiveSet:
        """All primitives within view_range of x along the street, where they are at this instant."""
        poses = np.tile(np.eye(4), (len(self.moving), 1, 1))
        for index in np.flatnonzero(self.moving):
            poses[index] = self.objects[index - 1].pose_at(seconds)
        everything = concatenate([self._static, self._moving.moved(poses[self._moving.owner])])
        low, high, length = x - self.config.view_range, x + self.config.view_range, self.road.length
        everything = _wrapped(everything, length)
        centre, reach = everything.centre[:, 0], everything.reach[:, 0]
        first = math.floor((low - (centre + reach).max()) / length)
        last = math.ceil((high - (centre - reach).min()) / length)
        copies = [everything.select((centre + reach + lap * length >= low) & (centre - reach + lap * length <= high))
                  .shifted(lap * length) for lap in range(first, last + 1)]
        return concatenate(copies)


def _wrapped(primitives: PrimitiveSet, length: float) -> PrimitiveSet:
    """The copies whose centres lie in 0 <= x < length."""
    shift = np.tile(np.eye(4), (len(primitives), 1, 1))
    shift[:, 0, 3] = -np.floor(primitives.centre[:, 0] / length) * length
    return primitives.moved(shift)


def _still(pose: Matrix) -> Callable[[float], Matrix]:
    return lambda seconds: pose


def _beside(road: Road, x: float, lateral: float, z: float = 0.0, turn: float = 0.0,
            tilted: bool = False) -> Matrix:
    """``T_world_object`` of something beside the road, turned against the road's heading."""
    px, py, heading = road.place(x, lateral)
    return road.stand(px, py, heading + turn, z, tilted=tilted)


def _houses(random: Generator, road: Road) -> list[WorldObject]:
    """Two rows of house fronts with gaps, and large buildings behind them that close the horizon."""
    found, sunk = [], 0.0 if road.terrain.flat else -0.6
    for side in (-1, 1):
        x = 0.0
        while x < road.length - 5.0:
            width = min(random.uniform(8.0, 17.0), road.length - x)
            depth, setback = random.uniform(9.0, 13.0), _FRONT + random.uniform(0.0, 1.6)
            pose = _beside(road, x + width / 2, side * setback, sunk)
            parts = tuple(build.building(random, width, depth, side))
            found.append(WorldObject("building", parts, _still(pose), False))
            x += width + (random.uniform(2.5, 7.0) if random.random() < 0.35 else random.uniform(0.0, 0.1))
        x = random.uniform(0.0, 20.0)
        while x < road.length:
            width = random.uniform(18.0, 34.0)
            pose = _beside(road, x, side * random.uniform(42.0, 75.0), sunk, random.uniform(-0.3, 0.3))
            found.append(WorldObject("building", tuple(build.backdrop(random, width)), _still(pose), False))
            x += width + random.uniform(4.0, 30.0)
    return found


def _roadside(random: Generator, road: Road) -> list[WorldObject]:
    """Trees, lamp posts, signs and furniture on both pavements."""
    found = []
    for side in (-1, 1):
        x = random.uniform(0.0, 8.0)
        while x < road.length:
            draw, lateral = random.random(), side * (ROAD_HALF_WIDTH + random.uniform(0.5, 0.9))
            if draw < 0.38:
                category, parts = "tree", build.tree(random)
            elif draw < 0.62:
                category, parts = "pole", build.lamp_post(random, side)
            elif draw < 0.76:
                category, parts = "pole", build.sign(random)
            else:
                category, parts = "furniture", build.furniture(random)
            pose = _beside(road, x, lateral, KERB_HEIGHT)
            found.append(WorldObject(category, tuple(parts), _still(pose), False))
            x += random.uniform(3.5, 9.0)
    return found


def _vehicle(random: Generator) -> tuple[Part, ...]:
    return tuple(build.van(random) if random.random() < 0.2 else build.car(random))


def _parked(random: Generator, road: Road, share: float) -> list[WorldObject]:
    """Vehicles along both kerbs."""
    found = []
    for side in (-1, 1):
        places = int(road.length // 6.6)
        for place in range(places):
            parts, taken = _vehicle(random), random.random() < share
            x = (place + 0.5) * road.length / places + random.uniform(-0.2, 0.2)
            turn = (0.0 if side < 0 else math.pi) + random.uniform(-0.02, 0.02)
            pose = _beside(road, x, side * (_PARKING + random.uniform(-0.1, 0.1)), 0.0, turn, True)
            if taken:
                found.append(WorldObject("vehicle", parts, _still(pose), False))
    return found


def _traffic(random: Generator, road: Road, drive: Drive, config: SimulationConfig) -> list[WorldObject]:
    """Oncoming vehicles, one ahead and one behind; each laps the street once per period."""
    if config.traffic <= 0.0:
        return []
    found = []
    pace = road.length / config.period
    count = max(1, round(config.traffic * road.length / 45.0))
    for index in range(count):
        start = (index + random.uniform(0.25, 0.75)) * road.length / count
        phase = random.uniform(0.0, 2.0 * math.pi)
        found.append(WorldObject("vehicle", _vehicle(random), _oncoming(road, config.period, pace, start, phase), True))
    if config.speed > 0.0:
        for lag in (18.0 / pace, -14.0 / pace):
            found.append(WorldObject("vehicle", _vehicle(random), _following(road, drive, lag), True))
    return found


def _oncoming(road: Road, period: float, pace: float, start: float, phase: float) -> Callable[[float], Matrix]:
    cycles = max(1, round(period / 12.0))

    def pose(seconds: float) -> Matrix:
        wave = math.sin(2.0 * math.pi * cycles * seconds / period + phase)
        return _beside(road, start - pace * seconds + 3.0 * wave, -LANE_CENTRE, 0.0, math.pi, True)
    return pose


def _following(road: Road, drive: Drive, lag: float) -> Callable[[float], Matrix]:
    return lambda seconds: _beside(road, drive.x_at(seconds + lag), drive.lateral_at(seconds + lag) + 0.1,
                                   tilted=True)


def _walkers(random: Generator, road: Road, config: SimulationConfig) -> list[WorldObject]:
    """People on the pavements: they walk to and fro, some stand."""
    found = []
    for _ in range(round(config.traffic * road.length / 9.0)):
        side = -1 if random.random() < 0.5 else 1
        x, lateral = random.uniform(0.0, road.length), side * random.uniform(ROAD_HALF_WIDTH + 1.4, _FRONT - 0.9)
        parts = tuple(build.person(random))
        swing, phase = random.uniform(2.0, 5.0), random.uniform(0.0, 2.0 * math.pi)
        if random.random() < 0.3:
            pose = _beside(road, x, lateral, KERB_HEIGHT, phase)
            found.append(WorldObject("person", parts, _still(pose), False))
        else:
            cycles = max(1, round(config.period * 1.2 / (2.0 * math.pi * swing)))
            found.append(WorldObject("person", parts, _walking(road, x, lateral, swing, cycles, phase, config.period),
                                     True))
    return found


def _walking(road: Road, x: float, lateral: float, swing: float, cycles: int, phase: float,
             period: float) -> Callable[[float], Matrix]:
    def pose(seconds: float) -> Matrix:
        angle = 2.0 * math.pi * cycles * seconds / period + phase
        turn = 0.0 if math.cos(angle) >= 0.0 else math.pi
        return _beside(road, x + swing * math.sin(angle), lateral, KERB_HEIGHT, turn)
    return pose
