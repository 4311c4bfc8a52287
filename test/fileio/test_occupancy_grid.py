"""Cells of nav_msgs/OccupancyGrid in both dialects."""

import numpy as np
import pytest

from img2three_ros.fileio.messages import occupancy_grid_message
from img2three_ros.fileio.occupancy_grid import OccupancyGridConfig, occupancy_grid_values
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, InputError, OccupancyVolume


def volume():
    """Columns x = 0..3: nothing known, all free, free with something in it, free below and unknown above."""
    state = np.full((6, 2, 4), UNKNOWN, np.int8)
    state[:, 0, 1] = FREE
    state[:, 0, 2], state[3, 0, 2] = FREE, OCCUPIED
    state[:3, 0, 3] = FREE
    probability = np.select([state == FREE, state == OCCUPIED], [0.1, 0.8], 0.5).astype(np.float32)
    return OccupancyVolume(state, probability, np.array([-1.0, -2.0, 0.0]), 0.5)


def test_ros_dialect():
    values = occupancy_grid_values(volume(), OccupancyGridConfig())
    assert values.dtype == np.int8
    assert values.tolist() == [[-1, 0, 100, 0], [-1] * 4]


def test_autoware_dialect_never_leaves_1_to_99():
    values = occupancy_grid_values(volume(), OccupancyGridConfig(dialect="autoware"))
    assert values.tolist() == [[50, 10, 80, 10], [50] * 4]


def test_pessimistic_grids_need_the_whole_band():
    values = occupancy_grid_values(volume(), OccupancyGridConfig(min_free_share=1.0))
    assert values.tolist()[0] == [-1, 0, 100, -1]


def test_band_without_voxels_is_unknown():
    values = occupancy_grid_values(volume(), OccupancyGridConfig(min_height=50.0, max_height=60.0))
    assert (values == -1).all()


def test_message_geometry():
    message = occupancy_grid_message(7, "base_link", volume())
    assert (message.info.width, message.info.height, message.header.frame_id) == (4, 2, "base_link")
    assert message.data.dtype == np.int8 and message.data.tolist() == [-1, 0, 100, 0, -1, -1, -1, -1]
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-1.0, -2.0)


def test_empty_band_is_refused():
    with pytest.raises(InputError, match="max_height"):
        OccupancyGridConfig(min_height=1.0, max_height=1.0)
