"""Where the sensors of the simulated vehicle sit. base_link: middle of the rear axle, on the ground (REP-105)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from ..structures import CameraCalibration, Matrix
from .settings import SimulationConfig


@dataclass(frozen=True)
class CameraMount:
    """xyz: metres in base_link; yaw, pitch (> 0 looks down), roll: degrees.

    field_of_view: horizontal, degrees, of an image with the principal point in its middle: it gives the focal length.
    principal_point: shares of the image's width and height, 0 its left or upper edge, 0.5 the middle; outside 0..1
    for a part cut from a larger image. None = a little off the middle, as in real cameras.
    """

    name: str
    xyz: tuple[float, float, float]
    yaw: float
    field_of_view: float
    pitch: float = 0.0
    roll: float = 0.0
    principal_point: tuple[float, float] | None = None

    @property
    def T_base_camera(self) -> Matrix:
        """(4, 4) optical frame into base_link."""
        angles = np.radians((self.roll, self.pitch, self.yaw))
        return from_xyz_rpy(self.xyz, angles) @ T_BASE_OPTICAL

    def calibration(self, config: SimulationConfig) -> CameraCalibration:
        """Pinhole of this field of view at the configured image size, with the configured distortion."""
        focal = 0.5 * config.width / math.tan(math.radians(self.field_of_view) / 2.0)
        if self.principal_point is None:
            u = (config.width - 1) / 2.0 + 0.004 * config.width * math.sin(2.0 * self.yaw + 1.0)
            v = (config.height - 1) / 2.0 + 0.004 * config.width * math.cos(3.0 * self.yaw)
        else:
            u = self.principal_point[0] * config.width - 0.5
            v = self.principal_point[1] * config.height - 0.5
        intrinsics = np.array([[focal, 0.0, u], [0.0, focal, v], [0.0, 0.0, 1.0]])
        distortion = np.array([config.distortion, -0.3 * config.distortion, 0.0, 0.0, 0.0])
        return CameraCalibration(config.width, config.height, intrinsics, "plumb_bob", distortion)


# Layouts in the manner of the public data sets: rounded numbers of our own, with small misalignments.
_MOUNTS = {
    "nuscenes": (
        CameraMount("front", (1.70, 0.02, 1.52), 0.3, 65.0, 0.4, 0.1),
        CameraMount("front_left", (1.52, 0.50, 1.51), 55.4, 65.0, -0.3, 0.2),
        CameraMount("front_right", (1.55, -0.49, 1.50), -56.2, 65.0, 0.2, -0.3),
        CameraMount("back", (0.05, 0.01, 1.57), 179.6, 90.0, 0.3, 0.2),
        CameraMount("back_left", (1.04, 0.48, 1.56), 109.3, 65.0, 0.1, -0.2),
        CameraMount("back_right", (1.06, -0.48, 1.55), -110.5, 65.0, -0.2, 0.1),
    ),
    "ddad": (
        CameraMount("front", (1.95, 0.0, 1.55), -0.2, 48.0, 0.5, 0.0),
        CameraMount("front_left", (1.90, 0.62, 1.53), 59.0, 85.0, 0.3, 0.3),
        CameraMount("front_right", (1.90, -0.62, 1.54), -60.0, 85.0, -0.1, -0.2),
        CameraMount("back", (0.10, 0.0, 1.58), -179.4, 85.0, 0.6, 0.1),
        CameraMount("back_left", (1.75, 0.64, 1.52), 120.7, 85.0, 0.2, -0.1),
        CameraMount("back_right", (1.75, -0.64, 1.53), -119.6, 85.0, 0.0, 0.2),
    ),
    "waymo": (
        CameraMount("front", (1.54, -0.02, 2.11), 0.1, 50.0, 0.2, 0.1),
        CameraMount("front_left", (1.50, 0.10, 2.12), 45.2, 50.0, 0.1, -0.2),
        CameraMount("front_right", (1.49, -0.12, 2.11), -44.7, 50.0, -0.2, 0.1),
        CameraMount("side_left", (1.43, 0.12, 2.12), 90.4, 50.0, 0.3, 0.2),
        CameraMount("side_right", (1.43, -0.14, 2.10), -90.3, 50.0, 0.1, -0.1),
    ),
    "kitti": (
        CameraMount("left", (1.03, 0.27, 1.65), 0.1, 81.0, -0.1, 0.05),
        CameraMount("right", (1.03, -0.27, 1.65), 0.1, 81.0, -0.1, 0.05),
    ),
}

LIDAR_NAME = "lidar"
T_BASE_LIDAR = from_xyz_rpy((0.95, 0.0, 1.88), np.radians((0.2, -0.3, -89.5)))
"""The LiDAR on the roof; its x axis points to the right of the vehicle, as on many real vehicles."""


def mounts(rig: str) -> tuple[CameraMount, ...]:
    """The cameras of a layout of a public data set ('nuscenes', 'ddad', 'waymo' or 'kitti')."""
    return _MOUNTS[rig]


def optical_frame(camera: str) -> str:
    """Name of a camera's optical frame."""
    return f"{camera}_optical_frame"


def camera_directions(calibration: CameraCalibration) -> NDArray[np.float64]:
    """(H, W, 3) directions with z = 1 of every pixel centre; undoes the radial plumb_bob distortion k1, k2."""
    v, u = np.mgrid[0:calibration.height, 0:calibration.width].astype(np.float64)
    k = calibration.intrinsics
    x, y = (u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]
    k1, k2 = calibration.distortion[:2]
    if k1 == 0.0 and k2 == 0.0:
        return np.stack((x, y, np.ones_like(x)), axis=-1)
    distorted = np.hypot(x, y)
    radius = distorted.copy()
    for _ in range(20):  # Newton on radius * (1 + k1 radius^2 + k2 radius^4) = distorted
        square = radius * radius
        slope = 1.0 + 3.0 * k1 * square + 5.0 * k2 * square * square
        radius -= (radius * (1.0 + k1 * square + k2 * square * square) - distorted) / np.maximum(slope, 0.1)
    stretch = np.divide(radius, distorted, out=np.ones_like(radius), where=distorted > 1e-12)
    return np.stack((x * stretch, y * stretch, np.ones_like(x)), axis=-1)
