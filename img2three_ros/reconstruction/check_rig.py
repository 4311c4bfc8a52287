"""``img2three check-rig``: does the calibration of a recording agree with its images?

choose    instants all over the recording, each with one a metre before it
align     every instant with focals and poses free, pairs by overlapping frusta
compare   rotation, focal and direction of motion of every camera with what is published
judge     medians over the instants, against their own uncertainty and what the other cameras are off
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..config import Config
from ..geometry.cameras import Undistorter
from ..ingest.bag_frames import BagSummary, read_frames
from ..ingest.camera_rig import CameraRig
from ..ingest.unknown_rig import rig_with_unknowns
from ..pointmap.checks import check_perspective, doubts
from ..pointmap.known import Known
from ..structures import Frame, InputError
from .aligned_parts import align_parts
from .bag_images import BagImage, ChosenFrames, apart, bag_image
from .fitted_image import fit_mask
from .from_bag_images import fitted_bag_image, known_camera
from .from_images import ImageSettings, PairNetwork, Stage, predict_pairs
from .known_cameras import pairs_of, with_pairs
from .rig_residuals import CameraResidual, residuals_of
from .rig_verdict import SUSPICIOUS, CameraVerdict, Limits, judge


@dataclass(frozen=True)
class CheckRequest:
    """Which recording, how many instants of it, which cameras, a rig file in place of what it publishes."""

    bag: Path
    instants: int = 7
    cameras: tuple[str, ...] | None = None
    rig: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, eq=False)
class RigCheck:
    """verdicts: of every camera. instants: that were compared. misfit: median residual of the pairs, a share of their
    distance. notes: sentences on what limits the result."""

    bag: Path
    verdicts: tuple[CameraVerdict, ...]
    instants: int
    misfit: float
    limits: Limits
    notes: tuple[str, ...] = ()

    @property
    def suspicious(self) -> tuple[str, ...]:
        """Names of the cameras that are."""
        return tuple(one.camera for one in self.verdicts if one.verdict == SUSPICIOUS)


@dataclass(frozen=True, eq=False)
class _Compared:
    """One instant: residuals by camera, the misfit of its pairs, notes."""

    residuals: dict[str, CameraResidual]
    misfit: float
    notes: tuple[str, ...]


def check_rig(request: CheckRequest, config: Config, network: PairNetwork, settings: ImageSettings,
              device: torch.device, stage: Stage) -> RigCheck:
    """The front page. The network lies on ``device``. Raises InputError for a recording without images, fewer instants
    than a judgement needs, or a network that has not learned."""
    least = request.limits.least
    if request.instants < least:
        raise InputError("parameter", f"{request.instants} instants: a judgement needs {least} or more")
    known = rig_with_unknowns(request.bag, request.cameras, request.rig)
    with stage("reading the recording") as progress:
        summary = BagSummary()
        instants = list(_instants(request.bag, config, known, request.instants, summary, progress))
    undistort = Undistorter(config.prepare.max_half_angle)
    compared: list[_Compared] = []
    failures: Counter[str] = Counter()
    unknown: dict[str, str] = {}
    with stage("comparing instants") as progress:
        for number, frames in enumerate(instants):
            images = [bag_image(image, frame, frames.frames[0], instant, undistort)
                      for instant, frame in enumerate(frames.frames) for image in frame.images]
            unknown |= _lacking(images)
            try:
                compared.append(_compare(images, network, settings, device))
            except InputError as error:
                if error.reason == "untrained":
                    raise
                failures[str(error)] += 1
            progress(number + 1, len(instants))
    notes = [f"{count} of {len(instants)} instants could not be aligned: {why}" for why, count in failures.items()]
    doubted = Counter(note.partition(" (")[0].partition(":")[0] for one in compared for note in one.notes)
    notes += [f"{note}, in {count} of {len(compared)} instants" for note, count in doubted.items()]
    if not any(len(frames.frames) > 1 for frames in instants):
        notes.append("the vehicle did not move, or its motion is not known: only overlapping cameras can be judged")
    unseen = {name: "no image of it at these instants" for name in known.names
              if not any(name in frame.present for frames in instants for frame in frames.frames)}
    lost = sum(bool(one.notes) for one in compared)
    if 2 * lost > len(compared):  # such a network is wrong by more than any calibration
        unknown = dict.fromkeys(known.names, "the network does not know these images (see the notes)") | unknown
    verdicts = judge([one.residuals for one in compared], known.names, {**unseen, **unknown}, request.limits)
    misfits = sorted(one.misfit for one in compared)
    usual = misfits[len(misfits) // 2] if misfits else float("nan")
    return RigCheck(request.bag, tuple(verdicts), len(compared), usual, request.limits, tuple(notes))


def _lacking(images: Sequence[BagImage]) -> dict[str, str]:
    found = {image.camera: "no usable CameraInfo" for image in images if image.intrinsics is None}
    return found | {image.camera: "TF does not connect it with the base frame" for image in images
                    if image.T_base_camera is None}


def _compare(images: Sequence[BagImage], network: PairNetwork, settings: ImageSettings,
             device: torch.device) -> _Compared:
    images = [image for image in images if image.intrinsics is not None and image.T_world_camera is not None]
    fitted = [fitted_bag_image(image, settings.side) for image in images]
    cameras = [known_camera(image, own) for image, own in zip(images, fitted, strict=True)]
    kept, edges = with_pairs(pairs_of(cameras))
    images, fitted, cameras = ([images[number] for number in kept], [fitted[number] for number in kept],
                               [cameras[number] for number in kept])
    pairs = predict_pairs(network, fitted, edges, settings, device, lambda done, total: None)
    notes = check_perspective(pairs)
    masks = {number: torch.from_numpy(fit_mask(own, image.usable)).to(device)
             for number, (image, own) in enumerate(zip(images, fitted, strict=True)) if not image.usable.all()}
    # Principal points as published, focals free from the start: images hardly show the former.
    free = Known(intrinsics=[camera.intrinsics for camera in cameras], sigma_focal=float("inf"))
    parts = align_parts(pairs, free, masks)
    if not parts:
        raise InputError("disconnected", "no two images share anything usable")
    found = [doubts(part.pairs, part.scene) for part in parts]
    notes += [note for _, more in found for note in more]
    misfits = [share for share, _ in found]
    return _Compared(residuals_of(parts, misfits, images, cameras), max(misfits), tuple(notes))


def _instants(bag: Path, config: Config, rig: CameraRig, wanted: int, summary: BagSummary,
              progress: Callable[..., None]) -> Iterator[ChosenFrames]:
    frames = read_frames(bag, config, None, rig, summary)
    yield from spread_instants(frames, wanted, lambda: summary.expected, progress)


def spread_instants(frames: Iterable[Frame], wanted: int, expected: Callable[[], int],
                    progress: Callable[..., None]) -> Iterator[ChosenFrames]:
    """About ``wanted`` instants all over a recording, each with an earlier one a metre before it where there is one.

    A vehicle that stands for a whole stretch gives one instant of it without an earlier one. expected: number of frames
    in all, known once the first is read.
    """
    past: deque[Frame] = deque(maxlen=2)
    first = given = 0
    for number, frame in enumerate(frames):
        first = frame.stamp if number == 0 else first
        progress(number + 1, max(expected(), number + 1))
        if past and (frame.segment != past[-1].segment or frame.stamp < past[-1].stamp):
            past.clear()
        stretch = max(expected(), 1) / wanted
        earlier = [old for old in reversed(past) if apart(frame, old, 0.8)]
        due, over = number >= given * stretch, number + 1 >= (given + 1) * stretch
        if given < wanted and ((due and earlier) or over):
            yield ChosenFrames((frame, *earlier[:1]), number, (frame.stamp - first) / 1e9)
            given += 1
        if not past or apart(frame, past[-1]):
            past.append(frame)
