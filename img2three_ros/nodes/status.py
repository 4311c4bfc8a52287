"""The health of the node: what came in, what went out, how late, and whether that is good enough. No ROS here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from ..structures import Frame, Reconstruction
from .mailbox import MailboxCounts
from .parameters import StatusConfig
from .rates import rate


class State(Enum):
    """What a planner may make of the outputs."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    STALE = "STALE"
    ERROR = "ERROR"
    INACTIVE = "INACTIVE"


@dataclass(frozen=True)
class Health:
    """State and the plain sentences behind it."""

    state: State
    reasons: tuple[str, ...] = ()

    def sentence(self) -> str:
        """One line for people."""
        return self.state.value + (": " + "; ".join(self.reasons) if self.reasons else "")


@dataclass(frozen=True)
class CameraReport:
    """One camera. silent: seconds since its last image, None = never seen. topic: where it is listened to.

    problem: why nothing may be coming. trouble: what is wrong with what comes. rate: Hz. latency: s, age of its images
    on arrival. last_stamp: ns, 0 = none. lag: s that its stamps are behind those of the other cameras.
    """

    name: str
    topic: str
    silent: float | None
    received: int
    used: int
    waiting: int
    dropped: Mapping[str, int]
    problem: str = ""
    trouble: str = ""
    disabled: bool = False
    rate: float = 0.0
    latency: float | None = None
    last_stamp: int = 0
    lag: float | None = None


@dataclass(frozen=True)
class Output:
    """What the last published frame said of itself."""

    stamp: int
    cameras: tuple[str, ...]
    missing: tuple[str, ...]
    ego_motion: bool
    notes: tuple[str, ...]
    timings_ms: Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """Everything a report needs, taken at one moment. Times in s, latencies in ms.

    late: why the newest results were not published, '' if they were. lacking: what of the required cameras the newest
    frame lacked, '' if nothing. busy: how long the frame under way takes already.
    outputs: topic -> rate (Hz) of what was published on it.
    """

    active: bool
    since_start: float
    since_output: float | None
    output: Output | None
    failed: bool
    last_error: str
    rate: float
    stamp_to_publish: Sequence[float]
    receive_to_publish: Sequence[float]
    late: str = ""
    lacking: str = ""
    busy: float = 0.0
    outputs: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Monitor:
    """Collects what happens on both threads. clock: steady seconds."""

    clock: Callable[[], float] = time.monotonic
    window: int = 200
    _active: bool = False
    _started: float = 0.0
    _output: Output | None = None
    _failed: bool = False
    _last_error: str = ""
    _published: deque[float] = field(default_factory=deque)
    _stamp_latency: deque[float] = field(default_factory=deque)
    _receive_latency: deque[float] = field(default_factory=deque)
    _by_topic: dict[str, deque[float]] = field(default_factory=dict)
    _late: int = 0
    _late_words: str = ""
    _lacking: str = ""
    _busy_since: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def activated(self, active: bool) -> None:
        """The node was activated or deactivated; figures start anew."""
        with self._lock:
            self._active, self._started, self._output, self._failed = active, self.clock(), None, False
            self._late, self._lacking, self._by_topic, self._busy_since = 0, "", {}, None
            for series in (self._published, self._stamp_latency, self._receive_latency):
                series.clear()

    def jumped(self) -> None:
        """Time jumped: latencies mean nothing any more, and all cameras get their time to come back."""
        with self._lock:
            self._started, self._late = self.clock(), 0
            self._stamp_latency.clear()

    def begun(self) -> None:
        """A frame is being worked on."""
        with self._lock:
            self._busy_since = self.clock()

    def ended(self) -> None:
        """The frame is done with, for better or worse."""
        with self._lock:
            self._busy_since = None

    def late(self, delay: float, limit: float) -> None:
        """A result was ``delay`` s old when it was ready, more than ``limit``, and is not published."""
        with self._lock:
            self._late += 1
            self._late_words = (f"the last {self._late} results were ready too late ({delay:.2f} s after their stamp, "
                                f"max_output_delay {limit:g} s): not published")

    def lacks(self, text: str) -> None:
        """A frame came without a usable image of a required camera; holds until one is published."""
        with self._lock:
            self._lacking = text

    def published(self, frame: Frame, result: Reconstruction, stamp_to_publish: float,
                  receive_to_publish: float, topics: Iterable[str] = ()) -> bool:
        """A frame went out on ``topics`` (latencies in s). Returns True if other cameras contributed than last time."""
        with self._lock:
            self._late, self._lacking = 0, ""
            for topic in topics:
                self._by_topic.setdefault(topic, deque(maxlen=self.window)).append(self.clock())
            before = self._output
            self._output = Output(result.stamp, result.cameras, result.missing, frame.T_odom_base is not None,
                                  tuple(result.notes), dict(result.timings_ms))
            self._failed = False
            for series, value in ((self._published, self.clock()), (self._stamp_latency, 1e3 * stamp_to_publish),
                                  (self._receive_latency, 1e3 * receive_to_publish)):
                series.append(value)
                if len(series) > self.window:
                    series.popleft()
            return before is None or before.cameras != result.cameras

    def error(self, text: str, failed: bool) -> None:
        """Something went wrong. failed: the reconstruction itself, until the next frame succeeds."""
        with self._lock:
            self._last_error, self._failed = text, failed or self._failed

    def snapshot(self) -> Snapshot:
        """The figures now."""
        with self._lock:
            now = self.clock()
            since_output = now - self._published[-1] if self._published else None
            return Snapshot(self._active, now - self._started, since_output, self._output, self._failed,
                            self._last_error, rate(self._published, now), tuple(self._stamp_latency),
                            tuple(self._receive_latency), self._late_words if self._late else "", self._lacking,
                            now - self._busy_since if self._busy_since is not None else 0.0,
                            {topic: rate(times, now) for topic, times in self._by_topic.items()})


