"""Rigid transforms as (4, 4) float64 matrices ``T_target_source``: p_target = T_target_source @ p_source.

Quaternions are x, y, z, w as in ROS (REP-103) and exist only at the borders.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from ..structures import Matrix


def from_rotation_translation(rotation: ArrayLike, translation: ArrayLike) -> Matrix:
    """(3, 3) rotation and (3,) translation -> (4, 4)."""
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = translation
    return transform


def from_quaternion_translation(quaternion_xyzw: ArrayLike, translation: ArrayLike) -> Matrix:
    """Quaternion (4,) x, y, z, w and translation (3,) -> (4, 4). Raises ValueError if it is not a unit quaternion."""
    x, y, z, w = (float(value) for value in np.asarray(quaternion_xyzw, dtype=np.float64))
    position = [float(value) for value in np.asarray(translation, dtype=np.float64)]
    if not all(math.isfinite(value) for value in (x, y, z, w, *position)):
        raise ValueError(f"transform is not finite: quaternion {[x, y, z, w]}, translation {position}")
    norm = math.hypot(x, y, z, w)
    if abs(norm - 1.0) > 1e-2:
        raise ValueError(f"quaternion {[x, y, z, w]} has norm {norm:.4f}, expected 1")
    # Numbers of Python: odometry comes a hundred times a second, and numpy and scipy take longer to begin.
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array([[1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w), position[0]],
                     [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w), position[1]],
                     [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y), position[2]],
                     [0.0, 0.0, 0.0, 1.0]])


def quaternion(transform: Matrix) -> NDArray[np.float64]:
    """Quaternion (4,) x, y, z, w of the rotation of a (4, 4)."""
    return np.asarray(Rotation.from_matrix(transform[:3, :3]).as_quat())


def from_xyz_rpy(xyz: ArrayLike, rpy: ArrayLike = (0.0, 0.0, 0.0)) -> Matrix:
    """Translation (3,) metres and roll, pitch, yaw (3,) radians about fixed axes x, y, z (REP-103) -> (4, 4)."""
    roll, pitch, yaw = np.asarray(rpy, dtype=np.float64).tolist()
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    return from_rotation_translation([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                                      [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                                      [-sp, cp * sr, cp * cr]], xyz)


T_BASE_OPTICAL = from_rotation_translation([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 0])
"""Optical axes of a camera that looks along base_link's x (REP-103): z forward, x right, y down."""


def inverse(transform: Matrix) -> Matrix:
    """Inverse of a rigid (4, 4): T_target_source -> T_source_target."""
    rotation = transform[:3, :3].T
    return from_rotation_translation(rotation, -rotation @ transform[:3, 3])


def apply(transform: Matrix, points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Move points (..., 3) by a (4, 4); keeps the dtype of the points."""
    moved = points @ transform[:3, :3].T.astype(points.dtype) + transform[:3, 3].astype(points.dtype)
    return np.asarray(moved)


def interpolate(first: Matrix, second: Matrix, fraction: float) -> Matrix:
    """SE(3) interpolation: slerp of the rotation, lerp of the translation; fraction 0 -> first, 1 -> second.

    Fractions outside 0..1 extrapolate along the same twist.
    """
    relative = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).as_rotvec()
    rotation = first[:3, :3] @ Rotation.from_rotvec(fraction * relative).as_matrix()
    return from_rotation_translation(rotation, (1.0 - fraction) * first[:3, 3] + fraction * second[:3, 3])
