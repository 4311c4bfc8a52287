"""Time and memory of the sweep engine on textured noise: ``python benchmarks/sweep.py [--cameras 6] [--threads 2]``.

The images are noise, so the figures are of the work, not of the result; every frame has two keyframes.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import resource
import statistics
import time

import numpy as np
import torch

from img2three_ros.config import SweepConfig
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.reconstruction.sweep_engine import SweepEngine
from img2three_ros.reconstruction.views import PreparedFrame, View


def surround_frame(index: int, cameras: int, width: int, height: int, device: torch.device) -> PreparedFrame:
    """One instant of a ring of cameras that drives 1 m a frame."""
    generator = torch.Generator().manual_seed(index)
    intrinsics = torch.tensor([[0.55 * width, 0.0, width / 2], [0.0, 0.55 * width, height / 2], [0.0, 0.0, 1.0]])
    views = []
    for number in range(cameras):
        mount = from_xyz_rpy([0.0, 0.0, 1.5], [0.0, 0.0, 2 * np.pi * number / cameras]) @ T_BASE_OPTICAL
        views.append(View(f"camera_{number}", index, torch.rand(3, height, width, generator=generator).to(device),
                          intrinsics.to(device), torch.ones(height, width, dtype=torch.bool, device=device), mount))
    return PreparedFrame(index, tuple(views), (), from_xyz_rpy([float(index), 0.0, 0.0]))


def main() -> None:
    """Print medians over a few frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=400)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    engine = SweepEngine(SweepConfig(), device)
    frames = [surround_frame(index, options.cameras, options.width, options.height, device)
              for index in range(options.frames + 2)]
    wall, cpu = [], []
    for index, frame in enumerate(frames):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        engine.reconstruct(frame, frames[max(0, index - 2):index])
        if device.type == "cuda":
            torch.cuda.synchronize()
        if index >= 2:
            wall.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - begin_cpu)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{options.cameras} cameras {options.width}x{options.height}, {options.threads} threads, {device}: "
          f"median {statistics.median(wall):.2f} s wall, {statistics.median(cpu):.2f} s CPU, peak RSS {memory:.2f} GB")


if __name__ == "__main__":
    main()
