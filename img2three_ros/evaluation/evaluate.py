"""A recording against its LiDAR: ``img2three evaluate``."""

from __future__ import annotations

import json
import resource
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import Config
from ..fileio.folders import make_folder
from ..fileio.rosbag import BagReader
from ..ingest.bag_frames import BagSummary, read_frames, read_lidar
from ..ingest.bag_topics import find_lidar
from ..ingest.rig import CameraRig, load_rig
from ..reconstruction.pipeline import ReconstructionPipeline
from ..structures import Frame, InputError
from .lidar import ScanFinder, no_scan_near
from .provenance import run_info
from .report import report_html
from .results import EvaluationResult, FrameCounts, ScoredInstant, latencies
from .tally import Tally
from .thresholds import failures, load_requirements

Progress = Callable[[int, int], None]


@dataclass(eq=False)
class _Run:
    """What passed through the pipeline. shown: the last instant scored, for the pictures."""

    tally: Tally = field(default_factory=Tally)
    shown: ScoredInstant | None = None
    timings: list[dict[str, float]] = field(default_factory=list)
    last_stamp: int = 0
    processed: int = 0
    rejections: list[str] = field(default_factory=list)
    without_lidar: int = 0
    summary: BagSummary = field(default_factory=BagSummary)

    @property
    def rejected(self) -> int:
        """Frames that could not be assembled or reconstructed."""
        return len(self.rejections) + sum(self.summary.rejected_frames.values())


def evaluate_bag(
    bag: Path, output: Path, config: Config, *, lidar_topic: str | None = None,
    cameras: Sequence[str] | None = None, rig: CameraRig | Path | None = None, require: Path | None = None,
    frames: str = "last", tail: float | None = None, progress: Progress | None = None, command: str | None = None,
) -> EvaluationResult:
    """Reconstructs every frame of a bag in order and scores it against the LiDAR; writes ``metrics.json`` and
    ``report.html`` into ``output``.

    frames: ``last`` scores the last instant that has a LiDAR scan (earlier ones serve as keyframes), ``all`` every
    one. tail: only the last that many seconds of the recording are reconstructed at all. require: YAML of
    thresholds (see ``thresholds``); those not met are in ``failures`` of the result. progress: called with frames
    done and expected. command: command line for the report (default: this process's).

    Raises InputError for a bag that is missing, has no frames or no LiDAR near them, and for bad requirements.
    """
    if frames not in ("last", "all"):
        raise InputError("parameter", f"frames = {frames!r} must be 'last' or 'all'")
    rig = load_rig(rig) if isinstance(rig, Path) else rig
    requirements = load_requirements(require) if require else {}
    lidar_topic = _lidar_topic(bag, lidar_topic)
    make_folder(output)
    pipeline = ReconstructionPipeline(config)
    scans = ScanFinder(read_lidar(bag, lidar_topic, rig))
    run = _Run()
    begin = _last_stamp(bag, config, cameras, rig) - round(tail * 1e9) if tail is not None else None
    for frame in read_frames(bag, config, cameras, rig, run.summary, reduced=True):
        if begin is not None and frame.stamp < begin:
            continue
        _process(frame, pipeline, scans, run, score_now=frames == "all")
        if progress:
            done = run.processed + len(run.rejections)
            progress(done, max(run.summary.expected, done))
    peak = _peak_rss_mb()
    if not run.processed:
        raise InputError("no_frames", f"no frame of {bag} could be reconstructed"
                         + (f"; the first was rejected: {run.rejections[0]}" if run.rejections else ""))
    if run.shown is None:
        raise no_scan_near(str(bag), lidar_topic, scans.seen)
    if frames == "last":
        run.tally.add(run.shown)
    info = run_info(bag, config, str(pipeline.device), frames, command or shlex.join(sys.argv))
    result = EvaluationResult(
        run=info, frames=FrameCounts(run.processed, run.rejected, run.without_lidar, run.tally.instants),
        depth=run.tally.depth(), cloud=run.tally.cloud(), occupancy=run.tally.occupancy(),
        latency_ms=latencies(run.timings), peak_rss_mb=peak, notes=_notes(run), shown=run.shown)
    try:
        result = replace(result, failures=failures(requirements, result.metrics()))
    finally:  # a mistyped threshold must not cost the run
        _write(output, result)
    return result


def _lidar_topic(bag: Path, topic: str | None) -> str:
    """The topic of the LiDAR, asked for before anything is reconstructed in vain."""
    with BagReader(bag) as reader:
        return find_lidar(reader, topic)


def _last_stamp(bag: Path, config: Config, cameras: Sequence[str] | None, rig: CameraRig | None) -> int:
    """Of the bag's frames; reads them once more, as stamps and times of recording may come from different clocks."""
    return max(frame.stamp for frame in read_frames(bag, config, cameras, rig, reduced=True))


def _write(output: Path, result: EvaluationResult) -> None:
    (output / "metrics.json").write_text(json.dumps(result.metrics(), indent=2) + "\n", encoding="utf-8")
    (output / "report.html").write_text(report_html(result), encoding="utf-8")


def _process(frame: Frame, pipeline: ReconstructionPipeline, scans: ScanFinder, run: _Run, score_now: bool) -> None:
    if frame.stamp < run.last_stamp:
        pipeline.reset()
    run.last_stamp = frame.stamp
    try:
        reconstruction = pipeline.process(frame)
    except InputError as error:
        run.rejections.append(str(error))
        return
    run.processed += 1
    run.timings.append(dict(reconstruction.timings_ms))
    scan = scans.nearest(frame)
    if scan is None:
        run.without_lidar += 1
        return
    run.shown = ScoredInstant(reconstruction, scan, pipeline.space)
    if score_now:
        run.tally.add(run.shown)


def _notes(run: _Run) -> tuple[str, ...]:
    assert run.shown is not None
    notes = list(run.shown.reconstruction.notes)
    if run.tally.uncompensated:
        notes.append(f"no ego pose at {run.tally.uncompensated} of {run.tally.instants} scored instants: their LiDAR "
                     "scan was compared as it was, without ego-motion compensation")
    if run.without_lidar:
        notes.append(f"{run.without_lidar} frames had no LiDAR scan near and were not scored")
    if run.rejected:
        first = run.rejections[0] if run.rejections else ", ".join(run.summary.rejected_frames)
        notes.append(f"{run.rejected} frames were rejected, the first: {first}")
    if run.shown.reconstruction.missing:
        notes.append("cameras without an image at the last scored instant: "
                     + ", ".join(run.shown.reconstruction.missing))
    return (*notes, *run.summary.problems)


def _peak_rss_mb() -> float:
    """Largest resident memory of this process so far (Linux counts ru_maxrss in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
