"""How often frames are reconstructed, at most."""

from __future__ import annotations

_EARLY = 0.1
"""Share of the period by which a frame may come early: cameras are not exact."""


class RateLimit:
    """Chooses frames by their stamps, so that a recording played at any speed gives the same ones."""

    def __init__(self) -> None:
        self._due: int | None = None
        self._last = 0

    def reset(self) -> None:
        """Time jumped: the next frame may pass."""
        self._due = None

    def allows(self, stamp: int, rate: float) -> bool:
        """Whether a frame stamped ``stamp`` (ns) may pass at ``rate`` Hz (0 = any). Stamps that go back always may."""
        if rate <= 0.0:
            self._due = None
            return True
        period = round(1e9 / rate)
        if self._due is not None and self._last <= stamp < self._due - round(_EARLY * period):
            return False
        late = self._due is None or stamp < self._last or stamp > self._due + period
        self._due = (stamp if late or self._due is None else self._due) + period
        self._last = stamp
        return True
