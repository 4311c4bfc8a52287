"""Engines side by side on the same drives, on every metric of ``evaluate``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config import Config
from .drives import Drive, Pool, measured
from .provenance import weights_digest
from .results import json_ready
from .tables import abs_rel_delta, percent, short

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class EngineResult:
    """What one engine reached: on each drive, in their order, and on all of them together."""

    engine: str
    drives: Sequence[Pool]
    total: Pool = field(default_factory=Pool)


@dataclass(frozen=True)
class Metric:
    """name, value, the value as text, and whether a higher one is better."""

    name: str
    value: float
    text: str
    higher: bool


def measure_engine(drives: Sequence[Drive], config: Config, progress: Progress | None = None) -> EngineResult:
    """Reconstruct and measure all drives with the engine of ``config``. progress: drives done and in all."""
    pools, total = [], Pool()
    for done, drive in enumerate(drives, start=1):
        tally = measured(drive, config)
        pools.append(Pool())
        pools[-1].add(tally)
        total.add(tally)
        if progress:
            progress(done, len(drives))
    return EngineResult(config.engine, pools, total)


def all_metrics(pool: Pool) -> list[Metric]:
    """Every figure that ``evaluate`` prints, latency aside."""
    depth, grid, cloud = pool.depth(), pool.occupancy(), pool.cloud()
    found = []
    for name, part in (("all", depth.overall.all), ("best 80 %", depth.overall.best_80),
                       ("best 60 %", depth.overall.best_60)):
        found += [Metric(f"AbsRel, {name}", part.abs_rel, short(part.abs_rel), False),
                  Metric(f"δ<1.25, {name}", part.delta, short(part.delta), True)]
    whole = depth.overall.all
    error = depth.reliability.calibration_error
    found += [Metric("coverage", whole.coverage, percent(whole.coverage), True),
              Metric("RMSE", whole.rmse, f"{whole.rmse:.2f} m", False),
              Metric("SILog", whole.silog, f"{whole.silog:.1f}", False),
              Metric("calibration error", error, short(error), False)]
    shares = (("free-space violation", grid.free_space_violation, False),
              ("… of returns in known voxels", grid.free_space_violation_observed, False),
              ("… without returns at the ground", grid.free_space_violation_off_ground, False),
              ("occupied: precision", grid.precision, True), ("occupied: recall", grid.recall, True),
              ("occupied: IoU", grid.iou, True), ("free: precision", grid.free_precision, True),
              ("free: recall", grid.free_recall, True), ("left unknown", grid.unknown, False))
    found += [Metric(name, value, percent(value, 2), higher) for name, value, higher in shares]
    found += [Metric("points: median distance to LiDAR", cloud.accuracy, f"{cloud.accuracy:.3f} m", False),
              Metric("LiDAR: median distance to points", cloud.completeness, f"{cloud.completeness:.3f} m", False)]
    for limit, surface in cloud.at.items():
        for name, value in (("precision", surface.precision), ("recall", surface.recall),
                            ("F-score", surface.f_score)):
            found.append(Metric(f"points at {limit.replace('_', '.')} m: {name}", value, percent(value), True))
    return found


def comparison_table(first: EngineResult, second: EngineResult) -> str:
    """Markdown: every metric of all drives together, and which engine is better; its last line counts."""
    lines = [f"| all drives | {first.engine} | {second.engine} | better |", "| --- | --- | --- | --- |"]
    won = {first.engine: 0, second.engine: 0, "equal": 0}
    for one, other in zip(all_metrics(first.total), all_metrics(second.total), strict=True):
        better = _better(one, other, first.engine, second.engine)
        won[better] += 1
        lines.append(f"| {one.name} | {one.text} | {other.text} | {better} |")
    counted = ", ".join(f"{name} {count}" for name, count in won.items() if count)
    return "\n".join([*lines, "", f"Better on so many metrics: {counted}."])


def drives_table(drives: Sequence[Drive], results: Sequence[EngineResult]) -> str:
    """Markdown: AbsRel/δ on all, best 80 % and best 60 % of every drive, engine by engine."""
    names = [result.engine for result in results]
    lines = ["| drive | " + " | ".join(f"{name}: all | best 80 % | best 60 %" for name in names) + " |",
             "| --- |" + " --- |" * (3 * len(names))]
    rows = [(drive.name, [result.drives[number] for result in results]) for number, drive in enumerate(drives)]
    for name, pools in [*rows, ("**all**", [result.total for result in results])]:
        scores = [pool.depth().overall for pool in pools]
        cells = [abs_rel_delta(part) for score in scores for part in (score.all, score.best_80, score.best_60)]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def metrics_tree(name: str, result: EngineResult, config: Config) -> dict[str, Any]:
    """The parts of ``metrics.json`` that exist for several drives together, as plain JSON types."""
    depth = json_ready(result.total.depth())
    depth.update(depth.pop("overall"))
    return {"run": {"bag": name, "engine": config.engine, "weights_sha256": weights_digest(config)},
            "depth": {"mean": depth}, "cloud": json_ready(result.total.cloud()),
            "occupancy": json_ready(result.total.occupancy())}


def not_better(first: EngineResult, second: EngineResult) -> Mapping[str, str]:
    """Metrics on which ``first`` is not better than ``second``: name -> both values."""
    return {one.name: f"{one.text} against {other.text}"
            for one, other in zip(all_metrics(first.total), all_metrics(second.total), strict=True)
            if _better(one, other, "first", "second") != "first"}


def _better(one: Metric, other: Metric, first: str, second: str) -> str:
    """A value that does not exist is worse than any that does."""
    worst = -math.inf if one.higher else math.inf
    values = [worst if math.isnan(metric.value) else metric.value for metric in (one, other)]
    if values[0] == values[1]:
        return "equal"
    return first if (values[0] > values[1]) == one.higher else second
