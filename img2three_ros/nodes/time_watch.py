"""The clocks of the node: jumps of ROS time, a /clock that stands still, and what images wait by."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node

from .conversions import NANOSECONDS

STANDSTILL = NANOSECONDS
"""A /clock that has not moved for this long (ns, steady) stands still."""


class TimeWatch:
    """Watches the node's clock.

    back, forward: s; larger jumps are reported. on_jump: told by how much time jumped (s, negative = back); called
    on the executor thread. The first message on /clock is no jump.
    """

    def __init__(self, node: Node, back: float, forward: float, on_jump: Callable[[float], None]) -> None:
        self._clock, self._on_jump = node.get_clock(), on_jump
        self._last, self._moved, self._credit = 0, time.monotonic_ns(), 0
        self._handle = self._clock.create_jump_callback(
            JumpThreshold(min_forward=Duration(nanoseconds=max(1, round(forward * NANOSECONDS))),
                          min_backward=Duration(nanoseconds=-max(1, round(back * NANOSECONDS))), on_clock_change=True),
            post_callback=self._jumped)

    def waiting(self) -> int:
        """ns; what decides how long images wait for each other. Call it often.

        A recording may be played at any speed, so it is ROS time where that is simulated; while /clock stands still
        steady time takes over, so that nothing waits for ever.
        """
        if not self._clock.ros_time_is_active:
            return time.monotonic_ns()
        now, steady = int(self._clock.now().nanoseconds), time.monotonic_ns()
        if now != self._last:
            self._credit += max(0, steady - self._moved - STANDSTILL) if self._last else 0
            self._last, self._moved = now, steady
        return now + self._credit + max(0, steady - self._moved - STANDSTILL)

    def standstill(self) -> float:
        """Seconds (steady) for which a simulated clock has not moved; 0 while it runs, or is not simulated."""
        self.waiting()
        if not self._clock.ros_time_is_active or not self._last:
            return 0.0
        still = time.monotonic_ns() - self._moved
        return still / NANOSECONDS if still > STANDSTILL else 0.0

    def _jumped(self, jump: Any) -> None:
        delta = int(jump["delta"] if isinstance(jump, dict) else jump.delta.nanoseconds)  # a dict in some releases
        before = int(self._clock.now().nanoseconds) - delta
        self._credit = 0
        if delta and before > 0:
            self._on_jump(delta / NANOSECONDS)
