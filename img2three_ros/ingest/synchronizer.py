"""Which images of N cameras belong together: partial sets allowed, bounded memory, every dropped image counted.

Two clocks: *stamps* (ns, when images were exposed; from message headers) decide what belongs together; *now* (ns,
a steady clock of the caller, or the time of recording of a bag) decides how long to wait. The synchronizer reads
no clock itself and has no threads.

For every camera, always: received = used + dropped (by reason) + waiting.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..config import SyncConfig
from ..structures import InputError
from .time_jumps import JumpJudge, Verdict

T = TypeVar("T")

_NEVER = 2**63
"""A time after all others, ns."""

DROP_REASONS = {
    "duplicate": "same camera and stamp as an image that is waiting or was used last",
    "late": "its set was already given out",
    "reordered": "older than the image of this camera that was used last",
    "unmatched": "no reference image within the tolerance",
    "overflow": "too many images waiting",
    "too_few_cameras": "its set had fewer than min_cameras",
    "time_jump": "time jumped: everything waiting was dropped",
    "stray_stamp": "far behind or ahead of the other cameras: one camera's clock, not a jump of time",
}
"""Why an image was not used."""


@dataclass(frozen=True, eq=False)
class StampedImage(Generic[T]):
    """One image of a set: camera, stamp (ns) and whatever the caller gave with it."""

    camera: str
    stamp: int
    payload: T
    arrived: int


@dataclass(frozen=True, eq=False)
class ImageSet(Generic[T]):
    """Images of one instant, at most one for each camera, in the order of the rig.

    stamp: reference stamp, ns. reference: the camera it comes from. missing: cameras that did not contribute.
    after_time_jump: True for the first set after time jumped (reset everything that has a past).
    """

    stamp: int
    reference: str
    images: tuple[StampedImage[T], ...]
    missing: tuple[str, ...]
    after_time_jump: bool = False

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the contributing cameras."""
        return tuple(image.camera for image in self.images)


@dataclass
class CameraCounters:
    """What became of the images of one camera."""

    received: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    waiting: int = 0


@dataclass
class _Camera(Generic[T]):
    waiting: list[StampedImage[T]] = field(default_factory=list)  # by stamp; with ``suspect`` at most ``queue``
    suspect: StampedImage[T] | None = None  # with a stamp so odd that time may have jumped
    counters: CameraCounters = field(default_factory=CameraCounters)
    last_used: int | None = None
    newest: int | None = None
    period: int | None = None  # smallest recent distance of its stamps
    last_arrival: int | None = None


