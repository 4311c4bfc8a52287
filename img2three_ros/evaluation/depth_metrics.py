"""Depth against LiDAR: accuracy over every pixel a LiDAR point hits, and how well confidence tells good from bad.

*all* are the hit pixels where a depth was given. *best 80 %* and *best 60 %* are the most confident that share of
ALL hit pixels; a missing depth counts as least confident. Where a share reaches into missing depths these count
as AbsRel 1, a miss of δ < 1.25 and an error of the whole distance (as if 0 m had been given); SILog, which has no
value there, is taken over the given ones. So refusing to answer is never rewarded beyond the share left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import apply, inverse
from ..structures import CameraCalibration, DepthImage, Matrix

MIN_DEPTH, MAX_DEPTH = 3.0, 60.0
MIN_PROJECTED = 0.1
BANDS = ((3.0, 10.0), (10.0, 20.0), (20.0, 40.0), (40.0, 60.0))
SHARES = tuple(step / 10.0 for step in range(1, 11))
DELTA = 1.25
TIE_SEED = 0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DepthScores:
    """abs_rel: mean |d - t| / t. silog: 100 · sqrt(mean g² - mean(g)²), g = ln d - ln t (Eigen et al. 2014, eq. 1
    with λ = 1; the root and the 100 as in the KITTI benchmark). rmse: metres. delta: share with
    max(d / t, t / d) < 1.25. coverage: share of the pixels with a depth given. pixels: how many were looked at.
    """

    abs_rel: float
    silog: float
    rmse: float
    delta: float
    coverage: float
    pixels: int


@dataclass(frozen=True)
class SelectionScores:
    """Scores of the three selections of the module's first lines."""

    all: DepthScores
    best_80: DepthScores
    best_60: DepthScores


@dataclass(frozen=True)
class RiskPoint:
    """One point of the risk-coverage curve: errors of the most confident ``coverage`` of all hit pixels."""

    coverage: float
    abs_rel: float
    miss: float


@dataclass(frozen=True, eq=False)
class HitPixels:
    """The pixels LiDAR points hit. truth, prediction (NaN = missing) and confidence: (N,) float64, metres and 0..1."""

    truth: Floats
    prediction: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> HitPixels:
        """The pixels where ``keep`` (N,) bool or indices."""
        return HitPixels(self.truth[keep], self.prediction[keep], self.confidence[keep])


