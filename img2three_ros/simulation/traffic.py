"""What moves in the scenes other than the plain street: vehicles ahead, behind, oncoming, overtaking and crossing,
cyclists, people on the pavements and across the road. Motions repeat with the period wherever the drive does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..structures import Matrix
from . import street_objects as build
from .layouts import some_vehicle
from .placement import CrossingArm, Site, WorldObject, crossing_arms, reach_of
from .primitives import Part
from .trajectories import Drive

_EGO_REACH = 4.2  # from base_link to the ends of the vehicle, with some air
_LOOK = 0.3  # seconds between looks for collisions
Motion = Callable[[float], tuple[float, float, float]]
"""seconds -> x along the road, lateral offset, turn against the road's heading."""


def populate(site: Site, drive: Drive) -> None:
    """Everything that moves in the scene."""
    if site.config.traffic <= 0.0:
        return
    _own_lane(site, drive)
    _other_lanes(site, drive)
    _oncoming(site)
    for arm in crossing_arms(site.road):
        _crossing(site, arm)
    _people(site, drive)
    if site.section.crossings is not None:
        _keep_clear(site, drive)


def _keep_clear(site: Site, drive: Drive) -> None:
    """Take away what would drive into the vehicle (or the vehicle into it) within the first period."""
    count = max(2, math.ceil(min(site.config.period, 60.0) / _LOOK))
    times = [(index + 0.5) * _LOOK for index in range(count)]
    poses = [drive.pose(seconds) for seconds in times]

    def hits(one: WorldObject) -> bool:
        reach = reach_of(one.parts)
        for seconds, pose in zip(times, poses, strict=True):
            place = one.pose_at(seconds)
            dx, dy = place[0, 3] - pose[0, 3], place[1, 3] - pose[1, 3]
            if abs(dx) + abs(dy) > 25.0:
                continue
            ahead = abs(dx * pose[0, 0] + dy * pose[1, 0] - 1.4)
            aside = abs(dx * pose[0, 1] + dy * pose[1, 1])
            along = abs(float(place[:2, 0] @ pose[:2, 0]))  # 1 = both head the same way
            across = math.sqrt(max(0.0, 1.0 - along * along))
            if ahead < 2.7 + reach * along + 1.1 * across and aside < 1.1 + 1.0 * along + reach * across:
                return True
        return False
    site.found[:] = [one for one in site.found if not one.moving or not hits(one)]


def _move(site: Site, category: str, parts: Sequence[Part], motion: Motion, tilted: bool = True) -> None:
    road = site.road

    def pose(seconds: float) -> Matrix:
        x, lateral, turn = motion(seconds)
        px, py, heading = road.place(x, lateral)
        raised = road.section.kerb if abs(lateral) > road.section.half_width else 0.0
        return road.stand(px, py, heading + turn, raised, tilted)
    site.found.append(WorldObject(category, tuple(parts), pose, True))


def _wave(site: Site, amplitude: float, every: float) -> Callable[[float], float]:
    """A sine of about ``every`` seconds that fits the period."""
    period = site.config.period
    rate = 2.0 * math.pi * max(1, round(period / every)) / period
    phase = site.random.uniform(0.0, 2.0 * math.pi)
    return lambda seconds: amplitude * math.sin(rate * seconds + phase)


def _gap(site: Site) -> float:
    """Metres of air to the next vehicle: small in slow traffic."""
    speed = site.config.speed
    return float(site.random.uniform(1.0, 4.0) + site.random.uniform(0.2, 1.6) * speed)


def _own_lane(site: Site, drive: Drive) -> None:
    """Vehicles ahead of and behind the vehicle: they keep their distance, more or less."""
    random, lateral = site.random, site.section.ego
    if drive.turn is not None:
        return
    for direction in (1.0, -1.0):
        place = _EGO_REACH
        for _ in range(int(random.integers(0, 3)) + (site.config.speed < 3.0)):
            parts = some_vehicle(site) if random.random() < 0.9 else build.motorcycle(random, True)
            reach = reach_of(parts)
            air = _gap(site)
            place += air + reach
            swing = _wave(site, min(0.45 * air, 6.0), random.uniform(5.0, 15.0))
            weave = _wave(site, 0.1, 7.0)
            offset, shift = direction * place, random.normal(0.0, 0.15)

            def motion(seconds: float, offset: float = offset, swing: Callable[[float], float] = swing,
                       weave: Callable[[float], float] = weave, shift: float = shift) -> tuple[float, float, float]:
                return drive.x_at(seconds) + offset + swing(seconds), lateral + shift + weave(seconds), 0.0
            _move(site, "vehicle", parts, motion)
            place += reach + 0.45 * air


