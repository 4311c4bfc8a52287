"""What it costs to build and publish messages, over Fast DDS to a listener in another process."""

from __future__ import annotations

import atexit
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from ..fileio.occupancy_grid import OccupancyGridConfig
from ..fileio.point_cloud2 import CloudLayout, dense_cloud
from ..structures import InputError, PointCloud, Reconstruction
from .benchmark_peers import peer
from .conversions import cloud_message, grid_message
from .outputs import CLOUDS
from .qos import reliable_qos

NODE = "/img2three_benchmark"
PATIENCE = 30.0
"""Seconds a listener may take to be there."""
ROUNDS = 15


class BenchmarkPublisher:
    """Publishes like the node, with a listener on every output, and says how long both steps took."""

    def __init__(self, node: Node) -> None:
        self._grid = node.create_publisher(OccupancyGrid, f"{NODE}/output/occupancy_grid", reliable_qos(2))
        self._clouds = {name: node.create_publisher(PointCloud2, f"{NODE}/output/{name}", reliable_qos(2))
                        for name in CLOUDS}

    def wait(self) -> None:
        """Until all outputs are heard. Raises InputError('no_listener') after PATIENCE."""
        end = time.monotonic() + PATIENCE
        while not all(publisher.get_subscription_count() for publisher in (*self._clouds.values(), self._grid)):
            if time.monotonic() > end:
                raise InputError("no_listener", f"no listener within {PATIENCE:.0f} s: does Fast DDS reach another "
                                 "process of this machine? See ROS_DOMAIN_ID and FASTDDS_DEFAULT_PROFILES_FILE")
            time.sleep(0.05)

    def __call__(self, result: Reconstruction) -> dict[str, float]:
        """Milliseconds of ``build_messages`` and ``publish``."""
        spent = {"build_messages": 0.0, "publish": 0.0}
        stamp, frame = result.stamp, result.base_frame
        builders: list[tuple[Any, Callable[[], Any]]] = [
            (self._clouds[name], partial(_cloud_of, layout, result)) for name, layout in CLOUDS.items()]
        builders.append((self._grid, partial(grid_message, result.occupancy, stamp, frame, OccupancyGridConfig())))
        for publisher, build in builders:
            began = time.perf_counter()
            message = build()
            built = time.perf_counter()
            publisher.publish(message)
            spent["build_messages"] += 1000.0 * (built - began)
            spent["publish"] += 1000.0 * (time.perf_counter() - built)
        return spent

    def cloud(self, cloud: PointCloud) -> float:
        """Milliseconds from points to a published ``points`` message."""
        began = time.perf_counter()
        self._clouds["points"].publish(cloud_message(dense_cloud(cloud), 1, "base_link"))
        return 1000.0 * (time.perf_counter() - began)


def _cloud_of(layout: Callable[[Reconstruction], CloudLayout], result: Reconstruction) -> PointCloud2:
    return cloud_message(layout(result), result.stamp, result.base_frame)


def open_publisher() -> BenchmarkPublisher:
    """For the rest of this process: ROS, a node, and a listener in another process."""
    stack = ExitStack()
    atexit.register(stack.close)
    rclpy.init()
    stack.callback(rclpy.try_shutdown)
    node = rclpy.create_node("img2three_benchmark")
    stack.callback(node.destroy_node)
    publisher = BenchmarkPublisher(node)
    stack.enter_context(peer("listen", NODE))
    publisher.wait()
    return publisher


def measure_cloud(bag: Path, cameras: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A cloud of 640 000 points, from arrays to published: wall and processor time, median. Arguments are not used."""
    from ..evaluation.benchmark_common import example_cloud

    publisher, cloud = open_publisher(), example_cloud()
    wall, cpu = [], []
    for _ in range(ROUNDS):
        began = resource.getrusage(resource.RUSAGE_THREAD)
        wall.append(publisher.cloud(cloud))
        ended = resource.getrusage(resource.RUSAGE_THREAD)
        cpu.append(1000.0 * (ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime))
        time.sleep(0.1)
    return {"points": len(cloud), "median_ms": statistics.median(wall), "fastest_ms": min(wall),
            "cpu_median_ms": statistics.median(cpu), "target_ms": 25.0}
