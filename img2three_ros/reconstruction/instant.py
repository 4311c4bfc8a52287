"""One instant of a recording, with what came shortly before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..ingest.bag_frames import BagSummary, read_frames
from ..ingest.camera_rig import CameraRig
from ..ingest.rig_file import load_rig
from ..structures import Frame, InputError, Reconstruction
from .pipeline import ReconstructionPipeline
from .scene_space import SceneSpace

LEAD = 2.0
"""Seconds before the instant that are reconstructed too: they are the keyframes and the memory of the scene."""


@dataclass(frozen=True)
class Choice:
    """Which instant. frame: number from 0; at: seconds after the first frame; neither = the last frame.

    every: of the frames before it, every so many-th is reconstructed, counted back from the instant; the others are
    only remembered as keyframes.
    """

    frame: int | None = None
    at: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.frame is not None and self.at is not None:
            raise InputError("parameter", f"frame {self.frame} and {self.at:g} s were both asked for: choose one")
        if self.frame is not None and self.frame < 0:
            raise InputError("parameter", f"frame {self.frame}: frames are counted from 0")
        if self.at is not None and not self.at >= 0.0:
            raise InputError("parameter", f"{self.at:g} s: seconds are counted from the first frame, from 0")
        if self.every < 1:
            raise InputError("parameter", f"every {self.every}-th frame: at least 1 is needed")


@dataclass(frozen=True, eq=False)
class Instant:
    """number: of the frame in the recording, from 0; seconds: after the first frame; reconstructed: frames that were,
    the instant included."""

    number: int
    seconds: float
    reconstruction: Reconstruction
    space: SceneSpace
    reconstructed: int
    bag: BagSummary


def check_has_scene(config: Config) -> None:
    """Raises InputError('parameter') if an engine of this configuration holds no scene."""
    if config.engine != "scene":
        raise InputError("parameter", f"engine '{config.engine}' holds no scene that could be rendered: take --engine "
                         "scene")
    if not config.scene.space:
        raise InputError("parameter", "scene.space = false: without it there is no scene that could be rendered; set "
                         "scene.space=true")


def instant_of(
    bag: Path | str, config: Config, choice: Choice | None = None, *, cameras: Sequence[str] | None = None,
    rig: CameraRig | Path | str | None = None, progress: Callable[[int, int], None] | None = None,
) -> Instant:
    """Reconstructs an instant of a bag after the ``LEAD`` seconds before it; progress: with frames done and expected.

    The bag is read twice: where the instant lies is known only then. Raises InputError for a configuration without a
    scene, a bag without usable frames, an instant that it does not have, or one that cannot be reconstructed.
    """
    check_has_scene(config)
    choice = choice or Choice()
    rig = load_rig(rig) if isinstance(rig, (Path, str)) else rig
    stamps = _stamps(bag, config, choice, cameras, rig)
    number = _chosen(stamps, choice)
    lead = _lead(stamps, number)
    pipeline, summary = ReconstructionPipeline(config), BagSummary()
    result, done = None, 0
    for index, frame in enumerate(read_frames(bag, config, cameras, rig, summary, reduced=True)):
        remaining = number - index
        if index < lead:
            continue
        if remaining < 0:
            break
        if remaining % choice.every == 0:
            result = _reconstructed(pipeline, frame, must=remaining == 0)
            done += result is not None
        else:
            _observed(pipeline, frame)
        if progress:
            progress(index - lead + 1, number - lead + 1)
    assert result is not None and pipeline.space is not None
    return Instant(number, (stamps[number] - stamps[0]) / 1e9, result, pipeline.space, done, summary)


def _stamps(bag: Path | str, config: Config, choice: Choice, cameras: Sequence[str] | None,
            rig: CameraRig | None) -> list[int]:
    """Stamps of the frames, up to where the choice is known."""
    stamps: list[int] = []
    for frame in read_frames(bag, config, cameras, rig, reduced=True):
        stamps.append(frame.stamp)
        if choice.frame is not None and len(stamps) > choice.frame:
            break
        if choice.at is not None and (frame.stamp - stamps[0]) / 1e9 >= choice.at:
            break
    return stamps


def _chosen(stamps: Sequence[int], choice: Choice) -> int:
    """Number of the chosen frame. Raises InputError('parameter') if there is none."""
    if choice.frame is not None and choice.frame >= len(stamps):
        raise InputError("parameter", f"frame {choice.frame}: the recording has {len(stamps)} frames, 0 to "
                         f"{len(stamps) - 1}")
    if choice.at is not None:
        away = [abs((stamp - stamps[0]) / 1e9 - choice.at) for stamp in stamps]
        if (stamps[-1] - stamps[0]) / 1e9 < choice.at:
            raise InputError("parameter", f"{choice.at:g} s: the last frame of the recording is "
                             f"{(stamps[-1] - stamps[0]) / 1e9:g} s after the first")
        return away.index(min(away))
    return len(stamps) - 1


def _lead(stamps: Sequence[int], number: int) -> int:
    """First of the frames without a time jump that lie at most ``LEAD`` before a frame."""
    first = number
    while first > 0 and stamps[first - 1] <= stamps[first] and stamps[number] - stamps[first - 1] <= LEAD * 1e9:
        first -= 1
    return first


def _reconstructed(pipeline: ReconstructionPipeline, frame: Frame, must: bool) -> Reconstruction | None:
    """What a frame became; None where it could not be used, unless it ``must``."""
    try:
        return pipeline.process(frame)
    except InputError:
        if must:
            raise
        return None


def _observed(pipeline: ReconstructionPipeline, frame: Frame) -> None:
    try:
        pipeline.observe(frame)
    except InputError:
        return  # a frame that is no use is not remembered