def _other_lanes(site: Site, drive: Drive) -> None:
    """Vehicles in the other lanes of the own direction: they overtake and fall back."""
    random, section, config = site.random, site.section, site.config
    for lane in range(section.lanes):
        if lane == section.ego_lane:
            continue
        lateral, place = section.lane_centre(lane), -100.0 + random.uniform(0.0, 25.0)
        amplitude, every = random.uniform(5.0, 35.0), random.uniform(20.0, 45.0)
        swing = _wave(site, amplitude, every)  # a lane moves as a whole, so that nobody drives through another
        while place < 120.0:
            parts = some_vehicle(site, 0.3 if config.scene == "highway" else 0.1)
            reach, shift = reach_of(parts), random.normal(0.0, 0.15)
            place += reach
            breath = _wave(site, 0.7, random.uniform(4.0, 9.0))

            def motion(seconds: float, place: float = place, shift: float = shift, lateral: float = lateral,
                       swing: Callable[[float], float] = swing,
                       breath: Callable[[float], float] = breath) -> tuple[float, float, float]:
                return drive.x_at(seconds) + place + swing(seconds) + breath(seconds), lateral + shift, 0.0
            _move(site, "vehicle", parts, motion)
            place += reach + 2.5 + random.exponential(_gap(site) + 12.0 / max(config.traffic, 0.2))


def _oncoming(site: Site) -> None:
    """Oncoming traffic in all lanes of the other direction: whole laps of the road per period."""
    random, section, config = site.random, site.section, site.config
    length, period = site.road.length, config.period
    if not section.lanes:
        return
    wanted = max(config.speed, 6.0) * random.uniform(0.6, 1.3)
    for lane in range(section.lanes):
        laps = max(1, round(wanted * period / length))
        if random.random() < 0.1 and config.scene in ("street", "junction"):
            laps = 0  # they wait
        lateral, place = -section.lane_centre(lane), 0.0
        swing = _wave(site, 3.0 if laps else 0.5, random.uniform(8.0, 15.0))
        while place < length - 16.0:
            parts = some_vehicle(site, 0.25 if config.scene == "highway" else 0.1)
            if random.random() < 0.06:
                parts = build.motorcycle(random, True)
            reach, shift = reach_of(parts), random.normal(0.0, 0.12)
            place += reach

            def motion(seconds: float, place: float = place, laps: int = laps, shift: float = shift,
                       lateral: float = lateral, swing: Callable[[float], float] = swing) -> tuple[float, float, float]:
                return place - laps * length * seconds / period + swing(seconds), lateral + shift, math.pi
            _move(site, "vehicle", parts, motion)
            place += reach + 2.0 + random.exponential(38.0 / max(config.traffic, 0.2))


def _crossing(site: Site, arm: CrossingArm) -> None:
    """Traffic on an arm of a crossing road: it passes right across where the road goes on, or waits at the corner."""
    random, section, crossings = site.random, site.section, site.section.crossings
    assert crossings is not None
    road, lane, far = site.road, -0.5 * crossings.half_width, 85.0
    corner = section.half_width + crossings.radius + 5.0
    if crossings.side == 0 and random.random() < 0.6:
        count, speed = int(random.integers(1, 5)), random.uniform(3.0, 12.0)
        # Along the arm and on beyond the middle, in the lane on its right; back to the start far off.
        lap = 2.0 * far
        laps = max(1, round(speed * site.config.period / lap))
        for number in range(count):
            parts = some_vehicle(site, 0.08) if random.random() < 0.85 else build.cyclist(random)
            category = "vehicle" if len(parts) and reach_of(parts) > 1.2 else "cyclist"
            start = (number + random.uniform(0.2, 0.8)) * lap / count

            def pose(seconds: float, start: float = start) -> Matrix:
                along = (start + laps * lap * seconds / site.config.period) % lap - far
                return arm.at(road, along, lane, 0.0, 0.0, True)
            site.found.append(WorldObject(category, tuple(parts), pose, True))
    else:
        along = corner
        for _ in range(int(random.integers(0, 4))):
            parts = some_vehicle(site, 0.08)
            along += reach_of(parts) + 1.0
            creep, place = _wave(site, 0.4, 9.0), along

            def waiting(seconds: float, place: float = place,
                        creep: Callable[[float], float] = creep) -> Matrix:
                return arm.at(road, place + creep(seconds), -lane, math.pi, 0.0, True)
            site.found.append(WorldObject("vehicle", tuple(parts), waiting, True))
            along += reach_of(parts) + 0.5


