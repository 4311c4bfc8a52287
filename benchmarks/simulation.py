"""Speed of the simulated vehicle: six images with depth, the same views together and one by one (in alternation), one
LiDAR turn, an occupancy grid of truth, training groups.

    python benchmarks/simulation.py [--threads 2] [--width 640 --height 384] [--device cpu] [--rounds 3]
    python benchmarks/simulation.py --against REVISION      the images again with an older revision, in alternation

Two threads on two busy cores wait for each other: run it on an otherwise idle machine, or compare the CPU seconds.
OMP_WAIT_POLICY=PASSIVE keeps waiting threads from burning the core that another process needs.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle, ViewRequest

TARGET_RATE = {"cpu": 1.0, "cuda": 15.0}  # frames of six 640 x 384 images per second: two cores, an H200-class GPU
ROOT = Path(__file__).resolve().parents[1]
GROUP_SIZES = ((192, 320), (384, 640))
GROUP_VIEWS = 6


def measure(name: str, rounds: int, work: Callable[[int], object]) -> tuple[float, float]:
    """Print and return the median wall and CPU time of ``rounds`` calls after one to warm up."""
    work(0)
    wall, cpu = [], []
    for index in range(1, rounds + 1):
        started, used = time.perf_counter(), time.process_time()
        work(index)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    medians = statistics.median(wall), statistics.median(cpu)
    print(f"{name:<38} {medians[0]:7.3f} s  (fastest {min(wall):.3f} s, CPU {medians[1]:.3f} s)", flush=True)
    return medians


class TorchCalls(TorchDispatchMode):
    """Counts the calls of torch that compute something: about the number of kernels that a GPU would start."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def measure_batches(vehicle: SimulatedVehicle, rounds: int) -> None:
    """Twelve views of two instants: one by one, in batches as the device suits, and all at once, in alternation."""
    ways: dict[str, tuple[int | None, list[float], list[float], list[int]]] = {
        "one by one": (1, [], [], []), "as the device suits": (None, [], [], []), "all at once": (1 << 40, [], [], [])}
    for index in range(rounds + 1):
        requests = [ViewRequest(name, vehicle.camera_stamp(name, 70 * index + instant)) for instant in (0, 5)
                    for name in vehicle.camera_names]
        for rays, wall, cpu, calls in ways.values():
            groups = [[request] for request in requests] if rays == 1 else [requests]
            started, used = time.perf_counter(), time.process_time()
            for group in groups:
                vehicle.render_views(group, rays)  # the images are numpy arrays: a GPU has finished them
            if index == 0:  # warms up
                with TorchCalls() as counted:
                    for group in groups:
                        vehicle.render_views(group, rays)
                calls.append(counted.count)
                continue
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - used)
    count = 2 * len(vehicle.camera_names)
    for name, (_, wall, cpu, calls) in ways.items():
        print(f"{count} views {name:<20} {statistics.median(wall):7.3f} s (fastest {min(wall):.3f} s), CPU "
              f"{statistics.median(cpu):.3f} s (fastest {min(cpu):.3f} s), {calls[0] / count:.0f} torch calls per view",
              flush=True)


def measure_groups(device: str, rounds: int) -> None:
    """Groups as training takes them: all scenes, weather and optics; worlds built on the way."""
    from img2three_ros.data.simulated import SimulatedGroups, SimulatedGroupSettings

    for size in GROUP_SIZES:
        groups = SimulatedGroups(SimulatedGroupSettings(device=device))
        groups.group(0, size, GROUP_VIEWS)
        started, used = time.perf_counter(), time.process_time()
        for index in range(1, 1 + 6 * rounds):
            groups.group(index, size, GROUP_VIEWS)
        pixels = 6 * rounds * GROUP_VIEWS * size[0] * size[1] / 1e6
        print(f"training groups {size[1]}x{size[0]}: {(time.process_time() - used) / pixels:.2f} CPU s, "
              f"{(time.perf_counter() - started) / pixels:.2f} s per million pixels", flush=True)


def compare(revision: str, arguments: list[str], rounds: int) -> None:
    """CPU seconds of the images by this tree and by ``revision``, measured in alternation."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", revision, "img2three_ros"], check=True,
                                 capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        found: dict[str, list[float]] = {"this tree": [], revision: []}
        for _ in range(rounds):
            for name, path in (("this tree", str(ROOT)), (revision, folder)):
                run = subprocess.run([sys.executable, __file__, "--images-only", *arguments], check=True, text=True,
                                     capture_output=True, cwd=folder, env={**os.environ, "PYTHONPATH": path})
                found[name].append(float(run.stdout.rsplit("CPU ", 1)[1].split(" s")[0]))
    for name, seconds in found.items():
        print(f"{name:<20} CPU {statistics.median(seconds):.3f} s for six images (fastest {min(seconds):.3f} s)")


def parsed() -> tuple[argparse.Namespace, list[str]]:
    """What was asked for, and the arguments that a run in ``compare`` gets too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rig", choices=("nuscenes", "ddad"), default="nuscenes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images-only", action="store_true")
    parser.add_argument("--against", metavar="REVISION")
    chosen = parser.parse_args()
    shared = [f"--{name}={getattr(chosen, name)}" for name in ("threads", "width", "height", "device", "rig", "rounds")]
    return chosen, shared


def main() -> None:
    """Measure and print."""
    chosen, shared = parsed()
    if chosen.against:
        compare(chosen.against, shared, chosen.rounds)
        return
    torch.set_num_threads(chosen.threads)
    vehicle = SimulatedVehicle(SimulationConfig(width=chosen.width, height=chosen.height, device=chosen.device,
                                                rig=chosen.rig))
    # Every round takes another place in the street.
    frame, _ = measure(f"6 images {chosen.width}x{chosen.height} with depth", chosen.rounds,
                       lambda index: vehicle.views(70 * index))
    if chosen.images_only:
        return
    measure_batches(vehicle, chosen.rounds)
    measure("LiDAR turn", chosen.rounds, lambda index: vehicle.lidar(vehicle.stamp(70 * index)))
    axes = (np.arange(-40, 40, 0.4), np.arange(-40, 40, 0.4), np.arange(-1, 5.4, 0.4))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) + 0.2
    measure(f"occupancy of {len(grid)} points", chosen.rounds,
            lambda index: vehicle.occupied(grid, vehicle.stamp(70 * index)))
    measure_groups(chosen.device, chosen.rounds)
    print(f"frames of six images: {1.0 / frame:.2f} per second; target at 640x384 on {chosen.device}: "
          f"{TARGET_RATE[chosen.device]:g}")


if __name__ == "__main__":
    main()
