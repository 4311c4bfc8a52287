"""The images of a recording that make one scene: all cameras at one instant and at a few earlier ones.

What the recording knows comes with them: intrinsics (the images are undistorted with them), where each camera stood.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..geometry.cameras import Undistorter, UndistortionMap
from ..geometry.transforms import apply, inverse
from ..ingest.bag_frames import BagSummary, read_frames, read_lidar
from ..ingest.camera_rig import CameraRig
from ..ingest.unknown_rig import known_intrinsics, rig_with_unknowns
from ..structures import CameraImage, Frame, InputError, Matrix
from .instant import Choice

ABOUT_IMAGES = 12
"""Images in all that a scene is made of unless more are asked for."""
STEP, PAUSE = 1.0, 0.5
"""Metres between instants; seconds where motion is not known."""
_MOST_EARLIER = 5
SCAN_NEAR, SAME_INSTANT = 100_000_000, 10_000_000
"""A LiDAR scan may be this far from the instant, ns, with and without known motion between."""


@dataclass(frozen=True, eq=False)
class BagImage:
    """One undistorted image.

    instant: 0 = the chosen one, 1, 2 ... = earlier ones. stamp: ns. pixels: (H, W, 3) uint8 RGB.
    usable: (H, W) bool, False = the vehicle itself, or outside what the lens showed. intrinsics: (3, 3) K of these
    pixels. T_base_camera: (4, 4) on the vehicle. T_odom_base: (4, 4) of the vehicle at this stamp. T_world_camera:
    (4, 4) into the base frame of the chosen instant. None = not known.
    """

    camera: str
    instant: int
    stamp: int
    pixels: NDArray[np.uint8]
    usable: NDArray[np.bool_]
    intrinsics: Matrix | None = None
    T_base_camera: Matrix | None = None
    T_odom_base: Matrix | None = None
    T_world_camera: Matrix | None = None

    @property
    def name(self) -> str:
        """front_0, front_1, ..."""
        return f"{self.camera}_{self.instant}"


@dataclass(frozen=True, eq=False)
class BagImages:
    """images: newest instant first, in the order of the cameras. about, notes: sentences on what they are, and on what
    went wrong. number: of the chosen frame; seconds: after the first. lidar: (N, 3) points of a scan at the chosen
    instant, in its base frame, metres; None = there is none."""

    images: tuple[BagImage, ...]
    base_frame: str
    stamp: int
    number: int
    seconds: float
    about: tuple[str, ...]
    notes: tuple[str, ...]
    lidar: NDArray[np.floating] | None = None


def read_bag_images(bag: Path | str, config: Config, choice: Choice, instants: int | None = None,
                    cameras: Sequence[str] | None = None, rig: CameraRig | Path | str | None = None,
                    progress: Callable[..., None] | None = None) -> BagImages:
    """The images of an instant and of earlier ones, about ``STEP`` metres apart by odometry (else ``PAUSE`` seconds).

    instants: how many, the chosen one included; None: so many that there are about ``ABOUT_IMAGES`` images.
    Raises InputError for a recording without images, and for an instant that it does not have.
    """
    if instants is not None and instants < 1:
        raise InputError("parameter", f"{instants} instants: 1 is the least")
    summary = BagSummary()
    known = rig_with_unknowns(bag, cameras, rig)
    wanted = instants or 1 + min(max(ABOUT_IMAGES // len(known.cameras) - 1, 1), _MOST_EARLIER)
    frames = read_frames(bag, config, None, known, summary)
    chosen = choose_frames(_counted(frames, summary, progress), choice, wanted)
    undistort = Undistorter(config.prepare.max_half_angle)
    images = tuple(bag_image(image, frame, chosen.frames[0], instant, undistort)
                   for instant, frame in enumerate(chosen.frames) for image in frame.images)
    notes = [str(problem) for problem in summary.problems if "no CameraInfo" not in str(problem)]
    if chosen.frames[0].missing:
        notes.append(f"without {', '.join(chosen.frames[0].missing)}: no image at this instant")
    lidar, why = lidar_at(chosen.frames[0], bag, known)
    told = () if lidar is None else (f"LiDAR: {len(lidar)} points of this instant, for the scale only",)
    notes += [why] if why else []
    return BagImages(images, chosen.frames[0].base_frame, chosen.frames[0].stamp, chosen.number, chosen.seconds,
                     (*_about(chosen, images), *told), tuple(notes), lidar)


def lidar_at(frame: Frame, bag: Path | str, rig: CameraRig) -> tuple[NDArray[np.floating] | None, str]:
    """Points (N, 3) of the scan next to a frame, in its base frame; None if none within ``SCAN_NEAR`` can be moved
    there. And why a LiDAR that the recording has cannot be used, or ''."""
    near = frame.stamp - SCAN_NEAR, frame.stamp + SCAN_NEAR
    try:
        scan = min(read_lidar(bag, None, rig, between=near), key=lambda one: abs(one.stamp - frame.stamp), default=None)
    except InputError as error:
        return None, "" if error.reason == "no_lidar" else f"LiDAR is not used: {error}"
    if scan is None:
        return None, ""
    if scan.T_odom_base is None or frame.T_odom_base is None:
        return (scan.points, "") if abs(scan.stamp - frame.stamp) <= SAME_INSTANT else (None, "")
    return apply(inverse(frame.T_odom_base) @ scan.T_odom_base, scan.points.astype(np.float64)), ""


@dataclass(frozen=True, eq=False)
class ChosenFrames:
    """frames: the chosen one, then earlier ones, newest first. number: of the chosen one in the recording, from 0;
    seconds: after the first."""

    frames: tuple[Frame, ...]
    number: int
    seconds: float


def choose_frames(frames: Iterable[Frame], choice: Choice, instants: int) -> ChosenFrames:
    """In one pass. Raises InputError('parameter') for an instant that is not there."""
    earlier: deque[Frame] = deque(maxlen=instants)  # one more: the newest may be too near
    before: tuple[Frame, ...] = ()
    chosen, number, first = None, -1, 0
    for index, frame in enumerate(frames):
        first = frame.stamp if index == 0 else first
        seconds = (frame.stamp - first) / 1e9
        if chosen is not None:
            if choice.at is not None and abs(seconds - choice.at) > abs((chosen.stamp - first) / 1e9 - choice.at):
                break
            if frame.segment != chosen.segment or frame.stamp < chosen.stamp:
                earlier.clear()
            elif not earlier or apart(chosen, earlier[-1]):
                earlier.append(chosen)
        chosen, number = frame, index
        before = tuple(old for old in reversed(earlier) if apart(frame, old, 0.5))[:instants - 1]
        if choice.frame == index:
            break
    if chosen is None:
        raise InputError("no_frames", "the recording gave no frame")
    seconds = (chosen.stamp - first) / 1e9
    if choice.frame is not None and number != choice.frame:
        raise InputError("parameter", f"frame {choice.frame}: the recording has {number + 1} frames, 0 to {number}")
    if choice.at is not None and seconds < choice.at - 1.0:
        raise InputError("parameter", f"{choice.at:g} s: the last frame of the recording is {seconds:g} s after the "
                         "first")
    return ChosenFrames((chosen, *before), number, seconds)


def apart(frame: Frame, other: Frame, share: float = 1.0) -> bool:
    """Whether the vehicle moved ``share`` of STEP between two frames; where that is not known, whether time did."""
    if frame.T_odom_base is None or other.T_odom_base is None:
        return abs(frame.stamp - other.stamp) >= share * PAUSE * 1e9
    return float(np.linalg.norm(frame.T_odom_base[:3, 3] - other.T_odom_base[:3, 3])) >= share * STEP


def _counted(frames: Iterable[Frame], summary: BagSummary, progress: Callable[..., None] | None) -> Iterable[Frame]:
    for number, frame in enumerate(frames):
        yield frame
        if progress:
            progress(number + 1, max(summary.expected, number + 1))


def bag_image(image: CameraImage, frame: Frame, reference: Frame, instant: int, undistort: Undistorter) -> BagImage:
    """Undistorted, with what is known of its camera; frame: that it is of, reference: the chosen one."""
    extrinsics = image.T_base_camera if np.isfinite(image.T_base_camera).all() else None
    T_world_camera = None
    if extrinsics is not None and image.T_odom_base is not None and reference.T_odom_base is not None:
        T_world_camera = inverse(reference.T_odom_base) @ image.T_odom_base @ extrinsics
    elif extrinsics is not None and frame is reference:
        T_world_camera = extrinsics
    if not known_intrinsics(image.calibration):
        usable = np.ones(image.image.shape[:2], dtype=bool) if image.mask is None else image.mask
        return BagImage(image.name, instant, image.stamp, image.image, usable, None, extrinsics, image.T_odom_base,
                        T_world_camera)
    mapping = undistort.map_of(image.calibration, image.calibration.width, image.calibration.height)
    return BagImage(image.name, instant, image.stamp, undistort(image.image, mapping), _usable(image, mapping),
                    mapping.calibration.intrinsics, extrinsics, image.T_odom_base, T_world_camera)


def _usable(image: CameraImage, mapping: UndistortionMap) -> NDArray[np.bool_]:
    if image.mask is None:
        return mapping.inside
    shown = cv2.resize(image.mask.astype(np.uint8) * 255, mapping.source_size, interpolation=cv2.INTER_AREA)
    if mapping.map_x is not None and mapping.map_y is not None:
        shown = cv2.remap(shown, mapping.map_x, mapping.map_y, cv2.INTER_LINEAR)
    return np.asarray(mapping.inside & (shown == 255))


def _about(chosen: ChosenFrames, images: Sequence[BagImage]) -> list[str]:
    """What was known and used, in sentences."""
    reference, *earlier = chosen.frames
    ago = ", ".join(f"{(reference.stamp - frame.stamp) / 1e9:.2f} s" for frame in earlier)
    lines = [f"instant: frame {chosen.number}, {chosen.seconds:.2f} s after the first of the recording, with "
             f"{', '.join(reference.present)}; "
             + (f"and {len(earlier)} earlier ({ago} before)" if earlier else "no earlier one with motion between")]
    without_K = _cameras(image for image in images if image.intrinsics is None)
    without_T = _cameras(image for image in images if image.T_base_camera is None)
    every = _cameras(images)
    lines.append("intrinsics: CameraInfo, exact, images undistorted" if not without_K else
                 f"intrinsics: no usable CameraInfo for {_some(without_K, every)}: focals from the images, lens "
                 "distortion ignored")
    lines.append("extrinsics: TF (or rig file), as priors" if not without_T else
                 f"extrinsics: nothing places {_some(without_T, every)} on the vehicle: poses from the images")
    moved = all(image.T_odom_base is not None for image in images)
    lines.append("ego motion: odometry (or TF), as priors" if moved and not without_T else
                 "ego motion: odometry, for the scale only" if moved else "ego motion: none usable: not used")
    return lines


def _cameras(images: Iterable[BagImage]) -> list[str]:
    return list(dict.fromkeys(image.camera for image in images))


def _some(names: Sequence[str], every: Sequence[str]) -> str:
    return "any camera" if len(names) == len(every) else ", ".join(names)
