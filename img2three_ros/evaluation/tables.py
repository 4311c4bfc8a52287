"""The figures as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .depth_metrics import DepthScores
from .results import MEAN, CameraScores, EvaluationResult


def print_result(result: EvaluationResult, console: Console | None = None) -> None:
    """Prints the tables of a result, its notes and the thresholds not met."""
    (console or Console()).print(tables(result))


def tables(result: EvaluationResult) -> Group:
    """Depth, occupancy, cloud and latency as rich tables."""
    notes = [Text(f"note: {note}") for note in result.notes]
    failed = [Text(f"not met: {failure}", style="bold red") for failure in result.failures]
    found = (_depth_table(result.depth), _band_table(result.depth), _reliability_table(result.depth),
             _surface_table(result), _latency_table(result))
    return Group(*(part for table in found for part in (table, "")), *notes, *failed)


def abs_rel_delta(scores: DepthScores) -> str:
    """``.058/.946``: AbsRel / share with δ < 1.25, as the literature prints them."""
    return f"{short(scores.abs_rel)}/{short(scores.delta)}"


def short(value: float, digits: int = 3) -> str:
    """A figure without the leading zero; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def percent(value: float, digits: int = 1) -> str:
    """A share 0..1 in percent; a dash where there is none."""
    return f"{100.0 * value:.{digits}f} %" if math.isfinite(value) else "–"


def _depth_table(depth: Mapping[str, CameraScores]) -> Table:
    table = _table("Depth on LiDAR points at 3–60 m: AbsRel/δ<1.25",
                   ("camera", "all", "best 80 %", "best 60 %", "coverage", "RMSE m", "SILog", "hits"))
    for name, camera in depth.items():
        own = camera.overall
        table.add_row(name, abs_rel_delta(own.all), abs_rel_delta(own.best_80), abs_rel_delta(own.best_60),
                      percent(own.all.coverage), f"{own.all.rmse:.2f}", f"{own.all.silog:.1f}", f"{camera.hits:,}",
                      style="bold" if name == MEAN else "")
    return table


def _band_table(depth: Mapping[str, CameraScores]) -> Table:
    table = _table("By range, where a depth was given: AbsRel/δ<1.25, coverage",
                   ("camera", *(band.replace("_", "–") + " m" for band in depth[MEAN].bands)))
    for name, camera in depth.items():
        cells = [f"{abs_rel_delta(band.all)} {percent(band.all.coverage, 0):>5}" for band in camera.bands.values()]
        table.add_row(name, *cells, style="bold" if name == MEAN else "")
    return table


def _reliability_table(depth: Mapping[str, CameraScores]) -> Table:
    table = _table("Calibration error of the confidence; of which too high; % right by confidence",
                   ("camera", "ECE", "high", *(short(part.low, 1) for part in depth[MEAN].reliability.bins)))
    for name, camera in depth.items():
        own = camera.reliability
        right = (f"{100.0 * part.right:.0f}" if part.count else "–" for part in own.bins)
        table.add_row(all_pixels(name), short(own.calibration_error), short(own.overconfidence), *right,
                      style="bold" if name == MEAN else "")
    return table


def all_pixels(name: str) -> str:
    """What the row of ``mean`` is called where it is over all pixels and not a mean over cameras."""
    return "all" if name == MEAN else name


def _surface_table(result: EvaluationResult) -> Table:
    table = _table("Occupancy on LiDAR-observed voxels, and points", ("", ""))
    for name, value in surface_rows(result):
        table.add_row(name, value)
    return table


def surface_rows(result: EvaluationResult) -> list[tuple[str, str]]:
    """Name and value of the occupancy and point figures."""
    grid, cloud = result.occupancy, result.cloud
    rows = [
        ("free-space violation", percent(grid.free_space_violation, 2)),
        ("… of returns in known voxels", percent(grid.free_space_violation_observed, 2)),
        ("… without returns at the ground", percent(grid.free_space_violation_off_ground, 2)),
        ("occupied: precision", percent(grid.precision)), ("occupied: recall", percent(grid.recall)),
        ("occupied: IoU", percent(grid.iou)),
        ("free: precision", percent(grid.free_precision)), ("free: recall", percent(grid.free_recall)),
        ("left unknown", percent(grid.unknown)),
        ("points: median distance to LiDAR", f"{cloud.accuracy:.2f} m"),
        ("LiDAR: median distance to points", f"{cloud.completeness:.2f} m")]
    for limit, surface in cloud.at.items():
        rows.append((f"points at {limit.replace('_', '.')} m: precision, recall, F-score",
                     f"{percent(surface.precision)}, {percent(surface.recall)}, {percent(surface.f_score)}"))
    return rows


def _latency_table(result: EvaluationResult) -> Table:
    table = _table(f"Latency over {result.frames.processed} frames, ms; peak memory {result.peak_rss_mb:,.0f} MiB",
                   ("stage", "median", "95 %"))
    for stage, latency in result.latency_ms.items():
        table.add_row(stage, f"{latency.median:.0f}", f"{latency.p95:.0f}")
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    """Narrow enough for 80 columns, which is what a pipe or a log gets."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), min_width=len(title),
                  show_header=any(columns), show_edge=False, pad_edge=False, collapse_padding=True)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
