"""The TF tree: chains, changes, and no identity by default."""

import numpy as np
import pytest

from img2three_ros.geometry.transform_tree import TransformTree
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.structures import InputError


def tree():
    frames = TransformTree()
    frames.set_static("base_link", "mast", from_xyz_rpy((1, 0, 2), (0, 0, np.pi / 2)))
    frames.set_static("mast", "camera", from_xyz_rpy((1, 0, 0)))
    return frames


def test_chain_up_down_and_across():
    frames = tree()
    frames.set_static("base_link", "lidar", from_xyz_rpy((0, 0, 3)))
    # The mast looks left, so one metre ahead of it is one metre to the left of base_link.
    np.testing.assert_allclose(frames.lookup("base_link", "camera")[:3, 3], (1, 1, 2), atol=1e-12)
    np.testing.assert_allclose(frames.lookup("lidar", "camera")[:3, 3], (1, 1, -1), atol=1e-12)
    np.testing.assert_allclose(frames.lookup("camera", "base_link") @ frames.lookup("base_link", "camera"),
                               np.eye(4), atol=1e-12)


def test_leading_slash_is_the_same_frame():
    np.testing.assert_array_equal(tree().lookup("/base_link", "/camera"), tree().lookup("base_link", "camera"))


def test_missing_frame_is_an_error_that_names_it():
    with pytest.raises(InputError, match=r"'radar'.*known frames: base_link, camera, mast") as error:
        tree().lookup("base_link", "radar")
    assert error.value.reason == "transform"


def test_recalibration_takes_effect():
    frames = tree()
    assert not frames.set_static("mast", "camera", from_xyz_rpy((1, 0, 0)))
    assert frames.set_static("mast", "camera", from_xyz_rpy((2, 0, 0)))
    np.testing.assert_allclose(frames.lookup("base_link", "camera")[:3, 3], (1, 2, 2), atol=1e-12)


def test_dynamic_edge_is_interpolated_and_needs_its_time():
    frames = tree()
    frames.add("odom", "base_link", 0, from_xyz_rpy((0, 0, 0)))
    frames.add("odom", "base_link", 100_000_000, from_xyz_rpy((2, 0, 0)))
    np.testing.assert_allclose(frames.lookup("odom", "base_link", 50_000_000)[:3, 3], (1, 0, 0))
    with pytest.raises(InputError, match="not known at stamp"):
        frames.lookup("odom", "base_link", 900_000_000)
    frames.clear_dynamic()
    with pytest.raises(InputError, match="no transform connects"):
        frames.lookup("odom", "base_link", 50_000_000)
    assert frames.lookup("base_link", "camera") is not None


def test_loops_and_nonsense_are_refused():
    frames = TransformTree()
    frames.set_static("a", "b", np.eye(4))
    frames.set_static("b", "a", np.eye(4))
    with pytest.raises(InputError, match="loop"):
        frames.lookup("a", "c")
    with pytest.raises(InputError, match="finite"):
        frames.set_static("a", "b", np.full((4, 4), np.inf))
    with pytest.raises(InputError, match="different"):
        frames.set_static("a", "a", np.eye(4))
