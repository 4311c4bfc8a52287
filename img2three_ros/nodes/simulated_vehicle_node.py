"""Publishes the simulated vehicle live: cameras, odometry, TF and LiDAR, as a real one would.

Rendering is slower than real time on a CPU: the drive is rendered once, then played from memory without end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node

from ..config import setting
from ..fileio.messages import image_message, transform_message, typestore
from ..simulation.events import Event, ImageEvent, LidarEvent, prerender, repeat
from ..simulation.recording import event_messages, static_transforms
from ..simulation.rig import optical_frame
from ..simulation.settings import SimulationConfig
from ..simulation.vehicle import SimulatedVehicle
from ..structures import InputError
from .bag_player_node import message_class
from .parameters import declare
from .qos import latched_qos, reliable_qos
from .spin import handle_one, run_node


@dataclass(frozen=True)
class SimulatedVehicleConfig(SimulationConfig):
    """The simulation, and how it is published."""

    period: float = setting(8.0, "length of the drive, which then repeats seamlessly; all of it is rendered first",
                            unit="s", low=4.0, high=600.0)
    image_transport: str = setting("compressed", "how images are published", choices=("compressed", "raw"))
    lidar: bool = setting(True, "publish the LiDAR")
    truth: bool = setting(False, "publish the exact depth of every image on truth/<camera>/depth")

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0.0 < self.speed * self.period < self.length - 1e-6:
            raise InputError("parameter", f"period = {self.period:g} s at speed = {self.speed:g} m/s is shorter than "
                             f"the street ({self.length:g} m): the vehicle would jump between laps; drive longer")


class SimulatedVehicleNode(Node):
    """Topics as in the recordings of ``img2three simulate``, relative to the node's namespace (TF excepted)."""

    def __init__(self) -> None:
        super().__init__("simulated_vehicle", automatically_declare_parameters_from_overrides=True)
        self.config = declare(self, SimulatedVehicleConfig())
        self._vehicle = SimulatedVehicle(self.config)
        self._outputs: dict[str, Any] = {}

    def drive(self) -> None:
        """Render, then play until stopped."""
        config, logger = self.config, self.get_logger()
        logger.info(f"rendering {config.period:g} s of driving (seed {config.seed}) ...")
        recorded = prerender(self._vehicle, config.period, lidar=config.lidar, depth=config.truth,
                             progress=self._rendered)
        logger.info("driving")
        self._publish("/tf_static", transform_message(static_transforms(self._vehicle), time.time_ns()), latched=True)
        offset: int | None = None
        for event in repeat(recorded, self._vehicle, config.period):
            if offset is None:
                offset = time.time_ns() - event.stamp
            now = self._shifted(event, offset)
            while (left := (now.stamp - time.time_ns()) / 1e9) > 0:
                handle_one(self, left)
            for topic, message in self._messages(now):
                self._publish(topic, message)

    def _rendered(self, done: int, of: int) -> None:
        if done % 10 == 0 or done == of:
            self.get_logger().info(f"rendered {done} of {of} instants")
        # Lets signals end the node while it renders.
        handle_one(self, 0.0)

    def _shifted(self, event: Event, offset: int) -> Event:
        return replace(event, stamp=event.stamp + offset)

    def _messages(self, event: Event) -> Iterator[tuple[str, Any]]:
        if isinstance(event, LidarEvent) and not self.config.lidar:
            return
        for topic, message in event_messages(event, self._vehicle).items():
            if isinstance(event, ImageEvent) and topic.endswith("/compressed") and self.config.image_transport == "raw":
                pixels = np.asarray(cv2.imdecode(np.frombuffer(event.jpeg, np.uint8), cv2.IMREAD_COLOR))
                message = image_message(event.stamp, optical_frame(event.camera), pixels, "bgr8")
                topic = topic.removesuffix("/compressed")
            yield topic, message

    def _publish(self, topic: str, message: Any, latched: bool = False) -> None:
        kind = message.__msgtype__
        if topic not in self._outputs:
            name = topic if topic.startswith("/tf") else topic.lstrip("/")
            try:
                self._outputs[topic] = self.create_publisher(
                    message_class(kind), name, latched_qos() if latched else reliable_qos(10))
            except (ImportError, AttributeError) as error:
                self.get_logger().warning(f"{topic} is left out: its type {kind} is not installed ({error})")
                self._outputs[topic] = None
        if self._outputs[topic] is not None:
            self._outputs[topic].publish(bytes(typestore().serialize_cdr(message, kind)))


def main(args: Sequence[str] | None = None) -> int:
    """Entry point."""
    return run_node(SimulatedVehicleNode, args, spin=lambda node: node.drive())


if __name__ == "__main__":
    sys.exit(main())
