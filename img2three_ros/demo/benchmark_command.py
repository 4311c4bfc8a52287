"""``img2three benchmark``: how fast the whole way from images to messages is."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from ..config import Config, settings, with_overrides
from ..structures import InputError

DEFAULTS = {"prepare.pixels": 640 * 384}
ProgressBar = Callable[[str], AbstractContextManager[Callable[..., None]]]


def run_benchmark_command(bag: Path | None, cameras: str, config: Config, json_file: Path | None, frames: int,
                          live: bool, console: Console, progress: ProgressBar) -> None:
    """Measure, print, and write ``json_file``. bag: None = six simulated cameras of 1936 x 1216; live: also what the
    node costs beside its pipeline. Raises InputError."""
    from ..evaluation.benchmark import BenchmarkOptions, run_benchmark, save_json
    from ..evaluation.benchmark_input import simulated_recording
    from ..evaluation.benchmark_table import print_benchmark

    counts = camera_counts(cameras)
    if bag is None:
        with progress("simulating cameras (once)") as told:
            bag = simulated_recording(told)
    with ros_domain() as has_ros:
        publisher, extra = _ros_parts(live) if has_ros else (None, {})
        command = shlex.join(["img2three", *sys.argv[1:]])
        options = BenchmarkOptions(bag, counts, overrides_of(config), frames, publisher, extra, command)
        with progress("measuring") as told:
            result = run_benchmark(options, told)
    print_benchmark(result, console)
    if json_file is not None:
        save_json(result, json_file)
        console.print(f"written: {json_file}")


def camera_counts(text: str) -> tuple[int, ...]:
    """"1,3,6" -> (1, 3, 6). Raises InputError."""
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise InputError("parameter", f"--cameras {text!r} must be numbers of cameras such as 1,3,6") from error


def overrides_of(config: Config) -> dict[str, Any]:
    """What differs from the defaults, as overrides. A command line that does not name ``prepare.pixels`` gets the size
    of the table (640 x 384)."""
    usual = {leaf.path: leaf.value for leaf in settings(Config())}
    given = {leaf.path: leaf.value for leaf in settings(config) if leaf.value != usual[leaf.path]}
    with_overrides(Config(), given)
    return {**DEFAULTS, **given}


def ros_domain() -> AbstractContextManager[bool]:
    """Whether there is ROS to publish with; a domain of our own then."""
    if importlib.util.find_spec("rclpy") is None:
        return nullcontext(False)
    from .live_run import private_ros_domain

    return private_ros_domain()


def _ros_parts(live: bool) -> tuple[Callable[[], Any], dict[str, Callable[..., Any]]]:
    from ..nodes.benchmark_live import measure_live
    from ..nodes.benchmark_publishing import measure_cloud, open_publisher

    extra: dict[str, Callable[..., Any]] = {"cloud_of_640000": measure_cloud}
    return open_publisher, {**extra, "live_node": measure_live} if live else extra
