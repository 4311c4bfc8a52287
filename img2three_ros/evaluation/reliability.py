"""Is confidence what it says it is: the probability that a depth is within 25 % of the truth?

Reliability diagram and expected calibration error as in Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, eq. 3 and 5, over the pixels where a depth was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .depth_metrics import DELTA, HitPixels

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Given depths with a confidence from ``low`` to ``high``.

    confidence: their mean; right: share with max(d / t, t / d) < 1.25; both NaN where there are none. count: pixels.
    """

    low: float
    high: float
    confidence: float
    right: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """bins: ten of equal width over 0..1. calibration_error: mean of |right - confidence| over the bins, weighted by
    their pixels; overconfidence: the same of confidence - right, so that its sign says which way. NaN without pixels.
    """

    bins: tuple[ReliabilityBin, ...]
    calibration_error: float
    overconfidence: float


def reliability(hits: HitPixels) -> Reliability:
    """Of all pixels where a depth was given."""
    given = np.isfinite(hits.prediction)
    confidence = hits.confidence[given]
    right = np.abs(np.log(hits.prediction[given] / hits.truth[given])) < np.log(DELTA)
    number = np.clip((confidence * BINS).astype(np.intp), 0, BINS - 1)
    count = np.bincount(number, minlength=BINS)
    sums = (np.bincount(number, weights=values, minlength=BINS) for values in (confidence, right.astype(np.float64)))
    mean, share = (np.divide(total, count, out=np.full(BINS, np.nan), where=count > 0) for total in sums)
    return _summary([ReliabilityBin(index / BINS, (index + 1) / BINS, float(mean[index]), float(share[index]),
                                    int(count[index])) for index in range(BINS)])


def pooled(parts: Sequence[Reliability]) -> Reliability:
    """Of all pixels of several cameras together."""
    if not parts:
        return _summary([ReliabilityBin(index / BINS, (index + 1) / BINS, np.nan, np.nan, 0) for index in range(BINS)])
    return _summary([_pooled_bin(bins) for bins in zip(*(part.bins for part in parts), strict=True)])


def _pooled_bin(bins: Sequence[ReliabilityBin]) -> ReliabilityBin:
    filled = [found for found in bins if found.count]
    count = sum(found.count for found in filled)

    def mean(name: str) -> float:
        return sum(getattr(found, name) * found.count for found in filled) / count if count else float("nan")

    return ReliabilityBin(bins[0].low, bins[0].high, mean("confidence"), mean("right"), count)


def _summary(bins: Sequence[ReliabilityBin]) -> Reliability:
    filled = [found for found in bins if found.count]
    count = sum(found.count for found in filled)
    if not count:
        return Reliability(tuple(bins), float("nan"), float("nan"))
    gaps = [(found.count / count, found.confidence - found.right) for found in filled]
    return Reliability(tuple(bins), float(sum(share * abs(gap) for share, gap in gaps)),
                       float(sum(share * gap for share, gap in gaps)))
