"""What the node publishes of a reconstruction. Nothing is packed that nobody listens to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker

from ..fileio.point_cloud2 import dense_cloud, observed_voxels, obstacle_cloud, occupied_voxels
from ..structures import Reconstruction
from .conversions import bounds_message, cloud_message, grid_message
from .octomap_output import OctomapOutput
from .parameters import NodeConfig
from .qos import OnIncompatible, latched_qos, output_qos, publisher_options

CLOUDS: dict[str, Callable[[Reconstruction], Any]] = {
    "points": lambda result: dense_cloud(result.cloud),
    "obstacle_points": lambda result: obstacle_cloud(result.obstacles),
    "occupied_voxels": lambda result: occupied_voxels(result.occupancy),
    "observed_voxels": lambda result: observed_voxels(result.occupancy),
}
"""Output topic -> layout of its PointCloud2."""


class Outputs:
    """Lifecycle publishers below ``~/output``; silent while the node is inactive."""

    def __init__(self, node: LifecycleNode, on_incompatible: OnIncompatible, config: NodeConfig) -> None:
        self._node, self._on_incompatible = node, on_incompatible
        promised = output_qos(config.promises.deadline, config.promises.lease)
        self._octomap = OctomapOutput(config.octomap.publish, self._create)  # first: it alone can fail
        self._clouds = {name: self._create(PointCloud2, name, promised) for name in CLOUDS}
        self._grid = self._create(OccupancyGrid, "occupancy_grid", promised)
        self._bounds = self._create(Marker, "voxel_bounds", latched_qos())

    def publish(self, result: Reconstruction, config: NodeConfig) -> list[str]:
        """Publish one frame, stamped with its reference stamp in its base frame. Called on the worker thread.

        Returns the names of the topics that somebody listens to: the others are left out.
        """
        heard = [name for name, publisher in (*self._clouds.items(), ("occupancy_grid", self._grid))
                 if publisher.get_subscription_count() > 0]
        for name, publisher in self._clouds.items():
            if publisher.get_subscription_count() > 0:
                publisher.publish(cloud_message(CLOUDS[name](result), result.stamp, result.base_frame))
        if self._grid.get_subscription_count() > 0:
            self._grid.publish(grid_message(result.occupancy, result.stamp, result.base_frame,
                                            config.occupancy_grid))
        self._octomap.publish(result)
        return heard

    def publish_bounds(self, config: NodeConfig, frame: str) -> None:
        """Publish (latched) where the grid ends."""
        self._bounds.publish(bounds_message(config.occupancy, frame))

    def destroy(self) -> None:
        """Withdraw all topics."""
        for publisher in (*self._clouds.values(), self._grid, self._bounds, *self._octomap.publishers):
            self._node.destroy_lifecycle_publisher(publisher)

    def _create(self, kind: type, name: str, qos: Any) -> Any:
        topic = f"~/output/{name}"
        return self._node.create_lifecycle_publisher(kind, topic, qos,
                                                     **publisher_options(topic, self._on_incompatible))
