"""Whether an odd stamp is a jump of time for the whole rig, or one camera's mistake.

One camera that sends an old or a future stamp must not cost the others their past; a recording that starts again must
reset everything at once. The difference is whether the other cameras agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_AGREE = 1_000_000_000
"""Suspicious stamps of two cameras this close (ns, besides the time between their arrivals) mean the same jump."""


class Verdict(Enum):
    """What a stamp is."""

    NORMAL = "normal"
    RETURNED = "returned"
    """Normal for the rig, but not for this camera: its clock was corrected."""
    SUSPECT = "suspect"
    JUMP = "jump"


@dataclass(frozen=True)
class _Seen:
    stamp: int
    arrival: int


class JumpJudge:
    """Compares each stamp with those of its camera and of the other cameras.

    back, forward: ns. A stamp is odd if it is more than ``back`` behind the newest, or more than ``forward`` ahead of
    it and of the time that has passed since. live: a camera silent for longer than this (ns) is not asked.
    An odd stamp is a jump as soon as most live cameras have one alike; until then it is a suspect.
    """

    def __init__(self, back: int, forward: int, live: int) -> None:
        self._back, self._forward, self._live = back, forward, live
        self._newest: dict[str, _Seen] = {}
        self._suspects: dict[str, _Seen] = {}
        self.jump = 0
        """By how much time jumped last, ns; negative = back."""

    def reset(self) -> None:
        """Forget all stamps."""
        self._newest.clear()
        self._suspects.clear()

    def judge(self, camera: str, stamp: int, now: int) -> Verdict:
        """What ``stamp`` (ns) of an image that arrives at ``now`` (ns) is. After JUMP everything is forgotten."""
        seen, own = _Seen(stamp, now), self._newest.get(camera)
        others = [other for name, other in self._newest.items() if name != camera and now - other.arrival <= self._live]
        if own is None or self._fits(own, seen) or any(self._fits(other, seen) for other in others):
            verdict = Verdict.NORMAL if own is None or self._fits(own, seen) else Verdict.RETURNED
            if verdict is Verdict.RETURNED or own is None or stamp > own.stamp:
                self._newest[camera] = seen
            else:
                self._newest[camera] = _Seen(own.stamp, now)
            self._suspects.pop(camera, None)
            return verdict
        self._suspects[camera] = seen
        alike = [name for name, suspect in self._suspects.items() if self._alike(suspect, seen)]
        live = {camera} | {name for name, other in self._newest.items() if now - other.arrival <= self._live} \
            | {name for name, other in self._suspects.items() if now - other.arrival <= self._live}
        if 2 * len(alike) <= len(live):
            return Verdict.SUSPECT
        self.jump = stamp - max(self._newest[name].stamp for name in alike)
        self.reset()
        return Verdict.JUMP

    def _fits(self, known: _Seen, seen: _Seen) -> bool:
        passed = max(0, seen.arrival - known.arrival)
        return -self._back <= seen.stamp - known.stamp <= self._forward + passed

    def _alike(self, suspect: _Seen, seen: _Seen) -> bool:
        return abs(seen.stamp - suspect.stamp) <= _AGREE + abs(seen.arrival - suspect.arrival)
