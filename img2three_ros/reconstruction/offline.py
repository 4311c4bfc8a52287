"""``img2three reconstruct``: every frame of a recording into a new recording, deterministic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ..config import Config
from ..fileio.cloud_files import check_cloud_path, write_cloud
from ..fileio.messages import camera_info_message, image_message, occupancy_grid_message, point_cloud_message
from ..fileio.octomap import write_octomap
from ..fileio.point_cloud2 import dense_cloud, observed_voxels, obstacle_cloud, occupied_voxels
from ..fileio.rosbag import BagWriter
from ..ingest.bag_frames import BagSummary, read_frames
from ..ingest.camera_rig import CameraRig
from ..structures import Frame, InputError, Reconstruction
from .accumulate import CloudAccumulator
from .pipeline import ReconstructionPipeline

PREFIX = "/img2three/output"
"""Namespace of all topics written."""


class Pipeline(Protocol):
    """What is needed of ``ReconstructionPipeline``."""

    def process(self, frame: Frame) -> Reconstruction: ...

    def reset(self) -> None: ...


@dataclass
class OfflineSummary:
    """What became of a recording; ``str`` of it is what the command prints.

    frames: reconstructed. rejected: frames that could not be, by reason. points: in all frames together.
    exported: files of the accumulated cloud. notes: what limited the results, with the number of frames.
    """

    output: Path
    frames: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    points: int = 0
    milliseconds: float = 0.0
    exported: list[Path] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    bag: BagSummary = field(default_factory=BagSummary)
    export_note: str = ""
    octomap: Path | None = None

    def __str__(self) -> str:
        lines = [f"{self.output}: {self.frames} frames, {self.points} points, "
                 f"{self.milliseconds / max(self.frames, 1):.0f} ms per frame"]
        rejected = self.rejected + self.bag.rejected_frames
        if rejected:
            lines.append("frames rejected: " + ", ".join(f"{count} {name}" for name, count in sorted(rejected.items())))
        for name, count in self.bag.cameras.items():
            lost = ", ".join(f"{number} {reason}" for reason, number in sorted(count.rejected.items()))
            lines.append(f"camera {name}: {count.used} of {count.received} images used" + (f"; {lost}" if lost else ""))
        lines += [f"{count} frames: {note}" for note, count in self.notes.items()]
        lines += [str(problem) for problem in self.bag.problems]
        if self.exported:
            lines.append(f"{', '.join(str(path) for path in self.exported)}: {self.export_note}")
        if self.octomap is not None:
            lines.append(f"{self.octomap}: the occupancy of the last frame, in the base frame")
        return "\n".join(lines)

    def __rich__(self) -> object:
        """What rich prints instead of the fields; messages may hold square brackets, so it is no markup."""
        from rich.text import Text

        return Text(str(self))


def reconstruct_bag(
    bag: Path | str, output: Path | str, config: Config | None = None, depth: bool = False, voxels: bool = False,
    ply: Path | None = None, glb: Path | None = None, pcd: Path | None = None,
    progress: Callable[[int, int], None] | None = None, cameras: Sequence[str] | None = None,
    rig: CameraRig | Path | str | None = None, pipeline: Pipeline | None = None, octomap: Path | None = None,
) -> OfflineSummary:
    """Reconstruct every frame of a bag and write the results as a new rosbag2.

    depth: also depth, confidence and camera_info of each camera. voxels: also every observed voxel.
    ply, glb, pcd: the accumulated cloud, in the odometry frame (without ego motion: the last frame's, in the base
    frame). octomap: file (.bt) of the last frame's grid. progress: called with frames done and expected. pipeline: None
    = one built from ``config``.
    Message time = reference stamp; so is the header stamp, except for depth images, which carry their image's own.

    Raises InputError for a bag without usable frames, or an output that exists.
    """
    config, output = config or Config(), Path(output)
    if output.exists():
        raise InputError("output_exists", f"'{output}' exists already; choose another output or remove it")
    exports = [path for path in (ply, glb, pcd) if path is not None]
    for path in exports:
        check_cloud_path(path)
    summary, cloud = OfflineSummary(output), CloudAccumulator()
    pipeline = pipeline or ReconstructionPipeline(config)
    with ExitStack() as stack:
        writer: BagWriter | None = None
        last_stamp = -1
        for frame in read_frames(bag, config, cameras, rig, summary.bag, reduced=True):
            if frame.stamp < last_stamp:
                pipeline.reset()
            last_stamp = frame.stamp
            try:
                result = pipeline.process(frame)
            except InputError as error:
                summary.rejected[error.reason] += 1
                continue
            writer = writer or stack.enter_context(BagWriter(output))
            write_reconstruction(writer, result, frame, depth, voxels)
            if exports:
                cloud.add(result.cloud, frame.T_odom_base)
            _count(summary, result)
            if progress:
                progress(summary.frames, max(summary.bag.expected, summary.frames))
    if not summary.frames:
        raise InputError("no_frames", f"no frame of '{bag}' could be reconstructed: {dict(summary.rejected)}")
    _export(summary, cloud, exports)
    if octomap is not None:
        write_octomap(octomap, result.occupancy)
        summary.octomap = octomap
    return summary


def write_reconstruction(writer: BagWriter, result: Reconstruction, frame: Frame, depth: bool, voxels: bool) -> None:
    """Write all messages of one frame, at its reference stamp."""
    layouts = {"points": dense_cloud(result.cloud), "obstacle_points": obstacle_cloud(result.obstacles),
               "occupied_voxels": occupied_voxels(result.occupancy)}
    if voxels:
        layouts["observed_voxels"] = observed_voxels(result.occupancy)
    for name, layout in layouts.items():
        writer.write(f"{PREFIX}/{name}", point_cloud_message(result.stamp, result.base_frame, layout), result.stamp)
    writer.write(f"{PREFIX}/occupancy_grid",
                 occupancy_grid_message(result.stamp, result.base_frame, result.occupancy), result.stamp)
    frames = {image.name: image.frame_id or f"{image.name}_optical_frame" for image in frame.images}
    for image in result.depth_images if depth else ():
        base, optical = f"{PREFIX}/{image.name}", frames[image.name]
        for name, values in (("depth", image.depth), ("confidence", image.confidence)):
            message = image_message(image.stamp, optical, values.astype(np.float32, copy=False), "32FC1")
            writer.write(f"{base}/{name}", message, result.stamp)
        writer.write(f"{base}/camera_info", camera_info_message(image.stamp, optical, image.calibration), result.stamp)


def _count(summary: OfflineSummary, result: Reconstruction) -> None:
    summary.frames += 1
    summary.points += len(result.cloud)
    summary.milliseconds += sum(result.timings_ms.values())
    summary.notes.update(result.notes)
    if result.missing:
        summary.notes[f"without {', '.join(result.missing)}"] += 1


def _export(summary: OfflineSummary, accumulated: CloudAccumulator, paths: Sequence[Path]) -> None:
    if not paths:
        return
    cloud, in_odom = accumulated.result()
    summary.export_note = (f"{len(cloud)} points of {accumulated.frames} frames in the odometry frame" if in_odom else
                           f"{len(cloud)} points of the last frame only, in the base frame: ego motion is not known")
    if accumulated.origin.any():
        summary.export_note += f", shifted by -{accumulated.origin.tolist()} m to keep float32 exact"
    for path in paths:
        write_cloud(path, cloud)
        summary.exported.append(Path(path))
