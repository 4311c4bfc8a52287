"""What an evaluation found: one tree of typed objects, written as ``metrics.json``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..reconstruction.scene_space import SceneSpace
from ..structures import Reconstruction
from .cloud_metrics import CloudScores
from .depth_metrics import (
    HitPixels,
    RiskPoint,
    SelectionScores,
    band_scores,
    mean_scores,
    risk_coverage,
    selection_scores,
)
from .lidar import FrameScan
from .occupancy_metrics import OccupancyScores
from .reliability import Reliability, pooled, reliability

MEAN = "mean"


@dataclass(frozen=True)
class CameraScores:
    """Depth of one camera. overall: 3 to 60 m; bands: by range; curve: risk-coverage; reliability: of the confidence;
    hits: LiDAR-hit pixels."""

    overall: SelectionScores
    bands: Mapping[str, SelectionScores]
    curve: tuple[RiskPoint, ...]
    reliability: Reliability
    hits: int


@dataclass(frozen=True)
class Latency:
    """Of one stage over all processed frames, milliseconds."""

    median: float
    p95: float


@dataclass(frozen=True)
class FrameCounts:
    """processed: through the pipeline; rejected: unusable input; without_lidar: no scan near; scored: compared."""

    processed: int
    rejected: int
    without_lidar: int
    scored: int


@dataclass(frozen=True)
class RunInfo:
    """What was run, to run it again. bag_sha256, weights_sha256: file name -> digest, none for an engine without
    weights; config: dotted path -> value."""

    bag: str
    bag_sha256: Mapping[str, str]
    weights_sha256: Mapping[str, str]
    engine: str
    device: str
    frames: str
    command: str
    date: str
    versions: Mapping[str, str]
    config: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ScoredInstant:
    """One reconstruction beside the LiDAR scan of its instant; space: the scene of it, from engines that hold one."""

    reconstruction: Reconstruction
    scan: FrameScan
    space: SceneSpace | None = None


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Everything ``evaluate`` prints and writes.

    depth: camera -> scores, and ``mean`` over cameras. latency_ms: stage (and ``total``) -> latency.
    shown: the last instant scored, for pictures. notes: plain sentences on what limits the figures.
    failures: thresholds of ``--require`` that were not met.
    """

    run: RunInfo
    frames: FrameCounts
    depth: Mapping[str, CameraScores]
    cloud: CloudScores
    occupancy: OccupancyScores
    latency_ms: Mapping[str, Latency]
    peak_rss_mb: float
    notes: tuple[str, ...]
    shown: ScoredInstant
    failures: tuple[str, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """The tree of ``metrics.json``; values that do not exist are None."""
        tree = {item.name: json_ready(getattr(self, item.name)) for item in dataclasses.fields(self)
                if item.name != "shown"}
        for scores in tree["depth"].values():
            scores.update(scores.pop("overall"))
        return tree


def camera_scores(hits: HitPixels) -> CameraScores:
    """All scores of one camera."""
    return CameraScores(selection_scores(hits), band_scores(hits), risk_coverage(hits), reliability(hits), len(hits))


def mean_camera_scores(cameras: Sequence[CameraScores]) -> CameraScores:
    """Mean over cameras that have hits, score by score; the reliability is that of all their pixels together."""
    counted = [camera for camera in cameras if camera.hits]
    bands = {name: mean_scores(camera.bands[name] for camera in counted)
             for name in (counted[0].bands if counted else ())}
    curve = tuple(RiskPoint(points[0].coverage, float(np.mean([point.abs_rel for point in points])),
                            float(np.mean([point.miss for point in points])))
                  for points in zip(*(camera.curve for camera in counted), strict=True))
    return CameraScores(mean_scores(camera.overall for camera in counted), bands, curve,
                        pooled([camera.reliability for camera in counted]), sum(camera.hits for camera in counted))


def latencies(timings: Sequence[Mapping[str, float]]) -> dict[str, Latency]:
    """Median and 95th percentile of each stage, and of their sum (``total``), over the frames' timings in ms."""
    rows = [{**timing, "total": sum(timing.values())} for timing in timings]
    stages = dict.fromkeys(stage for row in rows for stage in row if stage != "total")
    result = {}
    for stage in (*stages, "total"):
        values = [row[stage] for row in rows if stage in row]
        result[stage] = Latency(float(np.median(values)), float(np.percentile(values, 95)))
    return result


def json_ready(value: Any) -> Any:
    """Dataclasses, mappings and sequences as plain JSON types; numbers that are not finite become None."""
    if dataclasses.is_dataclass(value):
        return {item.name: json_ready(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
