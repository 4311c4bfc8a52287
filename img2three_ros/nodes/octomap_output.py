"""``~/output/octomap_binary``: the tri-state grid for clients of OctoMap (MoveIt, planners of drones, octovis).

``octomap_msgs`` is on PyPI for no ROS release, so only machines with a ROS from apt have it; it is imported when asked
for.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from ..fileio.octomap import binary_octomap
from ..structures import InputError, Reconstruction
from .conversions import header
from .qos import reliable_qos

TOPIC = "octomap_binary"


class OctomapOutput:
    """The publisher, where it is wanted; encodes only what somebody listens to.

    wanted: the setting ``octomap.publish``. create: makes a publisher of a type, a name below ``~/output`` and a QoS.
    Raises InputError('octomap') if it is wanted and octomap_msgs is missing.
    """

    def __init__(self, wanted: bool, create: Callable[[type, str, Any], Any]) -> None:
        self.publishers = (create(octomap_type(), TOPIC, reliable_qos(2)),) if wanted else ()

    def publish(self, result: Reconstruction) -> None:
        """Publish the grid of one frame, stamped with its reference stamp in its base frame."""
        for publisher in self.publishers:
            if publisher.get_subscription_count() > 0:
                publisher.publish(octomap_message(result))


def octomap_type() -> type:
    """The class octomap_msgs/msg/Octomap. Raises InputError('octomap') where it is not installed."""
    try:
        from octomap_msgs.msg import Octomap
    except ImportError as error:
        raise InputError("octomap", f"octomap.publish = true needs octomap_msgs ({error}): apt-get install "
                         "ros-$ROS_DISTRO-octomap-msgs and source ROS, or set octomap.publish to false") from error
    return Octomap  # type: ignore[no-any-return]


def octomap_message(result: Reconstruction) -> Any:
    """octomap_msgs/Octomap of the grid of a reconstruction."""
    octomap = binary_octomap(result.occupancy)
    data = array("b")
    data.frombytes(octomap.data)
    return octomap_type()(header=header(result.stamp, result.base_frame), binary=True, id="OcTree",
                          resolution=octomap.resolution, data=data)
