"""The vehicle of the campaign: sends what its sensors see, spoiled as it is told, and hears what the node says."""

from __future__ import annotations

import heapq
import itertools
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Transform, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from street import HEIGHT, RATE, WIDTH, Street
from tf2_msgs.msg import TFMessage

from img2three_ros.fileio.point_cloud2 import read_cloud

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "nodes"))
from vehicle import LATCHED, as_time, busy, ns

VOXEL = 0.5
ARGUMENTS = (
    "status.period:=0.2", "status.camera_timeout:=1.0", "status.stale_after:=3.0", "sync.max_wait:=0.15",
    "sync.lost_after:=0.5", "engine:=sweep", "threads:=1", "prepare.pixels:=6144", "sweep.planes:=16",
    "sweep.max_sources:=2", "keyframes.count:=1", f"occupancy.voxel_size:={VOXEL}", "occupancy.x_min:=-12.0",
    "occupancy.x_max:=12.0", "occupancy.y_min:=-12.0", "occupancy.y_max:=12.0", "occupancy.min_confidence:=0.3",
    "occupancy.free_confidence:=0.5")
"""The node with small images, matching without weights and a small grid: fast enough for two shared cores."""

Sent = list[tuple[float, Image | CompressedImage]]
"""What becomes of one image: (delay in s, message) of everything that is sent in its place."""


