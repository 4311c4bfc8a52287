"""Breaks of the ego motion are told apart as long as poses are kept, and no longer."""

import numpy as np

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
