"""An executor that leaves the processor, and Python's interpreter lock, to the thread that reconstructs."""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.service import Service
from rclpy.waitable import Waitable

SHORT_REST, LONG_REST = 0.002, 0.02
"""Seconds between two turns while the worker is free, and while it is busy: what comes together is handled together."""
AT_ONCE, BEHIND = 0.001, 2
"""After so many turns in a row that found work within so many seconds, there is no rest: more comes than turns take."""
RARELY = 0.1
"""Seconds between two looks at services and QoS events where none came."""


class FrugalExecutor(SingleThreadedExecutor):
    """One thread, and little of it. For every turn rclpy builds a wait set of all a node has, in Python; each time the
    worker stands still at its next operation, and what it does next is slower (measured: 1.5 ms per turn).

    - While the worker is busy nothing that arrives could be used at once: it waits, and is handled in one go. The rest
      ends when the worker is free.
    - Services and QoS events, most of what a node has, are looked at every RARELY s, and at every turn while some come.

    free: set while the worker is free.
    """

    def __init__(self, free: threading.Event, **options: Any) -> None:
        super().__init__(**options)
        self._free = free
        self._rarely, self._looked, self._more, self._at_once = True, 0.0, False, 0

    def can_execute(self, entity: Any) -> bool:
        """Whether an entity takes part in this turn."""
        return (self._rarely or not isinstance(entity, (Service, Waitable))) and bool(super().can_execute(entity))

    def _wait_for_ready_callbacks(self, timeout_sec: Any = None, *arguments: Any, **named: Any) -> Any:
        """One turn. Not public, but the same in every release since Humble; without it every turn has everything."""
        if timeout_sec is None:
            timeout_sec = self._rest()
            if not self.context.ok():  # shut down while it rested
                raise ExternalShutdownException
        worked, began = False, time.monotonic()
        try:
            for ready in super()._wait_for_ready_callbacks(timeout_sec, *arguments, **named):
                if not worked:
                    self._at_once = self._at_once + 1 if time.monotonic() - began < AT_ONCE else 0
                worked = True
                if isinstance(ready[1], (Service, Waitable)):
                    self._looked = 0.0  # one call seldom comes alone
                yield ready
        except TimeoutException:
            self._more = worked  # a turn takes one message of each topic
            raise
        finally:
            self._rarely = True

    def _rest(self) -> float | None:
        """Rest before a turn. Returns how long the turn may wait, s; None = until something comes."""
        now = time.monotonic()
        self._rarely = now - self._looked >= RARELY
        if self._rarely:
            self._looked = now
        if self._more:
            return 0.0
        if self._free.is_set():
            if self._at_once < BEHIND:
                time.sleep(SHORT_REST)
            return None if self._rarely else RARELY
        self._free.wait(LONG_REST)
        self._more = True
        return 0.0
