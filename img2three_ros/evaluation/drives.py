"""Short drives in memory, reconstructed again and again under different conditions; their last instant is measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..fileio.rosbag import BagReader
from ..ingest.bag_frames import read_frames, read_lidar
from ..ingest.bag_topics import find_lidar
from ..reconstruction.pipeline import ReconstructionPipeline
from ..reconstruction.prepare import at_reference_stamp
from ..structures import Frame, InputError, Reconstruction
from .cloud_metrics import CloudDistances, CloudScores, cloud_scores, joined_distances
from .lidar import FrameScan, ScanFinder, no_scan_near
from .occupancy_metrics import OccupancyCounts, OccupancyScores, occupancy_scores
from .results import MEAN, CameraScores, ScoredInstant, mean_camera_scores
from .tally import Tally


@dataclass(frozen=True, eq=False)
class Drive:
    """frames: in the order of their stamps; the last one is measured, earlier ones are its past. scan: LiDAR at the
    last frame. truth: camera -> true depth (H, W) of its image in the last frame, NaN = none; empty = LiDAR is the
    truth."""

    name: str
    frames: tuple[Frame, ...]
    scan: FrameScan
    truth: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras of the last frame."""
        return self.frames[-1].present

    @property
    def moves(self) -> bool:
        """Whether it has a past that is tied to its last instant by ego motion."""
        return len(self.frames) > 1 and self.frames[-1].T_odom_base is not None


@dataclass(eq=False)
class Pool:
    """Measurements of several drives together. Scores of depth are means over all their cameras; calibration error,
    occupancy and points are of all pixels, voxels and points together."""

    cameras: list[CameraScores] = field(default_factory=list)
    counts: OccupancyCounts = field(default_factory=OccupancyCounts)
    distances: list[CloudDistances] = field(default_factory=list)

    def add(self, tally: Tally) -> None:
        """Take in what was measured on one drive."""
        self.cameras += [scores for name, scores in tally.depth().items() if name != MEAN]
        self.counts += tally.counts
        self.distances += tally.distances

    def depth(self) -> CameraScores:
        """Mean over cameras."""
        return mean_camera_scores(self.cameras)

    def occupancy(self) -> OccupancyScores:
        """Of all voxels."""
        return occupancy_scores(self.counts)

    def cloud(self) -> CloudScores:
        """Of all points."""
        return cloud_scores(joined_distances(self.distances))


def recorded_drive(bag: Path, config: Config, instants: int = 8, *, lidar_topic: str | None = None) -> Drive:
    """The end of a recording: the last frame with a LiDAR scan near it, and up to ``instants`` - 1 before it.

    Raises InputError for a bag without frames or without LiDAR near them.
    """
    with BagReader(bag) as reader:
        topic = find_lidar(reader, lidar_topic)
    scans = ScanFinder(read_lidar(bag, topic))
    frames: deque[Frame] = deque(maxlen=instants)
    found: tuple[tuple[Frame, ...], FrameScan] | None = None
    for frame in read_frames(bag, config, reduced=True):
        if frames and frame.stamp < frames[-1].stamp:
            frames.clear()
        frames.append(frame)
        scan = scans.nearest(frame)
        if scan is not None:
            found = tuple(frames), scan
    if found is None:
        raise no_scan_near(str(bag), topic, scans.seen)
    return Drive(bag.name, *found)


def measured(drive: Drive, config: Config, frames: Sequence[Frame] | None = None) -> Tally:
    """Reconstruct a drive, or ``frames`` in its place (the same instants as someone else tells them), and measure
    the last instant where the cameras of ``drive`` truly are.

    Raises InputError if the last frame cannot be reconstructed.
    """
    pipeline = ReconstructionPipeline(config)
    given = frames or drive.frames
    for frame in given[:-1]:
        try:
            pipeline.process(frame)
        except InputError:  # as in ``evaluate``: the rest goes on
            continue
    result = truly_placed(pipeline.process(given[-1]), drive.frames[-1])
    tally = Tally()
    tally.add(ScoredInstant(result, drive.scan), drive.truth)
    return tally


def truly_placed(result: Reconstruction, frame: Frame) -> Reconstruction:
    """The reconstruction with the cameras of its depth images where the true ``frame`` of its instant has them: LiDAR
    points fall on the pixels that show them, whatever calibration was told. Points and occupancy stay."""
    places = {image.name: at_reference_stamp(image, frame) for image in frame.images}
    return replace(result, depth_images=tuple(replace(image, T_base_camera=places[image.name])
                                              for image in result.depth_images))
