"""Ego poses over time, interpolated at each camera's own stamp."""

from __future__ import annotations

import bisect

import numpy as np

from ..structures import Matrix
from .transforms import interpolate

MIN_BASELINE = 20_000_000
"""Poses are extrapolated over at least this long (ns): of closer ones the noise would be taken for speed."""


class PoseBuffer:
    """Poses ``T_odom_base`` by stamp (ns), bounded in time, tolerant of reordering.

    max_gap: poses further apart than this are not interpolated across (ns).
    max_extrapolation: how far beyond the newest or oldest pose ``at`` still answers (ns).
    """

    def __init__(self, max_gap: int = 500_000_000, max_extrapolation: int = 100_000_000,
                 history: int = 20_000_000_000) -> None:
        self._max_gap, self._max_extrapolation, self._history = max_gap, max_extrapolation, history
        self._stamps: list[int] = []
        self._poses: list[Matrix] = []

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def newest(self) -> int | None:
        """Stamp of the newest pose, ns."""
        return self._stamps[-1] if self._stamps else None

    def clear(self) -> None:
        """Forget everything (time jump)."""
        self._stamps.clear()
        self._poses.clear()

    def add(self, stamp: int, T_odom_base: Matrix) -> None:
        """Insert a pose. Raises ValueError if it is not a finite (4, 4)."""
        if T_odom_base.shape != (4, 4) or not np.isfinite(T_odom_base).all():
            raise ValueError(f"pose at {stamp} ns must be a finite (4, 4), got {T_odom_base.tolist()}")
        index = bisect.bisect_left(self._stamps, stamp)
        if index < len(self._stamps) and self._stamps[index] == stamp:
            self._poses[index] = T_odom_base
            return
        self._stamps.insert(index, stamp)
        self._poses.insert(index, T_odom_base)
        stale = bisect.bisect_left(self._stamps, self._stamps[-1] - self._history)
        del self._stamps[:stale], self._poses[:stale]

    def at(self, stamp: int) -> Matrix | None:
        """Pose at a stamp (ns), interpolated on SE(3); None where the poses do not reach or have a gap."""
        if not self._stamps:
            return None
        index = bisect.bisect_left(self._stamps, stamp)
        if index < len(self._stamps) and self._stamps[index] == stamp:
            return self._poses[index]
        if index in (0, len(self._stamps)):
            return self._beyond(stamp)
        return self._between(index - 1, index, stamp)

    def _beyond(self, stamp: int) -> Matrix | None:
        """Pose before the oldest or after the newest, as if the motion over ``MIN_BASELINE`` or more went on."""
        if stamp > self._stamps[-1]:
            end, after = self._stamps[-1], len(self._stamps) - 1
            before = bisect.bisect_right(self._stamps, end - MIN_BASELINE) - 1
        else:
            end, before = self._stamps[0], 0
            after = bisect.bisect_left(self._stamps, end + MIN_BASELINE)
        if abs(stamp - end) > self._max_extrapolation or before < 0 or after == len(self._stamps):
            return None
        return self._between(before, after, stamp)

    def _between(self, before: int, after: int, stamp: int) -> Matrix | None:
        """Pose on the motion from one pose to another, by index; None across a gap."""
        start, end = self._stamps[before], self._stamps[after]
        if end - start > self._max_gap:
            return None
        return interpolate(self._poses[before], self._poses[after], (stamp - start) / (end - start))
