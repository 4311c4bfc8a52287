"""From messages of N cameras, CameraInfo, odometry and TF to ``Frame``: the one path of the live node and of bags."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import SyncConfig
from ..geometry.image_size import enough_for, reduced
from ..structures import CameraCalibration, CameraImage, Frame, InputError, Matrix
from .camera_info import calibration_from_camera_info, contents
from .camera_rig import CameraRig, RigCamera, load_mask
from .checks import checked_stamp
from .images import check_image, decode_reduced
from .motion import VehicleMotion
from .stamp_offsets import StampOffsets
from .synchronizer import CameraSynchronizer, ImageSet, StampedImage

_LASTING = 3
"""Frames in a row without an ego pose before that is called a problem."""


@dataclass(frozen=True)
class CameraCount:
    """received = used + sum(rejected) + waiting, always. rejected: reason -> images."""

    received: int
    used: int
    rejected: Mapping[str, int]
    waiting: int


@dataclass
class _CameraState:
    """What is known of one camera. topic: of its images, for messages. calibrations: (valid from stamp, calibration),
    oldest first. told: contents of the CameraInfo they are from. reduced_masks: reduction of the image -> mask."""

    rig: RigCamera
    topic: str
    calibrations: list[tuple[int, CameraCalibration]] = field(default_factory=list)
    told: tuple[object, ...] = ()
    mask: NDArray[np.bool_] | None = None
    reduced_masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    received: int = 0
    used: int = 0
    in_progress: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


class FrameAssembler:
    """Holds what is known of the rig and turns image sets into frames. Thread-safe: one lock inside.

    ``add_*`` and ``poll`` are cheap (no decoding) and belong on the thread that receives messages; ``assemble``
    decodes and belongs on the worker. Bad input is counted by reason, kept in ``problems`` and loses nothing else.

    ``now`` is a steady clock in ns (bags: the time of recording); stamps come from the messages.
    """

    def __init__(self, cameras: Sequence[str], config: SyncConfig | None = None, rig: CameraRig | None = None, *,
                 base_frame: str | None = None, odom_frame: str | None = None, rectified: bool = False,
                 topics: Mapping[str, str] | None = None, history: int = 20_000_000_000,
                 enough_pixels: int | None = None) -> None:
        """cameras: names in order, the first is the default reference. rig: fallback extrinsics, calibrations, masks.

        base_frame, odom_frame: override the rig's. rectified: ignore distortion. topics: camera -> image topic, for
        messages. history: how long poses are kept, ns. enough_pixels: images of about so many pixels are all that is
        wanted (``prepare.pixels``): JPEG images may be given smaller, with their calibration; None = all whole.
        """
        self.base_frame = (base_frame or (rig.base_frame if rig else "base_link")).lstrip("/")
        self.expected = tuple(cameras)
        self._rectified, self._enough_pixels = rectified, enough_pixels
        self._lock = threading.RLock()
        self._synchronizer: CameraSynchronizer[Any] = CameraSynchronizer(cameras, config)
        self._decoders = ThreadPoolExecutor(min(4, len(cameras)), "decode")
        self._sync = self._synchronizer.config
        self._offsets = StampOffsets(cameras, self._synchronizer.reference)
        odom = odom_frame if odom_frame is not None else (rig.odom_frame if rig else "")
        self._motion = VehicleMotion(self.base_frame, odom, history)
        self._history = history
        self._odometry_topic = (rig.odometry_topic if rig else None) or "odometry"
        self._problems: dict[str, InputError] = {}
        self._first_problems: dict[tuple[str, str], str] = {}
        self._without_pose = 0
        self._other_rejected: Counter[str] = Counter()
        self._states: dict[str, _CameraState] = {}
        for name in cameras:
            known = _rig_camera(name, rig, (topics or {}).get(name, ""))
            state = self._states[name] = _CameraState(known, known.image_topic or name)
            if state.rig.mask_file is not None:
                state.mask = load_mask(state.rig.mask_file)

    def add_image(self, camera: str, message: Any, now_ns: int, topic: str = "") -> list[ImageSet[Any]]:
        """Check and queue an image; returns the sets that are due. A bad image is counted, never raised.

        topic: where it came from, if that may change (raw or compressed).
        """
        state = self._states[camera]
        with self._lock:
            state.topic = topic or state.topic
            state.received += 1
            try:
                stamp = check_image(message, state.topic, frame_required=state.rig.T_base_camera is None
                                    and not state.rig.frame_id)
            except InputError as error:
                self._reject(state, error)
                return self._out(self._synchronizer.poll(now_ns))
            self._offsets.add(camera, stamp, now_ns)
            jumps = self._synchronizer.time_jumps
            sets = self._synchronizer.add(camera, stamp, message, now_ns)
            if self._synchronizer.time_jumps != jumps:
                self._forget_stamps()
            return self._out(sets)

    def add_camera_info(self, camera: str, message: Any) -> None:
        """Take a CameraInfo; a changed calibration holds for images from its stamp on, for this camera only."""
        state = self._states[camera]
        topic = state.rig.camera_info_topic or f"{camera}/camera_info"
        with self._lock:
            told = contents(message)
            if told == state.told:  # as nearly always
                return
            state.told = ()
            try:
                calibration = calibration_from_camera_info(message, topic, self._rectified)
            except InputError as error:
                # Images without a valid calibration are rejected one by one; a known one stays in use.
                self._note(f"camera_info of '{camera}'", error)
                self._other_rejected["camera_info"] += 1
                return
            self._problems.pop(f"camera_info of '{camera}'", None)
            state.told = told
            try:
                stamp = checked_stamp(message, topic)
            except InputError:
                stamp = 0
            known = state.calibrations
            if known and known[-1][1].key() == calibration.key():
                return
            if known and stamp <= known[-1][0]:
                known.clear()
            known.append((stamp, calibration))
            del known[:-4]

    def add_odometry(self, message: Any) -> None:
        """Take a nav_msgs/Odometry; a bad one is counted."""
        with self._lock:
            try:
                newest = self._motion.odometry.newest
                stamp = checked_stamp(message, self._odometry_topic)
                if newest is not None and stamp < newest - self._history:
                    self._motion.reset()
                self._motion.add_odometry(message, self._odometry_topic)
                self._problems.pop("odometry", None)
            except InputError as error:
                self._note("odometry", error)
                self._other_rejected[error.reason] += 1

    def add_transforms(self, message: Any, static: bool) -> None:
        """Take a tf2_msgs/TFMessage of /tf_static or /tf; bad transforms are counted, the others used."""
        with self._lock:
            for error in self._motion.add_transforms(message, static, "/tf_static" if static else "/tf"):
                self._note("transforms", error)
                self._other_rejected[error.reason] += 1

    def poll(self, now_ns: int) -> list[ImageSet[Any]]:
        """Sets whose time is over; call it regularly, also when no image arrives."""
        with self._lock:
            return self._out(self._synchronizer.poll(now_ns))

    def flush(self) -> list[ImageSet[Any]]:
        """All remaining sets: the recording has ended."""
        with self._lock:
            return self._out(self._synchronizer.flush())

    def reset(self) -> None:
        """Time jump seen elsewhere (clock): drop waiting images, poses and dynamic transforms."""
        with self._lock:
            self._synchronizer.reset()
            self._forget_stamps()

    def ready(self, image_set: ImageSet[Any]) -> bool:
        """True if odometry (or TF) already reaches the newest image of the set, and TF every image of a camera that
        moves on the vehicle, or there is none to wait for.

        Poses usually arrive a little after the images. A caller that does not want to extrapolate (up to 100 ms)
        may hold a set back until this is True, but only for a bounded time.
        """
        with self._lock:
            placed = all(self._motion.places(_optical_frame(self._states[image.camera].rig, image.payload), image.stamp)
                         for image in image_set.images)
            return placed and self._motion.reaches(max(image.stamp for image in image_set.images))

    def assemble(self, image_set: ImageSet[Any]) -> Frame:
        """Decode the images of a set and place them. Images that cannot be used are counted and left out.

        Raises InputError('no_usable_image') if none is left; its message names each camera's problem.
        """
        images, problems = [], []
        decoding = [self._decoders.submit(self._camera_image, self._states[image.camera], image)
                    for image in image_set.images]
        for index, image in enumerate(image_set.images):
            state = self._states[image.camera]
            try:
                images.append(decoding[index].result())
                error = None
            except InputError as problem:
                error = problem
                problems.append(str(problem))
            except BaseException:
                self._write_off(image_set.images[index:], "failure")
                raise
            with self._lock:
                state.in_progress -= 1
                if error is None:
                    state.used += 1
                    self._problems.pop(f"camera '{image.camera}'", None)
                else:
                    self._reject(state, error)
        if not images:
            raise InputError("no_usable_image", "no image of the set can be used: " + "; ".join(problems))
        with self._lock:
            pose = self._motion.T_odom_base(image_set.stamp)
            self._judge_ego_motion(pose, image_set.stamp)
            segment = self._motion.breaks.segment(image_set.stamp)
        return Frame(image_set.stamp, tuple(images), self.expected, pose, self.base_frame, segment)

    def discard(self, image_set: ImageSet[Any], reason: str = "replaced") -> None:
        """Count the images of a set that will never be assembled."""
        self._write_off(image_set.images, reason)

    def _write_off(self, images: Sequence[StampedImage[Any]], reason: str) -> None:
        with self._lock:
            for image in images:
                self._states[image.camera].in_progress -= 1
                self._states[image.camera].rejected[reason] += 1

    def counters(self) -> Mapping[str, CameraCount]:
        """Counters of each camera; ``waiting`` includes images of sets that are not assembled yet."""
        with self._lock:
            result = {}
            for name, counts in self._synchronizer.counters().items():
                state = self._states[name]
                result[name] = CameraCount(state.received, state.used, dict(+(state.rejected + counts.dropped)),
                                           counts.waiting + state.in_progress)
            return result

    def rejected_messages(self) -> Mapping[str, int]:
        """Rejected odometry, TF and CameraInfo messages by reason."""
        with self._lock:
            return dict(self._other_rejected)

    def problems(self) -> tuple[str, ...]:
        """The latest problem of each source that has one, as sentences; cleared when the source works again."""
        with self._lock:
            return tuple(str(problem) for problem in self._problems.values())

    def open_problems(self) -> Mapping[tuple[str, str], str]:
        """``problems`` by (source, reason): their sentences may hold values that differ from message to message."""
        with self._lock:
            return {(source, problem.reason): str(problem) for source, problem in self._problems.items()}

    def first_problems(self) -> tuple[str, ...]:
        """The first problem of each source and reason since the start, whether it lasted or not."""
        with self._lock:
            return tuple(self._first_problems.values())

    def clock_problem(self, camera: str) -> str:
        """What is wrong with the stamps of a camera against the others', with the measured offset; '' if nothing."""
        with self._lock:
            return self._offsets.problem(camera, self._sync.tolerance, self._sync.max_wait)

    def lags(self) -> Mapping[str, float]:
        """Camera -> s that its stamps are behind those of the other cameras when they arrive."""
        with self._lock:
            return self._offsets.lags()

    @property
    def time_jumps(self) -> int:
        """How often the stamps of the images jumped."""
        return self._synchronizer.time_jumps

    @property
    def last_jump(self) -> float:
        """By how much they jumped last, s; negative = back."""
        return self._synchronizer.last_jump

    @property
    def motion_breaks(self) -> int:
        """How often ego motion had a gap or a leap."""
        return self._motion.breaks.count

    @property
    def last_motion_break(self) -> str:
        """The newest gap or leap, in words; '' if there was none."""
        return self._motion.breaks.newest

    @property
    def takeovers(self) -> int:
        """How often another camera had to stand in for a silent reference camera."""
        return self._synchronizer.takeovers

    @property
    def acting_reference(self) -> str:
        """The camera whose images ask for sets now."""
        return self._synchronizer.acting_reference

    def _forget_stamps(self) -> None:
        self._motion.reset()
        self._offsets.reset()

    def _out(self, sets: list[ImageSet[Any]]) -> list[ImageSet[Any]]:
        for image_set in sets:
            for image in image_set.images:
                self._states[image.camera].in_progress += 1
        return sets

    def _camera_image(self, state: _CameraState, image: StampedImage[Any]) -> CameraImage:
        topic = state.topic
        with self._lock:
            calibration = self._calibration(state, image.stamp, topic)
            T_base_camera = self._extrinsics(state, image, topic)
            T_odom_base = self._motion.T_odom_base(image.stamp)
        enough = 1 if self._enough_pixels is None else enough_for(calibration, self._enough_pixels)
        decoded = decode_reduced(image.payload, topic, enough)
        width, height = decoded.size
        if (width, height) != (calibration.width, calibration.height):
            raise InputError("size_mismatch", f"topic '{topic}': image is {width}x{height}, its CameraInfo says "
                             f"{calibration.width}x{calibration.height}; publish both for the same size")
        if state.mask is not None and state.mask.shape != (height, width):
            raise InputError("mask_size", f"topic '{topic}': image is {width}x{height}, mask '{state.rig.mask_file}' "
                             f"is {state.mask.shape[1]}x{state.mask.shape[0]}; make the mask for this size")
        if state.mask is not None and decoded.reduction not in state.reduced_masks:
            state.reduced_masks[decoded.reduction] = whole_blocks(state.mask, decoded.reduction)
        return CameraImage(image.camera, image.stamp, decoded.pixels, reduced(calibration, decoded.reduction),
                           T_base_camera, T_odom_base, state.reduced_masks.get(decoded.reduction),
                           _optical_frame(state.rig, image.payload))

    def _calibration(self, state: _CameraState, stamp: int, topic: str) -> CameraCalibration:
        """The newest calibration that is not newer than the image, else the oldest, else the rig file's."""
        if state.calibrations:
            valid = [known for since, known in state.calibrations if since <= stamp]
            return valid[-1] if valid else state.calibrations[0][1]
        if state.rig.calibration is not None:
            return state.rig.calibration
        wanted = state.rig.camera_info_topic or "its camera_info topic"
        raise InputError("no_camera_info", f"topic '{topic}': no valid CameraInfo on '{wanted}' yet; publish it, or "
                         "give the calibration in a rig file")

    def _extrinsics(self, state: _CameraState, image: StampedImage[Any], topic: str) -> Matrix:
        frame = _optical_frame(state.rig, image.payload)
        try:
            if frame and frame != self.base_frame:
                return self._motion.T_base_frame(frame, image.stamp)
            problem = f"its frame is '{frame}'"
        except InputError as error:
            problem = str(error)
        if state.rig.T_base_camera is not None:
            return state.rig.T_base_camera
        raise InputError("no_transform", f"topic '{topic}': position of camera '{image.camera}' is not known: "
                         f"{problem}")

    def _reject(self, state: _CameraState, error: InputError) -> None:
        state.rejected[error.reason] += 1
        self._note(f"camera '{state.rig.name}'", error)

    def _note(self, source: str, error: InputError) -> None:
        self._problems[source] = error
        self._first_problems.setdefault((source, error.reason), str(error))

    def _judge_ego_motion(self, pose: Matrix | None, stamp: int) -> None:
        """Name lasting lack of ego motion; the first images of a drive may come before the first pose."""
        self._without_pose = 0 if pose is not None else self._without_pose + 1
        if pose is not None:
            self._problems.pop("ego motion", None)
        elif self._without_pose >= _LASTING:
            self._note("ego motion", self._motion.why_unknown(stamp, self._odometry_topic))


def _rig_camera(name: str, rig: CameraRig | None, topic: str) -> RigCamera:
    if rig is not None and name in rig.names:
        return rig.camera(name)
    return RigCamera(name, topic)


def _optical_frame(camera: RigCamera, message: Any) -> str:
    return camera.frame_id or str(message.header.frame_id).lstrip("/")


def whole_blocks(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """(H // size, W // size) bool: where all of the ``size`` x ``size`` pixels of a block are True."""
    height, width = mask.shape[0] // size, mask.shape[1] // size
    return np.asarray(mask[:height * size, :width * size].reshape(height, size, width, size).all(axis=(1, 3)))
