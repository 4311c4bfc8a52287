"""The demo: a simulated vehicle drives past the live node, in separate processes over Fast DDS.

simulate (or take a recording) → rig file → node and player as processes → listen → judge → pictures and report.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..config import Config, with_overrides
from ..structures import InputError

if TYPE_CHECKING:
    from ..nodes.output_listener import OutputListener
    from .judge import TruthScores

NODE_READY_TIMEOUT = 60.0
"""Seconds a node may take to become active: torch is imported and the engine warmed up."""

REPORT_TAIL = 1.0
"""Seconds at the end of the recording that are reconstructed once more for the pictures."""

DEMO_SETTINGS = {"prepare.pixels": 98_304}
"""The simulated cameras are 384 x 256: nothing is enlarged."""


def run_demo(output: Path, *, seconds: float, seed: int, bag: Path | None, rate: float, console: Console,
             settings: Mapping[str, object] | None = None, cameras: Sequence[str] | None = None) -> Sequence[str]:
    """Run the demo and write ``output``. Returns what failed, empty if everything went well.

    settings: of the reconstruction, by dotted path. cameras: names of those used; None = all.
    """
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    recording = bag or _simulate(output / "recording", seconds, seed, console)
    settings = {**({} if bag else DEMO_SETTINGS), **(settings or {})}
    with private_ros_domain():
        listener = _drive(recording, output, settings, cameras, rate, console)
    truth = None if bag else _judge(listener, seed, console)
    _print_summary(listener, truth, console)
    _report(recording, output, settings, cameras, console)
    console.print(f"\nPictures and report: [bold]{output / 'report.html'}[/], [bold]{output / 'demo.jpg'}[/] "
                  f"({time.monotonic() - started:.0f} s in all)")
    return _failures(listener, truth)


def _simulate(path: Path, seconds: float, seed: int, console: Console) -> Path:
    from ..simulation.recording import record
    from .judge import demo_simulation

    if path.exists():
        shutil.rmtree(path)
    with console.status(f"simulating {seconds:g} s of driving with six cameras ..."):
        started = time.monotonic()
        summary = record(path, seconds=seconds, seed=seed, config=demo_simulation(seed), processes=2)
    console.print(f"{summary} ({time.monotonic() - started:.0f} s)")
    return path


def _drive(recording: Path, output: Path, settings: Mapping[str, object], cameras: Sequence[str] | None, rate: float,
           console: Console) -> OutputListener:
    """Start node and player, listen until the recording is over and the last frame came out."""
    from ..ingest.rig import rig_from_bag, save_rig
    from ..nodes.output_listener import listening

    rig_file = output / "rig.yaml"
    save_rig(rig_file, rig_from_bag(recording, cameras=cameras))
    parameters = [f"{name}:={value}" for name, value in
                  {"use_sim_time": "true", "rig_file": rig_file.resolve(), **settings}.items()]
    node_command = [sys.executable, "-m", "img2three_ros.nodes.reconstruction_node", "--ros-args",
                    *(part for parameter in parameters for part in ("-p", parameter))]
    player_command = [sys.executable, "-m", "img2three_ros.nodes.bag_player_node", str(recording),
                      "--rate", str(rate), "--wait-for-subscribers", "10", "--linger", "5"]
    with listening() as listener, _process(node_command, output / "node.log"):
        with console.status("waiting for the node to become active ..."):
            _wait(listener, lambda: bool(listener.status), NODE_READY_TIMEOUT, output / "node.log")
        with _process(player_command, output / "player.log") as player, \
                console.status("driving: player and node run as separate processes over Fast DDS ..."):
            while player.poll() is None:
                listener.spin_for(0.5)
    return listener


def _wait(listener: OutputListener, condition: Callable[[], bool], timeout: float, log: Path) -> None:
    end = time.monotonic() + timeout
    while not condition():
        listener.spin_for(0.2)
        if time.monotonic() > end:
            raise InputError("node", f"the node did not become active within {timeout:.0f} s; see {log}")


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child process with its output in ``log``; ended by SIGINT, and by force if that takes over 10 s."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10.0)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def private_ros_domain() -> Iterator[bool]:
    """Keep the demo away from a vehicle on the same network, and give Fast DDS room for images. Gives True."""
    wanted = {"ROS_DOMAIN_ID": str(60 + os.getpid() % 40), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    profile = _shared_memory_profile()
    if profile is not None:
        wanted["FASTDDS_DEFAULT_PROFILES_FILE"] = str(profile)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if name not in os.environ})
    try:
        yield True
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _judge(listener: OutputListener, seed: int, console: Console) -> TruthScores:
    from .judge import score_against_truth

    with console.status("rendering the truth of some instants ..."):
        return score_against_truth(listener.clouds, seed)


def _report(recording: Path, output: Path, settings: Mapping[str, object], cameras: Sequence[str] | None,
            console: Console) -> None:
    """Reconstruct the end of the recording offline, against its LiDAR, with pictures."""
    from ..evaluation.evaluate import evaluate_bag
    from ..evaluation.tables import print_result
    from ..visualization.pictures import picture_of, save_picture

    with console.status("drawing pictures and the report ..."):
        config = with_overrides(Config(), settings)
        result = evaluate_bag(recording, output, config, cameras=cameras, tail=REPORT_TAIL)
        save_picture(picture_of(result.shown.reconstruction, title="img2three_ros"), output / "demo.jpg")
    print_result(result, console)


def _shared_memory_profile() -> Path | None:
    """The profile in the source tree, or where pip or colcon installed it."""
    name = Path("config") / "fastdds_shared_memory.xml"
    prefixes = [sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    places = [Path(__file__).resolve().parents[2] / name,
              *(Path(prefix) / "share" / "img2three_ros" / name for prefix in prefixes)]
    return next((place for place in places if place.exists()), None)


def _print_summary(listener: OutputListener, truth: TruthScores | None, console: Console) -> None:
    table = Table(title="live run", show_header=False)
    for topic, record in listener.records.items():
        table.add_row(f"~/output/{topic}", record.summary())
    for key, value in listener.status.items():
        if key.startswith(("frames", "latency", "engine", "device", "timings")):
            table.add_row(key, value)
    table.add_row("states seen while driving", ", ".join(listener.states))
    if truth is not None:
        table.add_row("against exact depth", str(truth))
    console.print(table)


def _failures(listener: OutputListener, truth: TruthScores | None) -> list[str]:
    failures = [f"nothing came on ~/output/{topic}" for topic in listener.silent]
    if truth is not None and truth.points == 0:
        failures.append("no published point could be compared with the truth")
    return failures
