"""The course of the street and the drive along it. Both repeat, so that a drive can be played in a loop.

The street follows y = f(x), a sum of two sines with the period of the street. ``lateral`` is the offset from the
middle of the road across it, positive to the left: (y - f(x)) / sqrt(1 + f'(x)^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import from_xyz_rpy, inverse
from ..structures import Matrix
from .section import LANE_CENTRE, Crossings, Section, make_section
from .settings import SimulationConfig
from .terrain import FLOATS, Terrain, make_terrain
from .turning import TurningPath, turning_path

__all__ = ["LANE_CENTRE", "Drive", "Road", "make_drive", "make_road"]

_WHEELBASE, _TRACK = 2.8, 1.6


@dataclass(frozen=True)
class Road:
    """length: period along x, metres; terms: (amplitude m, wave number rad/m, phase rad) of each sine; section:
    what it is across; terrain: height of the ground, 0 = level of the road without any."""

    length: float
    terms: tuple[tuple[float, float, float], ...]
    section: Section = field(default_factory=Section)
    terrain: Terrain = field(default_factory=Terrain)

    def centre(self, x: float) -> float:
        """y of the middle of the road at x."""
        return sum(a * math.sin(k * x + p) for a, k, p in self.terms)

    def slope(self, x: float) -> float:
        """dy/dx of the middle of the road at x."""
        return sum(a * k * math.cos(k * x + p) for a, k, p in self.terms)

    def place(self, x: float, lateral: float) -> tuple[float, float, float]:
        """World x, y of a point beside the middle of the road, and the heading of the road there (radians)."""
        slope = self.slope(x)
        return x, self.centre(x) + lateral * math.sqrt(1.0 + slope * slope), math.atan(slope)

    def height(self, x: float, y: float) -> float:
        """Height of the terrain (without kerbs) at world x, y, metres."""
        return self.terrain.height(x, y - self.centre(x), FLOATS)

    def stand(self, x: float, y: float, heading: float, lift: float = 0.0, tilted: bool = False,
              length: float = _WHEELBASE, width: float = _TRACK) -> Matrix:
        """``T_world_object`` of something at world x, y, ``lift`` metres above the terrain.

        tilted: it leans as the ground under its length and width does; otherwise it stands upright.
        """
        if self.terrain.flat:
            return from_xyz_rpy((x, y, lift), (0.0, 0.0, heading))
        if not tilted:
            return from_xyz_rpy((x, y, lift + self.height(x, y)), (0.0, 0.0, heading))
        c, s = math.cos(heading), math.sin(heading)
        ends = [self.height(x + sign * 0.5 * length * c, y + sign * 0.5 * length * s) for sign in (1.0, -1.0)]
        sides = [self.height(x - sign * 0.5 * width * s, y + sign * 0.5 * width * c) for sign in (1.0, -1.0)]
        pose = np.eye(4)
        pose[:3, :3] = _axes(heading, (ends[0] - ends[1]) / length, (sides[0] - sides[1]) / width)
        pose[:3, 3] = x, y, 0.5 * (ends[0] + ends[1]) + lift
        return pose


def _axes(heading: float, climb: float, lean: float) -> Matrix:
    """(3, 3) axes of what heads along ``heading`` on ground that climbs ahead and to the left by these slopes."""
    forward = np.array([math.cos(heading), math.sin(heading), climb])
    left = np.array([-math.sin(heading), math.cos(heading), lean])
    forward /= np.linalg.norm(forward)
    up = np.cross(forward, left)
    up /= np.linalg.norm(up)
    return np.stack((forward, np.cross(up, forward), up), axis=1)


def make_road(config: SimulationConfig) -> Road:
    """A winding road: gently, each sine bends with a radius of at least 110 m; with ``turning`` down to 25 m."""
    random = np.random.default_rng((config.seed, 1))
    terms = []
    tight = config.turning * (0.15 if config.scene in ("highway", "junction", "car_park") else 1.0)
    straight = {"junction": 0.3, "car_park": 0.15, "highway": 0.7}.get(config.scene, 1.0)
    for wavelength, curvature in ((210.0, 0.006), (85.0, 0.003 + 0.032 * tight)):
        waves = max(1, round(config.length / wavelength))
        k = 2.0 * math.pi * waves / config.length
        amplitude = straight * random.uniform(0.6, 1.0) * curvature / (k * k)
        terms.append((amplitude, k, random.uniform(0.0, 2.0 * math.pi)))
    if config.plain and config.terrain == 0.0:
        return Road(config.length, tuple(terms))
    random = np.random.default_rng((config.seed, 12))
    section = make_section(random, config)
    open_country = config.scene in ("highway", "country")
    clear = section.half_width + (0.0 if open_country else section.pavement)
    terrain = make_terrain(random, config.length, config.terrain, clear, banks=open_country,
                           hills=open_country or config.scene == "car_park")
    return Road(config.length, tuple(terms), section, terrain)


@dataclass(frozen=True)
class Drive:
    """Motion of the vehicle: progress along x with speed changes, small weaving, a little pitch and roll.

    weave: (amplitude, cycles per period, phase) of progress (metres), lateral offset (metres), roll and pitch (rad).
    turn: the way of a vehicle that turns off at ``turn_speed`` (m/s) instead of following the road; ``speed`` is 0
    then, since it never gets on.
    """

    road: Road
    period: float
    speed: float
    progress: tuple[float, int, float]
    lateral: tuple[float, int, float]
    roll: tuple[float, int, float]
    pitch: tuple[float, int, float]
    turn: TurningPath | None = None
    turn_speed: float = 0.0

    def x_at(self, seconds: float) -> float:
        """Progress along x, metres."""
        if self.turn is not None:
            return self.turn.placed(seconds, self.turn_speed)[0]
        return self.speed * seconds + self._wave(self.progress, seconds)

    def lateral_at(self, seconds: float) -> float:
        """Lateral offset from the middle of the road, metres."""
        return self.road.section.ego + self._wave(self.lateral, seconds)

    def pose(self, seconds: float) -> Matrix:
        """``T_odom_base`` (4, 4); the odometry frame is the frame of the world."""
        x, y, heading = self._placed(seconds)
        ahead, behind = self._placed(seconds + 0.01), self._placed(seconds - 0.01)
        if math.hypot(ahead[0] - behind[0], ahead[1] - behind[1]) > 1e-4:
            heading = math.atan2(ahead[1] - behind[1], ahead[0] - behind[0])
        sway = self._wave(self.roll, seconds), self._wave(self.pitch, seconds)
        if self.road.terrain.flat:
            return from_xyz_rpy((x, y, 0.0), (*sway, heading))
        return self._on_wheels(x, y, heading) @ from_xyz_rpy((0.0, 0.0, 0.0), (*sway, 0.0))

    def _on_wheels(self, x: float, y: float, heading: float) -> Matrix:
        """``T_odom_base`` with the rear axle at x, y and the front axle on the ground too."""
        c, s = math.cos(heading), math.sin(heading)
        height = self.road.height(x, y)
        climb = (self.road.height(x + _WHEELBASE * c, y + _WHEELBASE * s) - height) / _WHEELBASE
        sides = [self.road.height(x - sign * 0.5 * _TRACK * s, y + sign * 0.5 * _TRACK * c) for sign in (1.0, -1.0)]
        pose = np.eye(4)
        pose[:3, :3] = _axes(heading, climb, (sides[0] - sides[1]) / _TRACK)
        pose[:3, 3] = x, y, height
        return pose

    def twist(self, seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Linear (m/s) and angular (rad/s) velocity in base_link, (3,) each."""
        step = 0.02
        relative = inverse(self.pose(seconds - step / 2)) @ self.pose(seconds + step / 2)
        rotation = relative[:3, :3]
        angular = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                            rotation[1, 0] - rotation[0, 1]]) / (2.0 * step)
        return relative[:3, 3] / step, angular

    def _placed(self, seconds: float) -> tuple[float, float, float]:
        if self.turn is not None:
            return self.turn.placed(seconds, self.turn_speed)
        return self.road.place(self.x_at(seconds), self.lateral_at(seconds))

    def _wave(self, wave: tuple[float, int, float], seconds: float) -> float:
        amplitude, cycles, phase = wave
        return amplitude * math.sin(2.0 * math.pi * cycles * seconds / self.period + phase)


