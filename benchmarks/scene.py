"""Time and memory of the whole pipeline, engines ``sweep`` and ``scene``, the latter also with depth alone
(``scene.space: false``), one after the other on the same frames.

    python benchmarks/scene.py [--width 640 --height 384] [--threads 2] [--device cpu] [--weights FILE | --random]

Six cameras of a simulated street, every measured frame with two keyframes whose features are known. Each engine runs
in a process of its own, so that its peak memory is its own. ``--random`` takes a network without training: the same
work, useless depth.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from img2three_ros.config import Config, with_overrides
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.structures import Frame

WARM_UP = 3
TARGET_SECONDS, TARGET_GB = 2.0, 3.0
TARGET_SECONDS_WITH_SPACE, TARGET_GB_WITH_SPACE = 3.5, 4.0


@dataclass(frozen=True)
class Measured:
    """Of one engine. stages: median ms of each stage of the pipeline, and of parts inside the engine; wall and cpu:
    median seconds of a frame; peak: resident memory, GB."""

    stages: dict[str, float]
    wall: float
    cpu: float
    peak: float


def street_frames(count: int, width: int, height: int) -> list[Frame]:
    """Instants 0.1 s apart."""
    from img2three_ros.simulation.settings import SimulationConfig
    from img2three_ros.simulation.vehicle import SimulatedVehicle

    return list(SimulatedVehicle(SimulationConfig(width=width, height=height, seed=4)).frames(count))


def measure(overrides: dict[str, Any], frames: list[Frame], threads: int) -> Measured:
    """Process all frames; those after the first few count."""
    torch.set_num_threads(threads)
    pipeline = ReconstructionPipeline(with_overrides(Config(), overrides))
    parts = _watch_parts(pipeline)
    rows: list[dict[str, float]] = []
    wall, cpu = [], []
    for frame in frames:
        parts.clear()
        begin, begin_cpu = time.perf_counter(), time.process_time()
        result = pipeline.process(frame)
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
        rows.append({**result.timings_ms, **parts})
    rows, wall, cpu = rows[WARM_UP:], wall[WARM_UP:], cpu[WARM_UP:]
    medians = {name: statistics.median(row.get(name, 0.0) for row in rows)
               for name in dict.fromkeys(name for row in rows for name in row)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 ** 2
    return Measured(medians, statistics.median(wall), statistics.median(cpu), peak)


def _watch_parts(pipeline: ReconstructionPipeline) -> dict[str, float]:
    """Milliseconds spent in the parts of engine ``scene``, filled while it works; stays empty for another engine."""
    spent: dict[str, float] = {}
    engine: Any = pipeline.engine
    if not hasattr(engine, "network"):
        return spent

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            begin = time.perf_counter()
            result = work(*arguments)
            if engine.device.type == "cuda":
                torch.cuda.synchronize()
            spent[f"  {name}"] = spent.get(f"  {name}", 0.0) + 1000.0 * (time.perf_counter() - begin)
            return result

        return timed

    engine._encode = watched("encode", engine._encode)
    engine.network.estimate = watched("estimate", engine.network.estimate)
    engine.ego_mask.learn_frame = watched("ego mask", engine.ego_mask.learn_frame)
    if engine.space is not None:
        engine.refine = watched("refine", engine.refine)
        engine.space.build = watched("space", engine.space.build)
    return spent


def main() -> None:
    """Measure both engines and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--frames", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--weights", default="", help="safetensors file; default: the shipped weights")
    parser.add_argument("--random", action="store_true", help="a network without training")
    options = parser.parse_args()
    shared = {"device": options.device, "prepare.pixels": options.width * options.height}
    with tempfile.TemporaryDirectory() as folder:
        weights = _random_weights(Path(folder)) if options.random else options.weights
        frames = _apart(street_frames, options.frames + WARM_UP, options.width, options.height)
        scene = {**shared, "engine": "scene", "scene.weights": weights, "runtime.precision": options.precision}
        runs = {"sweep": {**shared, "engine": "sweep"}, "scene, depth alone": {**scene, "scene.space": False}}
        if not options.random:
            runs["scene"] = scene
        for name, overrides in runs.items():
            _print(name, _apart(measure, overrides, frames, options.threads))
    print(f"targets on two idle cores: depth alone {TARGET_SECONDS} s, {TARGET_GB} GB; with the space around the "
          f"vehicle {TARGET_SECONDS_WITH_SPACE} s, {TARGET_GB_WITH_SPACE} GB")


def _random_weights(folder: Path) -> str:
    from img2three_ros.models.depth_network import DepthNetwork
    from img2three_ros.models.depth_weights import save_depth_network

    torch.manual_seed(0)
    save_depth_network(folder / "random.safetensors", DepthNetwork())
    return str(folder / "random.safetensors")


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of ``work`` in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _print(name: str, found: Measured) -> None:
    print(f"{name}: {found.wall:.2f} s a frame, CPU {found.cpu:.2f} s, peak memory {found.peak:.2f} GB")
    for stage, milliseconds in found.stages.items():
        print(f"  {stage:<16} {milliseconds:7.0f} ms")


if __name__ == "__main__":
    main()
