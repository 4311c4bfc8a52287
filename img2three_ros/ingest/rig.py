"""Everything about rigs in one place: the types, the rig file, and the rig that a recording implies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..fileio.rosbag import BagReader
from ..structures import CameraCalibration, InputError
from .bag_topics import find_cameras, unused_images
from .camera_info import calibration_from_camera_info
from .camera_rig import CameraRig, RigCamera, load_mask
from .checks import checked_frame_id
from .motion import VehicleMotion
from .rig_file import load_rig, save_rig

__all__ = ["CameraRig", "RigCamera", "load_mask", "load_rig", "rig_from_bag", "save_rig"]

_WHOLE_BAG = 2**62


def rig_from_bag(bag: Path | str, base_frame: str | None = None, cameras: Sequence[str] | None = None,
                 complain: Callable[[str], None] | None = None) -> CameraRig:
    """The rig of a recording, with calibrations from CameraInfo and extrinsics from /tf_static.

    base_frame: None = ``base_link``. cameras: names or image topics to keep; None = all. complain: told of each camera
    that cannot be used and is left out; None = the first such camera is an error.
    Raises InputError: like ``BagReader``, ``no_cameras``, ``camera_info``, ``no_camera_info``, or ``transform`` naming
    the camera that TF does not connect with the base frame.
    """
    with BagReader(bag) as reader:
        found = find_cameras(reader, cameras)
        base = base_frame or found.base_frame
        motion = VehicleMotion(base, history=_WHOLE_BAG)
        for topic, _, message in reader.messages(["/tf_static", "/tf"]):
            motion.add_transforms(message, topic == "/tf_static", topic)
        located = []
        for camera in found.cameras:
            try:
                located.append(_located(reader, camera, motion))
            except InputError as error:
                if complain is None:
                    raise
                complain(str(error))
        if complain is not None:
            for sentence in unused_images(reader, found):
                complain(sentence)
        if not located:
            raise InputError("no_cameras", f"no camera of '{bag}' can be used, for the reasons above")
        return CameraRig(tuple(located), base, _odom_frame(reader, found.odometry_topic), found.odometry_topic)


def _located(reader: BagReader, camera: RigCamera, motion: VehicleMotion) -> RigCamera:
    frame, calibration = _first_camera_info(reader, camera)
    for _, _, message in reader.messages([camera.image_topic] if not frame else []):
        frame = checked_frame_id(message, camera.image_topic)
        break
    try:
        extrinsics = motion.tree.lookup(motion.base_frame, frame)
    except InputError as error:
        raise InputError("transform", f"camera '{camera.name}' ({camera.image_topic}): {error}") from error
    return replace(camera, frame_id=frame, T_base_camera=extrinsics, calibration=calibration)


def _first_camera_info(reader: BagReader, camera: RigCamera) -> tuple[str, CameraCalibration]:
    for topic, _, message in reader.messages([camera.camera_info_topic] if camera.camera_info_topic else []):
        return str(message.header.frame_id).lstrip("/"), calibration_from_camera_info(message, topic)
    raise InputError("no_camera_info", f"camera '{camera.name}' ({camera.image_topic}) has no CameraInfo in "
                     f"'{reader.path}'; record '{camera.camera_info_topic or 'its camera_info'}' too")


def _odom_frame(reader: BagReader, topic: str | None) -> str:
    for _, _, message in reader.messages([topic] if topic else []):
        return str(message.header.frame_id).lstrip("/")
    return ""
