"""Truth of depth in a recording: LiDAR scans projected into images, or depth images of the same camera."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..fileio.rosbag import BagReader
from ..geometry.transforms import apply, inverse
from ..ingest.bag_topics import IMAGE
from ..ingest.checks import checked_frame_id, checked_stamp
from ..structures import InputError, Matrix

_ENCODINGS = {"32FC1": ("f4", 1.0), "16UC1": ("u2", 0.001)}
_NEAREST = 0.5
_WINDOW = 500_000_000
_HIDDEN = 0.85

Item = TypeVar("Item")
Depth = NDArray[np.float32]


class NearestInTime(Generic[Item]):
    """The item of a key nearest to a moment, of (key, stamp in ns, item) that come about in the order of stamps.

    Moments must be asked for in order; only half a second around them is held.
    """

    def __init__(self, items: Iterable[tuple[str, int, Item]], tolerance: int) -> None:
        self._items: Iterator[tuple[str, int, Item]] | None = iter(items)
        self._tolerance = tolerance
        self._near: deque[tuple[str, int, Item]] = deque()

    def at(self, key: str, stamp: int) -> Item | None:
        """The nearest item within the tolerance; None if there is none."""
        while self._items is not None and not (self._near and self._near[-1][1] > stamp + self._tolerance + _WINDOW):
            found = next(self._items, None)
            if found is None:
                self._items = None
            else:
                self._near.append(found)
        while self._near and self._near[0][1] < stamp - self._tolerance - _WINDOW:
            self._near.popleft()
        candidates = [(abs(when - stamp), item) for name, when, item in self._near if name == key]
        best = min(candidates, key=lambda candidate: candidate[0], default=None)
        return best[1] if best is not None and best[0] <= self._tolerance else None


def depth_topics(reader: BagReader) -> list[str]:
    """Topics of images in an encoding of depth (REP 118: 32FC1 metres, 16UC1 millimetres)."""
    found = []
    for name, info in reader.topics().items():
        if info.message_type == IMAGE and info.count:
            first = next(iter(reader.messages([name])), None)
            if first is not None and str(first[2].encoding) in _ENCODINGS:
                found.append(name)
    return found


def read_depth(bag: Path) -> Iterator[tuple[str, int, Depth]]:
    """(frame_id, stamp in ns, depth image) of all depth images of a bag. Raises InputError for a malformed one."""
    with BagReader(bag) as reader:
        for topic, _, message in reader.messages(depth_topics(reader)):
            yield checked_frame_id(message, topic), checked_stamp(message, topic), decode_depth(message, topic)


def decode_depth(message: Any, topic: str) -> Depth:
    """An Image of depth -> (H, W) float32 metres; NaN = unknown (0 and negative too), inf = nothing within range."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    if str(message.encoding) not in _ENCODINGS:
        raise InputError("encoding", f"topic '{topic}': encoding '{message.encoding}' is not depth; use "
                         f"{' or '.join(_ENCODINGS)}")
    kind, unit = _ENCODINGS[str(message.encoding)]
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    data = np.frombuffer(bytes(message.data), dtype=np.uint8)
    if step < width * dtype.itemsize or len(data) < height * step:
        raise InputError("short_data", f"topic '{topic}': {len(data)} bytes are too few for {width}x{height} pixels of "
                         f"{message.encoding} with step {step}")
    rows = np.ascontiguousarray(data[:height * step].reshape(height, step)[:, :width * dtype.itemsize])
    depth = rows.view(dtype).astype(np.float32) * np.float32(unit)
    return np.where(depth > 0.0, depth, np.float32(np.nan))


def lidar_depth(points: NDArray[np.floating], T_base_camera: Matrix, intrinsics: NDArray[np.floating],
                size: tuple[int, int]) -> Depth:
    """(H, W) depth of the points (N, 3) in ``base_link`` that the camera can see; NaN where there is none.

    A LiDAR looks over obstacles that hide things from a camera beside it. Of each pixel the nearest point counts,
    and a point is taken for hidden where one clearly nearer (15 %) lies close by, left, right or above: scans are
    sparse, so that surfaces must be filled in. Not below: there the ground always is nearer.
    """
    height, width = size
    camera = apply(inverse(T_base_camera), points.astype(np.float64))
    camera = camera[np.isfinite(camera).all(axis=1) & (camera[:, 2] > _NEAREST)]
    projected = camera @ intrinsics.astype(np.float64).T
    column, row = np.floor(projected[:, :2] / projected[:, 2:] + 0.5).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    nearness = np.zeros(size, dtype=np.float32)
    np.maximum.at(nearness, (row[inside].astype(int), column[inside].astype(int)), 1.0 / camera[inside, 2])
    above, beside = max(height // 32, 1), max(width // 80, 1)
    window = np.ones((above + 1, 2 * beside + 1), dtype=np.uint8)
    nearest = cv2.dilate(nearness, window, anchor=(beside, above), borderType=cv2.BORDER_CONSTANT, borderValue=0.0)
    seen = (nearness > 0.0) & (nearness >= _HIDDEN * nearest)
    return np.where(seen, 1.0 / np.where(seen, nearness, 1.0), np.nan).astype(np.float32)