class CameraSynchronizer(Generic[T]):
    """Groups images of several cameras into sets, one for each reference stamp, in the order of stamps.

    Mode ``reference``: every image of the reference camera asks for a set; other cameras give their image nearest
    to it. If the reference camera falls silent, the camera with the oldest waiting image takes its place until it
    returns (``takeovers``). Mode ``free``: the oldest waiting image of any camera opens a set, which collects the
    images up to ``tolerance`` later.

    A set leaves as soon as nothing better can come for any live camera, at the latest ``max_wait`` after its
    reference image arrived. Cost per message: one look at each camera's short queue.
    """

    def __init__(self, cameras: Sequence[str], config: SyncConfig | None = None) -> None:
        self.config = config or SyncConfig()
        if not cameras or len(set(cameras)) != len(cameras):
            raise InputError("parameter", f"cameras = {list(cameras)} must be one or more different names")
        if self.config.reference and self.config.reference not in cameras:
            raise InputError("parameter", f"sync.reference = '{self.config.reference}' must be one of the cameras "
                             f"{', '.join(cameras)}, or empty")
        self._cameras: dict[str, _Camera[T]] = {name: _Camera() for name in cameras}
        self.reference = self.config.reference or cameras[0]
        self.acting_reference = self.reference
        self.takeovers = 0
        self.time_jumps = 0
        self.last_jump = 0.0
        """By how much time jumped last, s; negative = back."""
        self._tolerance = round(self.config.tolerance * 1e9)
        self._max_wait = round(self.config.max_wait * 1e9)
        self._lost_after = max(round(self.config.lost_after * 1e9), self._max_wait)
        self._judge = JumpJudge(round(self.config.time_jump * 1e9), round(self.config.forward_jump * 1e9),
                                self._lost_after)
        self._start: int | None = None
        self._last_stamp: int | None = None
        self._last_cameras: tuple[str, ...] = ()
        self._old_in_a_row = 0
        self._jumped = False

    def counters(self) -> Mapping[str, CameraCounters]:
        """A copy of the counters of each camera."""
        return {name: CameraCounters(camera.counters.received, camera.counters.used,
                                     Counter(camera.counters.dropped),
                                     len(camera.waiting) + (camera.suspect is not None))
                for name, camera in self._cameras.items()}

    def add(self, camera: str, stamp: int, payload: T, now: int) -> list[ImageSet[T]]:
        """Take one image; returns the sets that became complete (usually none or one).

        Raises KeyError for a camera that is not of the rig.
        """
        state = self._cameras[camera]
        state.counters.received += 1
        self._start = now if self._start is None else self._start
        image = StampedImage(camera, stamp, payload, now)
        verdict = self._judge.judge(camera, stamp, now)
        if verdict is Verdict.SUSPECT:
            self._hold(state, image)
            return self.poll(now)
        if verdict is Verdict.JUMP:
            self._jump(image, now)
            return self.poll(now)
        self._drop_suspect(state, "stray_stamp")
        if verdict is Verdict.RETURNED:
            self._forget_stamps(state, "stray_stamp")
        reason = self._reason_to_drop(camera, stamp)
        if reason:
            self._old_in_a_row += reason != "duplicate"
            if self._old_in_a_row < 3 * len(self._cameras):
                state.counters.dropped[reason] += 1
                return self.poll(now)
            # Nothing but old stamps for so long: the source was restarted, by less than ``time_jump``.
            self.last_jump = (stamp - (self._last_stamp or stamp)) / 1e9
            self._time_jump(now)
        self._old_in_a_row = 0
        self._insert(state, image)
        return self.poll(now)

    def poll(self, now: int) -> list[ImageSet[T]]:
        """Sets that are due because their time is over. Call it also when no image arrives."""
        sets: list[ImageSet[T]] = []
        while True:
            self._choose_reference(now)
            head = self._head()
            if head is None or not (now - head.arrived >= self._max_wait or self._settled(head, now)):
                return sets
            self._give_out(head, sets)

    def flush(self) -> list[ImageSet[T]]:
        """All remaining sets, complete or not: the recording has ended."""
        sets = self.poll(_NEVER)
        for name, camera in self._cameras.items():
            self._drop_before(name, _NEVER)
            self._drop_suspect(camera, "stray_stamp")
        return sets

    def reset(self, reason: str = "time_jump") -> None:
        """Forget all waiting images (counted under ``reason``) and all stamps seen."""
        for camera in self._cameras.values():
            self._forget_stamps(camera, reason)
            self._drop_suspect(camera, reason)
        self._judge.reset()
        self._last_stamp, self._last_cameras, self._old_in_a_row = None, (), 0
        self.acting_reference = self.reference
        self._jumped = True

    def _time_jump(self, now: int) -> None:
        self.time_jumps += 1
        self.reset()
        self._start = now

    def _jump(self, image: StampedImage[T], now: int) -> None:
        """Start anew with ``image`` and what was held back of the other cameras."""
        held = [camera.suspect for camera in self._cameras.values() if camera.suspect is not None]
        for camera in self._cameras.values():
            camera.suspect = None
        self.last_jump = self._judge.jump / 1e9
        self._time_jump(now)
        for other in sorted((other for other in held if other.camera != image.camera), key=lambda one: one.arrived):
            state = self._cameras[other.camera]
            if self._judge.judge(other.camera, other.stamp, other.arrived) is Verdict.NORMAL:
                self._insert(state, other)
            else:
                state.counters.dropped["stray_stamp"] += 1
        earlier = [other for other in held if other.camera == image.camera]
        self._cameras[image.camera].counters.dropped["time_jump"] += len(earlier)
        self._judge.judge(image.camera, image.stamp, now)
        self._insert(self._cameras[image.camera], image)

    def _hold(self, state: _Camera[T], image: StampedImage[T]) -> None:
        """Keep an image with an odd stamp until it is known whether time jumped."""
        self._drop_suspect(state, "stray_stamp")
        state.suspect = image
        self._bound(state)

    def _drop_suspect(self, state: _Camera[T], reason: str) -> None:
        if state.suspect is not None:
            state.counters.dropped[reason] += 1
            state.suspect = None

    def _forget_stamps(self, state: _Camera[T], reason: str) -> None:
        """Drop what waits of a camera; its next stamp may be any."""
        if state.waiting:
            state.counters.dropped[reason] += len(state.waiting)
        state.waiting.clear()
        state.last_used = state.newest = None

    def _bound(self, state: _Camera[T]) -> None:
        if len(state.waiting) + (state.suspect is not None) > self.config.queue:
            state.waiting.pop(0)
            state.counters.dropped["overflow"] += 1

    def _reason_to_drop(self, camera: str, stamp: int) -> str | None:
        state = self._cameras[camera]
        if stamp == state.last_used or any(image.stamp == stamp for image in state.waiting):
            return "duplicate"
        if state.last_used is not None and stamp < state.last_used:
            return "reordered"
        if self._last_stamp is None:
            return None
        if self.config.mode == "free":
            window_over = camera not in self._last_cameras and stamp <= self._last_stamp + self._tolerance
            return "late" if stamp <= self._last_stamp or window_over else None
        if camera == self.acting_reference:
            return "late" if stamp <= self._last_stamp else None
        return "late" if stamp <= self._last_stamp - self._tolerance else None

    def _insert(self, state: _Camera[T], image: StampedImage[T]) -> None:
        if state.newest is not None and image.stamp > state.newest:
            gap = image.stamp - state.newest
            # The smallest gap is the period; let it grow slowly, so that a slower camera is believed in time.
            state.period = gap if state.period is None else min(gap, state.period + state.period // 8)
        state.newest = image.stamp if state.newest is None else max(state.newest, image.stamp)
        # Only usable images are signs of life: a camera that repeats one stamp for ever is as good as silent.
        state.last_arrival = image.arrived
        bisect.insort(state.waiting, image, key=lambda other: other.stamp)
        self._bound(state)

    def _head(self) -> StampedImage[T] | None:
        """The image that asks for the next set."""
        if self.config.mode == "reference":
            return next(iter(self._cameras[self.acting_reference].waiting), None)
        firsts = [camera.waiting[0] for camera in self._cameras.values() if camera.waiting]
        return min(firsts, key=lambda image: image.stamp, default=None)

    def _choose_reference(self, now: int) -> None:
        """Let another camera stand in for a silent reference, and give way when it is back."""
        if self.config.mode == "free":
            return
        wanted = self.reference
        if not self._cameras[wanted].waiting and self._silent(wanted, now):
            acting = self._cameras[self.acting_reference]
            if self.acting_reference != wanted and (acting.waiting or not self._silent(self.acting_reference, now)):
                return
            orphans = self._orphans(now)
            if not orphans:
                return
            wanted = min(orphans, key=lambda image: image.stamp).camera
            self.takeovers += wanted != self.acting_reference
            self._drop_before(wanted, self._covered())
        if wanted != self.acting_reference:
            self.acting_reference = wanted
            self._drop_before(wanted, self._last_stamp)

    def _orphans(self, now: int) -> list[StampedImage[T]]:
        """Images that have waited too long for a reference image."""
        after, reference = self._covered(), self._cameras[self.reference]
        if now == _NEVER and reference.newest is not None:
            # At the end of a recording, a few images behind the last reference image are no sign of a lost camera.
            after = max(after or 0, reference.newest + self._patience(reference))
        return [image for camera in self._cameras.values() for image in camera.waiting
                if (after is None or image.stamp > after) and now - image.arrived >= self._max_wait]

    def _covered(self) -> int | None:
        """The last stamp that belongs to a set already given out."""
        return None if self._last_stamp is None else self._last_stamp + self._tolerance

    def _patience(self, camera: _Camera[T]) -> int:
        return max(self._max_wait, 3 * (camera.period or 0) // 2)

    def _silent(self, name: str, now: int) -> bool:
        state = self._cameras[name]
        since = self._start if state.last_arrival is None else state.last_arrival
        return since is None or now - since >= self._patience(state)

    def _settled(self, head: StampedImage[T], now: int) -> bool:
        """True if no live camera can still give an image, or a better one, for the set of ``head``."""
        for name, camera in self._cameras.items():
            since = self._start if camera.last_arrival is None else camera.last_arrival
            lost = since is None or now - since >= self._lost_after
            if name != head.camera and not lost and not self._final(camera, head):
                return False
        return True

    def _final(self, camera: _Camera[T], head: StampedImage[T]) -> bool:
        """True if the camera's next image (later than all it gave so far) cannot improve the set of ``head``."""
        best = self._nearest(camera, head)
        newest = -1 if camera.newest is None else camera.newest
        if best is None:
            later_one_waits = bool(camera.waiting) and camera.waiting[-1].stamp >= head.stamp
            return later_one_waits or newest >= head.stamp + self._tolerance
        if newest >= head.stamp:
            return True
        # The next image is expected one period after this one; is it farther from the head?
        return camera.period is not None and 2 * (head.stamp - best.stamp) < camera.period

    def _nearest(self, camera: _Camera[T], head: StampedImage[T]) -> StampedImage[T] | None:
        """Waiting image nearest to the head within tolerance, that is not nearer to the next reference image."""
        free = self.config.mode == "free"
        low = head.stamp if free else head.stamp - self._tolerance
        fits = [image for image in camera.waiting if low <= image.stamp <= head.stamp + self._tolerance]
        if not free:
            references = self._cameras[self.acting_reference].waiting
            following = references[1].stamp if len(references) > 1 else None
            fits = [image for image in fits if following is None
                    or abs(image.stamp - head.stamp) <= abs(following - image.stamp)]
        return min(fits, key=lambda image: (abs(image.stamp - head.stamp), image.stamp), default=None)

    def _give_out(self, head: StampedImage[T], sets: list[ImageSet[T]]) -> None:
        chosen = {name: head if name == head.camera else self._nearest(camera, head)
                  for name, camera in self._cameras.items()}
        images = tuple(image for image in chosen.values() if image is not None)
        enough = len(images) >= min(self.config.min_cameras, len(self._cameras))
        for image in images:
            state = self._cameras[image.camera]
            state.waiting.remove(image)
            state.last_used = image.stamp
            if enough:
                state.counters.used += 1
            else:
                state.counters.dropped["too_few_cameras"] += 1
            self._drop_before(image.camera, image.stamp)
        self._last_stamp, self._last_cameras = head.stamp, tuple(image.camera for image in images)
        for name in self._cameras:
            if self.config.mode == "reference":
                self._drop_before(name, head.stamp - self._tolerance)
            elif chosen[name] is None:
                self._drop_before(name, head.stamp)
        if enough:
            missing = tuple(name for name, image in chosen.items() if image is None)
            sets.append(ImageSet(head.stamp, head.camera, images, missing, self._jumped))
            self._jumped = False

    def _drop_before(self, name: str, stamp: int | None) -> None:
        """Drop waiting images up to a stamp: no set can use them any more."""
        camera = self._cameras[name]
        count = 0 if stamp is None else bisect.bisect_right(camera.waiting, stamp, key=lambda image: image.stamp)
        if count:
            camera.counters.dropped["unmatched"] += count
            del camera.waiting[:count]
