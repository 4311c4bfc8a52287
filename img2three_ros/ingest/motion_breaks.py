"""Where ego motion is broken: a gap, or a leap that no vehicle makes. What was seen before is not fused with what
follows."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Sequence

from ..structures import Matrix

GAP = 500_000_000
"""Poses further apart than this (ns) are not connected."""
MAX_SPEED, SLACK = 60.0, 1.0
"""A vehicle moves at most this fast (m/s), and a localisation corrects itself by at most SLACK (m) at a time."""
MAX_ACCELERATION, MEMORY = 15.0, 1_000_000_000
"""And changes its velocity by at most so much (m/s^2), against that of the last MEMORY ns: at 5 Hz a leap of 10 m is no
faster than a fast car, but nothing gets that fast at once."""
KNOWN, LATE = 0.25, 0.1
"""Its velocity is known after so long (s); stamps are as much too late or early, and poses repeated (s)."""
MAX_TURN, TURN_SLACK = 4.0, 0.35
"""The same for rotation: rad/s and rad."""

Rows = list[list[float]]
"""A pose in numbers of Python: odometry comes a hundred times a second, and numpy takes longer to begin."""


class MotionBreaks:
    """Follows the poses ``T_odom_base`` as they come and numbers the stretches without a break.

    history: for how long breaks are told apart, ns; older stamps belong to the oldest stretch that is known.
    """

    def __init__(self, history: int = 20_000_000_000) -> None:
        self._history = history
        self._base = 0
        self._poses: deque[tuple[int, Rows]] = deque()  # of the last MEMORY, without a break
        self._breaks: list[tuple[int, int]] = []  # stamps of the poses before and after, by the latter
        self.count = 0
        self.newest = ""
        """What the newest break was, in words."""

    def reset(self) -> None:
        """Time jumped: a new stretch begins."""
        self._base += len(self._breaks) + 1
        self._breaks.clear()
        self._poses.clear()

    def add(self, stamp: int, T_odom_base: Matrix, topic: str) -> None:
        """A pose at ``stamp`` (ns); older ones than the newest so far are not looked at."""
        if self._poses and stamp <= self._poses[-1][0]:
            return
        rows: Rows = T_odom_base.tolist()
        words = _break(self._poses, (stamp, rows)) if self._poses else ""
        if words:
            self._breaks.append((self._poses[-1][0], stamp))
            old = bisect.bisect_left(self._breaks, stamp - self._history, key=lambda pair: pair[1])
            del self._breaks[:old]
            self._base += old
            self.count += 1
            self.newest = f"topic '{topic}': {words}: keyframes and occupancy start anew"
            self._poses.clear()
        self._poses.append((stamp, rows))
        while self._poses[0][0] < stamp - MEMORY:
            self._poses.popleft()

    def segment(self, stamp: int) -> int:
        """Number of the stretch that ``stamp`` (ns) lies in; never the same before and after a break or a reset."""
        return self._base + bisect.bisect_right(self._breaks, stamp, key=lambda pair: pair[1])

    def inside(self, stamp: int) -> bool:
        """Whether ``stamp`` (ns) lies between the two poses of a break: nothing is known there."""
        index = bisect.bisect_right(self._breaks, stamp, key=lambda pair: pair[1])
        return index < len(self._breaks) and self._breaks[index][0] < stamp


def _break(poses: Sequence[tuple[int, Rows]], after: tuple[int, Rows]) -> str:
    """What is wrong between the last of some poses and the next, or ''."""
    before = poses[-1]
    elapsed = (after[0] - before[0]) / 1e9
    if after[0] - before[0] > GAP:
        return f"no pose for {elapsed:.2f} s"
    way = _way(before[1], after[1])
    moved = math.hypot(*way)
    if moved > SLACK + MAX_SPEED * max(elapsed, LATE):
        return f"a leap of {moved:.1f} m within {elapsed:.2f} s"
    known = (before[0] - poses[0][0]) / 1e9
    if known >= KNOWN:
        velocity = [part / known for part in _way(poses[0][1], before[1])]
        surprise = math.hypot(*(part - elapsed * speed for part, speed in zip(way, velocity, strict=True)))
        # a correction within SLACK shows in the velocity, too
        usual = SLACK * (1.0 + elapsed / known) + LATE * math.hypot(*velocity)
        if surprise > usual + MAX_ACCELERATION * (known + elapsed) * elapsed:
            return f"a leap of {surprise:.1f} m from where its velocity leads, within {elapsed:.2f} s"
    trace = sum(before[1][row][column] * after[1][row][column] for row in range(3) for column in range(3))
    turned = math.acos(min(max((trace - 1.0) / 2.0, -1.0), 1.0))
    if turned > TURN_SLACK + MAX_TURN * elapsed:
        return f"a turn of {math.degrees(turned):.0f} degrees within {elapsed:.2f} s"
    return ""


def _way(before: Rows, after: Rows) -> tuple[float, float, float]:
    return after[0][3] - before[0][3], after[1][3] - before[1][3], after[2][3] - before[2][3]
