"""What the node costs beside its pipeline: processor time by thread while cameras send images at 10 Hz."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import Executor
from rclpy.task import Future

from ..config import Config, set_thread_waiting
from ..ingest.rig import rig_from_bag, save_rig
from ..structures import InputError
from .benchmark_peers import peer
from .engine import load_pipeline
from .reconstruction_node import ReconstructionNode, start
from .spin import make_executor

RATE = 10.0
FRAMES, WARM_UP, PATIENCE = 8, 2, 600.0
"""Frames that count, frames before them, and the longest a measurement may take, s."""


def measure_live(bag: Path, cameras: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Run the node in this process, cameras and a listener in others.

    The worker thread and the threads of torch decode, reconstruct, build and publish: the pipeline. All others
    (executor, Fast DDS) are the node's own; ``overhead`` is their share of the processor time of the process.
    """
    set_thread_waiting()
    with ExitStack() as stack:
        rig_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "rig.yaml"
        save_rig(rig_file, rig_from_bag(bag, cameras=cameras))
        parameters = {"rig_file": rig_file, **overrides}
        rclpy.init(args=["--ros-args", *(part for name, value in parameters.items()
                                         for part in ("-p", f"{name}:={_yaml(value)}"))])
        stack.callback(rclpy.try_shutdown)
        counted = _Counted()
        node = start(counted.load)
        stack.callback(_put_away, node)
        executor = make_executor(node)
        stack.enter_context(peer("listen", node.get_fully_qualified_name()))
        stack.enter_context(peer("feed", str(bag), ",".join(cameras), str(RATE)))
        _spin_until(executor, counted, WARM_UP)
        before, began, done = _cpu_by_thread(), time.monotonic(), counted.frames
        _spin_until(executor, counted, WARM_UP + FRAMES)
        return _shares(before, _cpu_by_thread(), time.monotonic() - began, counted.frames - done, len(cameras))


class _Counted:
    """The pipeline of the node, counting its frames; everything else is passed through."""

    def __init__(self) -> None:
        self.frames = self.wanted = 0
        self.reached = Future()
        self._pipeline: Any = None

    def load(self, config: Config) -> Any:
        self._pipeline = load_pipeline(config)
        return self

    def process(self, frame: Any) -> Any:
        result = self._pipeline.process(frame)
        self.frames += 1
        if self.frames >= self.wanted and not self.reached.done():
            self.reached.set_result(None)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spin_until(executor: Executor, counted: _Counted, frames: int) -> None:
    """As the node spins by itself: a timeout at every turn would cost processor time that is not the node's."""
    counted.wanted, counted.reached = frames, Future()
    watchdog = threading.Timer(PATIENCE, counted.reached.cancel)
    watchdog.start()
    executor.spin_until_future_complete(counted.reached)
    watchdog.cancel()
    if counted.frames < frames:
        raise InputError("benchmark", f"the node processed {counted.frames} frames in {PATIENCE:.0f} s; see what it "
                         "says above")


def _cpu_by_thread() -> dict[int, float]:
    """Processor seconds of each thread of this process so far, as Linux counts them (proc(5), fields 14 and 15)."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            found[int(task.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _shares(before: Mapping[int, float], after: Mapping[int, float], seconds: float, frames: int,
            cameras: int) -> dict[str, Any]:
    own = {threading.main_thread().native_id, *(thread for thread in after if _name(thread).startswith("dds"))}
    spent = {thread: total - before.get(thread, 0.0) for thread, total in after.items()}
    node = sum(value for thread, value in spent.items() if thread in own)
    everything = sum(spent.values())
    return {"cameras": cameras, "rate_hz": RATE, "seconds": seconds, "frames": frames,
            "pipeline_cpu_s": everything - node, "executor_and_dds_cpu_s": node,
            "executor_and_dds_cores": node / seconds, "overhead": node / everything, "target": 0.05}


def _name(thread: int) -> str:
    try:
        return Path(f"/proc/self/task/{thread}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _put_away(node: ReconstructionNode) -> None:
    node.trigger_deactivate()  # waits for the reconstruction under way: its threads must not outlive the process
    node.close()
    node.clean_up()
    node.destroy_node()
