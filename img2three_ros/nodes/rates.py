"""How often something happened lately."""

from __future__ import annotations

from collections.abc import Sequence


def rate(times: Sequence[float], now: float, window: float = 10.0) -> float:
    """Events per second within the last ``window`` s; times: when they happened, s, in order."""
    recent = [moment for moment in times if now - moment <= window]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6)
