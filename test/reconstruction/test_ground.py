"""The ground model on planes, slopes and streets with things on them."""

import numpy as np
import pytest

from img2three_ros.reconstruction.ground import REACH, estimate_ground, flat_ground, ground_under
from img2three_ros.structures import OccupancyVolume

RNG = np.random.default_rng(0)


def surface(height, count=40000, noise=0.03, reach=30.0):
    xy = RNG.uniform(-reach, reach, (count, 2))
    z = height(xy) + RNG.normal(0.0, noise, count)
    return np.column_stack((xy, z)).astype(np.float32)


def flat(xy):
    return np.zeros(len(xy))


def slope(xy):
    return 0.06 * xy[:, 0] - 0.03 * xy[:, 1]


def crest(xy):
    return -0.0012 * np.square(xy[:, 0])


@pytest.mark.parametrize("height", [flat, slope, crest])
def test_height_of_known_surfaces(height):
    ground = estimate_ground(surface(height))
    xy = RNG.uniform(-25, 25, (500, 2))
    error = ground.height(xy) - height(xy)
    assert np.abs(error).max() < 0.2 and np.sqrt(np.mean(np.square(error))) < 0.08


@pytest.mark.parametrize("height", [flat, slope])
def test_cars_and_walls_on_the_ground_are_not_ground(height):
    points = surface(height)
    car = (np.abs(points[:, 0] - 8.0) < 2.2) & (np.abs(points[:, 1] - 3.0) < 1.0)
    points[car, 2] += 1.4
    wall_xy = np.column_stack((RNG.uniform(-30, 30, 20000), np.full(20000, 12.0)))
    wall = np.column_stack((wall_xy, height(wall_xy) + RNG.uniform(0, 6, 20000))).astype(np.float32)
    points = np.concatenate((points[points[:, 1] < 12.0], wall))
    ground = estimate_ground(points)
    xy = np.column_stack((RNG.uniform(-25, 25, 500), RNG.uniform(-25, 11, 500)))
    assert np.abs(ground.height(xy) - height(xy)).max() < 0.25
    on_car = points[(np.abs(points[:, 0] - 8.0) < 2.0) & (np.abs(points[:, 1] - 3.0) < 0.8)]
    assert (on_car[:, 2] - ground.height(on_car[:, :2]) > 1.0).all()


def test_outliers_below_and_low_confidence_do_not_pull_it_down():
    points = surface(flat)
    deep = np.column_stack((RNG.uniform(-30, 30, (4000, 2)), RNG.uniform(-6, -1, 4000))).astype(np.float32)
    both = np.concatenate((points, deep))
    xy = RNG.uniform(-25, 25, (300, 2))
    assert np.abs(estimate_ground(both).height(xy)).max() < 0.2
    confidence = np.concatenate((np.ones(len(points)), np.zeros(len(deep))))
    assert np.abs(estimate_ground(both, confidence).height(xy)).max() < 0.15


def test_nothing_to_go_by_is_the_plane_of_the_vehicle():
    for points in (np.zeros((0, 3), np.float32), np.full((100, 3), np.nan, np.float32),
                   np.column_stack((RNG.uniform(-5, 5, (50, 2)), np.full(50, 30.0)))):
        ground = estimate_ground(points)
        assert ground.support == 0
        assert (ground.height(RNG.uniform(-50, 50, (20, 2))) == 0.0).all()


def test_a_wall_alone_does_not_become_the_ground():
    wall = np.column_stack((np.full(5000, 10.0), RNG.uniform(-10, 10, 5000), RNG.uniform(1.0, 4.0, 5000)))
    height = estimate_ground(wall).height(np.array([[0.0, 0.0], [5.0, 0.0], [10.0, 0.0]]))
    assert np.abs(height).max() < 0.8


def test_beyond_the_reach_it_continues():
    ground = estimate_ground(surface(slope))
    far = np.array([[REACH + 40.0, 0.0], [0.0, -REACH - 40.0]])
    assert np.allclose(ground.height(far), slope(far), atol=0.8)


def test_height_keeps_the_shape_and_nan():
    heights = flat_ground().height(np.array([[[0.0, 0.0], [np.nan, 1.0]]]))
    assert heights.shape == (1, 2) and heights[0, 0] == 0.0 and np.isnan(heights[0, 1])


def test_ground_under_a_volume():
    volume = OccupancyVolume(np.zeros((2, 3, 4), np.int8), np.full((2, 3, 4), 0.5, np.float32),
                             np.array((0.0, 10.0, -1.0)), 0.5)
    under = ground_under(volume, estimate_ground(surface(slope, noise=0.0))).ground
    assert under is not None and under.shape == (3, 4)
    assert under[0, 0] == pytest.approx(0.06 * 0.25 - 0.03 * 10.25, abs=0.1)
