"""Occupancy scores on grids small enough to count by hand."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from img2three_ros.evaluation.occupancy_metrics import (
    OccupancyCounts,
    ground_surface,
    lidar_truth,
    occupancy_counts,
    occupancy_scores,
    traversed,
    voxel_indices,
)
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, OccupancyVolume


def volume(state: int | np.ndarray = UNKNOWN, shape=(4, 10, 20), origin=(0.0, -5.0, 0.0), size=1.0):
    grid = np.full(shape, state, np.int8) if isinstance(state, int) else state
    return OccupancyVolume(grid, np.full(grid.shape, 0.5, np.float32), np.array(origin), size)


def dense_samples(origin, end, grid, steps=20001):
    """Voxels a segment passes, by walking along it in tiny steps; not those it only touches from outside."""
    seen = np.zeros(grid.state.shape, bool)
    points = origin + np.linspace(0, 1, steps)[:, None] * (end - origin)
    index, inside = voxel_indices(points, grid)
    # On a face the last bit of a float decides which of two voxels it is: neither answer is wrong.
    on_face = np.abs(points - np.round(points)).min(axis=1) < 1e-9
    seen.reshape(-1)[index[inside & ~on_face]] = True
    return seen


coordinate = st.floats(-30, 40, allow_nan=False)


@settings(max_examples=60, deadline=None)
@example((0.5, -16.630958074763463, 0.5), (0.5, 0.0, 0.5))  # ends on a face
@given(st.tuples(coordinate, coordinate, st.floats(-4, 8)), st.tuples(coordinate, coordinate, st.floats(-4, 8)))
def test_traversal_agrees_with_tiny_steps(origin, end):
    grid = volume()
    origin, end = np.array(origin), np.array(end)
    stepped, found = dense_samples(origin, end, grid), traversed(origin, end[None], grid)
    assert not (stepped & ~found).any()
    # What only the traversal sees are corners cut for less than a step.
    extra = np.argwhere(found & ~stepped)[:, ::-1] + grid.origin
    along = np.linspace(0, 1, 20001)[:, None] * (end - origin) + origin
    for corner in extra:
        distance = np.abs(np.clip(along, corner, corner + 1.0) - along).max(axis=1).min()
        assert distance < 0.01


def test_traversal_of_many_rays_is_the_union_of_single_ones():
    rng = np.random.default_rng(3)
    ends = rng.uniform((-10, -15, -3), (30, 15, 7), (50, 3))
    origin, grid = np.array([2.3, 0.2, 1.7]), volume()
    union = np.any([traversed(origin, end[None], grid) for end in ends], axis=0)
    assert np.array_equal(traversed(origin, ends, grid), union)


def test_traversal_along_an_axis_and_of_nothing():
    grid = volume()
    seen = traversed(np.array([-3.0, 0.5, 1.5]), np.array([[7.5, 0.5, 1.5]]), grid)
    assert np.argwhere(seen).tolist() == [[1, 5, x] for x in range(8)]
    assert traversed(np.array([2.5, 0.5, 1.5]), np.array([[2.5, 0.5, 1.5]]), grid).sum() == 1
    assert not traversed(np.array([-3.0, 20.0, 1.5]), np.array([[7.5, 20.0, 1.5]]), grid).any()
    assert not traversed(np.array([0.0, 0.0, 0.0]), np.zeros((0, 3)), grid).any()


def test_truth_is_free_before_the_return_and_silent_behind_it():
    grid = volume()
    points = np.array([[10.5, 0.5, 1.5], [15.5, 2.5, 0.1]])
    truth = lidar_truth(points, np.array([0.5, 0.5, 1.5]), grid, np.array([True, False]))
    assert np.argwhere(truth.occupied).tolist() == [[1, 5, 10]]
    assert truth.free[1, 5, :10].all() and not truth.free[1, 5, 10:].any()
    # The return on the ground is neither occupied nor free.
    assert not truth.free[0, 7, 15] and not truth.occupied[0, 7, 15]
    assert not (truth.free & truth.occupied).any()


def test_scores_of_counts():
    found = occupancy_scores(OccupancyCounts(6, 1, 3, 2, 10, 8, 200, 3, 150, 100, 1))
    assert found.precision == pytest.approx(6 / 8)
    assert found.recall == pytest.approx(6 / 10)
    assert found.iou == pytest.approx(6 / 12)
    assert found.free_precision == pytest.approx(10 / 11)
    assert found.free_recall == pytest.approx(10 / 20)
    assert found.unknown == pytest.approx(11 / 30)
    assert found.free_space_violation == pytest.approx(3 / 200)
    assert found.free_space_violation_observed == pytest.approx(3 / 150)
    assert found.free_space_violation_off_ground == pytest.approx(1 / 100)
    assert math.isnan(occupancy_scores(OccupancyCounts()).precision)


def test_counts_of_instants_add_up():
    one = OccupancyCounts(*range(11))
    assert one + one == OccupancyCounts(*(2 * value for value in range(11)))


def test_free_space_violation_by_construction():
    grid = volume(UNKNOWN, shape=(7, 120, 120), origin=(-60.0, -60.0, -1.0))
    grid.state[:, :, 60:] = FREE
    grid.state[:, :, :60] = OCCUPIED
    inside_free = [[10.5, 0.5, z] for z in (0.5, 1.0, 2.9)]
    inside_occupied = [[-10.5, 0.5, 1.0]] * 5
    not_counted = [[10.5, 0.5, 0.3], [10.5, 0.5, 3.1], [10.5, 0.5, 0.0], [41.0, 0.5, 1.0], [100.0, 0.5, 1.0]]
    found = occupancy_counts(grid, np.array(inside_free + inside_occupied + not_counted), np.array([0.0, 0.0, 2.0]))
    assert (found.returns, found.returns_in_free, found.returns_observed) == (8, 3, 8)
    assert occupancy_scores(found).free_space_violation == pytest.approx(3 / 8)


def test_unknown_is_no_violation_but_stays_in_the_denominator():
    points = np.array([[10.5, 0.5, 1.0], [12.5, 0.5, 1.0]])
    found = occupancy_counts(volume(UNKNOWN), points, np.array([0.0, 0.0, 2.0]))
    assert (found.returns, found.returns_in_free, found.returns_observed) == (2, 0, 0)


def road(slope: float, rng: np.random.Generator, count: int = 20000):
    xy = rng.uniform(-30, 30, (count, 2))
    return np.column_stack((xy, slope * xy[:, 0] + rng.normal(0, 0.02, count)))


@pytest.mark.parametrize("slope", [0.0, 0.03])
def test_ground_surface_follows_a_sloping_road_under_cars(slope):
    rng = np.random.default_rng(0)
    ground = road(slope, rng)
    car = np.column_stack((rng.uniform(8, 12, 500), rng.uniform(2, 4, 500), rng.uniform(0.4, 1.5, 500)))
    car[:, 2] += slope * car[:, 0]
    found = ground_surface(np.concatenate((ground, car)))
    assert np.abs(found[:20000] - slope * ground[:, 0]).max() < 0.1
    assert np.abs(found[20000:] - slope * car[:, 0]).max() < 0.1


def test_returns_of_a_slope_are_ground_and_do_not_make_truth():
    rng = np.random.default_rng(1)
    ground = road(0.03, rng)
    grid = volume(FREE, shape=(16, 200, 200), origin=(-40.0, -40.0, -1.0), size=0.4)
    found = occupancy_counts(grid, ground, np.array([0.0, 0.0, 1.8]))
    assert found.returns > 1000  # 0.03 * 30 m lies above 0.3 m: counted in the plain rate
    assert found.returns_off_ground == 0
    assert found.occupied_as_occupied + found.occupied_as_free + found.occupied_as_unknown == 0


def test_few_points_far_from_the_ground_need_no_plane():
    points = np.array([[5.0, 1.0, 2.0], [6.0, 1.0, 2.5]])
    assert ground_surface(points).tolist() == [0.0, 0.0]
    assert ground_surface(np.zeros((0, 3))).shape == (0,)
