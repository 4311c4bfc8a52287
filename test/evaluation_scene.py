"""A made-up reconstruction and scan that agree by construction: a wall 10 m ahead."""

import numpy as np

from img2three_ros.evaluation.lidar import FrameScan
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, apply, from_xyz_rpy
from img2three_ros.structures import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    CameraCalibration,
    DepthImage,
    OccupancyVolume,
    PointCloud,
    Reconstruction,
)

CAMERA = CameraCalibration(64, 40, np.array([[32.0, 0, 31.5], [0, 32.0, 19.5], [0, 0, 1]]))
WALL = 10.0


def depth_image(name: str, yaw: float = 0.0, depth: float = WALL) -> DepthImage:
    rng = np.random.default_rng(0)
    values = np.full((40, 64), depth, np.float32)
    values[:8] = np.nan
    confidence = np.where(np.isnan(values), np.nan, rng.uniform(0, 1, values.shape)).astype(np.float32)
    image = rng.integers(0, 255, (40, 64, 3)).astype(np.uint8)
    return DepthImage(name, 5, image, values, confidence, CAMERA, from_xyz_rpy((0, 0, 2), (0, 0, yaw)) @ T_BASE_OPTICAL)


def wall_points() -> np.ndarray:
    y, z = np.meshgrid(np.arange(-6, 6, 0.1), np.arange(0.25, 3, 0.1))
    return np.column_stack((np.full(y.size, WALL), y.ravel(), z.ravel()))


def reconstruction(names: tuple[str, ...] = ("front",), depth: float = WALL, stamp: int = 5) -> Reconstruction:
    state = np.full((16, 100, 100), UNKNOWN, np.int8)
    state[3:10, 35:65, 50:74] = FREE
    state[3:10, 35:65, 75] = OCCUPIED
    volume = OccupancyVolume(state, np.full(state.shape, 0.5, np.float32), np.array((-20.0, -20.0, -1.0)), 0.4)
    images = tuple(depth_image(name, number * np.pi / 3, depth) for number, name in enumerate(names))
    points = wall_points().astype(np.float32)
    cloud = PointCloud(points, np.full((len(points), 3), 200, np.uint8), np.ones(len(points), np.float32))
    return Reconstruction(stamp, "base_link", cloud, cloud, volume, images, names, ("back",),
                          {"prepare": 2.0, "reconstruct": 10.0}, ("a note of the engine",))


def scan() -> FrameScan:
    origin = np.array((0.0, 0.0, 2.0))
    return FrameScan(apply(np.eye(4), wall_points()), origin, 0, True)
