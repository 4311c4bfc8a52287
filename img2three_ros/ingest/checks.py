"""What every message must satisfy, whoever sent it."""

from __future__ import annotations

from typing import Any

from ..structures import InputError

_NANOSECONDS = 1_000_000_000


def checked_stamp(message: Any, topic: str) -> int:
    """Stamp of the header in ns. Raises InputError ``zero_stamp`` or ``bad_stamp``."""
    stamp = message.header.stamp
    seconds, nanoseconds = int(stamp.sec), int(stamp.nanosec)
    if not 0 <= nanoseconds < _NANOSECONDS or seconds < 0:
        raise InputError("bad_stamp", f"topic '{topic}': stamp sec={seconds} nanosec={nanoseconds} is not a time; "
                         "nanosec must be below 1e9")
    if seconds == 0 and nanoseconds == 0:
        raise InputError("zero_stamp", f"topic '{topic}': header.stamp is 0; the driver must stamp images with the "
                         "time of exposure")
    return seconds * _NANOSECONDS + nanoseconds


def checked_frame_id(message: Any, topic: str) -> str:
    """header.frame_id. Raises InputError ``empty_frame_id``."""
    frame = str(message.header.frame_id).lstrip("/")
    if not frame:
        raise InputError("empty_frame_id", f"topic '{topic}': header.frame_id is empty; set it to the camera's "
                         "optical frame, or give the camera's extrinsics in a rig file")
    return frame
