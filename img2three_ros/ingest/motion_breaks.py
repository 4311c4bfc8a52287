"""Where ego motion is broken: a gap, or a leap that no vehicle makes. What was seen before is not fused with what
follows."""

from __future__ import annotations

import bisect

import numpy as np

from ..structures import Matrix

GAP = 500_000_000
"""Poses further apart than this (ns) are not connected."""
MAX_SPEED, SLACK = 60.0, 1.0
"""A vehicle moves at most this fast (m/s), and a localisation corrects itself by at most SLACK (m) at a time."""
MAX_TURN, TURN_SLACK = 4.0, 0.35
"""The same for rotation: rad/s and rad."""


class MotionBreaks:
    """Follows the poses ``T_odom_base`` as they come and numbers the stretches without a break.

    history: for how long breaks are told apart, ns; older stamps belong to the oldest stretch that is known.
    """

    def __init__(self, history: int = 20_000_000_000) -> None:
        self._history = history
        self._base = 0
        self._last: tuple[int, Matrix] | None = None
        self._breaks: list[tuple[int, int]] = []  # stamps of the poses before and after, by the latter
        self.count = 0
        self.newest = ""
        """What the newest break was, in words."""

    def reset(self) -> None:
        """Time jumped: a new stretch begins."""
        self._base += len(self._breaks) + 1
        self._breaks.clear()
        self._last = None

    def add(self, stamp: int, T_odom_base: Matrix, topic: str) -> None:
        """A pose at ``stamp`` (ns); older ones than the newest so far are not looked at."""
        if self._last is not None and stamp <= self._last[0]:
            return
        words = "" if self._last is None else _break(self._last, (stamp, T_odom_base))
        if words and self._last is not None:
            self._breaks.append((self._last[0], stamp))
            old = bisect.bisect_left(self._breaks, stamp - self._history, key=lambda pair: pair[1])
            del self._breaks[:old]
            self._base += old
            self.count += 1
            self.newest = f"topic '{topic}': {words}: keyframes and occupancy start anew"
        self._last = stamp, T_odom_base

    def segment(self, stamp: int) -> int:
        """Number of the stretch that ``stamp`` (ns) lies in; never the same before and after a break or a reset."""
        return self._base + bisect.bisect_right(self._breaks, stamp, key=lambda pair: pair[1])

    def inside(self, stamp: int) -> bool:
        """Whether ``stamp`` (ns) lies between the two poses of a break: nothing is known there."""
        index = bisect.bisect_right(self._breaks, stamp, key=lambda pair: pair[1])
        return index < len(self._breaks) and self._breaks[index][0] < stamp


def _break(before: tuple[int, Matrix], after: tuple[int, Matrix]) -> str:
    """What is wrong between two poses, or ''."""
    elapsed = (after[0] - before[0]) / 1e9
    if after[0] - before[0] > GAP:
        return f"no pose for {elapsed:.2f} s"
    moved = float(np.linalg.norm(after[1][:3, 3] - before[1][:3, 3]))
    if moved > SLACK + MAX_SPEED * elapsed:
        return f"a leap of {moved:.1f} m within {elapsed:.2f} s"
    cosine = (np.trace(before[1][:3, :3].T @ after[1][:3, :3]) - 1.0) / 2.0
    turned = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    if turned > TURN_SLACK + MAX_TURN * elapsed:
        return f"a turn of {np.degrees(turned):.0f} degrees within {elapsed:.2f} s"
    return ""
