"""One clear message for each kind of bad input, repeated at most every few seconds, always counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable


class Complaints:
    """Throttles by key (such as a topic and a reason), not by place in the code as ROS loggers do.

    log: called with the text, at most once per ``period`` s and key.
    """

    def __init__(self, log: Callable[[str], object], period: float = 5.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._period, self._clock = log, period, clock
        self._last: dict[tuple[str, str], float] = {}
        self._silenced: Counter[tuple[str, str]] = Counter()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, subject: str, reason: str, text: str) -> None:
        """Count ``reason`` for ``subject`` (camera or topic); log ``text`` unless that was done just now."""
        key = (subject, reason)
        with self._lock:
            self._counts[key] += 1
            now = self._clock()
            if key in self._last and now - self._last[key] < self._period:
                self._silenced[key] += 1
                return
            self._last[key] = now
            silenced = self._silenced.pop(key, 0)
        self._log(text + (f" ({silenced} more like this since the last message)" if silenced else ""))

    def counts(self) -> dict[tuple[str, str], int]:
        """(subject, reason) -> how often."""
        with self._lock:
            return dict(self._counts)