def judge(snapshot: Snapshot, cameras: Sequence[CameraReport], config: StatusConfig,
          required: Sequence[str] = (), min_cameras: int = 1, standstill: float = 0.0) -> Health:
    """State of the node: the worst of what holds, with every reason. standstill: s that /clock has not moved for."""
    if not snapshot.active:
        return Health(State.INACTIVE, ("not activated",))
    silent = [camera for camera in cameras if _is_silent(camera, config)]
    reasons = [_silence(camera) for camera in silent]
    if standstill:
        reasons.insert(0, f"the clock has stood still for {standstill:.1f} s (use_sim_time is set; is /clock paused?)")
    alive = len(cameras) - len(silent)
    lost = [camera.name for camera in silent if camera.name in required]
    settled = snapshot.since_start > config.camera_timeout  # right after activation some may be late
    # Without any camera (start, end of a recording) the outputs are STALE.
    enough = not lost and alive >= min(min_cameras, len(cameras))
    if alive and not enough and settled:
        cause = f"required camera {', '.join(lost)} is lost" if lost else f"only {alive} of {len(cameras)} cameras"
        return Health(State.ERROR, (cause, *reasons))
    if snapshot.failed:
        return Health(State.ERROR, (f"reconstruction failed: {snapshot.last_error}", *reasons))
    if not alive and settled:
        return Health(State.STALE, ("no fresh image from any camera: nothing is published", *reasons))
    if snapshot.lacking and settled:
        return Health(State.ERROR, (snapshot.lacking, *reasons))
    if snapshot.busy > config.stale_after:
        reasons.insert(0, f"a reconstruction has been under way for {snapshot.busy:.1f} s")
    reasons += [snapshot.late] if snapshot.late else []
    output = snapshot.output
    if output is None or snapshot.since_output is None:
        return Health(State.STALE, ("nothing published yet", *reasons))
    if snapshot.since_output > config.stale_after:
        return Health(State.STALE, (f"nothing published for {snapshot.since_output:.1f} s", *reasons))
    if output.missing:
        reasons.append(f"last frame without {', '.join(output.missing)}: unknown there")
    reasons += [f"camera '{camera.name}' is disabled (disabled_cameras)" for camera in cameras if camera.disabled]
    reasons += [camera.trouble for camera in cameras if camera.trouble]
    if not output.ego_motion:
        reasons.append("ego motion is not known: no keyframes, no memory")
    return Health(State.DEGRADED if reasons else State.OK, tuple(reasons))


