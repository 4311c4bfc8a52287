"""Faults of cameras, calibration, transforms and odometry, for a node on the time of day."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from driver import Driver, Sent
from fault import Action, Fault, nothing
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, PointCloud2
from tf2_msgs.msg import TFMessage

CAMERAS, RAW = ("front", "left", "right"), ("left",)
"""left sends raw images, the others JPEG."""
VOLATILE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
LATCHED = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def spoil(camera: str, how: Callable[[object], Sent]) -> Action:
    """Sends other images than those of the camera."""
    def begin(driver: Driver) -> None:
        driver.spoil[camera] = how
    return begin


def heal(driver: Driver) -> None:
    """All cameras and poses are as they should be."""
    driver.spoil.clear()
    driver.spoil_info.clear()
    driver.spoil_pose = lambda pose: pose


def silent(*cameras: str) -> Action:
    """These cameras send nothing."""
    def begin(driver: Driver) -> None:
        driver.spoil.update({camera: lambda image: [] for camera in cameras})
    return begin


def says(pattern: str, state: str = "") -> Callable[[Driver], bool]:
    """The status has these words, and this state if one is given."""
    return lambda driver: driver.says(pattern) and driver.status["state"] == (state or driver.status["state"])


class Counted:
    """The status counts at least so many more than when the fault began."""

    def __init__(self, key: str, more: int, state: str = "") -> None:
        self.key, self.more, self.state, self.start = key, more, state, 0

    def begin(self, action: Action) -> Action:
        """The action of a fault, and the count from where it begins."""
        def run(driver: Driver) -> None:
            self.start = driver.figure(self.key)
            action(driver)
        return run

    def __call__(self, driver: Driver) -> bool:
        return (driver.figure(self.key) >= self.start + self.more
                and self.state in ("", driver.status["state"]))


def third() -> Callable[[object], Sent]:
    """Every third image."""
    count = iter(range(10**9))
    return lambda image: [(0.0, image)] if next(count) % 3 == 0 else []


def swapped() -> Callable[[object], Sent]:
    """Pairs of images in the wrong order."""
    count = iter(range(10**9))
    return lambda image: [(0.15 if next(count) % 2 == 0 else 0.0, image)]


def jittered() -> Callable[[object], Sent]:
    """50 to 500 ms late, each by another time."""
    draw = random.Random(5)
    return lambda image: [(draw.uniform(0.05, 0.5), image)]


def delayed(seconds: float) -> Callable[[object], Sent]:
    """All late by as much."""
    return lambda image: [(seconds, image)]


def changed(change: Callable[[object], None]) -> Callable[[object], Sent]:
    """Each image with a change."""
    def how(image: object) -> Sent:
        change(image)
        return [(0.0, image)]
    return how


def corrupt_jpeg(image) -> None:
    data = np.frombuffer(bytes(image.data), np.uint8).copy()
    data[2:200] = 0x55
    image.data = data.tobytes()


def cut(image) -> None:
    image.data = bytes(image.data)[:len(image.data) // 2]


def wrong_encoding(image) -> None:
    image.encoding = "32FC1"


def unknown_encoding(image) -> None:
    image.encoding = "rgb_of_mine"


def resized() -> Callable[[object], None]:
    """Every image of another size than the one before, and than its CameraInfo."""
    count = iter(range(10**9))

    def change(image) -> None:
        image.height -= 8 * (1 + next(count) % 3)
        image.data = bytes(image.data)[:image.height * image.step]
    return change


def broken_info(value: float, index: int) -> Callable[[CameraInfo], None]:
    def change(info: CameraInfo) -> None:
        info.k[index] = value
    return change


def bad_info(camera: str, value: float, index: int) -> Action:
    """CameraInfo with an impossible number in K."""
    def begin(driver: Driver) -> None:
        driver.spoil_info[camera] = broken_info(value, index)
    return begin


def pose(change: Callable[[np.ndarray], np.ndarray | None]) -> Action:
    """Other poses, or none."""
    def begin(driver: Driver) -> None:
        driver.spoil_pose = change
    return begin


def elsewhere(metres: float) -> Callable[[np.ndarray], np.ndarray]:
    """The pose moved along x, from the first that follows the one before it as soon as it should: after a gap, which a
    busy machine makes, a vehicle may really have moved."""
    shift, last, leapt = np.eye(4), time.monotonic(), False
    shift[0, 3] = metres

    def change(matrix: np.ndarray) -> np.ndarray:
        nonlocal last, leapt
        last, elapsed = time.monotonic(), time.monotonic() - last
        leapt = leapt or elapsed < 0.1
        return shift @ matrix if leapt else matrix
    return change


def not_a_number(matrix: np.ndarray) -> np.ndarray:
    broken = matrix.copy()
    broken[0, 3] = np.nan
    return broken


def late_joiner(driver: Driver) -> None:
    """The driver of the camera is restarted."""
    driver.destroy_publisher(driver.images["right"])
    driver.spoil["right"] = lambda image: []


def joins(driver: Driver) -> None:
    driver.images["right"] = driver.create_image_publisher("right")
    heal(driver)


def deaf_consumer(driver: Driver) -> None:
    """A consumer that asks for old points too, which are not kept."""
    driver.create_subscription(PointCloud2, f"{driver.node}/output/points", lambda message: None, LATCHED)


def volatile_static(driver: Driver) -> None:
    """Somebody else publishes /tf_static as if it were /tf."""
    publisher = driver.create_publisher(TFMessage, "/tf_static", VOLATILE)
    stamped = TransformStamped(child_frame_id="nobody_asked")
    stamped.header.frame_id, stamped.transform.rotation.w = "base_link", 1.0
    publisher.publish(TFMessage(transforms=[stamped]))


def counting(name: str, action: Action, key: str, more: int = 5, state: str = "", **options) -> Fault:
    """A fault that shows in a count."""
    seen = Counted(key, more, state)
    return Fault(name, seen.begin(action), heal, seen, **options)


def camera_faults() -> list[Fault]:
    """Cameras that are silent, slow, late or send rubbish."""
    found = [Fault(f"camera {name} silent", silent(name), heal, says(f"camera '{name}' silent", "DEGRADED"),
                   lost=(name,)) for name in CAMERAS]
    found += [
        Fault("all cameras silent", silent(*CAMERAS), heal, says("no fresh image from any camera", "STALE"),
              stopped=True),
        Fault("camera left at a third of its rate", spoil("left", third()), heal,
              says("last frame without left", "DEGRADED")),
        counting("camera left 50 ms late", spoil("left", delayed(0.05)), "images.left.used", 10, "OK"),
        Fault("camera left 500 ms late", spoil("left", delayed(0.5)), heal,
              says("camera 'left': its stamps are 0...? s behind", "DEGRADED"), lost=("left",)),
        Fault("camera left 50 to 500 ms late, out of order", spoil("left", jittered()), heal,
              says("last frame without left", "DEGRADED")),
        counting("camera left: pairs of images swapped", spoil("left", swapped()), "images.left.dropped.reordered"),
        counting("camera left: every image twice", spoil("left", lambda image: [(0.0, image), (0.0, image)]),
                 "images.left.dropped.duplicate", 5, "OK"),
        Fault("camera right: corrupted JPEG", spoil("right", changed(corrupt_jpeg)), heal,
              says("cannot be decoded", "DEGRADED"), lost=("right",)),
        Fault("camera right: JPEG cut off", spoil("right", changed(cut)), heal, says("breaks off", "DEGRADED"),
              lost=("right",)),
        Fault("camera left: raw data cut off", spoil("left", changed(cut)), heal,
              says("the publisher must send whole", "DEGRADED"), lost=("left",)),
        Fault("camera left: encoding of another type", spoil("left", changed(wrong_encoding)), heal,
              says("encoding '32FC1' is not supported", "DEGRADED"), lost=("left",)),
        Fault("camera left: unknown encoding", spoil("left", changed(unknown_encoding)), heal,
              says("encoding 'rgb_of_mine' is not supported", "DEGRADED"), lost=("left",)),
        Fault("camera left: size changes with every image", spoil("left", changed(resized())), heal,
              says("publish both for the same size", "DEGRADED"), lost=("left",)),
    ]
    return found


def motion_faults() -> list[Fault]:
    """Calibration, transforms, odometry and QoS."""
    return [
        *(Fault(f"camera left: {word} in its CameraInfo", bad_info("left", value, index), heal,
                says("camera_info|CameraInfo|intrinsic"))
          for word, value, index in (("NaN", float("nan"), 0), ("focal length 0", 0.0, 4),
                                     ("negative focal length", -80.0, 0))),
        Fault("odometry stops", pose(lambda matrix: None), heal, says("ego motion is not known", "DEGRADED")),
        Fault("odometry leaps by 10 m", pose(elsewhere(10.0)), heal, says(r"a leap of (9\.\d|10)")),
        Fault("odometry is NaN", pose(not_a_number), heal, says("ego motion is not known", "DEGRADED")),
        Fault("camera right joins late", late_joiner, joins, says("camera 'right' silent", "DEGRADED"),
              lost=("right",)),
        Fault("QoS: a consumer asks for more than is offered", deaf_consumer, nothing, says("output/points: DURAB")),
        Fault("QoS: /tf_static published as volatile", volatile_static, nothing, says("/tf_static: DURAB")),
    ]


def missing_static_transform() -> Fault:
    """For a node that has not been told where camera ``right`` sits: it must be the first fault of that node."""
    return Fault("static transform of camera right missing", nothing, partial(Driver.place, cameras=("right",)),
                 says("position of camera 'right' is not known", "DEGRADED"), lost=("right",))
