"""A small recording with known truth for the tests of ingest, fileio and reconstruction."""

from pathlib import Path

import cv2
import numpy as np

from img2three_ros.fileio.messages import (
    camera_info_message,
    compressed_image_message,
    image_message,
    message_type,
    odometry_message,
    point_cloud_message,
    transform_message,
)
from img2three_ros.fileio.point_cloud2 import CloudLayout
from img2three_ros.fileio.rosbag import BagWriter
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.structures import CameraCalibration

START = 1_700_000_000_000_000_000
PERIOD = 100_000_000
WIDTH, HEIGHT = 64, 48
SPEED = 5.0
CAMERAS = ("front", "back")
T_BASE_CAMERA = {
    "front": from_xyz_rpy((1.5, 0.0, 1.6)) @ T_BASE_OPTICAL,
    "back": from_xyz_rpy((-1.0, 0.0, 1.6), (0.0, 0.0, np.pi)) @ T_BASE_OPTICAL,
}
T_BASE_LIDAR = from_xyz_rpy((0.5, 0.0, 2.0), (0.0, 0.0, 0.5))
CALIBRATION = CameraCalibration(WIDTH, HEIGHT, np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]))


def pixels(seed=0):
    """A smooth colour picture (JPEG keeps it)."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack((u * 4, v * 5, np.full_like(u, 40 * seed + 20)), axis=-1).astype(np.uint8)


def jpeg(picture):
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def pose(stamp):
    """T_odom_base at a stamp: straight on at SPEED."""
    return from_xyz_rpy((SPEED * (stamp - START) * 1e-9, 0.0, 0.0))


def xyz_layout(points, dtype="<f4"):
    data = np.zeros(len(points), dtype=[(name, dtype) for name in "xyz"])
    for column, name in enumerate("xyz"):
        data[name] = np.asarray(points)[:, column]
    return CloudLayout(tuple((name, 4 * index, 7) for index, name in enumerate("xyz")), 12, len(points), 1, data,
                       True)


LIDAR_POINTS = np.array([[5.0, 0.0, -1.0], [0.0, 3.0, 0.5], [np.nan, 0.0, 0.0]], np.float32)


def write_bag(path: Path, instants=3, cameras=CAMERAS, compressed=True, tf=True, odometry=True, lidar=True,
              info=True, skip=(), storage="mcap"):
    """A recording; ``skip`` holds (instant, camera) without an image."""
    with BagWriter(path, storage) as writer:
        if tf:
            edges = {("base_link", f"{name}_optical_frame"): T_BASE_CAMERA[name] for name in cameras}
            writer.write("/tf_static", transform_message({**edges, ("base_link", "lidar"): T_BASE_LIDAR}, START),
                         START)
        for index in range(instants):
            stamp = START + index * PERIOD
            if odometry:
                writer.write("/odom", odometry_message(stamp, "odom", "base_link", pose(stamp)), stamp)
            for name in cameras:
                if (index, name) in skip:
                    continue
                frame = f"{name}_optical_frame"
                if info:
                    writer.write(f"/camera/{name}/camera_info", camera_info_message(stamp, frame, CALIBRATION), stamp)
                picture = pixels(index)
                if compressed:
                    writer.write(f"/camera/{name}/image_raw/compressed",
                                 compressed_image_message(stamp, frame, jpeg(picture)), stamp)
                else:
                    writer.write(f"/camera/{name}/image_raw", image_message(stamp, frame, picture, "rgb8"), stamp)
            if lidar:
                writer.write("/lidar/points", point_cloud_message(stamp, "lidar", xyz_layout(LIDAR_POINTS)), stamp)
    return path


def raw_image(picture, encoding, stamp=START, frame="front_optical_frame"):
    return image_message(stamp, frame, picture, encoding)


def info_message(calibration=CALIBRATION, stamp=START, frame="front_optical_frame"):
    return camera_info_message(stamp, frame, calibration)


def text_message(text):
    return message_type("std_msgs/msg/String")(data=text)