def report(health: Health, snapshot: Snapshot, cameras: Sequence[CameraReport], frames: MailboxCounts,
           facts: Mapping[str, str]) -> dict[str, str]:
    """The key-values of ``~/status``. facts: what others know (engine, device, grid, ...)."""
    output = snapshot.output
    values = {
        "state": health.state.value,
        "cameras.expected": _names(camera.name for camera in cameras),
        "cameras.contributing": _names(output.cameras if output else ()),
        "cameras.missing": _names(output.missing if output else (camera.name for camera in cameras)),
        "last_output.stamp_ns": str(output.stamp if output else 0),
        "last_output.ego_motion": str(bool(output and output.ego_motion)).lower(),
        "last_output.notes": "; ".join(output.notes) if output else "",
        "rate_hz": f"{snapshot.rate:.2f}",
    }
    values.update({f"outputs.{topic}.rate_hz": f"{hertz:.2f}" for topic, hertz in sorted(snapshot.outputs.items())})
    for name, series in (("stamp_to_publish", snapshot.stamp_to_publish),
                         ("receive_to_publish", snapshot.receive_to_publish)):
        median, tail = np.percentile(series, (50, 95)) if series else (0.0, 0.0)
        values[f"latency.{name}.median_ms"] = f"{median:.1f}"
        values[f"latency.{name}.p95_ms"] = f"{tail:.1f}"
    for name in ("received", "processed", "replaced", "rejected", "pending"):
        values[f"frames.{name}"] = str(getattr(frames, name))
    values.update({f"frames.rejected.{reason}": str(count) for reason, count in sorted(frames.rejected_by.items())})
    for camera in cameras:
        values.update({f"images.{camera.name}.{key}": value for key, value in camera_values(camera).items()})
    timings = output.timings_ms if output else {}
    values.update({f"timings.{stage}_ms": f"{value:.1f}" for stage, value in timings.items()})
    values["last_error"] = snapshot.last_error
    return {**values, **facts}


def camera_values(camera: CameraReport) -> dict[str, str]:
    """Key-values of one camera."""
    values = {"topic": camera.topic, "received": str(camera.received), "used": str(camera.used),
              "waiting": str(camera.waiting), "dropped": str(sum(camera.dropped.values())),
              "silent_s": "never seen" if camera.silent is None else f"{camera.silent:.2f}",
              "rate_hz": f"{camera.rate:.2f}", "last_stamp_ns": str(camera.last_stamp),
              "latency_ms": "unknown" if camera.latency is None else f"{1e3 * camera.latency:.1f}",
              "lag_ms": "unknown" if camera.lag is None else f"{1e3 * camera.lag:.1f}"}
    values.update({f"dropped.{reason}": str(count) for reason, count in sorted(camera.dropped.items())})
    return values


def judge_camera(camera: CameraReport, config: StatusConfig) -> Health:
    """State of one camera on its own, for /diagnostics."""
    if _is_silent(camera, config):
        return Health(State.STALE, (_silence(camera),))
    found = ("disabled (disabled_cameras)" if camera.disabled else "", camera.problem, camera.trouble)
    reasons = tuple(reason for reason in found if reason)
    return Health(State.DEGRADED if reasons else State.OK, reasons)


def _is_silent(camera: CameraReport, config: StatusConfig) -> bool:
    return camera.silent is None or camera.silent > config.camera_timeout


def _silence(camera: CameraReport) -> str:
    since = "never seen" if camera.silent is None else f"silent for {camera.silent:.1f} s"
    return f"camera '{camera.name}' {since}" + (f" ({camera.problem})" if camera.problem else
                                                f" on {camera.topic}" if camera.topic else "")


def _names(names: Iterable[str]) -> str:
    return ",".join(names)
