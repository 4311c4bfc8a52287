"""Listens to what the reconstruction node publishes, as a planner would: for the demo and for judging a live run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import PointCloud2

from ..fileio.point_cloud2 import read_cloud

CLOUDS = ("points", "obstacle_points", "occupied_voxels")


@dataclass
class TopicRecord:
    """What arrived on one output topic. stamps: header stamps, ns; delays: receipt minus stamp, s (ROS clock)."""

    stamps: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    elements: list[int] = field(default_factory=list)

    def summary(self) -> str:
        """One line: messages, rate by stamps, median size."""
        if not self.stamps:
            return "silent"
        span = (max(self.stamps) - min(self.stamps)) / 1e9
        rate = f"{(len(self.stamps) - 1) / span:.1f} Hz" if span > 0 else "once"
        return f"{len(self.stamps)} messages, {rate}, median {int(np.median(self.elements))} elements"


class OutputListener(Node):
    """Subscribes to the outputs of ``node_name`` (absolute name) and keeps what is needed to judge them.

    records: topic -> TopicRecord. clouds: stamp -> (N, 4) float32 x, y, z, confidence of ``points`` in base_link.
    status: the newest key-values of ``~/status``; states: how many reports named each state.
    """

    def __init__(self, node_name: str = "/img2three", use_sim_time: bool = True, keep_clouds: int = 200) -> None:
        super().__init__("output_listener", parameter_overrides=[
            Parameter("use_sim_time", Parameter.Type.BOOL, use_sim_time)])
        self.records = {topic: TopicRecord() for topic in (*CLOUDS, "occupancy_grid")}
        self.clouds: dict[int, np.ndarray] = {}
        self.status: dict[str, str] = {}
        self.states: dict[str, int] = {}
        self._keep = keep_clouds
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                             durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic in CLOUDS:
            self.create_subscription(PointCloud2, f"{node_name}/output/{topic}",
                                     lambda message, topic=topic: self._on_cloud(topic, message), reliable)
        self.create_subscription(OccupancyGrid, f"{node_name}/output/occupancy_grid", self._on_grid, reliable)
        self.create_subscription(DiagnosticArray, f"{node_name}/status", self._on_status, latched)

    @property
    def silent(self) -> tuple[str, ...]:
        """Output topics on which nothing came."""
        return tuple(topic for topic, record in self.records.items() if not record.stamps)

    def spin_for(self, seconds: float) -> None:
        """Handle what arrives within this wall time."""
        end = time.monotonic() + seconds
        while rclpy.ok() and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def _on_cloud(self, topic: str, message: PointCloud2) -> None:
        stamp = self._record(topic, message, message.width * message.height)
        if topic == "points":
            cloud = read_cloud(message)
            self.clouds[stamp] = np.stack([cloud[name] for name in ("x", "y", "z", "confidence")], axis=1)
            while len(self.clouds) > self._keep:
                del self.clouds[next(iter(self.clouds))]

    def _on_grid(self, message: OccupancyGrid) -> None:
        self._record("occupancy_grid", message, message.info.width * message.info.height)

    def _record(self, topic: str, message: PointCloud2 | OccupancyGrid, elements: int) -> int:
        stamp = Time.from_msg(message.header.stamp)
        record = self.records[topic]
        record.stamps.append(stamp.nanoseconds)
        record.delays.append((self.get_clock().now().nanoseconds - stamp.nanoseconds) / 1e9)
        record.elements.append(elements)
        return int(stamp.nanoseconds)

    def _on_status(self, message: DiagnosticArray) -> None:
        self.status.update(_key_values(message))
        state = self.status.get("state", "unknown")
        self.states[state] = self.states.get(state, 0) + 1


def _key_values(message: DiagnosticArray) -> Iterable[tuple[str, str]]:
    return ((pair.key, pair.value) for status in message.status for pair in status.values)


@contextmanager
def listening(node_name: str = "/img2three", use_sim_time: bool = True) -> Iterator[OutputListener]:
    """An OutputListener in a context of ROS of its own; what it heard stays readable afterwards."""
    rclpy.init()
    listener = OutputListener(node_name, use_sim_time)
    try:
        yield listener
    finally:
        listener.destroy_node()
        rclpy.try_shutdown()
