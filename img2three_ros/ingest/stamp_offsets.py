"""How far the clocks of the cameras are apart, measured: a constant offset is found and named, never guessed away."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median

_KEPT, _ENOUGH = 15, 6
"""Images remembered of each camera, and from how many on something is said."""


class StampOffsets:
    """Compares the stamps of each camera with those of the reference camera.

    Two measures in s. *lag*: how much longer ago an image of this camera was stamped when it arrived than those of
    the rig (their median; of two cameras, the other); a clock that is off shows here, and so do images that take
    longer. *phase*: how far its stamps are from the nearest stamp of the reference camera; cameras that expose in
    turns show here.
    """

    def __init__(self, cameras: Sequence[str], reference: str) -> None:
        self._reference = reference
        self._ages: dict[str, deque[int]] = {name: deque(maxlen=_KEPT) for name in cameras}
        self._stamps: dict[str, deque[int]] = {name: deque(maxlen=_KEPT) for name in cameras}

    def reset(self) -> None:
        """Forget all (time jump)."""
        for series in (*self._ages.values(), *self._stamps.values()):
            series.clear()

    def add(self, camera: str, stamp: int, now: int) -> None:
        """An image with ``stamp`` (ns) arrived at ``now`` (ns, any steady clock)."""
        self._ages[camera].append(now - stamp)
        self._stamps[camera].append(stamp)

    def lags(self) -> Mapping[str, float]:
        """Camera -> s that its stamps are behind (negative: ahead of) the other cameras'; only measured ones."""
        ages = {name: median(series) for name, series in self._ages.items() if len(series) >= _ENOUGH}
        if len(ages) == 2:
            (first, one), (second, other) = ages.items()
            return {first: (one - other) / 1e9, second: (other - one) / 1e9}
        usual = median(ages.values()) if len(ages) > 2 else 0
        return {name: (age - usual) / 1e9 for name, age in ages.items() if len(ages) > 2}

    def phases(self) -> Mapping[str, float]:
        """Camera -> median distance (s) of its stamps from the reference camera's nearest, signed."""
        found = {name: self._phase(name) for name in self._stamps if name != self._reference}
        return {name: phase for name, phase in found.items() if phase is not None}

    def problem(self, camera: str, tolerance: float, patience: float) -> str:
        """What is wrong with the clock of a camera, with the measured offset and the remedy; '' if nothing.

        tolerance: of stamps in a set, s. patience: a lag that waiting makes up for, s.
        """
        lag, phase = self.lags().get(camera, 0.0), self._phase(camera) or 0.0
        if abs(lag) > patience + tolerance and not self._odd_one_is_another(camera):
            way = "behind" if lag > 0 else "ahead of"
            longer = ", or its images take that much longer" if lag > 0 else ""
            return (f"camera '{camera}': its stamps are {abs(lag):.2f} s {way} those of the other cameras when they "
                    f"arrive: its clock is off{longer}; synchronise the clocks (PTP)")
        if abs(phase) > tolerance:
            return (f"camera '{camera}': its stamps are {abs(phase):.3f} s from the nearest of '{self._reference}' "
                    f"(sync.tolerance {tolerance:g} s); trigger the cameras together, or raise sync.tolerance")
        return ""

    def _phase(self, camera: str) -> float | None:
        """``phases`` of one camera; None if it is not measured, or the reference."""
        reference = self._stamps[self._reference]
        if camera == self._reference or len(reference) < _ENOUGH:
            return None
        # Newer ones than the reference's newest may have their partner still on the way.
        inside = [stamp for stamp in self._stamps[camera] if reference[0] <= stamp <= reference[-1]]
        if len(inside) < _ENOUGH:
            return None
        distances = [min((stamp - other for other in reference), key=abs) for stamp in inside]
        return sorted(distances, key=abs)[len(distances) // 2] / 1e9

    def _odd_one_is_another(self, camera: str) -> bool:
        """Of two cameras nobody knows whose clock is off: blame the one that is not the reference."""
        return camera == self._reference and len(self.lags()) == 2
