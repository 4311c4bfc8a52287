"""Subscriptions that say where the vehicle and its cameras are: odometry and TF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node

from ..ingest.camera_rig import CameraRig
from ..ingest.frame_assembler import FrameAssembler
from ..structures import InputError
from .qos import OnIncompatible, latched_qos, reliable_qos, sensor_qos, subscribe

Guard = Callable[[Callable[..., None]], Callable[..., None]]


def transform_message() -> Any:
    """tf2_msgs/TFMessage, or None where it does not exist. The tree of frames is our own: tf2_ros is not needed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return None
    return TFMessage


def check_extrinsics(rig: CameraRig | None, cameras: Sequence[str]) -> None:
    """Raises InputError('extrinsics') for cameras that neither TF nor the rig file can place."""
    placed = [] if rig is None else [camera.name for camera in rig.cameras if camera.T_base_camera is not None]
    lacking = [name for name in cameras if name not in placed]
    if transform_message() is None and lacking:
        raise InputError("extrinsics", f"tf2_msgs is not installed, and no rig file places {', '.join(lacking)}: "
                         "install tf2_msgs, or write a rig file with img2three rig-from-bag")


class MotionInputs:
    """Hands odometry, /tf and /tf_static to an assembler. guard: what callbacks are wrapped in."""

    def __init__(self, node: Node, assembler: FrameAssembler, odometry_topic: str, guard: Guard,
                 on_incompatible: OnIncompatible) -> None:
        self._node = node

        def listen(kind: type, topic: str, callback: Callable[[Any], None], qos: Any) -> Any:
            return subscribe(node, kind, topic, guard(callback), qos, on_incompatible)

        self._subscriptions = [listen(Odometry, odometry_topic, assembler.add_odometry, sensor_qos(200))]
        kind = transform_message()
        if kind is not None:
            self._subscriptions += [
                listen(kind, "/tf", partial(assembler.add_transforms, static=False), reliable_qos(100)),
                listen(kind, "/tf_static", partial(assembler.add_transforms, static=True), latched_qos(100))]

    def destroy(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
