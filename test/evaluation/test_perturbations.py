"""What is done to frames: by how much calibrations and poses are off, and that nothing else changes."""

from itertools import pairwise

import numpy as np
import pytest
from evaluation_scene import CAMERA

from img2three_ros.evaluation.perturbations import (
    HEADING_DRIFT,
    with_calibration_error,
    with_odometry_error,
    without_camera,
)
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy, inverse
from img2three_ros.structures import CameraImage, Frame

IMAGE = np.zeros((40, 64, 3), np.uint8)
STEP = 100_000_000


def drive(count=11, turn=0.0, poses=True):
    """Frames 1 m apart; camera 'back' exposes half a step after 'front', which is the reference."""

    def pose(steps):
        if not poses:
            return None
        return from_xyz_rpy((steps, 0.0, 0.0)) if not turn else from_xyz_rpy((0.0, 0.0, 0.0), (0.0, 0.0, turn * steps))

    def frame(number):
        images = tuple(CameraImage(name, round((number + late) * STEP), IMAGE, CAMERA,
                                   from_xyz_rpy((x, 0.0, 1.5), (0.0, 0.0, yaw)) @ T_BASE_OPTICAL, pose(number + late))
                       for name, late, x, yaw in (("front", 0.0, 2.0, 0.0), ("back", 0.5, 0.0, np.pi)))
        return Frame(number * STEP, images, ("front", "back"), pose(number))

    return [frame(number) for number in range(count)]


def angle(T):
    return np.degrees(np.arccos(np.clip((np.trace(T[:3, :3]) - 1.0) / 2.0, -1.0, 1.0)))


def test_a_missing_camera_is_expected_but_not_there():
    frames = without_camera(drive(3), "back")
    assert all(frame.present == ("front",) and frame.missing == ("back",) for frame in frames)


def test_every_camera_is_turned_by_the_angle_and_stays_where_it_is():
    true, told = drive(3), with_calibration_error(drive(3), 0.5, seed=0)
    errors = [[inverse(before.T_base_camera) @ after.T_base_camera
               for before, after in zip(old.images, new.images, strict=True)]
              for old, new in zip(true, told, strict=True)]
    for front, back in errors:
        assert angle(front) == pytest.approx(0.5, abs=1e-6) and angle(back) == pytest.approx(0.5, abs=1e-6)
        assert not np.allclose(front, back, atol=1e-4)
        np.testing.assert_allclose(front, errors[0][0], atol=1e-12)  # the same in all frames
    for old, new in zip(true, told, strict=True):
        np.testing.assert_array_equal(new.images[0].T_base_camera[:3, 3], old.images[0].T_base_camera[:3, 3])
        np.testing.assert_array_equal(new.images[0].T_odom_base, old.images[0].T_odom_base)
        assert new.images[0].image is old.images[0].image and new.stamp == old.stamp
    other = with_calibration_error(drive(1), 0.5, seed=1)[0].images[0].T_base_camera
    assert not np.allclose(other, told[0].images[0].T_base_camera, atol=1e-4)


def test_the_error_of_a_camera_does_not_depend_on_which_others_are_there():
    alone = with_calibration_error(without_camera(drive(1), "back"), 0.2, seed=3)[0].images[0].T_base_camera
    both = with_calibration_error(drive(1), 0.2, seed=3)[0].images[0].T_base_camera
    np.testing.assert_array_equal(alone, both)


def test_odometry_is_too_long_or_too_short_and_drifts_with_the_distance():
    lengths, headings = [], []
    for seed in (0, 1):
        told = with_odometry_error(drive(), 0.05, seed)
        steps = [inverse(before.T_odom_base) @ after.T_odom_base
                 for before, after in pairwise(told)]
        assert {round(float(np.linalg.norm(step[:3, 3])), 4) for step in steps} in ({1.05}, {0.95})
        end = inverse(told[0].T_odom_base) @ told[-1].T_odom_base
        lengths.append(np.linalg.norm(steps[0][:3, 3]))
        headings.append(np.arctan2(end[1, 0], end[0, 0]))
    assert sum(lengths) == pytest.approx(2.0, abs=1e-6)  # one too long, one too short
    assert abs(headings[0]) == pytest.approx(10.0 * 0.05 * HEADING_DRIFT, rel=1e-6)  # 10 m driven
    assert headings[0] == pytest.approx(-headings[1], rel=1e-6)


def test_turns_on_the_spot_err_in_proportion():
    told = with_odometry_error(drive(turn=0.1), 0.02, seed=0)[-1].T_odom_base
    turned = np.arctan2(told[1, 0], told[0, 0])
    assert min(abs(turned - 1.02), abs(turned - 0.98)) < 1e-9


def test_an_image_and_a_frame_of_one_stamp_keep_one_pose_and_the_first_is_true():
    told = with_odometry_error(drive(), 0.05, seed=2)
    for frame in told:
        np.testing.assert_array_equal(frame.images[0].T_odom_base, frame.T_odom_base)
    np.testing.assert_array_equal(told[0].T_odom_base, np.eye(4))
    assert not np.allclose(told[0].images[1].T_odom_base, drive()[0].images[1].T_odom_base, atol=1e-3)


def test_without_ego_poses_odometry_has_nothing_to_err_in():
    told = with_odometry_error(drive(3, poses=False), 0.05, seed=0)
    assert all(frame.T_odom_base is None and frame.images[0].T_odom_base is None for frame in told)
