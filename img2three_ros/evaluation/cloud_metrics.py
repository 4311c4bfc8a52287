"""Points against LiDAR points: how near the cloud lies to real surfaces, and how much of them it covers.

LiDAR is sparse: a correct point between two scan lines has a neighbour only as near as the lines are apart, so
accuracy is a bound from above. Only LiDAR points that at least one contributing camera could have seen count for
completeness.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..structures import DepthImage
from .depth_metrics import project

THRESHOLDS = (0.2, 0.4)
MAX_RANGE = 40.0
MAX_POINTS = 60_000
SAMPLE_SEED = 0

Points = NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceScores:
    """At one distance threshold: precision (share of cloud points that near to LiDAR), recall (share of LiDAR points
    that near to the cloud) and their harmonic mean (F-score of Knapitsch et al., Tanks and Temples, 2017)."""

    precision: float
    recall: float
    f_score: float


@dataclass(frozen=True)
class CloudScores:
    """accuracy: median distance cloud -> LiDAR, metres; completeness: median distance LiDAR -> cloud, metres.

    at: scores by threshold, keyed ``0_2`` and ``0_4`` (metres). points, lidar_points: how many were compared.
    """

    accuracy: float
    completeness: float
    points: int
    lidar_points: int
    at: dict[str, SurfaceScores] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CloudDistances:
    """Distances of one or more instants: to_lidar (N,) of cloud points, to_cloud (M,) of LiDAR points, metres."""

    to_lidar: Points
    to_cloud: Points


def seen_by_cameras(points: NDArray[np.floating], depth_images: Iterable[DepthImage]) -> NDArray[np.bool_]:
    """(N,) True for points (N, 3) in ``base_link`` that fall into at least one camera's image."""
    seen = np.zeros(len(points), dtype=bool)
    for image in depth_images:
        seen[project(points, image.T_base_camera, image.calibration).index] = True
    return seen


def cloud_distances(cloud: NDArray[np.floating], lidar: NDArray[np.floating], visible_lidar: NDArray[np.floating],
                    ) -> CloudDistances:
    """Nearest distances within 40 m (horizontal): cloud (N, 3) to all of ``lidar``, ``visible_lidar`` to the cloud.

    Larger sets are sampled with a fixed seed to 60,000 points before asking; the sets searched are whole.
    """
    cloud, lidar, visible = (_within_range(points) for points in (cloud, lidar, visible_lidar))
    return CloudDistances(_nearest(_sampled(cloud), lidar), _nearest(_sampled(visible), cloud))


def joined_distances(parts: Iterable[CloudDistances]) -> CloudDistances:
    """Distances of several instants as one."""
    listed = list(parts) or [CloudDistances(np.zeros(0), np.zeros(0))]
    return CloudDistances(np.concatenate([part.to_lidar for part in listed]),
                          np.concatenate([part.to_cloud for part in listed]))


def cloud_scores(distances: CloudDistances) -> CloudScores:
    """Scores from distances; NaN where a side has no points."""
    at = {f"{limit:.1f}".replace(".", "_"): _surface_scores(distances, limit) for limit in THRESHOLDS}
    return CloudScores(_median(distances.to_lidar), _median(distances.to_cloud),
                       len(distances.to_lidar), len(distances.to_cloud), at)


def _surface_scores(distances: CloudDistances, limit: float) -> SurfaceScores:
    precision, recall = (float(np.mean(side < limit)) if len(side) else float("nan")
                         for side in (distances.to_lidar, distances.to_cloud))
    total = precision + recall
    return SurfaceScores(precision, recall, 2.0 * precision * recall / total if total > 0 else total)


def _within_range(points: NDArray[np.floating]) -> Points:
    points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
    return points[np.hypot(points[:, 0], points[:, 1]) <= MAX_RANGE]


def _sampled(points: Points) -> Points:
    if len(points) <= MAX_POINTS:
        return points
    return points[np.random.default_rng(SAMPLE_SEED).choice(len(points), MAX_POINTS, replace=False)]


def _nearest(points: Points, surface: Points) -> Points:
    if not len(surface):
        return np.full(len(points), np.inf)
    return np.asarray(KDTree(surface).query(points, workers=-1)[0])


def _median(values: Points) -> float:
    return float(np.median(values)) if len(values) else float("nan")
