"""ROS message objects without ROS: the standard types of ``rosbags`` and small constructors for them.

Field names and types are those of the ``.msg`` files, so the objects look like rclpy's to whoever reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ..geometry.transforms import quaternion
from ..structures import CameraCalibration, Matrix, OccupancyVolume
from .occupancy_grid import OccupancyGridConfig, occupancy_grid_values
from .point_cloud2 import CloudLayout

NANOSECONDS = 1_000_000_000


@cache
def typestore() -> Typestore:
    """The standard message types of ROS 2 Kilted (unchanged since Humble for all types used here)."""
    return get_typestore(Stores.ROS2_KILTED)


def message_type(name: str) -> Any:
    """Class of a standard message, e.g. ``sensor_msgs/msg/Image``. Raises KeyError if there is none."""
    return typestore().types[name]


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def time_message(stamp: int) -> Any:
    """Nanoseconds -> builtin_interfaces/Time."""
    return message_type("builtin_interfaces/msg/Time")(sec=stamp // NANOSECONDS, nanosec=stamp % NANOSECONDS)


def header_message(stamp: int, frame_id: str) -> Any:
    """std_msgs/Header at a stamp (ns)."""
    return message_type("std_msgs/msg/Header")(stamp=time_message(stamp), frame_id=frame_id)


def image_message(stamp: int, frame_id: str, pixels: NDArray[Any], encoding: str) -> Any:
    """sensor_msgs/Image of an (H, W) or (H, W, C) array in the given encoding; bytes little-endian."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    data = rows.reshape(-1).view(np.uint8)
    return message_type("sensor_msgs/msg/Image")(
        header=header_message(stamp, frame_id), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=data.size // max(height, 1), data=data)


def compressed_image_message(stamp: int, frame_id: str, data: bytes, form: str = "jpeg") -> Any:
    """sensor_msgs/CompressedImage of encoded bytes; ``form`` is the message's ``format`` field."""
    return message_type("sensor_msgs/msg/CompressedImage")(
        header=header_message(stamp, frame_id), format=form, data=np.frombuffer(data, np.uint8))


def camera_info_message(stamp: int, frame_id: str, calibration: CameraCalibration) -> Any:
    """sensor_msgs/CameraInfo: K, D, identity R and P = [K | 0]."""
    intrinsics = np.asarray(calibration.intrinsics, dtype=np.float64)
    region = message_type("sensor_msgs/msg/RegionOfInterest")(
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return message_type("sensor_msgs/msg/CameraInfo")(
        header=header_message(stamp, frame_id), height=calibration.height, width=calibration.width,
        distortion_model=calibration.distortion_model,
        d=np.asarray(calibration.distortion, dtype=np.float64), k=intrinsics.reshape(9).copy(),
        r=np.eye(3).reshape(9), p=np.column_stack((intrinsics, np.zeros(3))).reshape(12),
        binning_x=0, binning_y=0, roi=region)


def transform_message(transforms: Mapping[tuple[str, str], Matrix], stamp: int) -> Any:
    """tf2_msgs/TFMessage of ``(parent, child) -> T_parent_child`` (4, 4)."""
    stamped = message_type("geometry_msgs/msg/TransformStamped")
    return message_type("tf2_msgs/msg/TFMessage")(transforms=[
        stamped(header=header_message(stamp, parent), child_frame_id=child,
                transform=message_type("geometry_msgs/msg/Transform")(
                    translation=_vector("Vector3", matrix), rotation=_rotation(matrix)))
        for (parent, child), matrix in transforms.items()])


def odometry_message(stamp: int, odom_frame: str, base_frame: str, T_odom_base: Matrix,
                     linear: tuple[float, float, float] = (0.0, 0.0, 0.0),
                     angular: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Any:
    """nav_msgs/Odometry: pose (4, 4) in ``odom_frame``, velocity in ``base_frame`` (m/s, rad/s)."""
    pose = message_type("geometry_msgs/msg/Pose")(position=_vector("Point", T_odom_base),
                                                  orientation=_rotation(T_odom_base))
    vector = message_type("geometry_msgs/msg/Vector3")
    twist = message_type("geometry_msgs/msg/Twist")(
        linear=vector(*(float(value) for value in linear)), angular=vector(*(float(value) for value in angular)))
    return message_type("nav_msgs/msg/Odometry")(
        header=header_message(stamp, odom_frame), child_frame_id=base_frame,
        pose=message_type("geometry_msgs/msg/PoseWithCovariance")(pose=pose, covariance=np.zeros(36)),
        twist=message_type("geometry_msgs/msg/TwistWithCovariance")(twist=twist, covariance=np.zeros(36)))


def point_cloud_message(stamp: int, frame_id: str, layout: CloudLayout) -> Any:
    """sensor_msgs/PointCloud2 of a structured layout."""
    field = message_type("sensor_msgs/msg/PointField")
    return message_type("sensor_msgs/msg/PointCloud2")(
        header=header_message(stamp, frame_id), height=layout.height, width=layout.width,
        fields=[field(name=name, offset=offset, datatype=datatype, count=1)
                for name, offset, datatype in layout.fields],
        is_bigendian=False, point_step=layout.point_step, row_step=layout.point_step * layout.width,
        data=np.ascontiguousarray(layout.data).view(np.uint8).reshape(-1), is_dense=layout.is_dense)


def occupancy_grid_message(stamp: int, frame_id: str, volume: OccupancyVolume,
                           config: OccupancyGridConfig | None = None) -> Any:
    """nav_msgs/OccupancyGrid of the volume's height band."""
    values = occupancy_grid_values(volume, config or OccupancyGridConfig())
    height, width = values.shape
    corner = message_type("geometry_msgs/msg/Point")(x=float(volume.origin[0]), y=float(volume.origin[1]), z=0.0)
    upright = message_type("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=1.0)
    info = message_type("nav_msgs/msg/MapMetaData")(
        map_load_time=time_message(stamp), resolution=float(volume.voxel_size), width=width, height=height,
        origin=message_type("geometry_msgs/msg/Pose")(position=corner, orientation=upright))
    return message_type("nav_msgs/msg/OccupancyGrid")(
        header=header_message(stamp, frame_id), info=info, data=values.reshape(-1))


def _vector(kind: str, transform: Matrix) -> Any:
    x, y, z = (float(value) for value in transform[:3, 3])
    return message_type(f"geometry_msgs/msg/{kind}")(x=x, y=y, z=z)


def _rotation(transform: Matrix) -> Any:
    x, y, z, w = (float(value) for value in quaternion(transform))
    return message_type("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w)