@dataclass(frozen=True, eq=False)
class Projection:
    """Pixels that points hit: row, column and depth (M,) metres; index (M,) of the point in the array given."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    depth: Floats
    index: NDArray[np.intp]

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Projection:
        """The pixels where ``keep`` (M,) bool or indices."""
        return Projection(self.row[keep], self.column[keep], self.depth[keep], self.index[keep])


def project(points: NDArray[np.floating], T_base_camera: Matrix, calibration: CameraCalibration) -> Projection:
    """Where points (N, 3) in ``base_link`` fall in an image; points behind the camera or outside are left out.

    ``calibration`` must be an undistorted pinhole; ``T_base_camera`` belongs to the same instant as the points.
    """
    camera = apply(inverse(T_base_camera), points.astype(np.float64))
    ahead = np.flatnonzero(np.isfinite(camera).all(axis=1) & (camera[:, 2] > MIN_PROJECTED))
    projected = camera[ahead] @ calibration.intrinsics.T
    pixel = np.floor(projected[:, :2] / projected[:, 2:] + 0.5)
    inside = ((pixel >= 0) & (pixel < (calibration.width, calibration.height))).all(axis=1)
    column, row = pixel[inside].astype(np.intp).T
    return Projection(row, column, camera[ahead[inside], 2], ahead[inside])


def project_nearest(points: NDArray[np.floating], T_base_camera: Matrix, calibration: CameraCalibration,
                    ) -> Projection:
    """``project``, but only the nearest point of each pixel."""
    hits = project(points, T_base_camera, calibration)
    order = np.argsort(hits.depth, kind="stable")
    _, first = np.unique((hits.row * calibration.width + hits.column)[order], return_index=True)
    return hits.select(order[first])


def lidar_hits(depth_image: DepthImage, points: NDArray[np.floating]) -> Projection:
    """The pixels of a depth image that count: 3 to 60 m, the nearest point of a pixel taken before that limit.

    points (N, 3) in ``base_link`` at the image's reference stamp.
    """
    hits = project_nearest(points, depth_image.T_base_camera, depth_image.calibration)
    return hits.select((hits.depth >= MIN_DEPTH) & (hits.depth <= MAX_DEPTH))


def hit_pixels(depth_image: DepthImage, hits: Projection) -> HitPixels:
    """What a depth image says at the pixels of ``lidar_hits``."""
    return hits_from_arrays(hits.depth, depth_image.depth[hits.row, hits.column],
                            depth_image.confidence[hits.row, hits.column])


def hits_from_arrays(
    truth: NDArray[np.floating], prediction: NDArray[np.floating], confidence: NDArray[np.floating],
) -> HitPixels:
    """Hit pixels from arrays (N,); a prediction that is not finite and positive becomes NaN, its confidence 0."""
    given = np.isfinite(prediction) & (prediction > 0)
    return HitPixels(np.asarray(truth, dtype=np.float64),
                     np.where(given, prediction, np.nan).astype(np.float64),
                     np.where(given, np.nan_to_num(confidence), 0.0).astype(np.float64))


def joined(parts: Iterable[HitPixels]) -> HitPixels:
    """All hit pixels of several instants as one."""
    listed = list(parts) or [HitPixels(*(np.zeros(0) for _ in range(3)))]
    return HitPixels(*(np.concatenate([getattr(part, name) for part in listed])
                       for name in ("truth", "prediction", "confidence")))


def most_confident(hits: HitPixels, share: float) -> HitPixels:
    """The most confident ``share`` (0..1) of all hit pixels, missing depths last; ties are drawn by a fixed seed."""
    count = round(share * len(hits))
    shuffled = np.random.default_rng(TIE_SEED).permutation(len(hits))
    rank = np.where(np.isnan(hits.prediction), -1.0, hits.confidence)[shuffled]
    return hits.select(shuffled[np.argsort(-rank, kind="stable")[:count]])


def scores(hits: HitPixels) -> DepthScores:
    """Scores over all given pixels; missing depths count as described at the top. NaN where there are none."""
    if not len(hits):
        return DepthScores(np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    given = np.isfinite(hits.prediction)
    value = np.where(given, hits.prediction, 0.0)
    error = np.abs(value - hits.truth)
    log = np.log(hits.prediction[given]) - np.log(hits.truth[given])
    silog = 100.0 * float(np.sqrt(max(np.mean(log**2) - np.mean(log) ** 2, 0.0))) if len(log) else np.nan
    near = np.zeros(len(hits), dtype=bool)
    near[given] = np.abs(log) < np.log(DELTA)
    return DepthScores(float(np.mean(error / hits.truth)), silog, float(np.sqrt(np.mean(error**2))),
                       float(near.mean()), float(given.mean()), len(hits))


def selection_scores(hits: HitPixels) -> SelectionScores:
    """*all*, *best 80 %* and *best 60 %* of these pixels; coverage of *all* is the share of hits with a depth."""
    everything = scores(hits.select(np.isfinite(hits.prediction)))
    coverage = float(np.isfinite(hits.prediction).mean()) if len(hits) else np.nan
    given = DepthScores(everything.abs_rel, everything.silog, everything.rmse, everything.delta, coverage, len(hits))
    return SelectionScores(given, scores(most_confident(hits, 0.8)), scores(most_confident(hits, 0.6)))


def band_scores(hits: HitPixels) -> dict[str, SelectionScores]:
    """Selections of each range band of the true depth, keyed ``3_10``, ``10_20``, ``20_40``, ``40_60`` (metres)."""
    return {f"{low:.0f}_{high:.0f}": selection_scores(hits.select(
        (hits.truth >= low) & ((hits.truth < high) | ((high == MAX_DEPTH) & (hits.truth == high)))))
        for low, high in BANDS}


def risk_coverage(hits: HitPixels) -> tuple[RiskPoint, ...]:
    """AbsRel and 1 - δ of the most confident 10 % ... 100 % of all hit pixels (missing ones included)."""
    parts = ((share, scores(most_confident(hits, share))) for share in SHARES)
    return tuple(RiskPoint(share, part.abs_rel, 1.0 - part.delta) for share, part in parts)


def mean_scores(parts: Iterable[SelectionScores]) -> SelectionScores:
    """Mean over cameras of each score (cameras without a value left out); pixels are added."""
    listed = list(parts)
    return SelectionScores(*(_mean([getattr(part, name) for part in listed])
                             for name in ("all", "best_80", "best_60")))


def _mean(parts: list[DepthScores]) -> DepthScores:
    def of(name: str) -> float:
        values = [getattr(part, name) for part in parts]
        finite = [value for value in values if np.isfinite(value)]
        return float(np.mean(finite)) if finite else float("nan")

    return DepthScores(of("abs_rel"), of("silog"), of("rmse"), of("delta"), of("coverage"),
                       sum(part.pixels for part in parts))
