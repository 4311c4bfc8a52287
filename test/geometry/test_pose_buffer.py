"""Ego poses between, beyond and without odometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2three_ros.geometry.pose_buffer import PoseBuffer
from img2three_ros.geometry.transforms import from_xyz_rpy

MS = 1_000_000


def filled(stamps_ms, **options):
    buffer = PoseBuffer(**options)
    for stamp in stamps_ms:
        buffer.add(stamp * MS, from_xyz_rpy((stamp / 100, 0, 0), (0, 0, stamp / 1000)))
    return buffer


def test_pose_between_two_odometry_messages():
    pose = filled((0, 100)).at(25 * MS)
    np.testing.assert_allclose(pose, from_xyz_rpy((0.25, 0, 0), (0, 0, 0.025)), atol=1e-12)


def test_no_pose_across_a_gap_or_far_beyond_the_ends():
    buffer = filled((0, 100, 900, 1000), max_gap=500 * MS, max_extrapolation=50 * MS)
    assert buffer.at(500 * MS) is None
    assert buffer.at(1051 * MS) is None
    assert buffer.at(-51 * MS) is None
    np.testing.assert_allclose(buffer.at(1040 * MS)[0, 3], 10.4)


def test_a_single_pose_answers_only_at_its_own_stamp():
    buffer = filled((100,))
    assert buffer.at(100 * MS) is not None
    assert buffer.at(101 * MS) is None
    assert PoseBuffer().at(0) is None


def test_history_is_bounded():
    buffer = filled(range(0, 10_000, 10), history=1_000 * MS)
    assert len(buffer) <= 101
    assert buffer.at(0) is None


def test_refuses_what_is_not_a_pose():
    with pytest.raises(ValueError, match="finite"):
        PoseBuffer().add(0, np.full((4, 4), np.nan))


@given(st.permutations(list(range(0, 200, 20))), st.integers(0, 180))
def test_order_of_arrival_does_not_matter(order, query):
    np.testing.assert_allclose(filled(order).at(query * MS)[0, 3], query / 100, atol=1e-9)


def test_poses_that_are_close_in_time_are_not_extrapolated_from():
    """1 cm of noise within 1 us is no speed of 10 km/s; there are poses far enough back, or nothing is known."""
    def moved(x):
        return from_xyz_rpy((x, 0, 0), (0, 0, 0))

    poses = PoseBuffer()
    for stamp, x in ((0, 0.00), (1_000, 0.01)):
        poses.add(stamp, moved(x))
    assert poses.at(50 * MS) is None and poses.at(-50 * MS) is None
    np.testing.assert_allclose(poses.at(500), moved(0.005), atol=1e-9)  # between them all is well
    for stamp, x in ((100 * MS, 1.00), (100 * MS + 1_000, 1.01)):
        poses.add(stamp, moved(x))
    ahead, behind = poses.at(150 * MS), poses.at(-50 * MS)
    assert ahead is not None and abs(ahead[0, 3] - 1.5) < 0.03  # 10 m/s over 100 ms
    assert behind is not None and abs(behind[0, 3] + 0.5) < 0.03
    poses.add(800 * MS, moved(8.0))
    poses.add(800 * MS + 1_000, moved(8.01))
    assert poses.at(850 * MS) is None  # what is far enough back lies across a gap
