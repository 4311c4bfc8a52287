"""Global alignment: time, memory and errors, beside what upstream's optimiser (300 Adam iterations) needed.

    python benchmarks/alignment.py [--threads 1] [--device cpu] [--rounds 3] [--shared ../shared] [--growth]

Two inputs: the parity case (3 images 256 x 144, if the shared folder is there), and 3 and 6 images of 512 x 288 of the
simulated street, complete symmetric graphs (6 and 30 pairs), whose pointmaps carry depth noise, outliers, a unit per
pair and a wrong placement of 0.35 deg and 3 cm of every second view, like the input that upstream's figures are of.
Judge by CPU seconds on a busy machine. Each size runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2three_ros.geometry.transforms import from_xyz_rpy, inverse
from img2three_ros.pointmap.alignment import align
from img2three_ros.pointmap.archive import read_pairs
from img2three_ros.pointmap.known import Known
from img2three_ros.pointmap.pairs import PairPointmaps
from img2three_ros.pointmap.scene import AlignedScene
from img2three_ros.pointmap.view_graph import complete_pairs, window_pairs
from img2three_ros.simulation.rig import CameraMount
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, SKY = 512, 288, 150.0
UPSTREAM = {  # measured on two cores with upstream's optimiser: see issue 5
    "parity": "loss 0.010444, 13.4 s (2 threads)", 3: "38.6 s (2 threads)", 6: "282.6 s (2 threads)",
}


def street(images: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """T_world_camera (n, 4, 4), K (n, 3, 3), depth (n, H, W) metres, NaN = sky: three cameras at poses 4 m apart."""
    mounts = [CameraMount(name, (1.7 - 0.2 * abs(side), -0.6 * side, 1.5), -28.0 * side, 71.0, 1.0,
                          principal_point=(0.5 + 0.5 / WIDTH, 0.5 + 0.5 / HEIGHT))
              for name, side in (("left", -1), ("front", 0), ("right", 1))]
    config = SimulationConfig(width=WIDTH, height=HEIGHT, traffic=0.0, seed=5)
    vehicle = SimulatedVehicle(config, mounts)
    stamp = vehicle.stamp(0)
    poses, matrices, depths = [], [], []
    for number in range(images):
        mount = mounts[number % 3]
        T_world_base = vehicle.pose(stamp) @ from_xyz_rpy([4.0 * (number // 3), 0.0, 0.0])
        depths.append(vehicle.render(mount.name, stamp, T_world_base).depth)
        poses.append(T_world_base @ mount.T_base_camera)
        matrices.append(vehicle.calibrations[mount.name].intrinsics)
    return np.stack(poses), np.stack(matrices), np.stack(depths)


def pointmaps(poses: NDArray[np.float64], matrices: NDArray[np.float64], depths: NDArray[np.float32],
              edges: list[tuple[int, int]], device: str) -> PairPointmaps:
    """What a network that errs a little would say of the pairs."""
    chance = np.random.default_rng(0)
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    points: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    trust: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for i, j in edges:
        unit = 0.03 * np.exp(chance.normal(0.0, 0.4))
        for slot, image in enumerate((i, j)):
            K, sky = matrices[image], np.isnan(depths[image])
            error = 0.015 * chance.standard_normal((HEIGHT, WIDTH)) * (1.0 + slot)
            wild = chance.random((HEIGHT, WIDTH)) < 0.02
            error[wild] += chance.normal(0.0, 0.3, int(wild.sum()))
            z = np.where(sky, SKY, depths[image]) * np.exp(error)
            camera = np.stack(((u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z), -1)
            T = inverse(poses[i]) @ poses[image]
            if slot:
                T = T @ from_xyz_rpy(chance.normal(0.0, 0.03 / 3 ** 0.5, 3),
                                     np.radians(chance.normal(0.0, 0.35 / 3 ** 0.5, 3)))
            points[slot].append(torch.from_numpy((unit * (camera @ T[:3, :3].T + T[:3, 3])).astype(np.float32)))
            sure = 1.0 + np.exp(3.0 - slot - 10.0 * np.abs(error))
            trust[slot].append(torch.from_numpy(np.where(sky, 1.0, sure).astype(np.float32)))
    stacked = [torch.stack(tensors).to(device) for tensors in (points[0], trust[0], points[1], trust[1])]
    return PairPointmaps(tuple(edges), *stacked)


def errors(scene: AlignedScene, poses: NDArray[np.float64], depths: NDArray[np.float32]) -> str:
    """Rotation between cameras (mean, degrees), centres after a similarity (m), depth after one scale (mean)."""
    found = [(scene.cameras[i, :3, :3].T @ scene.cameras[j, :3, :3]).T @ (poses[i, :3, :3].T @ poses[j, :3, :3])
             for i in range(len(poses)) for j in range(i)]
    angle = np.degrees(np.arccos(np.clip([(np.trace(R) - 1) / 2 for R in found], -1, 1))).mean()
    ours, real = (centres[:, :3, 3] - centres[:, :3, 3].mean(0) for centres in (scene.cameras, poses))
    left, singular, right = np.linalg.svd(real.T @ ours)
    sign = np.array([1.0, 1.0, np.linalg.det(left @ right)])
    moved = (singular * sign).sum() / (ours ** 2).sum() * ours @ (left * sign @ right).T
    centre = np.sqrt(((moved - real) ** 2).sum(1).mean())
    ratio = np.stack(scene.depth) / depths
    depth = np.nanmean(np.abs(ratio / np.nanmedian(ratio) - 1))
    return f"rotation {angle:.3f} deg, centres {centre:.4f} m, depth {100 * depth:.2f} %"


def measure(pairs: PairPointmaps, known: Known | None, rounds: int) -> tuple[AlignedScene, str]:
    """One run to warm up, then medians."""
    wall, cpu = [], []
    for turn in range(rounds + 1):
        started, used = time.perf_counter(), time.process_time()
        scene = align(pairs, known)
        if pairs.device.type == "cuda":
            torch.cuda.synchronize()
        if turn:
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - used)
    return scene, f"{statistics.median(cpu):.2f} s CPU ({statistics.median(wall):.2f} s wall)"


def parity(folder: Path, device: str, rounds: int) -> None:
    """The case of the shared folder: ours, with what is known, and upstream's result by the same measure."""
    given = read_pairs(folder / "alignment_3views.npz", device)
    truth, upstream = np.load(folder / "alignment_3views.npz"), np.load(folder / "alignment_3views_upstream.npz")
    depth = np.where(truth["gt_sky"], np.nan, truth["gt_depth"])
    print("3 images 256 x 144, 6 pairs (parity case)")
    K, poses = list(truth["gt_K"]), list(truth["gt_c2w"])
    for name, known in (("ours", None), ("ours, known K", Known(K)), ("ours, known K + poses", Known(K, poses=poses))):
        scene, spent = measure(given.pairs, known, rounds)
        print(f"  {name:<24} loss {scene.loss:.6f}, {spent}; {errors(scene, truth['gt_c2w'], depth)}")
    theirs = AlignedScene(upstream["c2w"], upstream["K"], tuple(upstream["depth"]), (), upstream["pw"], np.zeros(6),
                          np.ones(6, bool), float(upstream["final_loss"]), False, 300, 0.0)
    print(f"  {'upstream':<24} {UPSTREAM['parity']}; {errors(theirs, truth['gt_c2w'], depth)}")


