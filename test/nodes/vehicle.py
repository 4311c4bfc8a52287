"""A vehicle of the test process: publishes cameras, odometry and TF, and hears what the node says. And processes."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

FAKE_NODE = [sys.executable, str(Path(__file__).with_name("fake_reconstruction.py"))]
REAL_NODE = [sys.executable, "-m", "img2three_ros.nodes.reconstruction_node"]
WIDTH, HEIGHT = 160, 96
SECOND = 1_000_000_000
LATCHED = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Process:
    """A child process whose output is kept; never survives its ``with`` block."""

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self.log = log
        self._stream = log.open("wb")
        self.popen = subprocess.Popen(command, stdout=self._stream, stderr=subprocess.STDOUT,
                                      env={**os.environ, **environment})

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
            try:
                self.popen.wait(5)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self._stream.close()

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")


def node_command(namespace: str, *parameters: str, command: Sequence[str] = FAKE_NODE, remaps: Sequence[str] = ()):
    """Command line of the node in its own namespace."""
    arguments = [*command, "--ros-args", "-r", f"__ns:={namespace}", "--disable-rosout-logs"]
    for parameter in parameters:
        arguments += ["-p", parameter]
    for remap in remaps:
        arguments += ["-r", remap]
    return arguments


class Vehicle(Node):
    """Cameras with topics below ``<namespace>/img2three/input/`` unless given otherwise."""

    def __init__(self, namespace: str, cameras: Sequence[str], compressed: bool = False,
                 image_topic: str = "{private}/{camera}/image", info_topic: str = "{private}/{camera}/camera_info",
                 odometry_topic: str = "{private}/odometry", motion_by_tf: bool = False) -> None:
        super().__init__("vehicle", namespace=namespace)
        self.cameras, self.compressed = tuple(cameras), compressed
        private, self.node = f"{namespace}/img2three/input", f"{namespace}/img2three"
        kind = CompressedImage if compressed else Image
        suffix = "/compressed" if compressed else ""
        self.images = {camera: self.create_publisher(
            kind, image_topic.format(private=private, camera=camera) + suffix, 10) for camera in cameras}
        self.infos = {camera: self.create_publisher(
            CameraInfo, info_topic.format(private=private, camera=camera), 10) for camera in cameras}
        self.odometry = self.create_publisher(Odometry, odometry_topic.format(private=private), 10)
        self.tf = None
        if motion_by_tf:
            from tf2_msgs.msg import TFMessage

            self.tf = self.create_publisher(TFMessage, "/tf", 100)
        self.heard = defaultdict(list)
        for topic in ("points", "obstacle_points", "occupied_voxels", "observed_voxels"):
            self._hear(PointCloud2, topic)
        self._hear(OccupancyGrid, "occupancy_grid")
        self.status: dict[str, str] = {}
        self.sentence = ""
        self.states: list[str] = []
        self.diagnostics: dict[str, int] = {}
        self.create_subscription(DiagnosticArray, f"{self.node}/status", self._on_status, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _hear(self, kind, topic):
        self.create_subscription(kind, f"{self.node}/output/{topic}", self.heard[topic].append, 20)

    def _on_status(self, message):
        self.sentence = message.status[0].message
        self.status = {pair.key: pair.value for pair in message.status[0].values}
        if not self.states or self.states[-1] != self.status["state"]:
            self.states.append(self.status["state"])

    def _on_diagnostics(self, message):
        self.diagnostics.update({entry.name: entry.level[0] for entry in message.status
                                 if entry.name.startswith(self.node)})

    def place_cameras(self, qos=LATCHED):
        """Latched /tf_static: every camera half a metre above base_link, looking ahead."""
        from geometry_msgs.msg import TransformStamped
        from tf2_msgs.msg import TFMessage

        message = TFMessage()
        for index, camera in enumerate(self.cameras):
            stamped = TransformStamped(child_frame_id=f"{camera}_optical")
            stamped.header.frame_id = "base_link"
            stamped.transform.translation.y, stamped.transform.translation.z = 0.3 * index, 1.5
            x, y, z, w = -0.5, 0.5, -0.5, 0.5
            rotation = stamped.transform.rotation
            rotation.x, rotation.y, rotation.z, rotation.w = x, y, z, w
            message.transforms.append(stamped)
        self.tf_static, self.static = self.create_publisher(TFMessage, "/tf_static", qos), message
        self.tf_static.publish(message)

    def send(self, stamp: int, skip: Sequence[str] = (), changes: dict | None = None):
        """One instant: odometry, CameraInfo and image of every camera. changes: camera -> function of the image."""
        self.move(stamp, 5.0 * (stamp % (1000 * SECOND)) / SECOND)
        for camera in self.cameras:
            if camera in skip:
                continue
            info, image = self.camera_info(camera, stamp), self.image(camera, stamp)
            (changes or {}).get(camera, lambda image, info: None)(image, info)
            self.infos[camera].publish(info)
            self.images[camera].publish(image)

    def move(self, stamp: int, x: float):
        """The ego pose, on the odometry topic or as a transform."""
        if self.tf is not None:
            from geometry_msgs.msg import TransformStamped

            stamped = TransformStamped(child_frame_id="base_link")
            stamped.header.frame_id, stamped.header.stamp = "odom", as_time(stamp)
            stamped.transform.translation.x, stamped.transform.rotation.w = x, 1.0
            message = self.tf.msg_type()
            message.transforms.append(stamped)
            self.tf.publish(message)
            return
        odometry = Odometry(child_frame_id="base_link")
        odometry.header.frame_id, odometry.header.stamp = "odom", as_time(stamp)
        odometry.pose.pose.position.x, odometry.pose.pose.orientation.w = x, 1.0
        self.odometry.publish(odometry)

    def image(self, camera: str, stamp: int):
        pixels = textured(self.cameras.index(camera), stamp)
        if self.compressed:
            image = CompressedImage(format="jpeg")
            image.data = cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()
        else:
            image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
            image.data = pixels.tobytes()
        image.header.stamp, image.header.frame_id = as_time(stamp), f"{camera}_optical"
        return image

    def camera_info(self, camera: str, stamp: int) -> CameraInfo:
        info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = [120.0, 0.0, WIDTH / 2 - 0.5, 0.0, 120.0, HEIGHT / 2 - 0.5, 0.0, 0.0, 1.0]
        info.header.stamp, info.header.frame_id = as_time(stamp), f"{camera}_optical"
        return info

    def wait(self, condition: Callable[[], bool], timeout: float = 15.0, every: Callable[[], None] | None = None,
             period: float = 0.1) -> None:
        """Spin until a condition holds, calling ``every`` periodically; fails after the timeout."""
        import rclpy

        end, due = time.monotonic() + timeout, 0.0
        while not condition():
            now = time.monotonic()
            assert now < end, f"gave up after {timeout} s; states {self.states}, status {self.status}"
            if every is not None and now >= due:
                every()
                due = now + period
            rclpy.spin_once(self, timeout_sec=0.02)

    def wait_active(self, timeout: float = 20.0) -> None:
        """Until the node is active and listens to every camera."""
        def listening() -> bool:
            return all(self.images[camera].get_subscription_count() and self.infos[camera].get_subscription_count()
                       for camera in self.cameras)

        self.wait(lambda: self.status.get("state", "INACTIVE") != "INACTIVE" and listening(), timeout)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end, seconds + 5.0)

    def frames(self) -> dict[str, int]:
        """Frame counters of the newest status."""
        return {name: int(self.status[f"frames.{name}"])
                for name in ("received", "processed", "replaced", "rejected", "pending")}


class Ticker:
    """Stamps 100 ms apart, for ``Vehicle.send``."""

    def __init__(self, vehicle: Vehicle, start: int | None = None, **options) -> None:
        self.vehicle, self.options = vehicle, options
        self.stamp = time.time_ns() if start is None else start
        self.sent: list[int] = []

    def __call__(self) -> None:
        self.stamp += SECOND // 10
        self.sent.append(self.stamp)
        self.vehicle.send(self.stamp, **self.options)


def busy(seconds: float) -> float:
    """A bound in wall time, wider on a machine that has more to do than it can."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def as_time(stamp: int) -> Time:
    return Time(sec=stamp // SECOND, nanosec=stamp % SECOND)


def ns(stamp: Time) -> int:
    return stamp.sec * SECOND + stamp.nanosec


def textured(seed: int, shift: int = 0) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8 with detail to match."""
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
    large = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.roll(large, (shift // (SECOND // 10)) % 3, axis=1)
