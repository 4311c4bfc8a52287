"""The figures of a benchmark as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from .benchmark import BenchmarkResult
from .benchmark_run import ORDER, Measured, Spread

NOT_MEASURED = ("build_messages", "publish")


def print_benchmark(result: BenchmarkResult, console: Console) -> None:
    """Header, stages, the run as a whole, and against the common way."""
    head = result.header
    first, last = head["load_average"]
    digest = next(iter(head["bag_sha256"].values()), "")[:12]
    weights = ", ".join(f"{name} {value[:12]}" for name, value in head["weights_sha256"].items()) or "none"
    for line in (f"engine {head['engine']}, backend {head['backend']}, device {head['device']} ({head['processor']})",
                 f"recording {head['bag']} (sha256 {digest}), weights {weights}",
                 f"publishing: {head['publishing']}; load average before {first}, after {last}",
                 ", ".join(f"{name} {version}" for name, version in head["versions"].items())):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_stages(result))
    console.print(_whole(result))
    console.print(_compared(result))
    for name, found in result.extra.items():
        console.print(_extra(name, found))


def _stages(result: BenchmarkResult) -> Table:
    table = Table(title="milliseconds, median (95th percentile)")
    table.add_column("stage")
    for run in result.runs:
        table.add_column(f"{len(run.cameras)} cameras", justify="right")
    for name in ORDER:
        if any(name in run.stages for run in result.runs):
            table.add_row(name.replace("_", " "), *(_cell(run.stages.get(name)) for run in result.runs))
        elif name in NOT_MEASURED:
            table.add_row(name.replace("_", " "), *("not measured" for _ in result.runs))
    table.add_section()
    for title, pick in (("network", "network"), ("everything else", "rest"), ("total", "total")):
        table.add_row(title, *(_cell(getattr(run, pick)) for run in result.runs))
    return table


def _cell(found: Spread | None) -> str:
    return "" if found is None else f"{found.median_ms:.1f} ({found.p95_ms:.1f})"


def _whole(result: BenchmarkResult) -> Table:
    table = Table(title="the whole")
    table.add_column("")
    for run in result.runs:
        width, height = run.image_size
        table.add_column(f"{len(run.cameras)} x {width}x{height}", justify="right")
    rows = {
        "network's images": lambda run: "{}x{}".format(*run.network_size),
        "points of a cloud": lambda run: str(run.points),
        "throughput": lambda run: f"{run.throughput_hz:.2f} Hz",
        "latency at 10 Hz, ms": lambda run: _cell(run.at_10_hz),
        "replaced at 10 Hz": lambda run: f"{run.replaced:.0%}",
        "CPU time of a frame": lambda run: f"{run.cpu_ms:.0f} ms",
        "CPU use": lambda run: f"{run.cpu:.2f} cores",
        "memory, peak": lambda run: f"{run.memory_mb:.0f} MB",
        "GPU memory, peak": _gpu_memory,
    }
    for name, shown in rows.items():
        table.add_row(name, *(shown(run) for run in result.runs))
    return table


def _gpu_memory(run: Measured) -> str:
    return "no GPU" if run.gpu_memory_mb is None else f"{run.gpu_memory_mb:.0f} MB"


def _compared(result: BenchmarkResult) -> Table:
    table = Table(title="against the common way (CPU time, one thread, taken in turns)")
    for title in ("", "common", "ours", "times faster", "what"):
        table.add_column(title, justify="left" if title in ("", "what") else "right")
    for one in result.compared:
        table.add_row(one.what, f"{one.common_ms:.1f} ms", f"{one.ours_ms:.1f} ms", f"{one.ratio:.1f}", one.note)
    joined = result.joined
    table.add_row("join", f"{joined.exact_sets} sets", f"{joined.our_sets} sets", "",
                  f"of {joined.instants} instants of {joined.cameras} cameras: equal stamps; {joined.exact_us:.1f} and "
                  f"{joined.our_us:.1f} us for each image")
    return table


def _extra(name: str, found: Mapping[str, Any]) -> Table:
    table = Table(title=name.replace("_", " "), show_header=False)
    for key, value in found.items():
        table.add_row(key.replace("_", " "), f"{value:.3f}" if isinstance(value, float) else str(value))
    return table
