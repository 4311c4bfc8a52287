"""The course of the street and the drive along it. Both repeat, so that a drive can be played in a loop.

The street follows y = f(x), a sum of two sines with the period of the street. ``lateral`` is the offset from the
middle of the road across it, positive to the left: (y - f(x)) / sqrt(1 + f'(x)^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import from_xyz_rpy, inverse
from ..structures import Matrix
from .settings import SimulationConfig

LANE_CENTRE = -1.85
"""Lateral offset of the vehicle's lane: traffic keeps right."""


@dataclass(frozen=True)
class Road:
    """length: period along x, metres; terms: (amplitude m, wave number rad/m, phase rad) of each sine."""

    length: float
    terms: tuple[tuple[float, float, float], ...]

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


def make_road(config: SimulationConfig) -> Road:
    """A gently winding road: each sine bends with a radius of at least 110 m."""
    random = np.random.default_rng((config.seed, 1))
    terms = []
    for wavelength, curvature in ((210.0, 0.006), (85.0, 0.003)):
        waves = max(1, round(config.length / wavelength))
        k = 2.0 * math.pi * waves / config.length
        terms.append((random.uniform(0.6, 1.0) * curvature / (k * k), k, random.uniform(0.0, 2.0 * math.pi)))
    return Road(config.length, tuple(terms))


@dataclass(frozen=True)
class Drive:
    """Motion of the vehicle: progress along x with speed changes, small weaving, a little pitch and roll.

    weave: (amplitude, cycles per period, phase) of progress (metres), lateral offset (metres), roll and pitch (rad).
    """

    road: Road
    period: float
    speed: float
    progress: tuple[float, int, float]
    lateral: tuple[float, int, float]
    roll: tuple[float, int, float]
    pitch: tuple[float, int, float]

    def x_at(self, seconds: float) -> float:
        """Progress along x, metres."""
        return self.speed * seconds + self._wave(self.progress, seconds)

    def lateral_at(self, seconds: float) -> float:
        """Lateral offset from the middle of the road, metres."""
        return LANE_CENTRE + self._wave(self.lateral, seconds)

    def pose(self, seconds: float) -> Matrix:
        """``T_odom_base`` (4, 4); the odometry frame is the frame of the world."""
        x, y, heading = self._placed(seconds)
        ahead, behind = self._placed(seconds + 0.01), self._placed(seconds - 0.01)
        if math.hypot(ahead[0] - behind[0], ahead[1] - behind[1]) > 1e-4:
            heading = math.atan2(ahead[1] - behind[1], ahead[0] - behind[0])
        return from_xyz_rpy((x, y, 0.0), (self._wave(self.roll, seconds), self._wave(self.pitch, seconds), heading))

    def twist(self, seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Linear (m/s) and angular (rad/s) velocity in base_link, (3,) each."""
        step = 0.02
        relative = inverse(self.pose(seconds - step / 2)) @ self.pose(seconds + step / 2)
        rotation = relative[:3, :3]
        angular = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                            rotation[1, 0] - rotation[0, 1]]) / (2.0 * step)
        return relative[:3, 3] / step, angular

    def _placed(self, seconds: float) -> tuple[float, float, float]:
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

    speed = config.length / config.period if moving else 0.0
    slow = wave(1.0, 16.0)
    progress = (0.3 * speed * config.period / (2.0 * math.pi * slow[1]), slow[1], slow[2])
    return Drive(road, config.period, speed, progress, wave(0.15, 9.0), wave(math.radians(0.15), 2.1),
                 wave(math.radians(0.2), 1.7))
