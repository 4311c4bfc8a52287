"""Depth against exact truth at another size."""

import numpy as np
import pytest
from evaluation_scene import depth_image

from img2three_ros.evaluation.truth import depth_scores, truth_hits


def test_truth_at_twice_the_size_is_sampled_nearest():
    truth = np.full((80, 128), 10.0, np.float32)
    truth[:, 64:] = 20.0
    found = truth_hits(depth_image("front"), truth)
    assert len(found) == 40 * 64
    assert np.array_equal(found.truth.reshape(40, 64)[:, :32], np.full((40, 32), 10.0))
    assert depth_scores(depth_image("front"), truth).all.abs_rel == pytest.approx(0.25, abs=1e-6)


def test_sky_and_near_things_are_no_truth():
    truth = np.full((40, 64), np.inf, np.float32)
    truth[20], truth[21], truth[22] = 10.0, 2.0, np.nan
    found = depth_scores(depth_image("front"), truth)
    assert found.all.pixels == 64 and found.all.abs_rel == pytest.approx(0.0, abs=1e-6)


def test_same_size_is_taken_pixel_by_pixel():
    truth = np.random.default_rng(0).uniform(3, 60, (40, 64))
    assert np.array_equal(truth_hits(depth_image("front"), truth).truth, truth.ravel())
