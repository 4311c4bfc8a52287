"""Depth against exact truth of the same camera, as a simulator gives it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..structures import DepthImage
from .depth_metrics import MAX_DEPTH, MIN_DEPTH, HitPixels, SelectionScores, hits_from_arrays, selection_scores


def truth_hits(prediction: DepthImage, truth_depth: NDArray[np.floating]) -> HitPixels:
    """Every pixel of ``prediction`` with a true depth of 3 to 60 m.

    truth_depth: (H, W) metres along the optical axis at the image's own stamp, of the same undistorted camera at
    any size (the nearest truth pixel is taken; not finite or <= 0 = nothing there, such as sky).
    """
    height, width = prediction.depth.shape
    rows, columns = (np.minimum(((np.arange(size) + 0.5) * given / size).astype(np.intp), given - 1)
                     for size, given in zip((height, width), truth_depth.shape, strict=True))
    truth = truth_depth[np.ix_(rows, columns)]
    counts = np.isfinite(truth) & (truth >= MIN_DEPTH) & (truth <= MAX_DEPTH)
    return hits_from_arrays(truth[counts], prediction.depth[counts], prediction.confidence[counts])


def depth_scores(prediction: DepthImage, truth_depth: NDArray[np.floating]) -> SelectionScores:
    """*all*, *best 80 %* and *best 60 %* of one depth image against exact truth; see ``truth_hits``."""
    return selection_scores(truth_hits(prediction, truth_depth))
