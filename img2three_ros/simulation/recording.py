"""A drive of the simulated vehicle as an ordinary rosbag2, with the topics of a real recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..fileio import messages
from ..fileio.point_cloud2 import CloudLayout
from ..fileio.rosbag import BagWriter
from ..structures import InputError, Matrix
from .events import Event, ImageEvent, OdometryEvent, Progress, events
from .rig import LIDAR_NAME, optical_frame
from .settings import SimulationConfig
from .vehicle import SimulatedVehicle

ODOM, BASE = "odom", "base_link"


@dataclass(frozen=True)
class RecordingSummary:
    """What was recorded. messages: number of messages by topic; distance: metres driven."""

    path: Path
    seconds: float
    instants: int
    distance: float
    messages: dict[str, int]

    def __str__(self) -> str:
        return (f"{self.path}: {self.seconds:g} s, {self.distance:.0f} m driven, {self.instants} instants, "
                f"{sum(self.messages.values())} messages on {len(self.messages)} topics")


def record(output: Path | str, seconds: float, seed: int | None = None, config: SimulationConfig | None = None,
           progress: Progress | None = None, *, truth_depth: bool = False, quality: int = 93,
           processes: int = 1) -> RecordingSummary:
    """Drive ``seconds`` and write a rosbag2 (MCAP) folder.

    Topics per camera: ``/camera/<name>/image_raw/compressed`` (JPEG), ``/camera/<name>/camera_info`` and, with
    ``truth_depth``, ``/truth/<name>/depth`` (32FC1, metres, NaN = sky); once ``/tf_static``; ``/odom`` and ``/tf``
    (odom -> base_link); ``/lidar/points``. ``seed`` replaces that of ``config``; processes: as
    in ``events``. The time of each message is its header's stamp.
    Raises InputError: ``parameter`` or ``output_exists``.
    """
    config = config or SimulationConfig()
    if seed is not None:
        config = replace(config, seed=seed)
    if not seconds > 0.0:
        raise InputError("parameter", f"seconds = {seconds} must be greater than 0")
    vehicle = SimulatedVehicle(config)
    counts: dict[str, int] = {}
    with BagWriter(output) as bag:
        for event in events(vehicle, seconds, depth=truth_depth, quality=quality, progress=progress,
                            processes=processes):
            if not counts:
                _write(bag, counts, event.stamp, {"/tf_static": messages.transform_message(
                    static_transforms(vehicle), event.stamp)})
            _write(bag, counts, event.stamp, event_messages(event, vehicle))
    instants = max(1, round(seconds * config.rate))
    path = [vehicle.pose(vehicle.stamp(index))[:2, 3] for index in range(instants + 1)]
    distance = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    return RecordingSummary(Path(output), instants / config.rate, instants, distance, dict(sorted(counts.items())))


def static_transforms(vehicle: SimulatedVehicle) -> dict[tuple[str, str], Matrix]:
    """(parent, child) -> ``T_parent_child`` of the sensors, as on /tf_static."""
    transforms = {(BASE, optical_frame(name)): T for name, T in vehicle.T_base_camera.items()}
    return {**transforms, (BASE, LIDAR_NAME): vehicle.T_base_lidar}


def event_messages(event: Event, vehicle: SimulatedVehicle) -> dict[str, Any]:
    """Topic -> message (of ``fileio.messages``) of one event."""
    if isinstance(event, OdometryEvent):
        (vx, vy, vz), (wx, wy, wz) = event.linear.tolist(), event.angular.tolist()
        return {"/odom": messages.odometry_message(event.stamp, ODOM, BASE, event.T_odom_base, (vx, vy, vz),
                                                   (wx, wy, wz)),
                "/tf": messages.transform_message({(ODOM, BASE): event.T_odom_base}, event.stamp)}
    if isinstance(event, ImageEvent):
        frame, topic = optical_frame(event.camera), f"/camera/{event.camera}"
        found = {f"{topic}/camera_info": messages.camera_info_message(event.stamp, frame,
                                                                      vehicle.calibrations[event.camera]),
                 f"{topic}/image_raw/compressed": messages.compressed_image_message(event.stamp, frame, event.jpeg)}
        if event.depth is not None:
            found[f"/truth/{event.camera}/depth"] = messages.image_message(event.stamp, frame, event.depth, "32FC1")
        return found
    return {"/lidar/points": messages.point_cloud_message(event.stamp, LIDAR_NAME, _xyz_cloud(event.points))}


def _xyz_cloud(points: NDArray[np.float32]) -> CloudLayout:
    """Points (N, 3) as a cloud of x y z float32 (sensor_msgs/PointField FLOAT32 = 7)."""
    packed = np.ascontiguousarray(points, dtype="<f4").reshape(-1).view([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    return CloudLayout((("x", 0, 7), ("y", 4, 7), ("z", 8, 7)), 12, len(packed), 1, packed, True)


def _write(bag: BagWriter, counts: dict[str, int], stamp: int, found: dict[str, Any]) -> None:
    for topic, message in found.items():
        bag.write(topic, message, stamp)
        counts[topic] = counts.get(topic, 0) + 1
