"""An executor that leaves the processor, and Python's interpreter lock, to the thread that reconstructs."""

from __future__ import annotations

import threading
import time
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.waitable import Waitable

SHORT_REST, LONG_REST = 0.002, 0.04
"""Seconds between two turns while the worker is free, and while it is busy: what comes together is handled together.
Subscriptions keep five images for so long: enough up to 125 Hz."""
AT_ONCE, BEHIND = 0.001, 2
"""After so many turns in a row that found work within so many seconds, there is no rest: more comes than turns take."""
RARELY, SELDOM = 0.1, 0.2
"""Seconds between two looks at services and QoS events where none came; while the worker is busy, at timers too."""
AWAKE = 1.0
"""The longest that nothing happens, s: that ROS is shut down does not wake it."""


class FrugalExecutor(SingleThreadedExecutor):
    """One thread, and little of it. For every turn rclpy builds a wait set of all a node has, in Python; each time the
    worker stands still at its next operation, and what it does next is slower (measured: 1.5 ms per turn).

    - While the worker is busy nothing that arrives could be used at once: it waits, and is then taken from each
      subscription without a wait set. The rest ends when the worker is free.
    - Services and QoS events, most of what a node has, are looked at every RARELY s, and at every turn while some come.

    free: set while the worker is free. Callbacks of subscriptions are plain functions of the message.
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

    def _rest(self) -> float:
        """Rest before a turn. Returns how long the turn may wait, s."""
        if self._free.is_set() and not self._more and self._at_once < BEHIND:
            time.sleep(SHORT_REST)
        while not (self._free.is_set() or self._due()) and self.context.ok():
            self._free.wait(LONG_REST)
            self._drain()
            self._more = True
        self._rarely = self._due()
        if self._rarely:
            self._looked = time.monotonic()
        if self._more:
            return 0.0
        return AWAKE if self._rarely else RARELY

    def _due(self) -> bool:
        return time.monotonic() - self._looked >= (RARELY if self._free.is_set() else SELDOM)

    def _drain(self) -> None:
        """One message of each topic at a time: what came together is seen together. It ends when a turn is due, also
        where more comes than can be handled."""
        waiting = [subscription for node in self.get_nodes() for subscription in node.subscriptions]
        while waiting and self.context.ok():
            waiting = [subscription for subscription in waiting if _handled(subscription)]
            if self._due():
                break


def _handled(subscription: Subscription[Any]) -> bool:
    """Whether a message had come, which has been handled."""
    try:
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    except InvalidHandle:  # destroyed by a callback before it
        return False
    if taken is not None:
        subscription.callback(taken[0])
    return taken is not None