class Driver(Node):
    """Cameras 10 Hz, odometry 20 Hz. raw: cameras that send raw images, the others send JPEG.

    clock: False = stamps are the time of day; True = an own clock on /clock. motion: odometry or tf.
    """

    def __init__(self, namespace: str, street: Street, raw: Sequence[str] = (), clock: bool = False,
                 motion: str = "odometry") -> None:
        super().__init__("fault_driver", namespace=namespace)
        self.street, self.cameras, self.raw, self.motion = street, street.cameras, tuple(raw), motion
        self.node = f"{namespace}/img2three"
        self._create_inputs()
        self.clock = self.create_publisher(Clock, "/clock", 10) if clock else None
        self.clock_offset = 0
        self.clock_runs = True
        self.cameras_run = True
        self.spoil: dict[str, Callable[[Image | CompressedImage], Sent]] = {}
        self.spoil_info: dict[str, Callable[[CameraInfo], None]] = {}
        self.spoil_pose: Callable[[np.ndarray], np.ndarray | None] = lambda pose: pose
        self.sent: Counter[str] = Counter()
        self.step = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._next = self._next_clock = 0.0
        self._paused_clock = 0
        self.poses: dict[int, np.ndarray] = {}
        self.heard: deque[tuple[float, int]] = deque(maxlen=2000)
        """Points: when they came (steady, s) and their stamps, ns."""
        self.voxels: PointCloud2 | None = None
        self.status: dict[str, str] = {}
        self.sentence, self.status_at = "", 0.0
        self.levels: dict[str, int] = {}
        self.create_subscription(PointCloud2, f"{self.node}/output/points", self._on_points, 10)
        self.create_subscription(PointCloud2, f"{self.node}/output/observed_voxels", self._on_voxels, 2)
        self.create_subscription(DiagnosticArray, f"{self.node}/status", self._on_status, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _create_inputs(self) -> None:
        private = f"{self.node}/input"
        self.images = {name: self.create_image_publisher(name) for name in self.cameras}
        self.infos = {name: self.create_publisher(CameraInfo, f"{private}/{name}/camera_info", 10)
                      for name in self.cameras}
        self.odometry = self.create_publisher(Odometry, f"{private}/odometry", 10)
        self.tf = self.create_publisher(TFMessage, "/tf", 100)
        self.tf_static = self.create_publisher(TFMessage, "/tf_static", LATCHED)

    def create_image_publisher(self, camera: str):
        """A publisher of the images of a camera."""
        topic = f"{self.node}/input/{camera}/image"
        if camera in self.raw:
            return self.create_publisher(Image, topic, 10)
        return self.create_publisher(CompressedImage, f"{topic}/compressed", 10)

    def place(self, cameras: Sequence[str]) -> None:
        """Latched /tf_static of these cameras."""
        message = TFMessage()
        for name in cameras:
            stamped = TransformStamped(child_frame_id=f"{name}_optical")
            stamped.header.frame_id = "base_link"
            stamped.transform = transform_of(self.street.vehicle.T_base_camera[name])
            message.transforms.append(stamped)
        self.tf_static.publish(message)

    def now(self) -> int:
        """The time that stamps are made of, ns."""
        if not self.clock_runs:
            return self._paused_clock
        return time.time_ns() + self.clock_offset

    def pause_clock(self, paused: bool) -> None:
        """/clock stands still, or goes on from where it stood."""
        if paused:
            self._paused_clock, self.clock_runs = self.now(), False
        else:
            self.clock_runs, self.clock_offset = True, self._paused_clock - time.time_ns()

    def wait(self, condition: Callable[[], object], seconds: float, what: str = "") -> float:
        """Drive until a condition holds; returns how long that took, s. Raises AssertionError after ``seconds``."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > seconds:
                raise AssertionError(f"not within {seconds:.0f} s: {what}; the node says: {self.sentence} "
                                     f"(problems: {self.status.get('problems', '')})")
            self.turn()
        return time.monotonic() - begin

    def drive(self, seconds: float) -> None:
        """Drive for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def turn(self) -> None:
        """Send what is due and take one message."""
        now = time.monotonic()
        if self.clock is not None and now >= self._next_clock:
            self._next_clock = now + 0.02
            self.clock.publish(Clock(clock=as_time(self.now())))
        if now >= self._next:
            self._next = max(self._next + 0.5 / RATE, now)
            self._sense()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        rclpy.spin_once(self, timeout_sec=0.005)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in a while."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), action))

    def settle(self, seconds: float = 30.0) -> float:
        """Drive until all is well: OK, all cameras in the outputs, and these are fresh. Returns s."""
        begin = time.monotonic()
        return self.wait(lambda: self.status.get("state") == "OK" and self.status_at > begin
                         and self.status["cameras.missing"] == "" and self.fresh(begin) >= 2, busy(seconds), "OK")

    def fresh(self, since: float) -> int:
        """Points that came since (steady, s)."""
        return sum(at > since for at, _ in self.heard)

    def hush(self) -> None:
        """Stop the cameras just long enough for all counters to come to rest."""
        self.cameras_run = False
        self.drive(0.3)
        begin = time.monotonic()
        self.wait(lambda: self.status_at > begin + 0.1 and self.status["frames.pending"] == "0", busy(10.0),
                  "no frame pending")
        # A frame kept for its parallax may wait for the next one for ever: it counts as waiting.
        self.cameras_run = True

    def figure(self, key: str) -> int:
        """A count of the status; 0 where it is not there yet."""
        return int(self.status.get(key, "0"))

    def says(self, pattern: str) -> bool:
        """Whether the sentence, a problem or a note of the newest status matches a regular expression."""
        words = [self.sentence, *(self.status.get(key, "") for key in (
            "problems", "last_error", "last_time_jump", "last_motion_break", "incompatible_qos"))]
        return any(re.search(pattern, word) for word in words)

    def known_in_sector(self, lost: Sequence[str]) -> int | None:
        """How many voxels of the newest output are known although only the ``lost`` cameras see them; None before
        there is an output of a known pose."""
        if self.voxels is None or (pose := self.poses.get(ns(self.voxels.header.stamp))) is None:
            return None
        cloud = read_cloud(self.voxels)
        points = np.stack([cloud[name] for name in "xyz"], axis=-1).astype(np.float64)
        return int(self.street.only_seen_by(lost, points, pose, VOXEL).sum()) if len(points) else 0

    def _sense(self) -> None:
        """Half a step: odometry, and with every second one the cameras."""
        self.step += 1
        stamp = self.now()
        self._move(stamp, self.street.pose(self.step / 2))
        if self.step % 2 or not self.cameras_run:
            return
        self.poses[stamp] = self.street.pose(self.step / 2)
        while len(self.poses) > 600:
            del self.poses[next(iter(self.poses))]
        for camera in self.cameras:
            info = self._info(camera, stamp)
            if camera in self.spoil_info:
                self.spoil_info[camera](info)
            self.infos[camera].publish(info)
            image = self._image(camera, stamp, self.street.index(self.step // 2))
            for delay, message in self.spoil.get(camera, _as_it_is)(image):
                if delay:
                    self.later(delay, lambda camera=camera, message=message: self.publish(camera, message))
                else:
                    self.publish(camera, message)

    def publish(self, camera: str, message: Image | CompressedImage) -> None:
        """Send an image, and count it."""
        self.sent[camera] += 1
        self.images[camera].publish(message)

    def _move(self, stamp: int, pose: np.ndarray) -> None:
        spoiled = self.spoil_pose(pose)
        if spoiled is None:
            return
        if self.motion == "tf":
            stamped = TransformStamped(child_frame_id="base_link", transform=transform_of(spoiled))
            stamped.header.frame_id, stamped.header.stamp = "odom", as_time(stamp)
            self.tf.publish(TFMessage(transforms=[stamped]))
            return
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id, message.header.stamp = "odom", as_time(stamp)
        transform = transform_of(spoiled)
        message.pose.pose.orientation = transform.rotation
        position, moved = message.pose.pose.position, transform.translation
        position.x, position.y, position.z = moved.x, moved.y, moved.z
        self.odometry.publish(message)

    def _image(self, camera: str, stamp: int, index: int) -> Image | CompressedImage:
        if camera in self.raw:
            message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
            message.data = self.street.pixels[camera, index].tobytes()
        else:
            message = CompressedImage(format="jpeg", data=self.street.jpegs[camera, index])
        message.header.stamp, message.header.frame_id = as_time(stamp), f"{camera}_optical"
        return message

    def _info(self, camera: str, stamp: int) -> CameraInfo:
        info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k = [float(value) for value in self.street.vehicle.calibrations[camera].intrinsics.reshape(-1)]
        info.header.stamp, info.header.frame_id = as_time(stamp), f"{camera}_optical"
        return info

    def _on_points(self, message: PointCloud2) -> None:
        self.heard.append((time.monotonic(), ns(message.header.stamp)))

    def _on_voxels(self, message: PointCloud2) -> None:
        self.voxels = message

    def _on_status(self, message: DiagnosticArray) -> None:
        self.status_at, self.sentence = time.monotonic(), message.status[0].message
        self.status = {pair.key: pair.value for pair in message.status[0].values}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.levels.update({entry.name.removeprefix(f"{self.node}: camera "): entry.level[0]
                            for entry in message.status if entry.name.startswith(f"{self.node}: ")})


def transform_of(matrix: np.ndarray) -> Transform:
    """(4, 4) as a message; what is not finite is passed on as a translation."""
    transform = Transform()
    rotation = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    transform.rotation.x, transform.rotation.y, transform.rotation.z, transform.rotation.w = map(float, rotation)
    transform.translation.x, transform.translation.y, transform.translation.z = map(float, matrix[:3, 3])
    return transform


def _as_it_is(image: Image | CompressedImage) -> Sent:
    return [(0.0, image)]


