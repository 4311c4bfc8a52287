"""Measurements of several instants, added up and turned into scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .cloud_metrics import (
    CloudDistances,
    CloudScores,
    cloud_distances,
    cloud_scores,
    joined_distances,
    seen_by_cameras,
)
from .depth_metrics import HitPixels, hit_pixels, joined, lidar_hits
from .occupancy_metrics import OccupancyCounts, OccupancyScores, occupancy_counts, occupancy_scores
from .results import MEAN, CameraScores, ScoredInstant, camera_scores, mean_camera_scores
from .truth import truth_hits


@dataclass(eq=False)
class Tally:
    """What has been measured so far. hits: by camera, one of each instant; uncompensated: instants without ego pose."""

    hits: dict[str, list[HitPixels]] = field(default_factory=dict)
    distances: list[CloudDistances] = field(default_factory=list)
    counts: OccupancyCounts = field(default_factory=OccupancyCounts)
    instants: int = 0
    uncompensated: int = 0

    def add(self, instant: ScoredInstant, truth: Mapping[str, NDArray[np.floating]] | None = None) -> None:
        """Measure one more instant: depth against LiDAR points or, where given, against ``truth``: camera -> true
        depth (H, W) of every pixel (see ``truth_hits``)."""
        points, result = instant.scan.points, instant.reconstruction
        for image in result.depth_images:
            hits = truth_hits(image, truth[image.name]) if truth else hit_pixels(image, lidar_hits(image, points))
            self.hits.setdefault(image.name, []).append(hits)
        visible = points[seen_by_cameras(points, result.depth_images)]
        self.distances.append(cloud_distances(result.cloud.points, points, visible))
        self.counts += occupancy_counts(result.occupancy, points, instant.scan.origin)
        self.instants += 1
        self.uncompensated += not instant.scan.compensated

    def depth(self) -> dict[str, CameraScores]:
        """Scores of every camera, and ``mean`` over them."""
        cameras = {name: camera_scores(joined(parts)) for name, parts in self.hits.items()}
        return {**cameras, MEAN: mean_camera_scores(list(cameras.values()))}

    def cloud(self) -> CloudScores:
        """Scores of all points together."""
        return cloud_scores(joined_distances(self.distances))

    def occupancy(self) -> OccupancyScores:
        """Scores of all voxels together."""
        return occupancy_scores(self.counts)
