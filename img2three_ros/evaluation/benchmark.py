"""How fast the whole way from images to messages is, stage by stage: measured, as a table and as JSON.

In the spirit of ros2_benchmark: the same recording again and again, what was measured and on what in the header.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..config import Config, settings, with_overrides
from ..fileio.folders import make_folder
from ..structures import InputError
from .benchmark_common import Compared, Joined, compare
from .benchmark_input import camera_names, processor
from .benchmark_run import Measured, Publish, Request, measure
from .provenance import file_digests, versions, weights_digest

Progress = Callable[..., None]


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to measure. counts: of cameras; overrides: of the configuration; frames: counted for each; publisher: see
    ``benchmark_run.Request``; extra: named measurements of others, each run in a process of its own with the bag, the
    names of the most cameras and the overrides, giving what JSON can hold."""

    bag: Path
    counts: tuple[int, ...] = (1, 3, 6)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 8
    publisher: Callable[[], Publish] | None = None
    extra: Mapping[str, Callable[[Path, tuple[str, ...], Mapping[str, Any]], Mapping[str, Any]]] = field(
        default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class BenchmarkResult:
    """runs: for each number of cameras. compared, joined: against the common way. extra: name -> what came out."""

    header: dict[str, Any]
    runs: tuple[Measured, ...]
    compared: tuple[Compared, ...]
    joined: Joined
    extra: dict[str, Mapping[str, Any]]


def run_benchmark(options: BenchmarkOptions, progress: Progress | None = None) -> BenchmarkResult:
    """Measure one thing after the other. Raises InputError for a recording or settings that cannot be used."""
    config = with_overrides(Config(), options.overrides)
    chosen = camera_names(options.bag, options.counts)
    steps, done, load = len(chosen) + 1 + len(options.extra), 0, os.getloadavg()

    def step(work: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal done
        found = apart(work, *arguments)
        done += 1
        if progress is not None:
            progress(done, steps)
        return found

    runs = tuple(step(measure, Request(options.bag, names, dict(options.overrides), options.frames, options.publisher))
                 for names in chosen)
    most = max(chosen, key=len)
    compared, joined = step(compare, options.bag, config, most)
    extra = {name: step(_or_why_not, work, options.bag, most, dict(options.overrides))
             for name, work in options.extra.items()}
    header = _header(options, config, runs, load)
    return BenchmarkResult(header, runs, tuple(compared), joined, extra)


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of ``work`` in a new process: memory and threads are its own. Raises what it raises."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            raise InputError("benchmark", f"the process that measures died ({error}): out of memory?") from error


def _or_why_not(work: Callable[..., Mapping[str, Any]], *arguments: Any) -> Mapping[str, Any]:
    """What was measured, or ``not_measured`` with the reason: the rest took minutes and must not be lost."""
    try:
        return work(*arguments)
    except InputError as error:
        return {"not_measured": str(error)}


def _header(options: BenchmarkOptions, config: Config, runs: Sequence[Measured], load: Sequence[float],
            ) -> dict[str, Any]:
    return {
        "backend": runs[-1].backend, "engine": config.engine, "device": _device(config), "processor": processor(),
        "bag": str(options.bag), "bag_sha256": file_digests(options.bag), "weights_sha256": weights_digest(config),
        "versions": versions(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": options.command, "load_average": [round(value, 2) for value in (load[0], os.getloadavg()[0])],
        "publishing": "Fast DDS" if options.publisher is not None else "not measured: rclpy is not installed",
        "config": {leaf.path: leaf.value for leaf in settings(config)},
    }


def _device(config: Config) -> str:
    import torch

    from ..reconstruction.choose import choose_device

    device = choose_device(config)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def as_json(result: BenchmarkResult) -> dict[str, Any]:
    """The header; ``stages``, ``network``, ``rest`` and ``total`` of the most cameras; everything in ``runs``."""
    runs = [_run_json(run) for run in result.runs]
    most = max(runs, key=lambda run: len(run["cameras"]))
    return {
        **result.header, **{key: most[key] for key in ("stages", "network", "rest", "total")}, "runs": runs,
        "common_way": {one.what: {**asdict(one), "ratio": one.ratio} for one in result.compared},
        "join": asdict(result.joined), **{name: dict(found) for name, found in result.extra.items()},
    }


def _run_json(run: Measured) -> dict[str, Any]:
    plain = asdict(run)
    for name in ("network", "rest", "total", "at_10_hz"):
        plain[name] = getattr(run, name)._asdict()
    plain["stages"] = {name: found._asdict() for name, found in run.stages.items()}
    return plain


def save_json(result: BenchmarkResult, path: Path) -> None:
    """Write ``as_json``."""
    make_folder(path.parent)
    try:
        path.write_text(json.dumps(as_json(result), indent=2, default=str) + "\n")
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error}") from error
