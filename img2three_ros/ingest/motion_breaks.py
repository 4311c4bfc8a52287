"""Where ego motion is broken: a gap, or a leap that no vehicle makes. What was seen before is not fused with what
follows."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Sequence

import numpy as np

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


class MotionBreaks:
    """Follows the poses ``T_odom_base`` as they come and numbers the stretches without a break.

    history: for how long breaks are told apart, ns; older stamps belong to the oldest stretch that is known.
    """

    def __init__(self, history: int = 20_000_000_000) -> None:
        self._history = history
        self._base = 0
        self._poses: deque[tuple[int, Matrix]] = deque()  # of the last MEMORY, without a break
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
        words = _break(self._poses, (stamp, T_odom_base)) if self._poses else ""
        if words:
            self._breaks.append((self._poses[-1][0], stamp))
            old = bisect.bisect_left(self._breaks, stamp - self._history, key=lambda pair: pair[1])
            del self._breaks[:old]
            self._base += old
            self.count += 1
            self.newest = f"topic '{topic}': {words}: keyframes and occupancy start anew"
            self._poses.clear()
        self._poses.append((stamp, T_odom_base))
        while self._poses[0][0] < stamp - MEMORY:
            self._poses.popleft()

    def segment(self, stamp: int) -> int:
        """Number of the stretch that ``stamp`` (ns) lies in; never the same before and after a break or a reset."""
        return self._base + bisect.bisect_right(self._breaks, stamp, key=lambda pair: pair[1])

    def inside(self, stamp: int) -> bool:
        """Whether ``stamp`` (ns) lies between the two poses of a break: nothing is known there."""
        index = bisect.bisect_right(self._breaks, stamp, key=lambda pair: pair[1])
        return index < len(self._breaks) and self._breaks[index][0] < stamp


def _break(poses: Sequence[tuple[int, Matrix]], after: tuple[int, Matrix]) -> str:
    """What is wrong between the last of some poses and the next, or ''."""
    before = poses[-1]
    elapsed = (after[0] - before[0]) / 1e9
    if after[0] - before[0] > GAP:
        return f"no pose for {elapsed:.2f} s"
    way = after[1][:3, 3] - before[1][:3, 3]
    moved = float(np.linalg.norm(way))
    if moved > SLACK + MAX_SPEED * max(elapsed, LATE):
        return f"a leap of {moved:.1f} m within {elapsed:.2f} s"
    known = (before[0] - poses[0][0]) / 1e9
    if known >= KNOWN:
        velocity = (before[1][:3, 3] - poses[0][1][:3, 3]) / known
        surprise = float(np.linalg.norm(way - elapsed * velocity))
        # a correction within SLACK shows in the velocity, too
        usual = SLACK * (1.0 + elapsed / known) + LATE * float(np.linalg.norm(velocity))
        if surprise > usual + MAX_ACCELERATION * (known + elapsed) * elapsed:
            return f"a leap of {surprise:.1f} m from where its velocity leads, within {elapsed:.2f} s"
    cosine = (np.trace(before[1][:3, :3].T @ after[1][:3, :3]) - 1.0) / 2.0
    turned = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    if turned > TURN_SLACK + MAX_TURN * elapsed:
        return f"a turn of {np.degrees(turned):.0f} degrees within {elapsed:.2f} s"
    return ""
