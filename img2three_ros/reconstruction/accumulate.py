"""One cloud of a whole drive: the clouds of all frames in the odometry frame, thinned on a voxel grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import apply
from ..structures import Matrix, PointCloud

_MERGE_AT = 2_000_000
_FAR = 1e4


class CloudAccumulator:
    """Keeps the most confident point of each voxel. Memory grows with the space driven through, not with time.

    voxel_size: metres. origin: (3,) subtracted from all points: zero unless the drive is so far from the odometry
    frame's origin (> 10 km, e.g. UTM coordinates) that float32 would blur it (REP-105).
    """

    def __init__(self, voxel_size: float = 0.1) -> None:
        self._voxel_size = voxel_size
        self._points: list[NDArray[np.float64]] = []
        self._colours: list[NDArray[np.uint8]] = []
        self._confidence: list[NDArray[np.float32]] = []
        self._pending = 0
        self._last: PointCloud | None = None
        self.origin: NDArray[np.float64] = np.zeros(3)
        self.frames = 0

    def add(self, cloud: PointCloud, T_odom_base: Matrix | None) -> None:
        """Add a frame's cloud (in the base frame); without an ego pose it only counts while it is the last."""
        self._last = cloud
        if T_odom_base is None:
            return
        if not self.frames and np.linalg.norm(T_odom_base[:3, 3]) > _FAR:
            self.origin = np.round(T_odom_base[:3, 3])
        self.frames += 1
        self._points.append(apply(T_odom_base, cloud.points.astype(np.float64)) - self.origin)
        self._colours.append(cloud.colours)
        self._confidence.append(cloud.confidence)
        self._pending += len(cloud)
        if self._pending > _MERGE_AT:
            self._merge()

    def result(self) -> tuple[PointCloud, bool]:
        """The cloud, and whether it is in the odometry frame (else: the last frame's, in the base frame)."""
        if not self.frames:
            empty = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
            last = self._last or empty
            return last.select(_best_of_voxels(last.points.astype(np.float64), last.confidence,
                                               self._voxel_size)), False
        self._merge()
        return PointCloud(self._points[0].astype(np.float32), self._colours[0], self._confidence[0]), True

    def _merge(self) -> None:
        points, colours = np.concatenate(self._points), np.concatenate(self._colours)
        confidence = np.concatenate(self._confidence)
        keep = _best_of_voxels(points, confidence, self._voxel_size)
        self._points, self._colours, self._confidence = [points[keep]], [colours[keep]], [confidence[keep]]
        self._pending = 0


def _best_of_voxels(points: NDArray[np.float64], confidence: NDArray[np.float32], size: float) -> NDArray[np.intp]:
    """Indices of the most confident point of each voxel (the earliest of equals), ascending."""
    if len(points) == 0:
        return np.zeros(0, dtype=np.intp)
    cells = np.floor(points / size).astype(np.int64)
    order = np.lexsort((np.arange(len(points)), -confidence, cells[:, 2], cells[:, 1], cells[:, 0]))
    first = np.ones(len(points), dtype=bool)
    first[1:] = (np.diff(cells[order], axis=0) != 0).any(axis=1)
    return np.sort(order[first])