def make_drive(config: SimulationConfig, road: Road) -> Drive:
    """The drive of a seed: one lap of the street per period; the speed varies by about 30 %."""
    random = np.random.default_rng((config.seed, 2))
    moving = config.speed > 0.0

    def wave(amplitude: float, every: float) -> tuple[float, int, float]:
        cycles = max(1, round(config.period / every))
        return (amplitude if moving else 0.0, cycles, random.uniform(0.0, 2.0 * math.pi))

    # Where the scene is longer than the drive, the vehicle keeps its speed, and the drive does not end where it began.
    laps = config.plain or config.speed * config.period >= config.length - 1e-3
    speed = (config.length / config.period if laps else config.speed) if moving else 0.0
    slow = wave(1.0, 16.0)
    progress = (0.3 * speed * config.period / (2.0 * math.pi * slow[1]), slow[1], slow[2])
    if moving and config.turning >= 0.5 and road.section.crossings is not None:
        path = _turn_off(np.random.default_rng((config.seed, 13)), config, road, road.section.crossings)
        return Drive(road, config.period, 0.0, (0.0, 1, 0.0), (0.0, 1, 0.0), wave(math.radians(0.15), 2.1),
                     wave(math.radians(0.2), 1.7), path, config.speed)
    room = 0.05 if config.scene == "narrow" else 0.15
    return Drive(road, config.period, speed, progress, wave(room, 9.0), wave(math.radians(0.15), 2.1),
                 wave(math.radians(0.2), 1.7))


def _turn_off(random: np.random.Generator, config: SimulationConfig, road: Road, crossings: Crossings) -> TurningPath:
    """From the right lane of the road into the right lane of the crossing road, to the left or right."""
    side = crossings.side or (1 if random.random() < 0.5 else -1)
    centre = crossings.first + crossings.spacing * (round(road.length / crossings.spacing) // 2)
    lane, own = 0.5 * crossings.half_width, road.section.ego
    # The nearer the lane turned into, the tighter the bend.
    start = crossings.half_width + crossings.radius * 0.6 + (1.0 if side > 0 else 0.0)
    run_up = min(max(2.0 * config.speed, 8.0), 40.0)
    before = np.array([road.place(x, own)[:2] for x in np.linspace(centre - start - run_up, centre - start, 12)])
    out = np.array((crossings.skew, 1.0)) * side / math.hypot(crossings.skew, 1.0)
    right = np.array((out[1], -out[0]))
    origin = np.array((centre, road.centre(centre))) + lane * right
    first = road.section.half_width + crossings.radius * 0.6
    after = np.array([origin + along * out for along in np.linspace(first, first + 30.0, 12)])
    return turning_path(before, after, config.period)
