"""A street seen by a few small cameras: rendered once, then driven up and down without end."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from img2three_ros.geometry.transforms import inverse
from img2three_ros.simulation.rig import CameraMount
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle

WIDTH, HEIGHT, RATE = 96, 64, 10.0
SECOND = 1_000_000_000
_VIEW = 65.0
_MOUNTS = {
    "front": CameraMount("front", (1.7, 0.0, 1.5), 0.0, _VIEW, 2.0),
    "left": CameraMount("left", (1.0, 0.5, 1.5), 90.0, _VIEW, 2.0),
    "right": CameraMount("right", (1.0, -0.5, 1.5), -90.0, _VIEW, 2.0),
    "back": CameraMount("back", (0.0, 0.0, 1.5), 180.0, _VIEW, 2.0),
    "front_left": CameraMount("front_left", (1.5, 0.4, 1.5), 45.0, _VIEW, 2.0),
    "front_right": CameraMount("front_right", (1.5, -0.4, 1.5), -45.0, _VIEW, 2.0),
}


class Street:
    """Images, calibrations and poses of a drive of some metres forward, back, forward, ..."""

    def __init__(self, cameras: Sequence[str], instants: int = 12, speed: float = 2.0) -> None:
        """cameras: some of front, left, right, back, front_left, front_right. speed: m/s."""
        torch.set_num_threads(1)
        config = SimulationConfig(width=WIDTH, height=HEIGHT, rate=RATE, traffic=0.0, noise=0.0, seed=3,
                                  shadows=False, jitter=0.0, phase=0.0, speed=speed)
        self.vehicle = SimulatedVehicle(config, [_MOUNTS[name] for name in cameras])
        self.cameras = tuple(cameras)
        self._last = instants - 1
        views = [self.vehicle.views(index) for index in range(instants)]
        self.pixels = {(view.camera, index): view.image for index, instant in enumerate(views) for view in instant}
        """(camera, index) -> (H, W, 3) uint8 RGB."""
        self.jpegs = {key: cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                      for key, image in self.pixels.items()}
        self._path = [self.vehicle.pose(self.vehicle.stamp(index)) for index in range(instants)]

    def index(self, step: int) -> int:
        """Which of the rendered instants is shown at a step of 0.1 s."""
        phase = step % (2 * self._last)
        return min(phase, 2 * self._last - phase)

    def pose(self, step: float) -> np.ndarray:
        """``T_odom_base`` (4, 4) at a step, which need not be whole."""
        phase = step % (2.0 * self._last)
        return self.vehicle.pose(self.vehicle.config.start_ns
                                 + round(min(phase, 2.0 * self._last - phase) * SECOND / RATE))

    def only_seen_by(self, lost: Sequence[str], points: np.ndarray, T_odom_base: np.ndarray, size: float) -> np.ndarray:
        """(N,) bool: voxels that only the cameras ``lost`` can tell of.

        points: (N, 3) centres in base_link where the vehicle is at ``T_odom_base``. A voxel counts if its centre is in
        the view of a lost camera, and no part of it or of its neighbours is, from anywhere on the way, in the view of
        another one: what a healthy camera saw a moment ago may still be known.
        """
        ours = np.zeros(len(points), bool)
        for camera in lost:
            ours |= self._in_view(camera, T_odom_base, self._apply(T_odom_base, points), 0.0)
        corners = np.array([(0, 0, 0), *((x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1))]) * size
        left = self._apply(T_odom_base, points[ours])[None] + corners[:, None]
        seen = np.zeros(left.shape[:2], bool)
        for camera in set(self.cameras) - set(lost):
            for pose in self._path[::3]:
                seen |= self._in_view(camera, pose, left.reshape(-1, 3), 4.0).reshape(seen.shape)
        ours[ours] = ~seen.any(axis=0)
        return ours

    def _in_view(self, camera: str, T_odom_base: np.ndarray, points: np.ndarray, margin: float) -> np.ndarray:
        local = self._apply(inverse(T_odom_base @ self.vehicle.T_base_camera[camera]), points)
        K = self.vehicle.calibrations[camera].intrinsics
        depth = np.maximum(local[:, 2], 1e-6)
        u, v = K[0, 0] * local[:, 0] / depth + K[0, 2], K[1, 1] * local[:, 1] / depth + K[1, 2]
        return ((local[:, 2] > 0.0) & (u > -0.5 - margin) & (u < WIDTH - 0.5 + margin)
                & (v > -0.5 - margin) & (v < HEIGHT - 0.5 + margin))

    @staticmethod
    def _apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
        return points @ transform[:3, :3].T + transform[:3, 3]
