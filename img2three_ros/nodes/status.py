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
    """One camera. silent: seconds since its last image, None = never seen. topic: where it is listened to."""

    name: str
    topic: str
    silent: float | None
    received: int
    used: int
    waiting: int
    dropped: Mapping[str, int]
    problem: str = ""


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
    """Everything a report needs, taken at one moment. Times in s, latencies in ms."""

    active: bool
    since_start: float
    since_output: float | None
    output: Output | None
    failed: bool
    last_error: str
    rate: float
    stamp_to_publish: Sequence[float]
    receive_to_publish: Sequence[float]


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
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def activated(self, active: bool) -> None:
        """The node was activated or deactivated; figures start anew."""
        with self._lock:
            self._active, self._started, self._output, self._failed = active, self.clock(), None, False
            for series in (self._published, self._stamp_latency, self._receive_latency):
                series.clear()

    def published(self, frame: Frame, result: Reconstruction, stamp_to_publish: float,
                  receive_to_publish: float) -> bool:
        """A frame went out (latencies in s). Returns True if other cameras contributed than last time."""
        with self._lock:
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
                            self._last_error, _rate(self._published, now), tuple(self._stamp_latency),
                            tuple(self._receive_latency))


def judge(snapshot: Snapshot, cameras: Sequence[CameraReport], config: StatusConfig,
          required: Sequence[str] = (), min_cameras: int = 1) -> Health:
    """State of the node: the worst of what holds, with every reason."""
    if not snapshot.active:
        return Health(State.INACTIVE, ("not activated",))
    silent = [camera for camera in cameras if camera.silent is None or camera.silent > config.camera_timeout]
    reasons = [_silence(camera) for camera in silent]
    alive = len(cameras) - len(silent)
    lost = [camera.name for camera in silent if camera.name in required]
    # Without any camera (start, end of a recording) the outputs are STALE; right after activation some may be late.
    enough = not lost and alive >= min(min_cameras, len(cameras))
    if alive and not enough and snapshot.since_start > config.camera_timeout:
        cause = f"required camera {', '.join(lost)} is lost" if lost else f"only {alive} of {len(cameras)} cameras"
        return Health(State.ERROR, (cause, *reasons))
    if snapshot.failed:
        return Health(State.ERROR, (f"reconstruction failed: {snapshot.last_error}", *reasons))
    output = snapshot.output
    if output is None or snapshot.since_output is None:
        return Health(State.STALE, ("nothing published yet", *reasons))
    if snapshot.since_output > config.stale_after:
        return Health(State.STALE, (f"nothing published for {snapshot.since_output:.1f} s", *reasons))
    if output.missing:
        reasons.append(f"last frame without {', '.join(output.missing)}: unknown there")
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
              "silent_s": "never seen" if camera.silent is None else f"{camera.silent:.2f}"}
    values.update({f"dropped.{reason}": str(count) for reason, count in sorted(camera.dropped.items())})
    return values


def judge_camera(camera: CameraReport, config: StatusConfig) -> Health:
    """State of one camera on its own, for /diagnostics."""
    if camera.silent is None or camera.silent > config.camera_timeout:
        return Health(State.STALE, (_silence(camera),))
    return Health(State.DEGRADED, (camera.problem,)) if camera.problem else Health(State.OK)


def _silence(camera: CameraReport) -> str:
    since = "never seen" if camera.silent is None else f"silent for {camera.silent:.1f} s"
    return f"camera '{camera.name}' {since}" + (f" ({camera.problem})" if camera.problem else
                                                f" on {camera.topic}" if camera.topic else "")


def _rate(times: Sequence[float], now: float, window: float = 10.0) -> float:
    recent = [moment for moment in times if now - moment <= window]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6)


def _names(names: Iterable[str]) -> str:
    return ",".join(names)
