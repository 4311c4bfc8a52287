"""Point distances of clouds that are planes."""

import math

import numpy as np
import pytest

from img2three_ros.evaluation.cloud_metrics import (
    MAX_POINTS,
    cloud_distances,
    cloud_scores,
    joined_distances,
    seen_by_cameras,
)
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.structures import CameraCalibration, DepthImage


def wall(x: float, half: float = 3.0, step: float = 0.1):
    y, z = np.meshgrid(np.arange(-half, half, step), np.arange(0, 2, step))
    return np.column_stack((np.full(y.size, x), y.ravel(), z.ravel()))


def test_a_wall_put_too_far_by_30_cm_passes_at_40_and_fails_at_20():
    lidar = wall(10.0)
    found = cloud_scores(cloud_distances(wall(10.3), lidar, lidar))
    assert found.accuracy == pytest.approx(0.3) and found.completeness == pytest.approx(0.3)
    assert (found.at["0_2"].precision, found.at["0_2"].recall, found.at["0_2"].f_score) == (0.0, 0.0, 0.0)
    assert (found.at["0_4"].precision, found.at["0_4"].recall, found.at["0_4"].f_score) == (1.0, 1.0, 1.0)


def test_half_a_wall_is_precise_and_half_complete():
    lidar = wall(10.0)
    half = lidar[lidar[:, 1] < -1e-9]
    found = cloud_scores(cloud_distances(half, lidar, lidar)).at["0_2"]
    # Of the missing half, the columns at 0.0 and 0.1 m still have a neighbour nearer than 0.2 m, at -0.1 m.
    recall = (30 + 1) / 60
    assert found.precision == 1.0
    assert found.recall == pytest.approx(recall, abs=1.1 / 60)
    assert found.f_score == pytest.approx(2 * found.recall / (1 + found.recall))


def test_invisible_lidar_points_cost_no_completeness_but_confirm_points():
    lidar = np.concatenate((wall(10.0), wall(-10.0)))
    found = cloud_scores(cloud_distances(lidar, lidar, wall(10.0))).at["0_2"]
    assert (found.precision, found.recall) == (1.0, 1.0)


def test_points_beyond_the_range_or_not_finite_do_not_count():
    far = np.array([[41.0, 0, 0], [np.nan, 0, 0], [30.0, 30.0, 0.0]])
    found = cloud_distances(np.concatenate((wall(10.0), far)), wall(10.0), wall(10.0))
    assert len(found.to_lidar) == len(wall(10.0))


def test_nothing_reconstructed_is_nothing_complete():
    found = cloud_scores(cloud_distances(np.zeros((0, 3)), wall(10.0), wall(10.0)))
    assert found.at["0_4"].recall == 0.0 and math.isnan(found.at["0_4"].precision)
    assert math.isnan(cloud_scores(joined_distances([])).accuracy)


def test_large_clouds_are_sampled_always_alike():
    cloud = np.random.default_rng(0).uniform(-20, 20, (MAX_POINTS + 5000, 3))
    once, again = (cloud_distances(cloud, wall(10.0), wall(10.0)) for _ in range(2))
    assert len(once.to_lidar) == MAX_POINTS and np.array_equal(once.to_lidar, again.to_lidar)


def test_visible_is_what_falls_into_an_image():
    camera = CameraCalibration(20, 10, np.array([[10.0, 0, 9.5], [0, 10.0, 4.5], [0, 0, 1]]))
    image = DepthImage("front", 0, np.zeros((10, 20, 3), np.uint8), np.zeros((10, 20), np.float32),
                       np.zeros((10, 20), np.float32), camera, from_xyz_rpy((0, 0, 1)) @ T_BASE_OPTICAL)
    points = np.array([[10.0, 0, 1], [-10.0, 0, 1], [20.0, 0, 1], [10.0, 15, 1]])
    assert seen_by_cameras(points, [image]).tolist() == [True, False, True, False]
    assert not seen_by_cameras(points, []).any()
