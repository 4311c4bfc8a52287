"""Values chosen by the bytes of a fuzzer: ordinary ones mostly, the awkward ones often."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

WHOLE = (0, 1, 2, 3, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1)
REAL = (0.0, 1.0, -1.0, 0.5, 1e-320, 1e-12, 1e9, 1.7e308, -1.7e308, float("nan"), float("inf"), float("-inf"))
TEXT = ("", "/", "//", "base_link", "/base_link", "odom", "front_optical_frame", "left", "a" * 300, "ä\u2028\0", "{}%s")


class Choices:
    """Reads an input once, from the front; where it has ended, everything is 0, so that every input is a whole one."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self._data) - self._at

    def bytes(self, size: int) -> bytes:
        """At most ``size`` bytes."""
        taken = self._data[self._at:self._at + size]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.bytes(self.left)

    def number(self, below: int) -> int:
        """0 <= number < below."""
        size = max(1, (below - 1).bit_length() + 7 >> 3)
        return int.from_bytes(self.bytes(size).ljust(size, b"\0"), "little") % below

    def one_of(self, items: Sequence[Item]) -> Item:
        """One of them."""
        return items[self.number(len(items))]

    def whole(self, usual: int, bits: int = 32) -> int:
        """An unsigned number: mostly ``usual``."""
        kind = self.number(8)
        if kind < 4:
            return usual
        return (self.one_of(WHOLE) if kind < 6 else self.number(2**bits)) % 2**bits

    def real(self, usual: float) -> float:
        """A number of 64 bits, maybe none: mostly ``usual``."""
        kind = self.number(8)
        if kind < 4:
            return usual
        if kind < 6:
            return self.one_of(REAL)
        return float(struct.unpack("<d", self.bytes(8).ljust(8, b"\0"))[0])

    def reals(self, usual: Sequence[float]) -> list[float]:
        """As many numbers; often all as usual."""
        return list(usual) if self.number(2) == 0 else [self.real(value) for value in usual]

    def text(self, usual: str) -> str:
        """A text: mostly ``usual``."""
        kind = self.number(8)
        if kind < 4:
            return usual
        return self.one_of(TEXT) if kind < 7 else self.bytes(self.number(40)).decode("utf-8", "replace")
