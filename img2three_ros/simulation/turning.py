"""The way of a vehicle that turns off at a junction: along its lane, round the corner, out along the crossing road."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

_EASE = 0.7  # from this share of the way on the vehicle slows down until it stands


@dataclass(frozen=True, eq=False)
class TurningPath:
    """curve: x, y by metres along the way; length: of the way, metres; period: after which it starts again,
    seconds."""

    curve: CubicSpline
    length: float
    period: float

    def placed(self, seconds: float, speed: float) -> tuple[float, float, float]:
        """World x, y and heading at a time for a vehicle of this speed (m/s); it slows down at the end and waits."""
        along = self.along(seconds, speed)
        x, y = self.curve(along)
        dx, dy = self.curve(along, 1)
        return float(x), float(y), math.atan2(dy, dx)

    def along(self, seconds: float, speed: float) -> float:
        """Metres along the way."""
        share = speed * (seconds % self.period) / self.length
        if share > _EASE:
            share = 1.0 - (1.0 - _EASE) * math.exp(-(share - _EASE) / (1.0 - _EASE))
        return share * self.length


def turning_path(before: np.ndarray, after: np.ndarray, period: float) -> TurningPath:
    """The way along points ``before`` (N, 2) and ``after`` (M, 2), world metres, joined by a curve that leaves the
    last of the former and reaches the first of the latter in the directions of their rows."""
    leaving, reaching = before[-1] - before[-2], after[1] - after[0]
    # Where the two directions cross is the control point of a quadratic curve.
    share = np.linalg.solve(np.stack((leaving, -reaching), axis=1), after[0] - before[-1])[0]
    corner = before[-1] + share * leaving
    t = np.linspace(0.0, 1.0, 14)[1:-1, None]
    bend = (1 - t) ** 2 * before[-1] + 2 * t * (1 - t) * corner + t**2 * after[0]
    points = np.concatenate((before, bend, after))
    along = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
    return TurningPath(CubicSpline(along, points), float(along[-1]), period)