def _people(site: Site, drive: Drive) -> None:
    """Walkers along and across, people who stand, cyclists along the edge."""
    random, section, config = site.random, site.section, site.config
    if config.scene == "highway":
        return
    every = {"street": 9.0, "junction": 7.0, "car_park": 14.0, "narrow": 18.0, "country": 90.0}[config.scene]
    for _ in range(round(config.traffic * site.road.length / every * random.uniform(0.3, 1.8))):
        x, side = random.uniform(0.0, site.road.length), random.choice((-1.0, 1.0))
        outer = max(section.half_width + 0.3, section.front - 0.7)
        lateral = side * random.uniform(section.half_width + 0.3, outer)
        if section.stalls is not None:
            lateral = side * (section.stalls.start + random.uniform(0.2, 3.0) * section.stalls.length)
        if not section.lanes:
            lateral = side * (section.half_width - 0.25)
        parts = build.person(random, site.variety)
        if random.random() < 0.3:
            site.put("person", parts, x, lateral, random.uniform(0.0, 6.28))
            continue
        _move(site, "person", parts, _to_and_fro(site, x, lateral), tilted=False)
    for _ in range(round(config.traffic * random.uniform(0.0, 3.0) * site.road.length / 150.0)):
        if section.lanes:
            _move(site, "person", build.person(random, site.variety), _across(site, drive), tilted=False)
    for _ in range(round(config.traffic * random.uniform(0.0, 3.0) * site.road.length / 150.0)):
        if section.lanes and section.stalls is None:
            _cyclist(site)


def _to_and_fro(site: Site, x: float, lateral: float) -> Motion:
    random, period = site.random, site.config.period
    swing, phase = random.uniform(2.0, 6.0), random.uniform(0.0, 2.0 * math.pi)
    rate = 2.0 * math.pi * max(1, round(period * 1.2 / (2.0 * math.pi * swing))) / period

    def motion(seconds: float) -> tuple[float, float, float]:
        angle = rate * seconds + phase
        return x + swing * math.sin(angle), lateral, 0.0 if math.cos(angle) >= 0.0 else math.pi
    return motion


def _across(site: Site, drive: Drive) -> Motion:
    """Across the road and back; in front of a standing vehicle too, otherwise not where it is about to be."""
    random, section, period = site.random, site.section, site.config.period
    x = random.uniform(0.0, site.road.length)
    if drive.speed == 0.0 and drive.turn is None and random.random() < 0.5:
        x = drive.x_at(0.0) + random.uniform(_EGO_REACH + 0.5, 25.0)
    wide = min(section.half_width, 7.0) + 1.0
    rate = 2.0 * math.pi * max(1, round(period * 1.3 / (2.0 * math.pi * wide))) / period
    phase, length = random.uniform(0.0, 2.0 * math.pi), site.road.length

    def motion(seconds: float) -> tuple[float, float, float]:
        angle = rate * seconds + phase
        lateral = wide * math.sin(angle)
        # Whoever would be hit has waited at the kerb.
        distance = (x - drive.x_at(seconds) + 0.5 * length) % length - 0.5 * length
        if -_EGO_REACH < distance < _EGO_REACH and abs(lateral - section.ego) < 1.6:
            lateral = math.copysign(wide, lateral)
        return x, lateral, math.copysign(0.5 * math.pi, math.cos(angle))
    return motion


def _cyclist(site: Site) -> None:
    """A cyclist along the edge of the road, in either direction."""
    random, section, config = site.random, site.section, site.config
    onward = random.random() < 0.5
    lateral = (section.half_width - section.parking - 0.5) * (-1.0 if onward else 1.0)
    if abs(lateral - section.ego) < 1.7:
        lateral = section.ego - 1.7
    start, length = random.uniform(0.0, site.road.length), site.road.length
    laps = max(1, round(random.uniform(3.0, 7.0) * config.period / length))
    sign = 1.0 if onward else -1.0
    weave = _wave(site, 0.12, 4.0)

    def motion(seconds: float) -> tuple[float, float, float]:
        x = start + sign * laps * length * seconds / config.period
        return x, lateral + weave(seconds), 0.0 if onward else math.pi
    _move(site, "cyclist", build.cyclist(random), motion)
