"""Status reports as diagnostic messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from .parameters import StatusConfig
from .status import CameraReport, Health, State, camera_values, judge_camera

_LEVELS = {
    State.OK: DiagnosticStatus.OK, State.DEGRADED: DiagnosticStatus.WARN, State.STALE: DiagnosticStatus.STALE,
    State.ERROR: DiagnosticStatus.ERROR, State.INACTIVE: DiagnosticStatus.STALE,
}


def status_message(name: str, health: Health, values: Mapping[str, str]) -> DiagnosticStatus:
    """The report on ``~/status``: level and message from the state, everything else as key-values."""
    return DiagnosticStatus(level=_LEVELS[health.state], name=name, message=health.sentence(), hardware_id="img2three",
                            values=[KeyValue(key=key, value=value) for key, value in values.items()])


def camera_messages(name: str, cameras: Sequence[CameraReport], config: StatusConfig) -> list[DiagnosticStatus]:
    """One entry for each camera, as /diagnostics has them beside the node's own."""
    return [status_message(f"{name}: camera {camera.name}", judge_camera(camera, config), camera_values(camera))
            for camera in cameras]


def array_message(stamp: Time, entries: Sequence[DiagnosticStatus]) -> DiagnosticArray:
    """Entries with the time they were made."""
    message = DiagnosticArray(status=list(entries))
    message.header.stamp = stamp
    return message
