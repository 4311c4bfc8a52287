"""When images of each camera arrived, and how old they were: rates, latencies and silence, on the steady clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from .input_age import FAR, TOLERATED_LEAD
from .rates import rate


@dataclass
class _Seen:
    times: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    stamp: int = 0


class CameraWatch:
    """Keeps the arrivals of each camera. clock: steady seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cameras: dict[str, _Seen] = {}

    def reset(self) -> None:
        """Forget everything: activated anew."""
        self._cameras.clear()

    def jumped(self) -> None:
        """Time jumped: ages and stamps mean nothing any more; arrivals are on the steady clock and stay."""
        for seen in self._cameras.values():
            seen.ages.clear()
            seen.stamp = 0

    def seen(self, camera: str, stamp: int, now: int) -> None:
        """A message of this camera came, good or bad. stamp: ns, 0 = none; now: the node's clock, ns, 0 = not known."""
        known = self._cameras.setdefault(camera, _Seen())
        known.times.append(self._clock())
        known.stamp = stamp
        if stamp and now and abs(now - stamp) <= FAR:
            known.ages.append((now - stamp) / 1e9)

    def silent(self, camera: str) -> float | None:
        """Seconds since its last message; None = never seen."""
        known = self._cameras.get(camera)
        return self._clock() - known.times[-1] if known else None

    def rate(self, camera: str) -> float:
        """Messages per second, lately."""
        known = self._cameras.get(camera)
        return rate(known.times, self._clock()) if known else 0.0

    def latency(self, camera: str) -> float | None:
        """Median age (s) of its images on arrival, by the node's clock; None if that cannot be said."""
        known = self._cameras.get(camera)
        return median(known.ages) if known and known.ages else None

    def last_stamp(self, camera: str) -> int:
        """Stamp (ns) of its newest message; 0 = none."""
        known = self._cameras.get(camera)
        return known.stamp if known else 0

    def problem(self, camera: str) -> str:
        """What is wrong with its stamps by the node's clock; '' if nothing."""
        latency = self.latency(camera)
        if latency is None or latency >= -TOLERATED_LEAD / 1e9:
            return ""
        return (f"camera '{camera}': its stamps are {-latency:.2f} s ahead of the clock of this node; synchronise the "
                "clocks (PTP)")
