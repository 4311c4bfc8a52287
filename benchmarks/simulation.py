"""Speed of the simulated vehicle: six images with depth, one LiDAR turn, an occupancy grid of truth.

    python benchmarks/simulation.py [--threads 2] [--width 640 --height 384] [--device cpu] [--rounds 3]

Two threads on two busy cores wait for each other: run it on an otherwise idle machine, or compare the CPU seconds.
OMP_WAIT_POLICY=PASSIVE keeps waiting threads from burning the core that another process needs.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle

TARGET_SECONDS = 2.0  # six 640 x 384 images on two cores


def measure(name: str, rounds: int, work: Callable[[int], object]) -> float:
    """Print and return the median wall time of ``rounds`` calls after one to warm up."""
    work(0)
    wall, cpu = [], []
    for index in range(1, rounds + 1):
        started, used = time.perf_counter(), time.process_time()
        work(index)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    median = statistics.median(wall)
    print(f"{name:<34} {median:7.3f} s  (fastest {min(wall):.3f} s, CPU {statistics.median(cpu):.3f} s)")
    return median


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rig", choices=("nuscenes", "ddad"), default="nuscenes")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    vehicle = SimulatedVehicle(SimulationConfig(width=chosen.width, height=chosen.height, device=chosen.device,
                                                rig=chosen.rig))
    # Every round takes another place in the street.
    frame = measure(f"6 images {chosen.width}x{chosen.height} with depth", chosen.rounds,
                    lambda index: vehicle.views(70 * index))
    measure("LiDAR turn", chosen.rounds, lambda index: vehicle.lidar(vehicle.stamp(70 * index)))
    axes = (np.arange(-40, 40, 0.4), np.arange(-40, 40, 0.4), np.arange(-1, 5.4, 0.4))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) + 0.2
    measure(f"occupancy of {len(grid)} points", chosen.rounds,
            lambda index: vehicle.occupied(grid, vehicle.stamp(70 * index)))
    print(f"target for the images at 640x384 on two cores: {TARGET_SECONDS} s; here {frame:.2f} s")


if __name__ == "__main__":
    main()
