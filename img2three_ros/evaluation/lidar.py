"""LiDAR scans beside frames: the nearest in time, moved to the frame's instant by the ego motion between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import apply, inverse
from ..ingest.bag_frames import LidarScan
from ..structures import Frame, InputError, Matrix

MAX_OFFSET = 100_000_000
"""A scan farther from a frame than this (ns) is not compared with it: what moves by itself is elsewhere by then."""


@dataclass(frozen=True, eq=False)
class FrameScan:
    """A scan as the frame's instant would have seen a static world.

    points: (N, 3) float64 in ``base_link`` at the frame's reference stamp, finite; origin: (3,) of the sensor.
    offset: scan stamp minus frame stamp, ns. compensated: False where no ego pose was known.
    """

    points: NDArray[np.float64]
    origin: NDArray[np.float64]
    offset: int
    compensated: bool


def compensated(scan: LidarScan, stamp: int, T_odom_base: Matrix | None) -> FrameScan:
    """Moves a scan (``base_link`` at its own stamp) to ``base_link`` at a frame's ``stamp`` (ns) and ego pose.

    The scan counts as one instant, as its points carry no times of their own. Without ego poses nothing is moved.
    """
    T_frame_scan = np.eye(4)
    known = T_odom_base is not None and scan.T_odom_base is not None
    if T_odom_base is not None and scan.T_odom_base is not None:
        T_frame_scan = inverse(T_odom_base) @ scan.T_odom_base
    finite = scan.points[np.isfinite(scan.points).all(axis=1)]
    points, origin = (np.asarray(apply(T_frame_scan, part.astype(np.float64))) for part in (finite, scan.origin))
    return FrameScan(points, origin, scan.stamp - stamp, known)


class ScanFinder:
    """Finds the scan nearest to each frame while both are read in order; holds only the scans near the frame."""

    def __init__(self, scans: Iterable[LidarScan], max_offset: int = MAX_OFFSET) -> None:
        self._scans: Iterator[LidarScan] = iter(scans)
        self._near: deque[LidarScan] = deque()
        self._max_offset = max_offset
        self._exhausted = False
        self.seen = 0

    def nearest(self, frame: Frame) -> FrameScan | None:
        """The nearest scan, moved to the frame's stamp; None if none lies within the bound.

        Frames must come in the order of their stamps.
        """
        while not self._exhausted and not (self._near and self._near[-1].stamp > frame.stamp + self._max_offset):
            scan = next(self._scans, None)
            self._exhausted = scan is None
            if scan is not None:
                self.seen += 1
                self._near.append(scan)
        while self._near and self._near[0].stamp < frame.stamp - self._max_offset:
            self._near.popleft()
        best = min(self._near, key=lambda scan: abs(scan.stamp - frame.stamp), default=None)
        if best is None or abs(best.stamp - frame.stamp) > self._max_offset:
            return None
        return compensated(best, frame.stamp, frame.T_odom_base)


def no_scan_near(bag: str, topic: str, scans: int) -> InputError:
    """The error for a bag whose scans and frames never meet."""
    return InputError("lidar", f"no LiDAR scan near any frame of {bag}: {scans} scans on {topic}, none within "
                      f"{MAX_OFFSET / 1e9:g} s of a frame; check the stamps of the LiDAR driver, or give "
                      "another topic with --lidar-topic")
