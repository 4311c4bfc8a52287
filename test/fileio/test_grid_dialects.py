"""Both dialects of the occupancy grid, read as their consumers read them: what is not known is never free.

nav2: ``StaticLayer::interpretValue`` of nav2_costmap_2d with its documented defaults. Autoware: the cost values of
autoware_probabilistic_occupancy_grid_map, 1..99 with 50 for unknown.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from img2three_ros.fileio.occupancy_grid import OccupancyGridConfig, occupancy_grid_values
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, OccupancyVolume

NO_INFORMATION, LETHAL, FREE_SPACE = 255, 254, 0


def nav2_cost(value, track_unknown_space=True):
    """Cost of a cell of nav_msgs/OccupancyGrid: trinary, lethal from 100 on, unknown = -1 as one byte."""
    byte = int(np.int8(value).view(np.uint8))
    if byte == 255:
        return NO_INFORMATION if track_unknown_space else FREE_SPACE
    return LETHAL if byte >= 100 else FREE_SPACE


@st.composite
def volumes(draw):
    """Random states; probabilities as the fusion gives them: free below 0.5, occupied from 0.5 on."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 12)), 4, 5)
    state = random.choice([UNKNOWN, FREE, OCCUPIED], shape, p=draw(st.sampled_from(
        ((0.4, 0.5, 0.1), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.9, 0.05, 0.05)))))
    certain = draw(st.sampled_from((0.0, 0.5, 1.0)))
    probability = np.where(state == FREE, random.uniform(0.0, 0.499, shape), random.uniform(0.5, 1.0, shape))
    extreme = np.where(state == FREE, random.choice([0.0, 0.499], shape), random.choice([0.5, 1.0], shape))
    probability = np.where(random.random(shape) < certain, extreme, probability)
    probability[state == UNKNOWN] = 0.5
    ground = random.uniform(-1.0, 1.0, shape[1:]).astype(np.float32) if draw(st.booleans()) else None
    return OccupancyVolume(state.astype(np.int8), probability.astype(np.float32), np.array((0.0, 0.0, -1.0)), 0.4,
                           ground)


def band(volume, config):
    """(Z, Y, X) bool: voxels whose centre lies between the heights, worked out column by column."""
    inside = np.zeros(volume.state.shape, bool)
    for level, row, column in np.ndindex(*inside.shape):
        ground = 0.0 if volume.ground is None else float(volume.ground[row, column])
        height = volume.origin[2] + (level + 0.5) * volume.voxel_size - ground
        inside[level, row, column] = config.min_height <= height <= config.max_height
    return inside


@given(volumes(), st.sampled_from((0.0, 0.3, 1.0)))
@settings(max_examples=150, deadline=None)
def test_nav2_reads_known_states_and_never_frees_the_unknown(volume, share):
    config = OccupancyGridConfig(min_free_share=share)
    values = occupancy_grid_values(volume, config)
    assert values.dtype == np.int8 and set(np.unique(values)) <= {-1, 0, 100}
    inside = band(volume, config)
    for row, column in np.ndindex(*values.shape):
        states = volume.state[inside[:, row, column], row, column]
        cost = nav2_cost(values[row, column])
        if (states == OCCUPIED).any():
            assert cost == LETHAL
        elif not (states == FREE).any():
            assert cost == NO_INFORMATION
        elif cost == FREE_SPACE:
            assert (states == FREE).mean() >= share - 1e-9
        else:
            assert cost == NO_INFORMATION


@given(volumes())
@settings(max_examples=150, deadline=None)
def test_autoware_values_stay_within_1_to_99_and_say_the_same(volume):
    ros = occupancy_grid_values(volume, OccupancyGridConfig(dialect="ros"))
    autoware = occupancy_grid_values(volume, OccupancyGridConfig(dialect="autoware"))
    assert autoware.dtype == np.int8 and autoware.min() >= 1 and autoware.max() <= 99
    np.testing.assert_array_equal(autoware == 50, ros == -1)
    np.testing.assert_array_equal(autoware < 50, ros == 0)
    np.testing.assert_array_equal(autoware > 50, ros == 100)


def test_the_wrong_dialect_and_nav2_without_unknown_space_are_unsafe():
    """Why config/examples/nav2.yaml says what it says."""
    assert nav2_cost(50) == FREE_SPACE  # Autoware's unknown
    assert nav2_cost(-1, track_unknown_space=False) == FREE_SPACE
