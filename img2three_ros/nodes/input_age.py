"""Whether an image is too old, or from the future, by the clock of the node."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock

from .conversions import NANOSECONDS

FAR = 60 * NANOSECONDS
"""Stamps this far from the clock are not late images but another clock, or a recording."""
TOLERATED_LEAD = NANOSECONDS
REMEDY = "when playing a recording set use_sim_time:=true and publish /clock"


class InputAge:
    """Compares stamps with a clock. warn: told once if the two have nothing in common."""

    def __init__(self, clock: Clock, warn: Callable[[str], object]) -> None:
        self._clock, self._warn = clock, warn
        self._warned = False

    def age(self, stamp: int) -> float | None:
        """Seconds since ``stamp`` (ns) by the clock of the node; None where the two have nothing in common."""
        now = self._clock.now().nanoseconds
        return (now - stamp) / NANOSECONDS if now and abs(now - stamp) <= FAR else None

    def refuses(self, topic: str, stamp: int, max_age: float) -> tuple[str, str] | None:
        """Reason and sentence if an image stamped ``stamp`` ns is refused; ``max_age`` in s, 0 = never.

        Zero stamps are left to the checks of the message; before the first /clock nothing can be said.
        """
        now = self._clock.now().nanoseconds
        if now == 0 or stamp == 0:
            return None
        age = now - stamp
        if max_age and not -TOLERATED_LEAD <= age <= max_age * NANOSECONDS:
            return ("too_old" if age > 0 else "future_stamp",
                    f"{topic}: stamp is {age / NANOSECONDS:.2f} s behind the clock of this node (max_input_age "
                    f"{max_age:g} s); synchronise the clocks, or {REMEDY}")
        if abs(age) > FAR and not self._warned:
            self._warned = True
            self._warn(f"{topic}: stamps are {age / NANOSECONDS:.0f} s behind the clock of this node; latencies mean "
                       f"nothing then: {REMEDY}")
        return None
