"""Speed of the fusion at the default grid: six 640 x 400 views of a street canyon, the vehicle driving.

    python benchmarks/fusion.py [--frames 20] [--threads 2] [--device cpu]
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import statistics
import time

import numpy as np
import torch

from img2three_ros.config import OccupancyConfig
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.reconstruction.fusion import OccupancyFusion
from img2three_ros.reconstruction.views import DepthView, Geometry, PreparedFrame, View

HEIGHT, WIDTH, FOCAL = 400, 640, 400.0


def street_depth(T_base_camera: np.ndarray) -> np.ndarray:
    """(H, W) depth of a road at z = 0 between walls at y = -9 and 12 m; NaN in the sky above 8 m."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack(((u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, np.ones_like(u, dtype=float)), axis=-1)
    rays, centre = rays @ T_base_camera[:3, :3].T, T_base_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        candidates = [(0.0 - centre[2]) / rays[..., 2], (12.0 - centre[1]) / rays[..., 1],
                      (-9.0 - centre[1]) / rays[..., 1]]
        depth = np.min([np.where(candidate > 0, candidate, np.inf) for candidate in candidates], axis=0)
        top = centre[2] + depth * rays[..., 2]
    return np.where(np.isfinite(depth) & (top < 8.0) & (depth < 100.0), depth, np.nan)


def depth_view(index: int, yaw: float, generator: torch.Generator, device: str) -> DepthView:
    """One of six cameras around the vehicle, with 3 % depth noise and a tenth of the pixels without confidence."""
    T_base_camera = from_xyz_rpy((1.0, 0.0, 1.6), (0.0, 0.0, yaw)) @ T_BASE_OPTICAL
    truth = torch.from_numpy(street_depth(T_base_camera)).float()
    noise = torch.exp(0.03 * torch.randn(truth.shape, generator=generator))
    valid = torch.isfinite(truth)
    confidence = torch.where(torch.rand(truth.shape, generator=generator) < 0.1, 0.3, 0.95)
    view = View(f"camera_{index}", 0, torch.zeros(3, HEIGHT, WIDTH, device=device),
                torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], device=device),
                torch.ones(HEIGHT, WIDTH, dtype=torch.bool, device=device), T_base_camera)
    return DepthView(view, (truth.nan_to_num() * noise).to(device), torch.where(valid, confidence, 0.0).to(device),
                     torch.full_like(truth, 0.03).to(device), valid.to(device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    depths = tuple(depth_view(i, i * np.pi / 3, generator, options.device) for i in range(6))
    fusion = OccupancyFusion(OccupancyConfig(), options.device)
    milliseconds = []
    for frame in range(options.frames + 3):
        pose = from_xyz_rpy((1.0 * frame, 0.05 * frame, 0.0), (0.0, 0.0, 0.01 * frame))
        prepared = PreparedFrame(frame * 100_000_000, tuple(depth.view for depth in depths), (), pose)
        began = time.perf_counter()
        volume = fusion.update(prepared, Geometry(depths))
        milliseconds.append(1e3 * (time.perf_counter() - began))
    measured = sorted(milliseconds[3:])
    print(f"fusion of six {WIDTH} x {HEIGHT} views, {options.threads} threads, {options.device}: "
          f"median {statistics.median(measured):.0f} ms, fastest {measured[0]:.0f} ms, slowest {measured[-1]:.0f} ms; "
          f"{(volume.state == 0).mean():.1%} free, {(volume.state == 1).mean():.1%} occupied")


if __name__ == "__main__":
    main()