def generated(images: int, window: int, device: str, rounds: int) -> None:
    """A complete graph (or a window) over the simulated street."""
    poses, matrices, depths = street(images)
    edges = window_pairs(images, window) if window else complete_pairs(images)
    pairs = pointmaps(poses, matrices, depths, edges, device)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    scene, spent = measure(pairs, None, rounds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    theirs = f"; upstream on its like: {UPSTREAM[images]}" if images in UPSTREAM and not window else ""
    print(f"{images} images {WIDTH} x {HEIGHT}, {len(edges)} pairs: loss {scene.loss:.6f}, {scene.iterations} steps, "
          f"{spent}, peak RSS {memory:.2f} GB ({before:.2f} GB before); {errors(scene, poses, depths)}{theirs}",
          flush=True)


def main() -> None:
    """Print a line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--growth", action="store_true", help="also windows over 6, 12 and 24 images")
    parser.add_argument("--images", type=int, help="only the generated case of so many images, in this process")
    parser.add_argument("--window", type=int, default=0, help="with --images: pairs within a window; 0 = all pairs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.images:
        generated(options.images, options.window, options.device, options.rounds)
        return
    print(f"{options.threads} thread(s), {options.device}, medians of {options.rounds}", flush=True)
    if (options.shared / "parity").is_dir():
        parity(options.shared / "parity", options.device, options.rounds)
    else:
        print(f"no {options.shared / 'parity'}: the parity case is left out")
    cases = [(3, 0), (6, 0), *([(6, 2), (12, 2), (24, 2)] if options.growth else [])]
    for images, window in cases:
        subprocess.run([sys.executable, __file__, "--images", str(images), "--window", str(window), "--threads",
                        str(options.threads), "--device", options.device, "--rounds", str(options.rounds)], check=True)


if __name__ == "__main__":
    main()
