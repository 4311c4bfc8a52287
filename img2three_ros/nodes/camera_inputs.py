"""Subscriptions of the cameras: which topic, raw or compressed, and whether anybody publishes there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..ingest.rig import CameraRig, RigCamera
from .qos import OnIncompatible, latched_qos, sensor_qos, subscribe

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_CLASSES = {RAW: Image, COMPRESSED: CompressedImage}
_SUFFIX = "/compressed"


@dataclass(frozen=True)
class CameraTopics:
    """Where one camera may be heard, as full names.

    images: (topic, type) in the order of preference.
    """

    camera: str
    images: tuple[tuple[str, str], ...]
    camera_info: str

    def describe(self) -> str:
        """The image topics for people."""
        return " or ".join(dict.fromkeys(topic for topic, _ in self.images))


def camera_topics(node: Node, camera: str, rig: CameraRig | None, transport: str) -> CameraTopics:
    """Topic names of a camera. A remapping by the user beats the rig file, which beats ``~/input/<camera>/...``.

    Remapping ``image`` moves ``image/compressed`` and ``camera_info`` along, as image_transport has it, unless they
    are remapped themselves.
    """
    known = rig.camera(camera) if rig is not None and camera in rig.names else None
    private = f"~/input/{camera}"
    image, moved = _resolved(node, f"{private}/image", known.image_topic if known else "")
    given_compressed = image.endswith(_SUFFIX)
    base = image.removesuffix(_SUFFIX)
    compressed, renamed = _resolved(node, f"{private}/image{_SUFFIX}", "")
    compressed = compressed if renamed else base + _SUFFIX
    sibling = base.rpartition("/")[0] + "/camera_info" if moved else ""
    info, _ = _resolved(node, f"{private}/camera_info", (known.camera_info_topic if known else "") or sibling)
    candidates = [(base, RAW), (compressed, COMPRESSED)]
    if moved:
        # The user may have pointed ``image`` at a compressed topic under any name.
        candidates.append((image, COMPRESSED))
    if given_compressed or (known is not None and known.compressed and not renamed):
        candidates.sort(key=lambda candidate: candidate[1] != COMPRESSED)
    if transport != "auto":
        wanted = RAW if transport == "raw" else COMPRESSED
        candidates = [candidate for candidate in candidates if candidate[1] == wanted]
    return CameraTopics(camera, tuple(dict.fromkeys(candidates)), info)


class CameraInputs:
    """Subscriptions for images and CameraInfo of all cameras.

    With a single candidate a camera is subscribed at once; with several, ``update`` looks at what is published and
    takes the first candidate that is there, and another one if that disappears.
    """

    def __init__(self, node: Node, topics: Sequence[CameraTopics], on_image: Callable[[str, str, Any], None],
                 on_camera_info: Callable[[str, str, Any], None], on_incompatible: OnIncompatible) -> None:
        self._node, self._topics, self._on_image = node, tuple(topics), on_image
        self._on_camera_info, self._on_incompatible = on_camera_info, on_incompatible
        self._images: dict[str, tuple[tuple[str, str], Any]] = {}
        self._infos: dict[str, Any] = {}
        self._latched: dict[str, Any] = {}
        for camera in self._topics:
            self._infos[camera.camera] = subscribe(
                node, CameraInfo, camera.camera_info, partial(on_camera_info, camera.camera, camera.camera_info),
                sensor_qos(), on_incompatible)
            if len(camera.images) == 1:
                self._listen(camera.camera, camera.images[0])
        self.update()

    def update(self) -> None:
        """Follow the graph; cheap, call it a few times a second."""
        for camera in self._topics:
            if len(camera.images) > 1:
                self._choose(camera)
            self._hear_latched_info(camera)

    def topic(self, camera: str) -> str:
        """Topic the images of a camera come from, or where they are waited for."""
        if camera in self._images:
            return self._images[camera][0][0]
        return next(topics.describe() for topics in self._topics if topics.camera == camera)

    def problem(self, camera: str) -> str:
        """Why nothing may be coming, from the graph: a sentence with the remedy, or ''."""
        topics = next(topics for topics in self._topics if topics.camera == camera)
        published = {topic: self._types(topic) for topic, _ in topics.images}
        if any(kind in published[topic] for topic, kind in topics.images):
            return ""
        for topic, kinds in published.items():
            if kinds:
                wanted = " or ".join(kind for candidate, kind in topics.images if candidate == topic)
                return f"{topic} is published as {', '.join(sorted(kinds))}, expected {wanted}"
        return f"nobody publishes {topics.describe()}; remap ~/input/{camera}/image or give a rig_file"

    def destroy(self) -> None:
        """End all subscriptions."""
        for subscription in (*(held for _, held in self._images.values()), *self._infos.values(),
                             *self._latched.values()):
            self._node.destroy_subscription(subscription)

    def _choose(self, topics: CameraTopics) -> None:
        available = [(topic, kind) for topic, kind in topics.images if kind in self._types(topic)]
        current = self._images.get(topics.camera)
        if not available or (current is not None and current[0] in available):
            return
        if current is not None:
            self._node.destroy_subscription(current[1])
        self._listen(topics.camera, available[0])

    def _listen(self, camera: str, candidate: tuple[str, str]) -> None:
        topic, kind = candidate
        self._images[camera] = (candidate, subscribe(
            self._node, _CLASSES[kind], topic, partial(self._on_image, camera, topic), sensor_qos(),
            self._on_incompatible))
        self._node.get_logger().info(f"camera '{camera}': listening to {topic} ({kind})")

    def _hear_latched_info(self, topics: CameraTopics) -> None:
        """A CameraInfo that was published once, before we came, only reaches a transient-local subscription."""
        if topics.camera in self._latched:
            return
        offered = self._node.get_publishers_info_by_topic(topics.camera_info)
        if any(info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in offered):
            self._latched[topics.camera] = self._node.create_subscription(
                CameraInfo, topics.camera_info, partial(self._on_camera_info, topics.camera, topics.camera_info),
                latched_qos())

    def _types(self, topic: str) -> set[str]:
        return {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}


def _resolved(node: Node, name: str, otherwise: str) -> tuple[str, bool]:
    """Full name of a private topic, and whether it is another than the private one."""
    plain = node.resolve_topic_name(name, only_expand=True)
    resolved = node.resolve_topic_name(name)
    if resolved == plain and otherwise:
        resolved = node.resolve_topic_name(otherwise)
    return resolved, resolved != plain


def odometry_topic(node: Node, rig: CameraRig | None) -> str:
    """Full name of the odometry topic; a remapping beats the rig file."""
    return _resolved(node, "~/input/odometry", (rig.odometry_topic or "") if rig is not None else "")[0]


def named_rig(rig: CameraRig | None, topics: Sequence[CameraTopics], odometry: str) -> CameraRig:
    """The rig with the names that are really listened to, so that messages name them."""
    known = {camera.name: camera for camera in (rig.cameras if rig is not None else ())}
    cameras = tuple(replace(known.get(topic.camera, RigCamera(topic.camera, "")), image_topic=topic.describe(),
                            camera_info_topic=topic.camera_info) for topic in topics)
    base = CameraRig(cameras) if rig is None else rig
    return replace(base, cameras=cameras, odometry_topic=odometry)
