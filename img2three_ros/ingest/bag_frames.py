"""Frames and LiDAR scans of a bag: the same assembler as the live node, with all poses of the bag known beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..fileio.point_cloud2 import read_xyz
from ..fileio.rosbag import BagReader
from ..geometry.transforms import apply
from ..structures import Frame, InputError
from .bag_topics import find_cameras, find_lidar, find_odometry, unused_images
from .camera_rig import CameraRig
from .checks import checked_frame_id, checked_stamp
from .frame_assembler import CameraCount, FrameAssembler
from .lidar import LidarScan
from .motion import VehicleMotion
from .rig_file import load_rig
from .synchronizer import ImageSet

_WHOLE_BAG = 2**62
_PATIENCE = 0.5
"""Seconds of recording that a set of a bag waits for late images: nobody waits for the output."""


@dataclass
class BagSummary:
    """What happened while a bag was read: filled by ``read_frames`` as it goes.

    expected: about how many frames there will be. frames: given out. cameras: counters of each camera.
    rejected: odometry, TF and CameraInfo messages by reason. problems: sentences, also
    of what went wrong for a while only.
    """

    expected: int = 0
    frames: int = 0
    rejected_frames: Counter[str] = field(default_factory=Counter)
    cameras: Mapping[str, CameraCount] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_frames(bag: Path | str, config: Config | None = None, cameras: Sequence[str] | None = None,
                rig: CameraRig | Path | str | None = None, summary: BagSummary | None = None, *,
                reduced: bool = False) -> Iterator[Frame]:
    """Every frame of a bag in the order of stamps, always the same for the same bag.

    cameras: names (or image topics) to use, in order; None = all found. rig: topics, extrinsics, calibrations and
    masks, or the path of a rig file; None = discovered from topics, CameraInfo and TF. reduced: JPEG images may come
    smaller, as long as that is enough for ``prepare.pixels``: for whoever hands the frames to the pipeline.
    Raises InputError for a bag or topics that cannot be used; single bad images are left out and counted in
    ``summary``.
    """
    config = config or Config()
    summary = BagSummary() if summary is None else summary
    with BagReader(bag) as reader:
        given = _loaded(rig)
        rig = find_cameras(reader, cameras, given)
        assembler = _assembler(rig, config, reduced)
        _learn_motion(assembler, reader, rig)
        topics = reader.topics()
        counts = {camera.name: topics[camera.image_topic].count if camera.image_topic in topics else 0
                  for camera in rig.cameras}
        summary.expected = counts[config.sync.reference or rig.names[0]] or max(counts.values())
        for image_set in _image_sets(assembler, reader, rig):
            yield from _assembled(assembler, image_set, summary)
        summary.cameras, summary.rejected = assembler.counters(), assembler.rejected_messages()
        absent = (f"camera '{camera.name}': the bag has no images on '{camera.image_topic}'" for camera in rig.cameras
                  if not counts[camera.name])
        unused = () if cameras or given is not None else unused_images(reader, rig)
        summary.problems = (*absent, *unused, *assembler.first_problems(), *reader.warnings)
        if not summary.frames:
            raise InputError("no_frames", f"bag '{bag}' gave no frame: " + ("; ".join(summary.problems)
                                                                            or "no images"))


def recorded_sets(bag: Path | str, config: Config, cameras: Sequence[str] | None = None,
                  ) -> tuple[FrameAssembler, list[ImageSet[Any]]]:
    """All image sets of a bag, not decoded, and the assembler that makes frames of them, whole or as small as
    ``prepare.pixels`` allows: for whoever measures decoding too. Raises InputError like ``read_frames``."""
    with BagReader(bag) as reader:
        rig = find_cameras(reader, cameras, None)
        assembler = _assembler(rig, config, reduced=True)
        _learn_motion(assembler, reader, rig)
        sets = list(_image_sets(assembler, reader, rig))
    if not sets:
        raise InputError("no_frames", f"bag '{bag}' gave no frame: "
                         + ("; ".join(assembler.first_problems()) or "no images"))
    return assembler, sets


def _assembler(rig: CameraRig, config: Config, reduced: bool) -> FrameAssembler:
    sync = replace(config.sync, max_wait=max(config.sync.max_wait, _PATIENCE))
    return FrameAssembler(rig.names, sync, rig, rectified=config.prepare.rectified, history=_WHOLE_BAG,
                          enough_pixels=config.prepare.pixels if reduced else None)


def _learn_motion(assembler: FrameAssembler, reader: BagReader, rig: CameraRig) -> None:
    for name, message in _motion_messages(reader, rig.odometry_topic):
        if name == rig.odometry_topic:
            assembler.add_odometry(message)
        else:
            assembler.add_transforms(message, name == "/tf_static")


def _image_sets(assembler: FrameAssembler, reader: BagReader, rig: CameraRig) -> Iterator[ImageSet[Any]]:
    by_topic = {camera.image_topic: camera.name for camera in rig.cameras}
    infos = {camera.camera_info_topic: camera.name for camera in rig.cameras if camera.camera_info_topic}
    now = 0
    for topic, time, message in reader.messages([*by_topic, *infos]):
        now = max(now, time)
        if topic in infos:
            assembler.add_camera_info(infos[topic], message)
        else:
            yield from assembler.add_image(by_topic[topic], message, now)
    yield from assembler.flush()


def read_lidar(bag: Path | str, topic: str | None = None, rig: CameraRig | Path | str | None = None,
               base_frame: str = "base_link", between: tuple[int, int] | None = None) -> Iterator[LidarScan]:
    """Every LiDAR scan of a bag, in the base frame at its own stamp.

    topic: None = the PointCloud2 topic that is not an output of this package. between: only scans from one stamp to
    another, ns; others are not decoded, and none there is no error. A bad scan is left out; if none is left, raises
    InputError ``no_lidar``, ``point_cloud``, or ``transform`` where the sensor is not connected to the base frame.
    """
    rig = _loaded(rig)
    base_frame = rig.base_frame if rig else base_frame
    with BagReader(bag) as reader:
        topic = find_lidar(reader, topic)
        motion = VehicleMotion(base_frame, rig.odom_frame if rig else "", _WHOLE_BAG)
        odometry = find_odometry(reader, rig)
        for name, message in _motion_messages(reader, odometry):
            if name == odometry:
                _ignore_bad_odometry(motion, message, name)
            else:
                motion.add_transforms(message, name == "/tf_static", name)
        given, first_error = 0, None
        for _, _, message in reader.messages([topic]):
            try:
                if between is not None and not between[0] <= checked_stamp(message, topic) <= between[1]:
                    continue
                scan = _scan(message, topic, motion)
            except InputError as error:
                first_error = first_error or error
                continue
            given += 1
            yield scan
        if not given and (first_error is not None or between is None):
            raise first_error or InputError("no_lidar", f"topic '{topic}' of '{bag}' holds no readable scan: "
                                            + "; ".join(reader.warnings))


def _scan(message: Any, topic: str, motion: VehicleMotion) -> LidarScan:
    stamp = checked_stamp(message, topic)
    T_base_lidar = motion.T_base_frame(checked_frame_id(message, topic), stamp)
    return LidarScan(stamp, apply(T_base_lidar, read_xyz(message, topic)), motion.T_odom_base(stamp),
                     T_base_lidar[:3, 3].copy())


def _loaded(rig: CameraRig | Path | str | None) -> CameraRig | None:
    return load_rig(rig) if isinstance(rig, (Path, str)) else rig


def _motion_messages(reader: BagReader, odometry: str | None) -> list[tuple[str, Any]]:
    """All transforms of a bag and then its odometry, (topic, message), in one pass over the file.

    Odometry of another frame of the vehicle needs the static transforms, wherever in the bag they are.
    """
    topics = ["/tf_static", "/tf", *([odometry] if odometry else [])]
    found = [(topic, message) for topic, _, message in reader.messages(topics)]
    return sorted(found, key=lambda item: topics.index(item[0]))


def _assembled(assembler: FrameAssembler, image_set: Any, summary: BagSummary) -> Iterator[Frame]:
    try:
        frame = assembler.assemble(image_set)
    except InputError as error:
        summary.rejected_frames[error.reason] += 1
        return
    summary.frames += 1
    yield frame


def _ignore_bad_odometry(motion: VehicleMotion, message: Any, topic: str) -> None:
    try:
        motion.add_odometry(message, topic)
    except InputError:
        return  # counted and reported where the frames are read
