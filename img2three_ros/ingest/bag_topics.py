"""Which topics of a bag are cameras, LiDAR and odometry."""

from __future__ import annotations

from collections.abc import Sequence

from ..fileio.rosbag import BagReader, TopicInfo
from ..structures import InputError
from .camera_rig import CameraRig, RigCamera

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, ODOMETRY = "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"

_OWN_OUTPUT = "/img2three"
# Last parts of a topic that say what kind of image it is, best for us first: colour, not rectified twice.
_PREFERRED = ("image_raw", "image_color", "image_rect_color", "image", "image_rect", "image_mono")
_PLAIN_PARTS = {"camera", "cameras", "cam", "sensing", "sensors", "sensor", "image", "rgb", "color", "driver", "ros"}


def find_cameras(reader: BagReader, cameras: Sequence[str] | None = None,
                 rig: CameraRig | None = None) -> CameraRig:
    """The rig of a bag: from the rig file's topics, or discovered.

    cameras: names or image topics to keep, in this order. Raises InputError ``no_cameras`` or ``unknown_camera``.
    """
    topics = reader.topics()
    found = _from_rig(reader, rig) if rig is not None and any(c.image_topic for c in rig.cameras) else (
        _discovered(reader, topics))
    if rig is not None and not any(camera.image_topic for camera in rig.cameras):
        found = tuple(_merged(camera, rig) for camera in found)
    if cameras:
        found = tuple(_chosen(name, found, topics, reader) for name in cameras)
    return CameraRig(found, rig.base_frame if rig else "base_link", rig.odom_frame if rig else "",
                     find_odometry(reader, rig))


def unused_images(reader: BagReader, rig: CameraRig) -> tuple[str, ...]:
    """A sentence for each image topic that is no camera of a discovered rig because it has no CameraInfo."""
    topics = reader.topics()
    used = {camera_info_topic(camera.image_topic) for camera in rig.cameras}
    lacking: dict[str, str] = {}
    for info in topics.values():
        wanted = camera_info_topic(info.name)
        if may_be_camera(info) and wanted not in used | set(topics) and f"{info.name}/camera_info" not in topics:
            lacking.setdefault(wanted, info.name)
    return tuple(f"topic '{name}': its images are not used, as the bag has no CameraInfo '{wanted}'; record it too, or "
                 "give topic and calibration in a rig file" for wanted, name in lacking.items())


def find_odometry(reader: BagReader, rig: CameraRig | None = None) -> str | None:
    """The odometry topic: the rig's, else the only or shortest nav_msgs/Odometry topic; None if there is none."""
    topics = reader.topics()
    if rig is not None and rig.odometry_topic:
        if rig.odometry_topic not in topics:
            raise InputError("no_odometry", f"bag '{reader.path}' has no topic '{rig.odometry_topic}' that the rig "
                             f"file names; {_listing(topics, (ODOMETRY,))}")
        return rig.odometry_topic
    return min((name for name, info in topics.items() if info.message_type == ODOMETRY),
               key=lambda name: (len(name), name), default=None)


def find_lidar(reader: BagReader, topic: str | None = None) -> str:
    """The LiDAR topic. Raises InputError('no_lidar') listing what the bag has."""
    topics = reader.topics()
    if topic is not None:
        if topic not in topics or topics[topic].message_type != POINT_CLOUD:
            raise InputError("no_lidar", f"bag '{reader.path}' has no PointCloud2 topic '{topic}'; "
                             f"{_listing(topics, (POINT_CLOUD,))}")
        return topic
    found = [info for info in topics.values()
             if info.message_type == POINT_CLOUD and info.count and not info.name.startswith(_OWN_OUTPUT)]
    if not found:
        raise InputError("no_lidar", f"bag '{reader.path}' has no LiDAR (no PointCloud2 outside {_OWN_OUTPUT}) to "
                         f"measure against; record one, or use 'img2three reconstruct'. Topics: {', '.join(topics)}")
    return max(found, key=lambda info: ("lidar" in info.name, "velodyne" in info.name, info.count, info.name)).name


def _discovered(reader: BagReader, topics: dict[str, TopicInfo]) -> tuple[RigCamera, ...]:
    """One image topic for each CameraInfo topic that has one."""
    chosen: dict[str, TopicInfo] = {}
    for info in topics.values():
        if not may_be_camera(info):
            continue
        sibling = next((name for name in (camera_info_topic(info.name), f"{info.name}/camera_info")
                        if name in topics and topics[name].message_type == CAMERA_INFO), None)
        if sibling is None:
            continue
        if sibling not in chosen or image_preference(info) < image_preference(chosen[sibling]):
            chosen[sibling] = info
    if not chosen:
        raise InputError("no_cameras", f"bag '{reader.path}' has no camera: an Image or CompressedImage topic with "
                         f"'camera_info' beside it; {_listing(topics, (IMAGE, COMPRESSED, CAMERA_INFO))}. Name the "
                         "topics in a rig file")
    names = camera_names([sibling.rsplit("/", 1)[0] for sibling in chosen])
    found = [RigCamera(name, info.name, sibling, info.message_type == COMPRESSED)
             for name, (sibling, info) in zip(names, chosen.items(), strict=True)]
    return tuple(sorted(found, key=lambda camera: (not looks_ahead(camera.name), camera.name)))


