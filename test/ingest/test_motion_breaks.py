"""Breaks of the ego motion are told apart as long as poses are kept, and no longer."""

import numpy as np
import pytest

from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.ingest.motion_breaks import MotionBreaks

SECOND = 1_000_000_000


def test_breaks_of_a_long_drive_are_forgotten_and_stretches_keep_their_numbers():
    breaks = MotionBreaks(history=20 * SECOND)
    numbers = []
    for second in range(10_000):  # a pose each second: every one comes after a gap
        breaks.add(second * SECOND, np.eye(4), "odom")
        numbers.append(breaks.segment(second * SECOND))
    assert numbers == sorted(set(numbers))  # never the same number twice
    assert breaks.count == 9_999
    late = [breaks.segment(second * SECOND) for second in range(9_980, 10_000)]
    assert late == numbers[9_980:]  # frames still on their way keep the number they had
    assert not breaks.inside(9_990 * SECOND) and breaks.inside(9_990 * SECOND + 1)
    assert not breaks.inside(5_000 * SECOND + 1)  # long forgotten


@pytest.mark.parametrize("rate", [4, 5, 10, 50])
@pytest.mark.parametrize("speed", [0.0, 14.0, 38.0])
def test_a_leap_of_ten_metres_is_seen_at_any_rate_and_speed(rate, speed):
    breaks = MotionBreaks()
    for number in range(3 * rate):
        leap = 10.0 if number >= 2 * rate else 0.0
        breaks.add(SECOND * number // rate, from_xyz_rpy([speed * number / rate, leap, 0.0]), "odom")
        assert breaks.count == (1 if leap else 0)
    assert "a leap of " in breaks.newest


@pytest.mark.parametrize("rate", [3, 10, 50])
def test_hard_braking_tight_bends_and_small_corrections_are_no_leaps(rate):
    breaks = MotionBreaks()
    position, heading, speed = np.zeros(3), 0.0, 38.0
    for number in range(20 * rate):
        time = number / rate
        limit = 20.0 if time > 8.0 else 38.0
        speed = max(0.0, speed - 9.0 / rate) if 2.0 < time < 8.0 else min(limit, speed + 6.0 / rate)
        heading += (0.5 if time > 10.0 else 0.0) / rate
        position += np.array([np.cos(heading), np.sin(heading), 0.0]) * speed / rate
        correction = 0.9 if 15.0 < time < 16.5 else 0.0  # localisation puts itself right, and takes it back
        pose = from_xyz_rpy([position[0], position[1] + correction, 0.0], [0.0, 0.0, heading])
        breaks.add(SECOND * number // rate, pose, "odom")
    assert breaks.count == 0, breaks.newest


@pytest.mark.parametrize("rate", [5, 10])
def test_stamps_that_are_late_once_are_no_leaps(rate):
    breaks = MotionBreaks()
    for number in range(4 * rate):
        late = 0.08 if number == 2 * rate else 0.0
        breaks.add(round((number / rate + late) * SECOND), from_xyz_rpy([27.0 * number / rate, 0.0, 0.0]), "odom")
    assert breaks.count == 0, breaks.newest


@pytest.mark.parametrize("speed", [5.0, 14.0, 30.0])
def test_poses_that_are_repeated_with_new_stamps_are_no_leaps(speed):
    breaks = MotionBreaks()
    for number in range(250):  # 10 Hz, sent out at 50 Hz
        breaks.add(SECOND * number // 50, from_xyz_rpy([speed * (number // 5) / 10, 0.0, 0.0]), "odom")
    assert breaks.count == 0, breaks.newest
