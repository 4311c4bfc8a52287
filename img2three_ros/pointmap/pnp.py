"""Camera poses from points and the pixels that show them, for images that no pair has as its first."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import Matrix
from .focal import FOCAL_BOUNDS

_TRIALS = 16
_PIXELS = 0.01  # of the longer side: how far a pixel may lie from the projection of its point
_LEAST = 12


@dataclass(frozen=True, eq=False)
class CameraPose:
    """T_camera_points: (4, 4). focal: pixels. inliers: share of the points that project onto their pixels."""

    T_camera_points: Matrix
    focal: float
    inliers: float


def pose_from_points(points: NDArray[np.float64], offsets: NDArray[np.float64], longer_side: int,
                     focal: float | None = None) -> CameraPose | None:
    """Pose of the camera that sees points (N, 3) at pixels minus principal point (N, 2); None if there is none.

    Random sampling (RANSAC), repeatable. An unknown focal is tried on a geometric row of candidates, then around the
    best of them; the one with the most points on their pixels is kept.
    """
    if len(points) < _LEAST:
        return None
    size = np.abs(points - np.median(points, 0)).mean()
    if not size > 0:
        return None
    if focal is not None:
        return _pose(points, offsets, focal, _PIXELS * longer_side)
    low, high = FOCAL_BOUNDS
    row = np.geomspace(low, high, _TRIALS) * longer_side
    best = _best(points, offsets, row, longer_side)
    if best is None:
        return None
    ratio = row[1] / row[0]
    finer = best.focal * np.geomspace(1 / ratio, ratio, 11)
    return _best(points, offsets, finer, longer_side)


def _best(points: NDArray[np.float64], offsets: NDArray[np.float64], focals: NDArray[np.float64],
          longer_side: int) -> CameraPose | None:
    found = [pose for focal in focals if (pose := _pose(points, offsets, float(focal), _PIXELS * longer_side))]
    return max(found, key=lambda pose: pose.inliers, default=None)


def _pose(points: NDArray[np.float64], offsets: NDArray[np.float64], focal: float, pixels: float) -> CameraPose | None:
    cv2.setRNGSeed(0)
    intrinsics = np.diag([focal, focal, 1.0])
    try:
        done, turn, shift, _ = cv2.solvePnPRansac(points, offsets, intrinsics, None, iterationsCount=50,
                                                  reprojectionError=pixels, flags=cv2.SOLVEPNP_SQPNP)
    except cv2.error:
        return None
    if not done or not np.isfinite(turn).all() or not np.isfinite(shift).all():
        return None
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(turn)[0]
    pose[:3, 3] = shift.ravel()
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    front = seen[:, 2] > 0
    projected = focal * seen[:, :2] / np.where(front, seen[:, 2], 1.0)[:, None]
    distance = np.where(front, np.linalg.norm(projected - offsets, axis=1), np.inf)
    return CameraPose(pose, focal, float((1.0 / (1.0 + (distance / pixels) ** 2)).mean()))
