"""The figures as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Console, Group
from rich.table import Table

from .depth_metrics import DepthScores
from .results import MEAN, CameraScores, EvaluationResult


def print_result(result: EvaluationResult, console: Console | None = None) -> None:
    """Prints the tables of a result, its notes and the thresholds not met."""
    (console or Console()).print(tables(result))


def tables(result: EvaluationResult) -> Group:
    """Depth, occupancy, cloud and latency as rich tables."""
    notes = [f"note: {note}" for note in result.notes]
    failed = [f"[bold red]not met: {failure}[/]" for failure in result.failures]
    return Group(_depth_table(result.depth), _band_table(result.depth), _surface_table(result),
                 _latency_table(result), *notes, *failed)


def abs_rel_delta(scores: DepthScores) -> str:
    """``.058/.946``: AbsRel / share with δ < 1.25, as the literature prints them."""
    return f"{short(scores.abs_rel)}/{short(scores.delta)}"


def short(value: float, digits: int = 3) -> str:
    """A figure without the leading zero; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def percent(value: float, digits: int = 1) -> str:
    """A share 0..1 in percent; a dash where there is none."""
    return f"{100.0 * value:.{digits}f} %" if math.isfinite(value) else "–"


def _depth_table(depth: Mapping[str, CameraScores]) -> Table:
    table = Table(title="Depth on LiDAR points at 3–60 m: AbsRel/δ<1.25", title_justify="left")
    table.add_column("camera")
    for column in ("all", "best 80 %", "best 60 %", "coverage", "RMSE m", "SILog", "hit pixels"):
        table.add_column(column, justify="right")
    for name, camera in depth.items():
        own = camera.overall
        table.add_row(name, abs_rel_delta(own.all), abs_rel_delta(own.best_80), abs_rel_delta(own.best_60),
                      percent(own.all.coverage), f"{own.all.rmse:.2f}", f"{own.all.silog:.1f}", f"{camera.hits:,}",
                      style="bold" if name == MEAN else "")
    return table


def _band_table(depth: Mapping[str, CameraScores]) -> Table:
    table = Table(title="By range, where a depth was given: AbsRel/δ<1.25 (coverage)", title_justify="left")
    table.add_column("camera")
    for band in depth[MEAN].bands:
        table.add_column(band.replace("_", "–") + " m", justify="right")
    for name, camera in depth.items():
        cells = [f"{abs_rel_delta(band.all)} ({percent(band.all.coverage, 0)})" for band in camera.bands.values()]
        table.add_row(name, *cells, style="bold" if name == MEAN else "")
    return table


def _surface_table(result: EvaluationResult) -> Table:
    table = Table(title="Occupancy on LiDAR-observed voxels, and points", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in surface_rows(result):
        table.add_row(name, value)
    return table


def surface_rows(result: EvaluationResult) -> list[tuple[str, str]]:
    """Name and value of the occupancy and point figures."""
    grid, cloud = result.occupancy, result.cloud
    rows = [
        ("free-space violation", percent(grid.free_space_violation, 2)),
        ("… of returns in voxels that are not unknown", percent(grid.free_space_violation_observed, 2)),
        ("… without returns at the ground surface", percent(grid.free_space_violation_off_ground, 2)),
        ("occupied: precision", percent(grid.precision)), ("occupied: recall", percent(grid.recall)),
        ("occupied: IoU", percent(grid.iou)),
        ("free: precision", percent(grid.free_precision)), ("free: recall", percent(grid.free_recall)),
        ("left unknown", percent(grid.unknown)),
        ("points: accuracy (median to LiDAR)", f"{cloud.accuracy:.2f} m"),
        ("points: completeness (median from LiDAR)", f"{cloud.completeness:.2f} m")]
    for limit, surface in cloud.at.items():
        rows.append((f"points at {limit.replace('_', '.')} m: precision / recall / F-score",
                     f"{percent(surface.precision)} / {percent(surface.recall)} / {percent(surface.f_score)}"))
    return rows


def _latency_table(result: EvaluationResult) -> Table:
    table = Table(title=f"Latency over {result.frames.processed} frames, ms; peak memory "
                  f"{result.peak_rss_mb:,.0f} MiB", title_justify="left")
    for column in ("stage", "median", "95 %"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, latency in result.latency_ms.items():
        table.add_row(stage, f"{latency.median:.0f}", f"{latency.p95:.0f}")
    return table
