"""What a group of views is made of: which cameras at how many instants, and how the vehicle moves between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ..geometry.transforms import from_xyz_rpy
from ..simulation.random_rig import like_public, neighbours, ring_rig, single_rig, stereo_rig
from ..simulation.rig import CameraMount
from ..structures import Matrix

_KINDS = (0.4, 0.4, 0.1, 0.1)  # one camera, several cameras with keyframes, several at one instant, stereo pair
_SPEEDS = ((0.12, 0.0, 0.0), (0.08, 0.2, 1.5), (0.25, 2.0, 6.0), (0.35, 6.0, 14.0), (0.20, 14.0, 33.0))
_LATERAL_ACCELERATION = 4.0


@dataclass(frozen=True)
class Unit:
    """Cameras that see one place together, at ``instants`` instants: ``len(mounts) * instants`` views."""

    mounts: tuple[CameraMount, ...]
    instants: int


def draw_units(random: Generator, views: int) -> list[Unit]:
    """Units of one kind (see _KINDS) until there are exactly ``views`` views; leftovers become single cameras."""
    kind = int(random.choice(len(_KINDS), p=_KINDS))
    units: list[Unit] = []
    left = views
    while left > 0:
        unit = (_single, _several, _surround, _stereo)[kind if left > 1 else 0](random, left)
        units.append(unit)
        left -= len(unit.mounts) * unit.instants
    return units


def _single(random: Generator, left: int) -> Unit:
    return Unit(single_rig(random), min(left, int(random.choice((1, 2, 3, 4), p=(0.1, 0.25, 0.45, 0.2)))))


def _several(random: Generator, left: int) -> Unit:
    shapes = [(cameras, instants) for instants in (2, 3, 4) for cameras in range(2, 9) if cameras * instants <= left]
    if not shapes:
        return _single(random, left)
    most = max(cameras * instants for cameras, instants in shapes)
    largest = [shape for shape in shapes if shape[0] * shape[1] == most]
    cameras, instants = largest[int(random.integers(len(largest)))]
    return Unit(_around(random, cameras), instants)


def _surround(random: Generator, left: int) -> Unit:
    return Unit(_around(random, min(left, 8)), 1)


def _stereo(random: Generator, left: int) -> Unit:
    return Unit(stereo_rig(random), min(left // 2, int(random.integers(1, 4))))


def _around(random: Generator, count: int) -> tuple[CameraMount, ...]:
    """``count`` neighbouring cameras of a public layout or, where it has fewer, of a random ring."""
    public = like_public(random) if random.random() < 0.5 else ()
    rig = public if len(public) >= count else ring_rig(random, int(random.integers(max(count, 3), 9)))
    return neighbours(rig, count, random)


@dataclass(frozen=True)
class EgoMotion:
    """Motion of a vehicle along a drive at its own speed, beside the drive's track and turning off it.

    path: seconds of the drive -> ``T_world_base``. start: seconds of the drive at which the newest instant lies;
    pace: seconds of the drive per second. speed: m/s. lateral: metres left of the track; heading: rad against it;
    curvature: 1/m that the vehicle turns more than the track.
    """

    path: Callable[[float], Matrix]
    start: float
    pace: float
    speed: float
    lateral: float = 0.0
    heading: float = 0.0
    curvature: float = 0.0

    def pose(self, seconds: float) -> Matrix:
        """``T_world_base`` (4, 4), seconds after the newest instant (earlier ones are negative)."""
        along = self.speed * seconds
        turned = self.curvature * along
        # Chord of the arc of length ``along`` that begins at ``heading``; the track itself already moves ``along``.
        chord = along * (math.sin(turned / 2.0) / (turned / 2.0) if abs(turned) > 1e-9 else 1.0)
        middle = self.heading + turned / 2.0
        offset = from_xyz_rpy((chord * math.cos(middle) - along, self.lateral + chord * math.sin(middle), 0.0),
                              (0.0, 0.0, self.heading + turned))
        return self.path(self.start + self.pace * seconds) @ offset


def draw_speed(random: Generator) -> float:
    """Standing, creeping, slow, normal, fast; m/s."""
    _, low, high = _SPEEDS[int(random.choice(len(_SPEEDS), p=[share for share, _, _ in _SPEEDS]))]
    return float(random.uniform(low, high))


def draw_motion(random: Generator, path: Callable[[float], Matrix], period: float, path_speed: float,
                speed: float) -> EgoMotion:
    """A motion at ``speed`` somewhere on a drive of ``period`` seconds driven at ``path_speed`` m/s.

    Most follow the track roughly; a part turns (junctions, parking) or crosses lanes.
    """
    draw = random.random()
    lateral, heading, curvature = random.normal(0.0, 0.25), random.normal(0.0, 0.02), 0.0
    if draw < 0.25:
        sharpest = min(0.18, _LATERAL_ACCELERATION / max(speed, 0.1) ** 2)
        curvature = random.choice((-1.0, 1.0)) * random.uniform(0.1, 1.0) * sharpest
        heading = random.uniform(-0.4, 0.4) if speed < 8.0 else heading
    elif draw < 0.5:
        lateral = random.uniform(-1.5, 3.5)
        heading = random.uniform(-0.1, 0.1)
    return EgoMotion(path, float(random.uniform(0.0, period)), speed / path_speed, speed, float(lateral),
                     float(heading), float(curvature))


def draw_instants(random: Generator, count: int, speed: float) -> list[float]:
    """Seconds of ``count`` instants, newest (0) first: gaps of 0.1-1 s in which the vehicle mostly drives 0.3-2.5 m."""
    wanted = math.exp(random.normal(math.log(0.9), 0.6))
    gap = float(np.clip(wanted / speed, 0.1, 1.0)) if speed > 0.0 else random.uniform(0.1, 1.0)
    gaps = np.clip(gap * random.uniform(0.8, 1.25, count), 0.1, 1.0)
    return [float(-gaps[:number].sum()) for number in range(count)]
