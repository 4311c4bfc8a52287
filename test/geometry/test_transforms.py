"""Frames and poses against hand-computed values."""

import numpy as np
import pytest

from img2three_ros.geometry.transforms import (
    T_BASE_OPTICAL,
    apply,
    from_quaternion_translation,
    from_xyz_rpy,
    interpolate,
    inverse,
    quaternion,
)


def test_optical_axes_follow_rep_103():
    ahead, right, down = np.eye(3)[2], np.eye(3)[0], np.eye(3)[1]
    assert apply(T_BASE_OPTICAL, ahead).tolist() == [1, 0, 0]
    assert apply(T_BASE_OPTICAL, right).tolist() == [0, -1, 0]
    assert apply(T_BASE_OPTICAL, down).tolist() == [0, 0, -1]


def test_yaw_turns_left():
    turned = apply(from_xyz_rpy((1, 2, 3), (0, 0, np.pi / 2)), np.array((1.0, 0.0, 0.0)))
    np.testing.assert_allclose(turned, (1, 3, 3), atol=1e-12)


def test_fixed_axes_order_is_roll_then_pitch_then_yaw():
    # roll 90 deg moves y to z; yaw 90 deg leaves z alone: y must end at z.
    turned = apply(from_xyz_rpy((0, 0, 0), (np.pi / 2, 0, np.pi / 2)), np.array((0.0, 1.0, 0.0)))
    np.testing.assert_allclose(turned, (0, 0, 1), atol=1e-12)


def test_inverse_swaps_target_and_source():
    transform = from_xyz_rpy((3, -2, 1), (0.1, -0.4, 2.0))
    np.testing.assert_allclose(inverse(transform) @ transform, np.eye(4), atol=1e-12)


def test_quaternion_round_trip_and_refusal():
    half = np.sqrt(0.5)
    transform = from_quaternion_translation((0, 0, half, half), (1, 2, 3))
    np.testing.assert_allclose(transform[:3, 0], (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(np.abs(quaternion(transform)), (0, 0, half, half), atol=1e-12)
    with pytest.raises(ValueError, match="norm"):
        from_quaternion_translation((0, 0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match="finite"):
        from_quaternion_translation((0, 0, 0, 1), (np.nan, 0, 0))


def test_interpolation_halves_turn_and_way_and_extrapolates():
    first, second = from_xyz_rpy((0, 0, 0)), from_xyz_rpy((2, 4, 0), (0, 0, 1.0))
    np.testing.assert_allclose(interpolate(first, second, 0.5), from_xyz_rpy((1, 2, 0), (0, 0, 0.5)), atol=1e-12)
    np.testing.assert_allclose(interpolate(first, second, 1.5), from_xyz_rpy((3, 6, 0), (0, 0, 1.5)), atol=1e-12)


def test_apply_keeps_single_precision():
    assert apply(np.eye(4), np.ones((2, 3), np.float32)).dtype == np.float32
