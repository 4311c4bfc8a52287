"""The grid's indices, and what a 2D planner gets from a column of voxels."""

from dataclasses import replace

import numpy as np
import pytest

from img2three_ros.geometry.voxel_grid import (
    all_centres,
    column_centres,
    occupancy_slice,
    states_at,
    voxel_indices,
    voxel_labels,
)
from img2three_ros.structures import FREE, OCCUPIED, ROAD_LABEL, UNKNOWN, UNKNOWN_LABEL, OccupancyVolume

PROBABILITY = {FREE: 0.1, OCCUPIED: 0.9, UNKNOWN: 0.5}


def column(*states: int) -> OccupancyVolume:
    """One column of 0.4 m voxels from z = -1: centres at -0.8, -0.4, 0, 0.4, 0.8, ... 5.2."""
    padded = [*states, *[UNKNOWN] * (16 - len(states))]
    state = np.array(padded, np.int8).reshape(16, 1, 1)
    probability = np.vectorize(PROBABILITY.get)(state).astype(np.float32)
    return OccupancyVolume(state, probability, np.array((0.0, 0.0, -1.0)), 0.4)


U, F, O = UNKNOWN, FREE, OCCUPIED  # noqa: E741


@pytest.mark.parametrize(("states", "expected"), [
    ((), -1.0),
    ((O, O, O), -1.0),  # only below the band: the road
    ((O, O, O, F, F, F), 0.1),  # 3 of the 7 voxels at 0.4 .. 2.8 m: more than 0.3
    ((O, O, O, F, F), -1.0),  # 2 of 7: less
    ((O, O, O, F, F, F, O), 0.9),
    ((U, U, U, U, U, U, U, U, U, O), 0.9),  # 2.8 m: the highest of the band
    ((U, U, U, U, U, U, U, U, U, U, O), -1.0),  # 3.2 m: a bridge
    ((F,) * 3, -1.0),
])
def test_slice(states, expected):
    assert occupancy_slice(column(*states)).item() == pytest.approx(expected)


def test_slice_policies():
    few = column(U, U, U, F)
    assert occupancy_slice(few, min_free_share=0.0).item() == pytest.approx(0.1)
    assert occupancy_slice(column(), min_free_share=0.0).item() == -1.0
    assert occupancy_slice(column(U, U, U, F, F, F, F, F, F), min_free_share=1.0).item() == -1.0
    assert occupancy_slice(column(U, U, U, F, F, F, F, F, F, F), min_free_share=1.0).item() == pytest.approx(0.1)


def test_slice_follows_the_ground():
    volume = column(U, U, O, O, U)  # centres 0 and 0.4 m occupied
    assert occupancy_slice(volume).item() == pytest.approx(0.9)
    assert occupancy_slice(volume, ground=np.array([[0.4]])).item() == -1.0
    with pytest.raises(ValueError, match="ground has shape"):
        occupancy_slice(volume, ground=np.zeros((2, 2)))


def test_labels():
    labels = voxel_labels(column())[:, 0, 0]
    assert (labels[:3] == ROAD_LABEL).all() and (labels[3:] == UNKNOWN_LABEL).all()
    assert (voxel_labels(column(), ground=np.array([[1.0]]))[:6, 0, 0] == ROAD_LABEL).all()
    known = np.zeros((16, 1, 1), np.uint8)
    known[[1, 5]] = 3
    labels = voxel_labels(replace(column(), label=known))[:, 0, 0]
    assert labels.tolist() == [1, 3, 1, 0, 0, 3, *[0] * 10]


def test_indices_and_states():
    state = np.arange(24).reshape(2, 3, 4) % 3 - 1
    volume = OccupancyVolume(state.astype(np.int8), np.full((2, 3, 4), 0.5, np.float32), np.array((1.0, 2.0, 3.0)), 0.5)
    zyx, inside = voxel_indices(volume, np.array([[1.0, 2.0, 3.0], [2.9, 3.4, 3.9], [3.1, 2.1, 3.1], [0.9, 2.1, 3.1]]))
    assert inside.tolist() == [True, True, False, False]
    assert zyx[:2].tolist() == [[0, 0, 0], [1, 2, 3]]
    points = np.array([[1.1, 2.1, 3.1], [2.9, 3.4, 3.9], [9.0, 2.1, 3.1], [np.nan, 0.0, 0.0], [np.inf, 2.1, 3.1]])
    assert states_at(volume, points).tolist() == [state[0, 0, 0], state[1, 2, 3], UNKNOWN, UNKNOWN, UNKNOWN]
    every = volume.centres(np.ones(state.shape, bool))
    np.testing.assert_allclose(all_centres(volume), every, atol=1e-6)
    assert (states_at(volume, every) == state.ravel()).all()


def test_column_centres():
    volume = column()
    assert np.allclose(column_centres(volume), [[[0.2, 0.2]]])
