"""The other side of a benchmark, as processes of their own: who listens to the outputs, and cameras that never rest.

    python -m img2three_ros.nodes.benchmark_peers listen NODE
    python -m img2three_ros.nodes.benchmark_peers feed BAG CAMERA,CAMERA... RATE
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from ..fileio.rosbag import BagReader
from ..ingest.rig import rig_from_bag
from .conversions import NANOSECONDS, header
from .outputs import CLOUDS
from .qos import reliable_qos
from .spin import run_node

SPEED, ODOMETRY_RATE = 8.0, 50.0
"""Of the vehicle that the cameras seem to ride on, m/s and Hz."""


class Listener(Node):
    """Takes all outputs of a node, without looking at them."""

    def __init__(self, node: str) -> None:
        super().__init__("benchmark_listener")
        for topic in CLOUDS:
            self.create_subscription(PointCloud2, f"{node}/output/{topic}", _ignore, reliable_qos(2), raw=True)
        self.create_subscription(OccupancyGrid, f"{node}/output/occupancy_grid", _ignore, reliable_qos(2), raw=True)


class Feeder(Node):
    """The images of a recording again and again, stamped now, and odometry of a vehicle that drives straight on."""

    def __init__(self, bag: Path, cameras: Sequence[str], rate: float) -> None:
        super().__init__("benchmark_feeder")
        self._rig = rig_from_bag(bag, cameras=cameras)
        self._instants = _instants(bag, [camera.image_topic for camera in self._rig.cameras])
        kinds = {topic: type(message) for topic, message in self._instants[0].items()}
        self._images = {topic: self.create_publisher(kind, topic, reliable_qos(5)) for topic, kind in kinds.items()}
        self._infos = {camera.image_topic: self.create_publisher(CameraInfo, camera.camera_info_topic, reliable_qos(5))
                       for camera in self._rig.cameras if camera.camera_info_topic}
        self._odometry = self.create_publisher(Odometry, self._rig.odometry_topic or "/img2three/input/odometry",
                                               reliable_qos(50))
        self._calibrations = _camera_infos(bag, self._infos, self._rig)
        self._count = 0
        self._began = self.get_clock().now().nanoseconds
        self.create_timer(1.0 / rate, self._feed)
        self.create_timer(1.0 / ODOMETRY_RATE, self._drive)

    def _feed(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        instant = self._instants[self._count % len(self._instants)]
        self._count += 1
        for topic, message in instant.items():
            message.header.stamp = header(stamp, "").stamp
            if topic in self._calibrations:
                self._calibrations[topic].header.stamp = message.header.stamp
                self._infos[topic].publish(self._calibrations[topic])
            self._images[topic].publish(message)

    def _drive(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        pose = Pose(position=Point(x=SPEED * (stamp - self._began) / NANOSECONDS), orientation=Quaternion(w=1.0))
        message = Odometry(header=header(stamp, self._rig.odom_frame or "odom"), child_frame_id=self._rig.base_frame,
                           pose=PoseWithCovariance(pose=pose))
        message.twist.twist.linear.x = SPEED
        self._odometry.publish(message)


def _ignore(_: bytes) -> None:
    pass


def _instants(bag: Path, topics: Sequence[str]) -> list[dict[str, Any]]:
    """The messages of the recording: topic -> message, for each instant that all topics have."""
    found: dict[str, list[Any]] = {topic: [] for topic in topics}
    with BagReader(bag) as reader:
        kinds = {topic: CompressedImage if "Compressed" in reader.topics()[topic].message_type else Image
                 for topic in topics}
        for raw in reader.raw_messages(list(topics)):
            found[raw.topic].append(deserialize_message(bytes(raw.data), kinds[raw.topic]))
    return [dict(zip(topics, messages, strict=True)) for messages in zip(*found.values(), strict=False)]


def _camera_infos(bag: Path, wanted: dict[str, Any], rig: Any) -> dict[str, CameraInfo]:
    by_topic = {camera.camera_info_topic: camera.image_topic for camera in rig.cameras if camera.image_topic in wanted}
    found: dict[str, CameraInfo] = {}
    with BagReader(bag) as reader:
        for raw in reader.raw_messages(list(by_topic)):
            found.setdefault(by_topic[raw.topic], deserialize_message(bytes(raw.data), CameraInfo))
    return found


@contextmanager
def peer(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of them as a process, ended afterwards."""
    process = subprocess.Popen([sys.executable, "-m", "img2three_ros.nodes.benchmark_peers", *arguments],
                               stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    what, *rest = list(sys.argv[1:] if arguments is None else arguments)
    if what == "listen":
        return run_node(partial(Listener, rest[0]), [])
    return run_node(partial(Feeder, Path(rest[0]), rest[1].split(","), float(rest[2])), [])


if __name__ == "__main__":
    rclpy.logging.set_logger_level("benchmark_feeder", rclpy.logging.LoggingSeverity.WARN)
    sys.exit(main())
