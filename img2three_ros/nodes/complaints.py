"""One clear message for each kind of bad input, repeated at most every few seconds, always counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable


class Complaints:
    """Throttles by key (such as a topic and a reason), not by place in the code as ROS loggers do.

    log: called with the text, at most once per ``period`` s and key; a problem that stays is named less and less
    often, down to once per ``longest`` s.
    """

    def __init__(self, log: Callable[[str], object], period: float = 5.0, longest: float = 60.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._period, self._longest, self._clock = log, period, longest, clock
        self._pause: dict[tuple[str, str], float] = {}
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
            pause = self._pause.get(key, 0.0)
            if now - self._last.get(key, now) < pause:
                self._silenced[key] += 1
                return
            self._last[key], self._pause[key] = now, min(max(2.0 * pause, self._period), self._longest)
            silenced = self._silenced.pop(key, 0)
        self._log(text + (f" ({silenced} more like this since the last message)" if silenced else ""))

    def counts(self) -> dict[tuple[str, str], int]:
        """(subject, reason) -> how often."""
        with self._lock:
            return dict(self._counts)
