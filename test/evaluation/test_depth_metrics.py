"""Depth scores against hand-computed values."""

import math

import numpy as np
import pytest

from img2three_ros.evaluation.depth_metrics import (
    band_scores,
    hits_from_arrays,
    joined,
    lidar_hits,
    mean_scores,
    most_confident,
    project,
    project_nearest,
    risk_coverage,
    scores,
    selection_scores,
)
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.structures import CameraCalibration, DepthImage


def hits(truth, prediction, confidence=None):
    confidence = np.ones(len(truth)) if confidence is None else confidence
    return hits_from_arrays(np.array(truth, float), np.array(prediction, float), np.array(confidence, float))


def test_scores_of_four_pixels():
    found = scores(hits([10, 10, 20, 40], [11, 8, 20, 60]))
    assert found.abs_rel == pytest.approx((0.1 + 0.2 + 0.0 + 0.5) / 4)
    assert found.rmse == pytest.approx(math.sqrt((1 + 4 + 0 + 400) / 4))
    # 10 / 8 = 1.25 is not below 1.25, 60 / 40 = 1.5 is not either.
    assert found.delta == pytest.approx(0.5)
    assert found.coverage == 1.0 and found.pixels == 4


def test_silog_is_the_root_of_eigens_scale_invariant_error():
    truth, prediction = np.array([5.0, 12.0, 30.0]), np.array([6.0, 11.0, 45.0])
    g = np.log(prediction) - np.log(truth)
    n = len(g)
    # Eigen et al. 2014, eq. 2: mean over all pairs of the squared difference of log errors, halved.
    pairs = sum((g[i] - g[j]) ** 2 for i in range(n) for j in range(n)) / (2 * n**2)
    assert scores(hits(truth, prediction)).silog == pytest.approx(100 * math.sqrt(pairs))


def test_silog_ignores_scale():
    truth = np.linspace(4, 50, 30)
    assert scores(hits(truth, 1.7 * truth)).silog == pytest.approx(0.0, abs=1e-5)


def test_missing_depths_count_in_a_share_that_reaches_them_and_not_in_all():
    nan = float("nan")
    # Ten pixels of 10 m: five right and confident, two 50 % off and less confident, three missing.
    found = selection_scores(hits([10.0] * 10, [10.0] * 5 + [15.0] * 2 + [nan] * 3,
                                  [0.9] * 5 + [0.4] * 2 + [nan] * 3))
    assert found.all.abs_rel == pytest.approx(2 * 0.5 / 7)
    assert found.all.delta == pytest.approx(5 / 7)
    assert found.all.coverage == pytest.approx(0.7) and found.all.pixels == 10
    # 60 %: five right, one 50 % off. 80 %: five right, two 50 % off, one missing.
    assert found.best_60.abs_rel == pytest.approx(0.5 / 6)
    assert found.best_60.delta == pytest.approx(5 / 6)
    assert found.best_80.abs_rel == pytest.approx((2 * 0.5 + 1.0) / 8)
    assert found.best_80.delta == pytest.approx(5 / 8)
    assert found.best_80.coverage == pytest.approx(7 / 8)
    assert found.best_80.rmse == pytest.approx(math.sqrt((2 * 25 + 100) / 8))


@pytest.mark.parametrize("useless", [0.0, -3.0, float("inf"), float("nan")])
def test_a_useless_depth_is_a_missing_one_however_confident(useless):
    found = hits([10.0, 20.0], [useless, 20.0], [1.0, 0.0])
    assert np.isnan(found.prediction[0])
    assert most_confident(found, 0.5).truth.tolist() == [20.0]


def test_a_given_depth_without_confidence_still_comes_before_a_missing_one():
    found = hits([10.0, 20.0], [float("nan"), 20.0], [0.0, float("nan")])
    assert most_confident(found, 0.5).truth.tolist() == [20.0]


def test_ties_of_confidence_are_not_drawn_in_the_order_of_pixels():
    found = hits(np.arange(1.0, 1001.0), np.arange(1.0, 1001.0))
    best = most_confident(found, 0.5)
    assert 450 < best.truth.mean() < 550
    assert np.array_equal(best.truth, most_confident(found, 0.5).truth)


def test_no_pixels_give_no_values():
    found = selection_scores(hits([], []))
    assert math.isnan(found.all.abs_rel) and math.isnan(found.best_60.delta) and found.all.pixels == 0


def test_bands_split_by_true_depth_and_keep_both_ends():
    found = band_scores(hits([3.0, 9.9, 10.0, 39.0, 40.0, 60.0], [3.0, 9.9, 20.0, 39.0, 40.0, 60.0]))
    assert [band.all.pixels for band in found.values()] == [2, 1, 1, 2]
    assert found["10_20"].all.abs_rel == pytest.approx(1.0)
    assert found["40_60"].all.abs_rel == 0.0


def test_risk_grows_with_coverage_when_confidence_is_honest():
    error = np.linspace(0.0, 0.9, 200)
    curve = risk_coverage(hits(np.full(200, 10.0), 10.0 * (1 + error), 1 - error))
    assert [point.coverage for point in curve] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert np.all(np.diff([point.abs_rel for point in curve]) > 0)
    assert curve[-1].abs_rel == pytest.approx(error.mean())
    assert curve[-1].miss == pytest.approx(np.mean(error >= 0.25))


def test_mean_is_over_cameras_not_over_pixels():
    many, few = selection_scores(hits([10.0] * 99, [10.0] * 99)), selection_scores(hits([10.0], [20.0]))
    nothing = selection_scores(hits([], []))
    found = mean_scores([many, few, nothing])
    assert found.all.abs_rel == pytest.approx(0.5) and found.all.pixels == 100


def test_instants_are_pooled():
    both = joined([hits([10.0], [10.0]), hits([20.0], [40.0])])
    assert scores(both).abs_rel == pytest.approx(0.5) and len(joined([])) == 0


CAMERA = CameraCalibration(20, 10, np.array([[10.0, 0, 9.5], [0, 10.0, 4.5], [0, 0, 1]]))
POSE = from_xyz_rpy((1.0, 0.0, 2.0)) @ T_BASE_OPTICAL


def test_points_fall_into_the_pixels_pinhole_geometry_says():
    # 10 m ahead of a camera at x = 1, z = 2; 1.5 m to the left is 1.5 pixels to the left of 9.5: pixel 8.
    found = project(np.array([[11.0, 1.5, 2.5], [-5.0, 0.0, 2.0], [11.0, 30.0, 2.0]]), POSE, CAMERA)
    assert (found.row.tolist(), found.column.tolist()) == ([4], [8])
    assert found.depth.tolist() == pytest.approx([10.0]) and found.index.tolist() == [0]


def test_the_nearest_point_of_a_pixel_wins_and_hides_even_from_outside_the_limits():
    behind, front, own_bonnet = [31.0, 1.5, 3.5], [11.0, 0.5, 2.5], [3.0, 0.1, 2.1]
    found = project_nearest(np.array([behind, front]), POSE, CAMERA)
    assert found.depth.tolist() == pytest.approx([10.0])
    depth = np.full((10, 20), 7.0, np.float32)
    image = DepthImage("front", 0, np.zeros((10, 20, 3), np.uint8), depth, depth * 0 + 1, CAMERA, POSE)
    assert lidar_hits(image, np.array([behind, front])).depth.tolist() == pytest.approx([10.0])
    assert len(lidar_hits(image, np.array([behind, front, own_bonnet])).depth) == 0
