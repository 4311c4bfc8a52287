"""Listens to a vehicle for some seconds and says what is missing or wrong, camera by camera."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..fileio.rosbag import TopicInfo
from ..ingest.bag_topics import camera_info_topic, camera_names, image_preference, may_be_camera
from ..ingest.camera_info import calibration_from_camera_info
from ..ingest.camera_rig import CameraRig, RigCamera
from ..ingest.images import check_image, decode_image
from ..ingest.motion import VehicleMotion
from ..ingest.stamp_offsets import StampOffsets
from ..structures import InputError
from .conversions import NANOSECONDS, stamp_ns
from .doctor_findings import (
    COMPRESSED,
    IMAGE,
    ODOMETRY,
    Finding,
    Heard,
    Level,
    calibration_findings,
    clock_findings,
    image_findings,
    memory_findings,
    motion_findings,
    place_findings,
)
from .input_age import FAR
from .motion_inputs import transform_message
from .qos import latched_qos, reliable_qos, sensor_qos
from .spin import handle_one

_CLASSES = {IMAGE: Image, COMPRESSED: CompressedImage}
_SAMPLED_EVERY, _SAMPLES = 1.0, 5
"""Seconds between images of a camera that are kept, and how many of the newest: these are decoded after listening, to
see whether they can be. Decoding meanwhile would make the images of other cameras look late."""
TOLERANCE, PATIENCE = 0.06, 0.2
"""The defaults of sync.tolerance and sync.max_wait, s."""


class Doctor(Node):
    """Hears cameras, CameraInfo, TF, odometry and the status of the reconstruction node.

    rig: cameras and topics; None = every image topic that is published, with ``camera_info`` beside it.
    node_name: of the reconstruction node, to ask its status. discovery: s to wait for the graph first, five times as
    long while there is no camera.
    """

    def __init__(self, rig: CameraRig | None, node_name: str = "/img2three", use_sim_time: bool = False,
                 discovery: float = 1.5) -> None:
        super().__init__("img2three_doctor", parameter_overrides=[
            Parameter("use_sim_time", Parameter.Type.BOOL, use_sim_time)])
        begun = time.monotonic()
        # A busy machine finds its neighbours late: without any camera yet, patience is longer.
        while (waited := time.monotonic() - begun) < discovery or (
                rig is None and waited < 5.0 * discovery and not self._discovered().cameras):
            handle_one(self, 0.05)
        self.rig = _with_topics(rig, node_name) if rig is not None else self._discovered()
        self.heard = {camera.name: Heard(camera) for camera in self.rig.cameras}
        self._motion = VehicleMotion(self.rig.base_frame, self.rig.odom_frame)
        self._odometry_topic = self.rig.odometry_topic or self._first(ODOMETRY) or f"{node_name}/input/odometry"
        self._offsets = StampOffsets(self.rig.names, self.rig.names[0]) if self.rig.cameras else None
        self._samples: dict[str, deque[tuple[float, str, Any]]] = {}
        self._largest, self._poses, self._odometry_problem, self._status = 0, 0, "", ""
        self._wanted: dict[str, QoSProfile] = {}
        self._bad_transforms: dict[str, str] = {}
        self._images: set[str] = set()
        for camera in self.rig.cameras:
            self._listen_to_info(camera)
        self._follow_images()
        self._listen(Odometry, self._odometry_topic, self._on_odometry, sensor_qos(50))
        kind = transform_message()
        if kind is not None:
            self._listen(kind, "/tf", partial(self._on_transforms, "/tf"), reliable_qos(100))
            self._listen(kind, "/tf_static", partial(self._on_transforms, "/tf_static"), latched_qos(100))
        self._listen(DiagnosticArray, f"{node_name}/status", self._on_status, latched_qos())

    def listen(self, seconds: float) -> None:
        """Hear for this long."""
        end, due = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < end:
            if now >= due:
                self._follow_images()
                due = now + 0.25
            handle_one(self, 0.05)
        self._decode_samples()

    def findings(self, seconds: float) -> list[Finding]:
        """Everything that can be said after listening."""
        topics = dict(self.get_topic_names_and_types())
        published = {topic: tuple(sorted({info.topic_type for info in self.get_publishers_info_by_topic(topic)}))
                     for topic in topics}
        published = {topic: kinds for topic, kinds in published.items() if kinds}
        found: list[Finding] = []
        if not self.heard:
            found.append(Finding(Level.ERROR, "cameras", "nobody publishes images; is the right ROS_DOMAIN_ID set ("
                                 f"{os.environ.get('ROS_DOMAIN_ID', '0')}), and do drivers use the same middleware?"))
        for one in self.heard.values():
            one.published = {topic: published.get(topic, ()) for topic, _ in one.candidates()}
            found += image_findings(one, published, seconds)
            found += calibration_findings(one, published)
            found += place_findings(one, self._motion)
        found += clock_findings(list(self.heard.values()), self._clock_problems())
        found += motion_findings(self._motion, self._odometry_topic, self._poses, self._odometry_problem, published)
        found += [Finding(Level.ERROR, topic, sentence) for topic, sentence in self._bad_transforms.items()]
        found += self._qos_findings()
        if "fastrtps" in get_rmw_implementation_identifier():
            found += memory_findings(*shared_memory(os.environ), self._largest)
        if self._status:
            found.append(Finding(Level.OK, "node", f"the reconstruction node says: {self._status}"))
        return found

    def _discovered(self) -> CameraRig:
        chosen: dict[str, TopicInfo] = {}
        for topic, kinds in self.get_topic_names_and_types():
            info = TopicInfo(topic, kinds[0], 1)
            beside = camera_info_topic(topic)
            if may_be_camera(info) and self.get_publishers_info_by_topic(topic) and (
                    beside not in chosen or image_preference(info) < image_preference(chosen[beside])):
                chosen[beside] = info
        names = camera_names([beside.rsplit("/", 1)[0] for beside in chosen])
        return CameraRig(tuple(RigCamera(name, info.name, beside, info.message_type == COMPRESSED)
                               for name, (beside, info) in zip(names, chosen.items(), strict=True)))

    def _first(self, kind: str) -> str | None:
        return min((topic for topic, kinds in self.get_topic_names_and_types() if kind in kinds
                    and self.get_publishers_info_by_topic(topic)), key=lambda name: (len(name), name), default=None)

    def _listen(self, kind: type, topic: str, callback: Any, qos: QoSProfile) -> None:
        self._wanted[topic] = qos
        self.create_subscription(kind, topic, callback, qos)

    def _follow_images(self) -> None:
        """Listen to cameras whose topic has been found meanwhile."""
        offered = dict(self.get_topic_names_and_types())
        for camera in self.rig.cameras:
            there = [(topic, kind) for topic, kind in self.heard[camera.name].candidates()
                     if kind in offered.get(topic, ()) and self.get_publishers_info_by_topic(topic)]
            if there and camera.name not in self._images:
                self._images.add(camera.name)
                topic, kind = there[0]
                self._listen(_CLASSES[kind], topic, partial(self._on_image, camera.name, topic), sensor_qos())

    def _listen_to_info(self, camera: RigCamera) -> None:
        topic = camera.camera_info_topic
        # A CameraInfo that was published once only reaches who asks for what is kept.
        kept = any(info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
                   for info in self.get_publishers_info_by_topic(topic))
        self._listen(CameraInfo, topic, partial(self._on_camera_info, camera.name, topic),
                     latched_qos() if kept else sensor_qos())

    def _on_image(self, camera: str, topic: str, message: Any) -> None:
        heard, now, clock = self.heard[camera], time.monotonic(), int(self.get_clock().now().nanoseconds)
        heard.arrivals.append(now)
        heard.encodings.add(str(getattr(message, "encoding", "") or message.format))
        if hasattr(message, "step"):
            self._largest = max(self._largest, len(message.data))
        try:
            stamp = check_image(message, topic, frame_required=heard.camera.T_base_camera is None)
            heard.frames.add(str(message.header.frame_id).lstrip("/"))
            if heard.add_stamp(stamp, clock) and self._offsets is not None:
                self._offsets.add(camera, stamp, round(now * NANOSECONDS))
            samples = self._samples.setdefault(camera, deque(maxlen=_SAMPLES))
            if not samples or now - samples[-1][0] >= _SAMPLED_EVERY:
                samples.append((now, topic, message))
        except InputError as error:
            heard.fault(error)

    def _decode_samples(self) -> None:
        for camera, samples in self._samples.items():
            for _, topic, message in samples:
                try:
                    height, width = decode_image(message, topic).shape[:2]
                    self.heard[camera].sizes.add((width, height))
                except InputError as error:
                    self.heard[camera].fault(error)
        self._samples.clear()

    def _on_camera_info(self, camera: str, topic: str, message: Any) -> None:
        heard = self.heard[camera]
        heard.infos += 1
        try:
            heard.calibration, heard.info_problem = calibration_from_camera_info(message, topic), ""
        except InputError as error:
            heard.info_problem = str(error)

    def _on_odometry(self, message: Any) -> None:
        try:
            self._motion.add_odometry(message, self._odometry_topic)
            self._poses, self._odometry_problem = self._poses + 1, ""
            age = abs(int(self.get_clock().now().nanoseconds) - stamp_ns(message.header.stamp))
            stamps = [one.stamps[-1] for one in self.heard.values() if one.stamps]
            if stamps and age > FAR and min(abs(stamp - stamp_ns(message.header.stamp)) for stamp in stamps) > FAR:
                self._odometry_problem = (f"{self._odometry_topic}: its stamps have nothing in common with those of "
                                          "the images; use one clock for both")
        except InputError as error:
            self._odometry_problem = str(error)

    def _on_transforms(self, topic: str, message: Any) -> None:
        for error in self._motion.add_transforms(message, topic == "/tf_static", topic):
            self._bad_transforms[topic] = str(error)

    def _on_status(self, message: DiagnosticArray) -> None:
        self._status = message.status[0].message if message.status else ""

    def _clock_problems(self) -> Mapping[str, str]:
        if self._offsets is None:
            return {}
        return {name: self._offsets.problem(name, TOLERANCE, PATIENCE) for name in self.heard}

    def _qos_findings(self) -> list[Finding]:
        found = []
        for topic, wanted in self._wanted.items():
            for info in self.get_publishers_info_by_topic(topic):
                fits, reason = qos_check_compatible(info.qos_profile, wanted)
                if fits == QoSCompatibility.ERROR:
                    sender = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
                    reason = reason.removeprefix("ERROR: ").rstrip("; ")
                    found.append(Finding(Level.ERROR, topic, f"the QoS of its publisher {sender} does not fit: "
                                         f"{reason}; change it, or ours with qos_overrides.{topic}"))
        return found


def _with_topics(rig: CameraRig, node_name: str) -> CameraRig:
    """The rig with the topics that the node listens to where the rig names none."""
    private = f"{node_name}/input"
    cameras = tuple(camera if camera.image_topic else replace(
        camera, image_topic=f"{private}/{camera.name}/image", camera_info_topic=f"{private}/{camera.name}/camera_info")
        for camera in rig.cameras)
    return replace(rig, cameras=tuple(
        camera if camera.camera_info_topic else replace(camera, camera_info_topic=camera_info_topic(camera.image_topic))
        for camera in cameras))


def shared_memory(environment: Mapping[str, str]) -> tuple[str, int | None, int | None]:
    """The Fast DDS profile in use ('' = none), the size of its shared-memory segment, and what /dev/shm has left."""
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    profile = next((environment[name] for name in names if environment.get(name)), "")
    segment = None
    if profile:
        try:
            given = re.search(r"<segment_size>\s*(\d+)", Path(profile).read_text(encoding="utf-8"))
            segment = int(given.group(1)) if given else None
        except (OSError, UnicodeDecodeError):
            segment = None
    try:
        space = os.statvfs("/dev/shm")
        free: int | None = space.f_bavail * space.f_frsize
    except OSError:
        free = None
    return profile, segment, free


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level of all."""
    order = [Level.OK, Level.WARNING, Level.ERROR]
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
