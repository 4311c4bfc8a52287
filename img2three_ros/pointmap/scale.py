"""How long a metre is in an aligned scene, from whatever knows: baselines, odometry, LiDAR, a metric network.

Every source gives a factor (metres per world unit) with what it leaves over, so that sources can be compared, combined
and doubted. ``AlignedScene.rescaled`` applies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..structures import InputError, Matrix
from .scene import AlignedScene

_MAD = 1.4826
_LEAST_POINTS = 20
_FEW = 0.05  # relative deviation that one or two measurements are given, which cannot show their own


@dataclass(frozen=True)
class ScaleEstimate:
    """metres: per world unit. residual: robust relative spread of single measurements around it, 0 = they agree.

    uncertainty: relative standard deviation of ``metres`` itself. count: measurements. source: what they were.
    """

    metres: float
    residual: float
    uncertainty: float
    count: int
    source: str


def scale_from_baselines(scene: AlignedScene, T_metric_camera: Sequence[Matrix | None],
                         least_baseline: float = 0.05, source: str = "camera baselines") -> ScaleEstimate:
    """From known distances between camera centres, metres: of a calibrated rig, or of odometry (None = not known).

    Only distances count, so the two frames need not agree. Long baselines count more (weight = length). Raises
    InputError('degenerate_baseline') if no two known centres are ``least_baseline`` metres apart, or the scene puts
    them on one spot.
    """
    known = [image for image, pose in enumerate(T_metric_camera) if pose is not None]
    metric = np.array([pose[:3, 3] for pose in T_metric_camera if pose is not None]).reshape(-1, 3)
    ours = scene.cameras[known, :3, 3]
    one, two = np.triu_indices(len(known), 1)
    metres = np.linalg.norm(metric[one] - metric[two], axis=1)
    units = np.linalg.norm(ours[one] - ours[two], axis=1)
    smallest = 1e-9 * float(np.nanmedian(scene.depth[0]))
    far = (metres >= least_baseline) & (units > smallest)
    if not far.any():
        longest = f"{metres.max():.3f} m at most" if len(metres) else "fewer than two are known"
        raise InputError("degenerate_baseline", f"the cameras lie too close together to give a scale ({longest}; "
                         f"{least_baseline:.2f} m wanted): use LiDAR, odometry over a longer way, or a metric network")
    return _estimate(metres[far] / units[far], metres[far], source, independent=len(known) - 1)


def scale_from_odometry(scene: AlignedScene, T_odom_camera: Sequence[Matrix | None]) -> ScaleEstimate:
    """From the way between exposures: poses of the cameras in ``odom``, metres. See ``scale_from_baselines``."""
    return scale_from_baselines(scene, T_odom_camera, least_baseline=0.2, source="odometry")


def scale_from_lidar(scene: AlignedScene, points: Sequence[NDArray[np.floating] | None]) -> ScaleEstimate:
    """From LiDAR points (N, 3) in the optical frame of each camera, metres (None = none for this image).

    A point is compared with the depth of the pixel that it falls on; the median is for hidden points and edges.
    """
    ratios, weights = [], []
    for image, cloud in enumerate(points):
        if cloud is None or not len(cloud):
            continue
        cloud = np.asarray(cloud, dtype=np.float64)[np.asarray(cloud)[:, 2] > 0.1]
        pixels = cloud @ scene.intrinsics[image].T
        u, v = (np.rint(pixels[:, k] / pixels[:, 2]).astype(np.int64) for k in (0, 1))
        height, width = scene.depth[image].shape
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        u, v, metres = u[inside], v[inside], cloud[inside, 2]
        ratios.append(metres / scene.depth[image][v, u])
        weights.append(np.log(np.maximum(scene.confidence[image][v, u], 1.0)))
    return _from_depth(ratios, weights, "LiDAR")


def scale_from_metric_depth(scene: AlignedScene, depth: Sequence[NDArray[np.floating] | None]) -> ScaleEstimate:
    """From depth images (H, W) in metres of a metric network or sensor, NaN = unknown (None = none for this image)."""
    ratios, weights = [], []
    for image, metric in enumerate(depth):
        if metric is not None:
            ratios.append((metric / scene.depth[image]).ravel())
            weights.append(np.log(np.maximum(scene.confidence[image], 1.0)).ravel())
    return _from_depth(ratios, weights, "metric depth")


def scale_from_metric_pairs(scene: AlignedScene) -> ScaleEstimate:
    """From the pairs themselves, if the network that made them is metric (MASt3R metric, MapAnything).

    Both orders of a pair show the network the same two images: they count as one independent measurement.
    """
    scales = np.cbrt(np.linalg.det(scene.pair_similarity[scene.pair_used][:, :3, :3]))
    return _estimate(1.0 / scales, np.ones(len(scales)), "a metric network", independent=max(1, len(scales) // 2))


def combined_scale(estimates: Sequence[ScaleEstimate]) -> tuple[ScaleEstimate, tuple[str, ...]]:
    """The weighted mean of several sources, and a note for every one that lies more than three deviations off it."""
    if not estimates:
        raise InputError("no_scale", "nothing says how long a metre is: give baselines, odometry, LiDAR or metric "
                         "depth")
    logs = np.log([estimate.metres for estimate in estimates])
    deviations = np.array([max(estimate.uncertainty, 1e-3) for estimate in estimates])
    weights = deviations ** -2
    mean = float((weights * logs).sum() / weights.sum())
    notes = tuple(f"scale from {estimate.source} is {100 * (np.exp(log - mean) - 1):+.1f} % off the others"
                  for estimate, log, deviation in zip(estimates, logs, deviations, strict=True)
                  if abs(log - mean) > 3.0 * deviation)
    spread = float(np.sqrt((weights * (logs - mean) ** 2).sum() / weights.sum()))
    return ScaleEstimate(float(np.exp(mean)), spread, float(weights.sum() ** -0.5),
                         sum(estimate.count for estimate in estimates),
                         " + ".join(estimate.source for estimate in estimates)), notes


def _from_depth(ratios: Sequence[NDArray[np.floating]], weights: Sequence[NDArray[np.floating]],
                source: str) -> ScaleEstimate:
    ratio, weight = np.concatenate([*ratios, np.zeros(0)]), np.concatenate([*weights, np.zeros(0)])
    good = np.isfinite(ratio) & (ratio > 0) & (weight > 0)
    if good.sum() < _LEAST_POINTS:
        raise InputError("no_scale", f"only {int(good.sum())} pixels have both a confident depth and {source}: "
                         f"{_LEAST_POINTS} are the least")
    return _estimate(ratio[good], weight[good], source, independent=max(1, int(good.sum()) // 10))


def _estimate(ratios: NDArray[np.float64], weights: NDArray[np.float64], source: str,
              independent: int) -> ScaleEstimate:
    logs = np.log(ratios)
    centre = _weighted_median(logs, weights)
    spread = _MAD * _weighted_median(np.abs(logs - centre), weights)
    doubt = spread if len(ratios) > 2 else max(spread, _FEW)
    return ScaleEstimate(float(np.exp(centre)), float(spread), float(doubt / max(independent, 1) ** 0.5), len(ratios),
                         source)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, 0.5 * share[-1])])
