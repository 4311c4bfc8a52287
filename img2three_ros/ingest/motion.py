"""Where the vehicle and its cameras are: odometry and TF messages -> poses at any stamp."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry.pose_buffer import PoseBuffer
from ..geometry.transform_tree import TransformTree
from ..geometry.transforms import from_quaternion_translation
from ..structures import InputError, Matrix
from .checks import checked_stamp
from .motion_breaks import MotionBreaks

_SOUND = "publish finite numbers and unit quaternions"
_FARTHEST = 1e9  # metres; what is chained of such stays finite


class VehicleMotion:
    """Transform tree and odometry, with every message validated.

    odom_frame: frame of the ego poses; empty = that of the first odometry message, else the one in which TF moves the
        base frame.
    history: how long poses are kept, ns.
    """

    def __init__(self, base_frame: str = "base_link", odom_frame: str = "", history: int = 20_000_000_000) -> None:
        self.base_frame, self.odom_frame = base_frame.lstrip("/"), odom_frame.lstrip("/")
        self.tree = TransformTree(history=history)
        self.odometry = PoseBuffer(history=history)
        self.breaks = MotionBreaks(history)

    def add_odometry(self, message: Any, topic: str) -> int:
        """Take a nav_msgs/Odometry; returns its stamp. Raises InputError (``odometry``, ``odometry_frame``, stamps)."""
        stamp = checked_stamp(message, topic)
        frame = str(message.header.frame_id).lstrip("/")
        if not frame or (self.odom_frame and frame != self.odom_frame):
            raise InputError("odometry_frame", f"topic '{topic}': header.frame_id is '{frame}', expected "
                             f"'{self.odom_frame or 'a frame'}'; set odom_frame to the odometry's frame")
        try:
            T_odom_child = _pose(message.pose.pose.position, message.pose.pose.orientation)
        except ValueError as error:
            raise InputError("odometry", f"topic '{topic}': {error}; {_SOUND}") from error
        child = str(message.child_frame_id).lstrip("/") or self.base_frame
        try:
            T_child_base = self.tree.lookup(child, self.base_frame, stamp)
        except InputError as error:
            raise InputError("odometry_frame", f"topic '{topic}': child_frame_id '{child}' is not '{self.base_frame}' "
                             f"and TF does not connect them: {error}") from error
        if not len(self.odometry):
            self.breaks.reset()  # TF may have said something else until now
        self.odom_frame = frame
        T_odom_base = T_odom_child @ T_child_base
        self.odometry.add(stamp, T_odom_base)
        self.breaks.add(stamp, T_odom_base, topic)
        return stamp

    def add_transforms(self, message: Any, static: bool, topic: str = "/tf") -> list[InputError]:
        """Take a tf2_msgs/TFMessage. Bad transforms are left out and returned as errors; the others are used."""
        errors = []
        for stamped in message.transforms:
            parent, child = str(stamped.header.frame_id), str(stamped.child_frame_id)
            try:
                matrix = _pose(stamped.transform.translation, stamped.transform.rotation)
                if static:
                    self.tree.set_static(parent, child, matrix)
                else:
                    stamp = checked_stamp(stamped, topic)
                    self.tree.add(parent, child, stamp, matrix)
                    self._watch(stamp, topic)
            except InputError as error:
                errors.append(error)
            except ValueError as error:
                errors.append(InputError("transform", f"topic '{topic}': '{parent}' -> '{child}': {error}; {_SOUND}"))
        return errors

    def T_odom_base(self, stamp: int) -> Matrix | None:
        """Ego pose (4, 4) at a stamp (ns): from odometry if there is any, else TF; None if not known."""
        if self.breaks.inside(stamp):
            return None
        if len(self.odometry):
            return self.odometry.at(stamp)
        try:
            frame = self.odom_frame or self.tree.carrier(self.base_frame)
            return self.tree.lookup(frame, self.base_frame, stamp) if frame else None
        except InputError:
            return None

    def why_unknown(self, stamp: int, topic: str) -> InputError:
        """Why ``T_odom_base`` is None at a stamp, and what to do about it."""
        remedy = "publish odometry (or remap its topic), or set odom_frame to TF's; without it every frame stands alone"
        if len(self.odometry):
            return InputError("no_ego_motion", f"topic '{topic}': no pose near {stamp} ns, the newest is of "
                              f"{self.odometry.newest} ns; {remedy}")
        frame = f"'{self.odom_frame}'" if self.odom_frame else "any frame"
        return InputError("no_ego_motion", f"topic '{topic}' gave no usable pose and TF none of '{self.base_frame}' in "
                          f"{frame}: {remedy}")

    def T_base_frame(self, frame: str, stamp: int) -> Matrix:
        """(4, 4) from a frame into the base frame. Raises InputError('transform')."""
        return self.tree.lookup(self.base_frame, frame, stamp)

    def places(self, frame: str, stamp: int) -> bool:
        """True if a frame's place on the vehicle is known up to a stamp (ns), or nothing says that it moves there."""
        try:
            newest = self.tree.newest_between(self.base_frame, frame)
        except InputError:  # a loop: waiting does not help
            return True
        return newest is None or newest >= stamp

    def reaches(self, stamp: int) -> bool:
        """True if poses are known up to a stamp (ns), or nothing says that there are any."""
        newest = self.odometry.newest if len(self.odometry) else self.tree.newest(self.base_frame)
        return newest is None or newest >= stamp

    def reset(self) -> None:
        """Forget what has a stamp (time jump); static transforms stay."""
        self.odometry.clear()
        self.tree.clear_dynamic()
        self.breaks.reset()

    def _watch(self, stamp: int, topic: str) -> None:
        """Look for breaks in the ego motion that TF tells."""
        if not len(self.odometry):
            pose = self.T_odom_base(stamp)
            if pose is not None:
                self.breaks.add(stamp, pose, topic)


def _pose(position: Any, orientation: Any) -> Matrix:
    if max(abs(position.x), abs(position.y), abs(position.z)) > _FARTHEST:
        raise ValueError(f"position ({position.x:g}, {position.y:g}, {position.z:g}) is farther than {_FARTHEST:g} m")
    quaternion = np.array((orientation.x, orientation.y, orientation.z, orientation.w), dtype=np.float64)
    return from_quaternion_translation(quaternion, (position.x, position.y, position.z))
