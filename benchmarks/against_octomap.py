"""Occupancy fusion beside OctoMap: the same points, the same voxels, one thread, in turns; and where the two agree.

    python benchmarks/against_octomap.py [--frames 4] [--json FILE]

Six 640 x 400 views of the street canyon of ``benchmarks/fusion.py`` (depth with 3 % noise), the vehicle driving.
OctoMap takes each camera's points with that camera as the origin, rays up to 50 m, once as they are and once with
``discretize``, which joins the points of a voxel first. Needs ``octomap-python``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and octomap are imported

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import octomap
import torch
from fusion import HEIGHT, WIDTH, depth_view, street_depth
from numpy.typing import NDArray

from img2three_ros.config import OccupancyConfig
from img2three_ros.geometry.rays import unproject
from img2three_ros.geometry.transforms import apply, from_xyz_rpy
from img2three_ros.geometry.voxel_grid import all_centres
from img2three_ros.reconstruction.fusion import OccupancyFusion
from img2three_ros.reconstruction.views import DepthView, Geometry, PreparedFrame
from img2three_ros.structures import OccupancyVolume

VOXEL, STEP = 0.4, 0.8
"""Edge of a voxel, and how far the vehicle drives between two frames: whole voxels, so that both grids are the same."""
READ = "octomap, reading the grid"
STATES = {-1: "unknown", 0: "free", 1: "occupied"}
TARGET = 10.0


def config() -> OccupancyConfig:
    """The default grid, its height moved by 0.2 m onto OctoMap's voxels."""
    return OccupancyConfig(voxel_size=VOXEL, z_min=-1.2, z_max=5.2)


def world_points(depth: DepthView, T_odom_base: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 3) points of confident pixels and (3,) the camera, in odom."""
    keep = (depth.valid & (depth.confidence >= config().min_confidence)).numpy()
    T_odom_camera = T_odom_base @ depth.view.T_base_camera
    points = unproject(depth.depth, depth.view.intrinsics).numpy()[keep].astype(np.float64)
    return apply(T_odom_camera, points), np.ascontiguousarray(T_odom_camera[:3, 3])


def insert(tree: octomap.OcTree, depths: tuple[DepthView, ...], pose: np.ndarray, discretize: bool,
           centres: NDArray[np.float64]) -> tuple[float, float]:
    """Seconds of processor time OctoMap takes to insert the points of one frame, and to say what the voxels around the
    vehicle are (our figure has both in one). Making the points is not counted."""
    clouds = [world_points(depth, pose) for depth in depths]
    began = time.process_time()
    for points, origin in clouds:
        tree.insertPointCloud(points, origin, maxrange=config().max_range, discretize=discretize)
    inserted = time.process_time()
    tree.getLabels(centres)
    return inserted - began, time.process_time() - inserted


def surface_voxels(depths: tuple[DepthView, ...], volume: OccupancyVolume) -> NDArray[np.bool_]:
    """(Z, Y, X) voxels that the cameras see a part of the street in: exact depth, no noise."""
    struck = np.zeros(volume.state.shape, bool)
    for depth in depths:
        exact = torch.from_numpy(street_depth(depth.view.T_base_camera)).float()
        points = unproject(exact, depth.view.intrinsics).numpy()[torch.isfinite(exact).numpy()].astype(np.float64)
        cells = np.floor((apply(depth.view.T_base_camera, points) - volume.origin) / volume.voxel_size).astype(int)
        x, y, z = cells[((cells >= 0) & (cells < np.array(struck.shape[::-1]))).all(axis=1)].T
        struck[z, y, x] = True
    return struck


def run(frames: int) -> dict[str, object]:
    """Insert the same frames into all three, in turns; the first is warm-up."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    depths = tuple(depth_view(index, index * np.pi / 3, generator, "cpu") for index in range(6))
    fusion, trees = OccupancyFusion(config()), {"octomap": False, "octomap, discretize": True}
    built = {name: octomap.OcTree(VOXEL) for name in trees}
    spent: dict[str, list[float]] = {name: [] for name in ("ours", *trees, READ)}
    for frame in range(frames + 1):
        pose = from_xyz_rpy((STEP * frame, 0.0, 0.0))
        prepared = PreparedFrame(frame * 100_000_000, tuple(depth.view for depth in depths), (), pose)
        began = time.process_time()
        volume = fusion.update(prepared, Geometry(depths))
        spent["ours"].append(time.process_time() - began)
        centres = all_centres(volume).astype(np.float64) + pose[:3, 3]
        for name, discretize in trees.items():
            inserted, read = insert(built[name], depths, pose, discretize, centres)
            spent[name].append(inserted)
            spent[READ].append(read)
    ours = volume.state.reshape(-1)
    labels = np.asarray(built["octomap"].getLabels(centres)).reshape(-1)
    surface = surface_voxels(depths, volume).reshape(-1)
    seconds = {name: statistics.median(values[1:]) for name, values in spent.items()}
    points = sum(len(world_points(depth, pose)[0]) for depth in depths)
    return {
        "points": points, "voxels": len(ours), "frames": frames, "cpu_ms": {k: 1e3 * v for k, v in seconds.items()},
        "times_faster": {name: seconds[name] / seconds["ours"] for name in trees},
        "times_faster_with_reading": {name: (seconds[name] + seconds[READ]) / seconds["ours"] for name in trees},
        "agreement": {f"octomap {theirs}": {f"ours {mine}": int(((labels == a) & (ours == b)).sum())
                                            for b, mine in STATES.items()} for a, theirs in STATES.items()},
        "surface_voxels": {who: {name: int((surface & (state == value)).sum()) for value, name in STATES.items()}
                           for who, state in (("ours", ours), ("octomap", labels))},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = run(options.frames)
    print(f"{found['points']} points of six {WIDTH} x {HEIGHT} views into voxels of {VOXEL} m, one thread, processor "
          f"time of a frame (median of {options.frames}):")
    for name, milliseconds in found["cpu_ms"].items():  # type: ignore[attr-defined]
        ratio = found["times_faster"].get(name)  # type: ignore[attr-defined]
        print(f"  {name:<27} {milliseconds:8.0f} ms" + (f"   {ratio:5.1f} times ours" if ratio else "") + (
            f", {found['times_faster_with_reading'][name]:.1f} with reading" if ratio else ""))
    print(f"  target: {TARGET:.0f} times faster than OctoMap")
    print("voxels of the grid, OctoMap (rows) and ours (columns):")
    print(f"  {'':<18}" + "".join(f"{name:>10}" for name in STATES.values()))
    for theirs, row in found["agreement"].items():  # type: ignore[attr-defined]
        print(f"  {theirs:<18}" + "".join(f"{count:>10}" for count in row.values()))
    print("voxels that hold a part of the true street, as each calls them:")
    for who, row in found["surface_voxels"].items():  # type: ignore[attr-defined]
        print(f"  {who:<18}" + "".join(f"{count:>10}" for count in row.values()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
