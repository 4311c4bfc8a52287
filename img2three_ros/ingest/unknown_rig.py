"""The cameras of a recording that may lack CameraInfo or TF: what is not known of them is NaN.

With such a rig ``read_frames`` gives frames of any recording with images: calibrations and extrinsics are those of the
recording where it has them, and matrices of NaN where it has none. For whoever can do without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..fileio.rosbag import BagReader, TopicInfo
from ..structures import CameraCalibration, InputError
from .bag_topics import (
    camera_info_topic,
    camera_names,
    find_cameras,
    find_odometry,
    image_preference,
    looks_ahead,
    may_be_camera,
)
from .camera_rig import CameraRig, RigCamera
from .images import decode_image, is_compressed
from .rig_file import load_rig


def rig_with_unknowns(bag: Path | str, cameras: Sequence[str] | None = None,
                      rig: CameraRig | Path | str | None = None) -> CameraRig:
    """The rig of a bag, given or discovered; only where no image topic has a CameraInfo, all image topics are cameras.

    cameras: names or image topics to keep, in this order. What neither rig nor bag will tell is NaN: K of a calibration
    of the size of the first image, ``T_base_camera``. Raises InputError for a bag without images, ``unknown_camera``.
    """
    rig = load_rig(rig) if isinstance(rig, (Path, str)) else rig
    with BagReader(bag) as reader:
        try:
            found = find_cameras(reader, cameras, rig)
        except InputError as error:
            if error.reason not in ("no_cameras", "unknown_camera") or (rig is not None and any(
                    camera.image_topic for camera in rig.cameras)):
                raise
            found = _uncalibrated(reader, cameras, error)
        return replace(found, cameras=tuple(_filled(reader, camera) for camera in found.cameras))


def known_intrinsics(calibration: CameraCalibration) -> bool:
    """Whether a calibration of such a rig is one."""
    return bool(np.isfinite(calibration.intrinsics).all())


def _uncalibrated(reader: BagReader, cameras: Sequence[str] | None, error: InputError) -> CameraRig:
    """Every image topic, raw or compressed once. Raises the error if there is none, or not those asked for."""
    chosen: dict[str, TopicInfo] = {}
    for info in reader.topics().values():
        base = camera_info_topic(info.name)
        if may_be_camera(info) and (base not in chosen or image_preference(info) < image_preference(chosen[base])):
            chosen[base] = info
    names = camera_names([base.rsplit("/", 1)[0] for base in chosen])
    found = [RigCamera(name, info.name, "", info.message_type.endswith("CompressedImage"))
             for name, info in zip(names, chosen.values(), strict=True)]
    found.sort(key=lambda camera: (not looks_ahead(camera.name), camera.name))
    if cameras:
        by_name = {key: camera for camera in found for key in (camera.name, camera.image_topic)}
        missing = [name for name in cameras if name not in by_name]
        if missing:
            raise InputError("unknown_camera", f"bag '{reader.path}' has no camera '{missing[0]}'; images come from: "
                             f"{', '.join(camera.name for camera in found) or 'no topic'}")
        found = [by_name[name] for name in cameras]
    if not found:
        raise error
    return CameraRig(tuple(found), odometry_topic=find_odometry(reader))


def _filled(reader: BagReader, camera: RigCamera) -> RigCamera:
    calibration = camera.calibration
    if calibration is None:
        for _, _, message in reader.messages([camera.image_topic]):
            try:
                height, width = _size(message, camera.image_topic)
            except InputError:
                continue  # a broken image; the next may be whole
            calibration = CameraCalibration(width, height, np.full((3, 3), np.nan))
            break
    unknown = np.full((4, 4), np.nan)
    return replace(camera, calibration=calibration,
                   T_base_camera=unknown if camera.T_base_camera is None else camera.T_base_camera)


def _size(message: object, topic: str) -> tuple[int, int]:
    if is_compressed(message):
        height, width = decode_image(message, topic).shape[:2]
        return height, width
    return int(message.height), int(message.width)  # type: ignore[attr-defined]