def looks_ahead(name: str) -> bool:
    """The camera that looks ahead comes first, so that it is the reference whatever was recorded first."""
    return name.lower().split("_")[-1] in ("front", "forward", "center", "centre")


def may_be_camera(info: TopicInfo) -> bool:
    """Whether a topic has pictures that are no depth and not our own output."""
    return (info.message_type in (IMAGE, COMPRESSED) and info.count > 0 and "depth" not in info.name.lower()
            and not info.name.startswith(_OWN_OUTPUT))


def camera_info_topic(image_topic: str) -> str:
    """``/camera/front/image_raw/compressed`` -> ``/camera/front/camera_info``."""
    parts = image_topic.split("/")
    if parts[-1] in ("compressed", "theora", "ffmpeg", "compressedDepth"):
        parts.pop()
    return "/".join((*parts[:-1], "camera_info"))


def camera_names(bases: Sequence[str]) -> list[str]:
    """Short unique names: ``/camera/front``, ``/camera/back`` -> ``front``, ``back``."""
    split = [[part for part in base.split("/") if part] or ["camera"] for base in bases]
    kept = [[part for part in parts if part.lower() not in _PLAIN_PARTS] or parts[-1:] for parts in split]
    for candidates in ([parts[-1] for parts in kept], ["_".join(parts) for parts in kept]):
        if len(set(candidates)) == len(candidates):
            return candidates
    return ["_".join(parts) for parts in split]


def image_preference(info: TopicInfo) -> tuple[int, int, str]:
    """Smaller is better: raw colour images first, uncompressed before compressed."""
    parts = info.name.split("/")
    kind = parts[-2] if info.message_type == COMPRESSED and len(parts) > 1 else parts[-1]
    rank = _PREFERRED.index(kind) if kind in _PREFERRED else len(_PREFERRED)
    return rank, int(info.message_type == COMPRESSED), info.name


def _from_rig(reader: BagReader, rig: CameraRig) -> tuple[RigCamera, ...]:
    """The rig's cameras on the topics of the bag; one without a topic stays in the rig and is missing in all frames."""
    topics = reader.topics()
    found, present = [], 0
    for camera in rig.cameras:
        base = camera.image_topic.removesuffix("/compressed")
        names = [name for name in (camera.image_topic, base, base + "/compressed")
                 if name in topics and topics[name].message_type in (IMAGE, COMPRESSED)]
        found.append(_with_topic(camera, names[0], topics) if names else camera)
        present += bool(names)
    if not present:
        raise InputError("no_cameras", f"bag '{reader.path}' has none of the rig file's image topics "
                         f"({', '.join(camera.image_topic for camera in rig.cameras)}); "
                         f"{_listing(topics, (IMAGE, COMPRESSED))}")
    return tuple(found)


def _with_topic(camera: RigCamera, topic: str, topics: dict[str, TopicInfo]) -> RigCamera:
    info = camera.camera_info_topic or camera_info_topic(topic)
    return RigCamera(camera.name, topic, info if info in topics else "", topics[topic].message_type == COMPRESSED,
                     camera.frame_id, camera.T_base_camera, camera.calibration, camera.mask_file)


def _merged(camera: RigCamera, rig: CameraRig) -> RigCamera:
    """A discovered camera with what a rig file without topics says of it."""
    if camera.name not in rig.names:
        return camera
    known = rig.camera(camera.name)
    return RigCamera(camera.name, camera.image_topic, camera.camera_info_topic, camera.compressed, known.frame_id,
                     known.T_base_camera, known.calibration, known.mask_file)


def _chosen(name: str, found: Sequence[RigCamera], topics: dict[str, TopicInfo], reader: BagReader) -> RigCamera:
    for camera in found:
        if name in (camera.name, camera.image_topic):
            return camera
    if name in topics and topics[name].message_type in (IMAGE, COMPRESSED):
        return _with_topic(RigCamera(camera_names([camera_info_topic(name).rsplit("/", 1)[0]])[0], name), name, topics)
    raise InputError("unknown_camera", f"bag '{reader.path}' has no camera '{name}'; cameras: "
                     f"{', '.join(camera.name for camera in found)}")


def _listing(topics: dict[str, TopicInfo], types: Sequence[str]) -> str:
    near = [f"{info.name} ({info.message_type}, {info.count})" for info in topics.values()
            if info.message_type in types]
    return "it has " + ", ".join(near) if near else "its topics are " + ", ".join(topics)
