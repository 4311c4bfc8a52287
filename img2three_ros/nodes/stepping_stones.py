"""Replaced frames that still serve as keyframes.

Where a reconstruction takes a second, the frames that are processed lie too far apart to be matched with each other.
The ones in between were received all the same: two of them give the parallax.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class SteppingStones(Generic[Item]):
    """The last few replaced items, oldest first; bounded and thread-safe. Whatever it gives back as unused must be
    discarded by the caller."""

    def __init__(self, size: int = 4) -> None:
        self._size, self._items = size, deque[Item]()
        self._lock = threading.Lock()

    def add(self, item: Item) -> Sequence[Item]:
        """Keep a replaced item. Returns what falls out."""
        with self._lock:
            self._items.append(item)
            return [self._items.popleft() for _ in range(len(self._items) - self._size)]

    def take(self, older: Callable[[Item], bool]) -> tuple[Sequence[Item], Sequence[Item]]:
        """Of the items that are ``older``: the oldest and the newest (a long and a short baseline), and the rest."""
        with self._lock:
            found = [item for item in self._items if older(item)]
            self._items = deque(item for item in self._items if not older(item))
        return found[:1] + found[1:][-1:], found[1:-1]

    def clear(self) -> Sequence[Item]:
        """Forget all items and return them."""
        with self._lock:
            items, self._items = list(self._items), deque()
            return items
