"""One slot between the executor thread and the worker: the newest item wins, and every item is accounted for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class MailboxCounts:
    """received = processed + replaced + rejected + pending, at every moment.

    replaced: a newer item took the slot first; rejected: by reason; pending: in the slot or in the worker's hands.
    """

    received: int
    processed: int
    replaced: int
    rejected_by: Mapping[str, int]
    pending: int

    @property
    def rejected(self) -> int:
        """All rejected items, whatever the reason."""
        return sum(self.rejected_by.values())


class Mailbox(Generic[Item]):
    """Thread-safe slot for one producer and one consumer. ``put`` never waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slot: Item | None = None
        self._held = self._outdated = False
        self._closed = False
        self._received = self._processed = self._replaced = 0
        self._rejected: Counter[str] = Counter()

    def put(self, item: Item) -> Item | None:
        """Offer the newest item. Returns the one that still waited and is replaced, if any."""
        with self._changed:
            self._received += 1
            old, self._slot = self._slot, item
            self._replaced += old is not None
            self._changed.notify()
            return old

    def refuse(self, reason: str) -> None:
        """Account for an item that does not even wait: received, and rejected for this reason."""
        with self._changed:
            self._received += 1
            self._rejected[reason] += 1

    def take(self, timeout: float | None = None) -> Item | None:
        """Wait for an item and hold it until ``finish``; None after the timeout (s) or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._closed, timeout)
            if self._closed or self._slot is None:
                return None
            item, self._slot, self._held, self._outdated = self._slot, None, True, False
            return item

    def finish(self, rejected: str = "") -> None:
        """Account for the held item: processed, or rejected for a reason."""
        with self._changed:
            if not self._held:
                raise RuntimeError("finish without an item taken")
            self._held = False
            if rejected:
                self._rejected[rejected] += 1
            else:
                self._processed += 1

    def clear(self, reason: str) -> Item | None:
        """Drop the waiting item and return it; it counts as rejected for this reason. A held one is ``outdated``."""
        with self._changed:
            self._outdated = self._held
            old, self._slot = self._slot, None
            self._rejected[reason] += old is not None
            return old

    def close(self) -> None:
        """Wake the consumer for good: every ``take`` returns None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def outdated(self) -> bool:
        """Whether the held item was taken before the last ``clear``."""
        with self._changed:
            return self._outdated

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def counts(self) -> MailboxCounts:
        """A consistent snapshot."""
        with self._changed:
            pending = int(self._slot is not None) + int(self._held)
            return MailboxCounts(self._received, self._processed, self._replaced, dict(+self._rejected), pending)
