"""LiDAR scans moved to the frame's instant."""

import math

import numpy as np
import pytest

from img2three_ros.evaluation.lidar import MAX_OFFSET, ScanFinder, compensated
from img2three_ros.geometry.transforms import apply, from_xyz_rpy, inverse
from img2three_ros.ingest.lidar import LidarScan
from img2three_ros.structures import Frame

MS = 1_000_000


def scan(stamp=0, points=((10.0, 0.0, 1.0),), pose=None, origin=(0.0, 0.0, 2.0)):
    return LidarScan(stamp=stamp, points=np.array(points, np.float32), T_odom_base=pose, origin=np.array(origin))


def frame(stamp, pose=None):
    return Frame(stamp=stamp, images=(), expected_cameras=(), T_odom_base=pose)


def test_driving_forward_brings_a_static_point_nearer():
    # 13 m/s for 10 ms: the point seen 10 m ahead is 9.87 m ahead when the image is taken.
    found = compensated(scan(0, pose=from_xyz_rpy((100.0, 5.0, 0.0))), 10 * MS, from_xyz_rpy((100.13, 5.0, 0.0)))
    assert found.points == pytest.approx(np.array([[9.87, 0.0, 1.0]]), abs=1e-6)
    assert found.origin == pytest.approx([-0.13, 0.0, 2.0])
    assert found.compensated and found.offset == -10 * MS


def test_turning_left_moves_a_point_to_the_right():
    pose, turned = from_xyz_rpy((0, 0, 0)), from_xyz_rpy((0, 0, 0), (0, 0, math.pi / 2))
    found = compensated(scan(pose=pose), 0, turned)
    assert found.points == pytest.approx(np.array([[0.0, -10.0, 1.0]]), abs=1e-6)


def test_a_point_keeps_its_place_in_the_world():
    first, second = from_xyz_rpy((1, 2, 0.1), (0.01, 0.02, 0.3)), from_xyz_rpy((3, 1, 0.2), (0, 0.03, 1.4))
    world = np.array([[20.0, -3.0, 1.5]])
    seen = apply(inverse(first), world)
    found = compensated(scan(points=seen, pose=first), 0, second)
    assert apply(second, found.points) == pytest.approx(world, abs=1e-5)


@pytest.mark.parametrize(("at_scan", "at_frame"), [(None, np.eye(4)), (np.eye(4), None), (None, None)])
def test_without_ego_motion_the_scan_is_taken_as_it_is_and_says_so(at_scan, at_frame):
    found = compensated(scan(pose=at_scan), 0, at_frame)
    assert found.points == pytest.approx(np.array([[10.0, 0.0, 1.0]])) and not found.compensated


def test_points_that_are_not_finite_are_dropped():
    assert len(compensated(scan(points=((1, 2, 3), (np.nan, 0, 0), (np.inf, 0, 0))), 0, None).points) == 1


def test_the_nearest_scan_before_or_after_is_found_for_each_frame():
    finder = ScanFinder(scan(stamp) for stamp in (0, 100 * MS, 200 * MS, 300 * MS))
    assert finder.nearest(frame(40 * MS)).offset == -40 * MS
    assert finder.nearest(frame(60 * MS)).offset == 40 * MS
    assert finder.nearest(frame(60 * MS)).offset == 40 * MS
    assert finder.nearest(frame(290 * MS)).offset == 10 * MS
    assert finder.seen == 4


def test_scans_too_far_in_time_are_not_taken():
    finder = ScanFinder([scan(0), scan(1000 * MS)])
    assert finder.nearest(frame(MAX_OFFSET)) is not None
    assert finder.nearest(frame(500 * MS)) is None
    assert finder.nearest(frame(1000 * MS + MAX_OFFSET)).offset == -MAX_OFFSET
    assert finder.nearest(frame(5000 * MS)) is None
    assert ScanFinder([]).nearest(frame(0)) is None


def test_only_scans_near_the_frame_are_held():
    taken = []

    def scans():
        for number in range(1000):
            taken.append(number)
            yield scan(number * 100 * MS)

    finder = ScanFinder(scans())
    finder.nearest(frame(1000 * MS))
    assert len(taken) <= 13
