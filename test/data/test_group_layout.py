"""What groups are made of: the mix of cameras and instants, the vehicle's motion, errors of what is told."""

import math
from collections import Counter

import numpy as np
import pytest

from img2three_ros.data.group_layout import EgoMotion, draw_instants, draw_motion, draw_speed, draw_units
from img2three_ros.data.told_geometry import GeometryErrors, draw_errors
from img2three_ros.geometry.transforms import from_xyz_rpy, inverse


def straight(seconds: float) -> np.ndarray:
    return from_xyz_rpy((10.0 * seconds, 0.0, 0.0))


@pytest.mark.parametrize("views", [1, 3, 6, 8])
def test_units_fill_the_group_exactly(views):
    random = np.random.default_rng(views)
    for _ in range(100):
        assert sum(len(unit.mounts) * unit.instants for unit in draw_units(random, views)) == views


def test_all_kinds_of_groups_occur_in_their_shares():
    random, kinds = np.random.default_rng(0), Counter()
    for _ in range(2000):
        first = draw_units(random, 6)[0]
        cameras = len(first.mounts)
        if {mount.name for mount in first.mounts} == {"left", "right"} and cameras == 2:
            kinds["pair"] += 1
        else:
            kinds["single" if cameras == 1 else "several" if first.instants > 1 else "surround"] += 1
        kinds[cameras, first.instants] += 1
    assert 0.36 < kinds["single"] / 2000 < 0.44
    assert 0.33 < kinds["several"] / 2000 < 0.44
    assert 0.06 < kinds["surround"] / 2000 < 0.14
    assert 0.07 < kinds["pair"] / 2000 < 0.17  # those like KITTI among the others too
    assert all(kinds[shape] > 0 for shape in ((1, 1), (1, 2), (1, 3), (1, 4), (2, 3), (3, 2), (6, 1), (2, 1)))


def test_speeds_from_standing_to_fast():
    random = np.random.default_rng(1)
    speeds = np.array([draw_speed(random) for _ in range(4000)])
    assert 0.10 < np.mean(speeds == 0.0) < 0.14
    assert 0.17 < np.mean(speeds < 1.6) < 0.23
    assert speeds.max() > 30.0


@pytest.mark.parametrize("speed", [1.0, 8.0, 20.0])
def test_keyframe_gaps(speed):
    random = np.random.default_rng(2)
    instants = np.array([draw_instants(random, 4, speed) for _ in range(400)])
    gaps = -np.diff(instants, axis=1)
    assert (instants[:, 0] == 0.0).all() and gaps.min() > 0.0999 and gaps.max() < 1.0001
    assert np.mean((speed * gaps > 0.3) & (speed * gaps < 2.6)) > 0.75
    assert len(set(draw_instants(random, 4, 0.0))) == 4  # time passes for a standing vehicle too


def test_motion_along_a_straight_track():
    ego = EgoMotion(straight, start=5.0, pace=0.5, speed=5.0)
    assert np.allclose(ego.pose(-1.0)[:3, 3], (45.0, 0.0, 0.0))
    standing = EgoMotion(straight, start=5.0, pace=0.0, speed=0.0, lateral=1.0, heading=0.3)
    assert np.array_equal(standing.pose(0.0), standing.pose(-0.8))


def test_turning_is_an_arc():
    ego = EgoMotion(straight, start=0.0, pace=0.3, speed=3.0, heading=0.4, curvature=0.1)
    now, before = ego.pose(0.0), ego.pose(-2.0)
    moved = inverse(before) @ now
    assert math.atan2(moved[1, 0], moved[0, 0]) == pytest.approx(0.6)  # 6 m at 1/10 m
    assert moved[:2, 3] == pytest.approx((10.0 * math.sin(0.6), 10.0 * (1.0 - math.cos(0.6))))


def test_sharp_turns_only_when_slow():
    random = np.random.default_rng(3)
    slow = [draw_motion(random, straight, 60.0, 10.0, 3.0).curvature for _ in range(300)]
    fast = [draw_motion(random, straight, 60.0, 10.0, 25.0).curvature for _ in range(300)]
    assert max(map(abs, slow)) > 0.1
    assert 0.0 < max(map(abs, fast)) * 25.0 ** 2 <= 4.0 + 1e-9


def test_errors_have_the_size_they_claim():
    random = np.random.default_rng(4)
    errors = GeometryErrors(rotation=0.2, odometry=0.02, focal=0.003, base=np.eye(4))
    mount = from_xyz_rpy((1.7, 0.0, 1.5), (0.1, 0.2, 0.3))
    turned = np.array([(inverse(mount) @ errors.mount(random, mount))[[2, 0, 1], [1, 2, 0]] for _ in range(3000)])
    assert np.degrees(turned.std(0)) == pytest.approx([0.2] * 3, rel=0.05)
    assert np.array_equal(errors.mount(random, mount)[:3, 3], mount[:3, 3])
    motion = from_xyz_rpy((-2.0, 0.0, 0.0))
    along = np.array([errors.motion(random, motion)[0, 3] for _ in range(3000)])
    assert along.std() == pytest.approx(0.02 * 2.0 * math.hypot(1.0, 0.3), rel=0.06)
    assert np.allclose(errors.motion(random, np.eye(4)), np.eye(4))  # a standing vehicle knows it stands
    focal = [errors.intrinsics(random, np.diag([300.0, 300.0, 1.0]))[0, 0] / 300.0 for _ in range(3000)]
    assert np.std(focal) == pytest.approx(0.003, rel=0.05)


def test_errors_occur_as_often_as_asked():
    random = np.random.default_rng(5)
    drawn = [draw_errors(random, 0.5, 0.6) for _ in range(3000)]
    assert 0.46 < np.mean([one.rotation > 0.0 for one in drawn]) < 0.54
    heights = np.array([one.base[2, 3] for one in drawn])
    assert 0.56 < np.mean(heights != 0.0) < 0.64
    assert 0.03 < np.mean(np.abs(heights) > 0.4) < 0.08  # 10 % of all are up to 0.9 m off
    assert np.abs(heights).max() <= 0.9
    exact = draw_errors(random, 0.0, 0.0)
    assert exact.rotation == exact.odometry == exact.focal == 0.0 and np.array_equal(exact.base, np.eye(4))
