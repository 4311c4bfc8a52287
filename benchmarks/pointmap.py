"""What encoding each image once saves: 6 images, all 30 ordered pairs, the same weights in the same run.

    python benchmarks/pointmap.py [--network small|large] [--checkpoint FILE] [--head dpt|linear] [--descriptors 0]
                                  [--width 224 --height 160] [--images 6] [--rounds 3] [--threads 1] [--memory-mb 2048]

Compares ``PointmapNetwork.infer_pairs`` with running the network on every pair. Random weights unless a checkpoint is
given: the same work. CPU time is the figure to read where other programs run. Fails below the ratio asked for.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from img2three_ros.models.pointmap_config import PointmapConfig, small_config
from img2three_ros.models.pointmap_network import PointmapNetwork, Pointmaps, load_pointmap_network

TARGET_RATIO = 1.8
Result = TypeVar("Result")


def network_of(choice: argparse.Namespace) -> PointmapNetwork:
    if choice.checkpoint:
        return load_pointmap_network(choice.checkpoint)
    torch.manual_seed(0)
    config = small_config(choice.head, choice.descriptors) if choice.network == "small" else PointmapConfig(
        head=choice.head, descriptor_width=choice.descriptors)
    return PointmapNetwork(config).eval().requires_grad_(False)


def timed(work: Callable[[], Result]) -> tuple[float, float, Result]:
    """Wall seconds, CPU seconds, result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def pair_by_pair(network: PointmapNetwork, images: Tensor, pairs: list[tuple[int, int]]) -> list[Pointmaps]:
    return [network(images[first:first + 1], images[second:second + 1]) for first, second in pairs]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def difference(found: list[Pointmaps], expected: list[Pointmaps]) -> float:
    """Largest relative L2 distance of any output of any pair."""
    return max(float((own - other).norm() / other.norm()) for maps, others in zip(found, expected, strict=True)
               for own, other in zip(maps, others, strict=True) if own is not None and other is not None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("small", "large"), default="small")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--head", choices=("dpt", "linear"), default="dpt")
    for name, default in (("descriptors", 0), ("width", 224), ("height", 160), ("images", 6), ("rounds", 3),
                          ("threads", 1), ("memory-mb", 2048)):
        parser.add_argument(f"--{name}", type=int, default=default)
    choice = parser.parse_args()
    torch.set_num_threads(choice.threads)
    network = network_of(choice)
    images = torch.rand(choice.images, 3, choice.height, choice.width) * 2 - 1
    pairs = [(first, second) for first in range(choice.images) for second in range(choice.images) if first != second]
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    print(f"{millions:.1f} M parameters, {choice.images} images of {choice.width} x {choice.height}, "
          f"{len(pairs)} ordered pairs, {choice.threads} threads", flush=True)

    with torch.no_grad():
        network(images[:1], images[1:2])  # warm up
        before = peak_mb()
        rows = []
        for _ in range(choice.rounds):
            once = timed(lambda: network.infer_pairs(images, pairs, memory_bytes=choice.memory_mb << 20))
            if not rows:
                outputs = sum(part.numel() * 4 for maps in once[2] for part in maps if part is not None) / 2 ** 20
                print(f"memory: {peak_mb() - before - outputs:.0f} MB of work (bound {choice.memory_mb} MB), "
                      f"{outputs:.0f} MB of results", flush=True)
            each = timed(lambda: pair_by_pair(network, images, pairs))
            rows.append((each[0], once[0], each[1], once[1]))
            print("pair by pair {:.2f} s, images once {:.2f} s; CPU {:.2f} and {:.2f} s".format(*rows[-1]), flush=True)
        print(f"largest relative difference of an output: {difference(once[2], each[2]):.1e}")
    wall, cpu = (statistics.median(row[place] / row[place + 1] for row in rows) for place in (0, 2))
    met = cpu >= TARGET_RATIO
    print(f"encoding each image once is {cpu:.2f} x faster by CPU time ({wall:.2f} x by the clock), wanted "
          f"{TARGET_RATIO}: {'met' if met else 'NOT met'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
