"""Keyframes aligned by images: wrong odometry is corrected, right odometry and silent images leave it as it is."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from sweep_scene import GROUND, Plane, camera_pose, frame, render, side_wall, view, wall

from img2three_ros.geometry.transforms import apply, from_xyz_rpy, inverse
from img2three_ros.reconstruction.keyframe_alignment import aligned_keyframes
from img2three_ros.reconstruction.scene_memory import RememberedView
from img2three_ros.reconstruction.views import DepthView, PreparedFrame

PLANES = [GROUND, side_wall(4.0), side_wall(-5.0), wall(14.0)]
SIZE = (256, 384)
pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Drive:
    """Frames 0.8 m apart with true poses, and what is remembered of them (true depth of all but the last)."""

    frames: list[PreparedFrame]
    memory: dict[int, dict[str, RememberedView]]

    def remembered(self, of: PreparedFrame) -> dict[str, RememberedView]:
        return self.memory[of.stamp]


def drive(planes: list[Plane] = PLANES, count: int = 3) -> Drive:
    frames, memory = [], {}
    for stamp in range(count):
        pose = from_xyz_rpy([0.8 * stamp, 0.0, 0.0], [0.0, 0.0, 0.02 * stamp])
        seen, depth = view(planes, "front", camera_pose(), pose, size=SIZE, focal=300.0)
        kept = RememberedView.of(seen)
        if stamp < count - 1:
            known = torch.from_numpy(depth).float()
            valid = torch.isfinite(known)
            one = torch.ones(SIZE)
            kept.keep(DepthView(seen, torch.where(valid, known, 1.0), one, 0.01 * one, valid))
        memory[stamp] = {"front": kept}
        frames.append(frame(stamp, [seen], pose))
    return Drive(frames, memory)


def told(true: PreparedFrame, error: np.ndarray) -> PreparedFrame:
    return replace(true, T_odom_base=true.T_odom_base @ error)


def pixels_apart(true: Drive, key: PreparedFrame, T_odom_base: np.ndarray) -> float:
    """Median distance in the keyframe's image between where surfaces seen now lie and where the pose puts them."""
    now = true.frames[-1]
    seen = now.views[0]
    intrinsics = seen.intrinsics.double().numpy()
    v, u = np.mgrid[8:SIZE[0]:16, 8:SIZE[1]:16]
    rays = np.stack((u, v, np.ones_like(u)), -1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T
    depth = render(PLANES, now.T_odom_base @ seen.T_base_camera, intrinsics, SIZE)[1][8::16, 8::16].reshape(-1, 1)
    points = apply(now.T_odom_base @ seen.T_base_camera, rays * depth)
    places = []
    for pose in (key.T_odom_base, T_odom_base):
        local = apply(inverse(pose @ seen.T_base_camera), points) @ intrinsics.T
        places.append(local[:, :2] / local[:, 2:])
    return float(np.median(np.linalg.norm(places[0] - places[1], axis=1)))


@lru_cache
def true_drive() -> Drive:
    """The textured drive, rendered once."""
    return drive()


@pytest.mark.parametrize("axis", [1, 2])
def test_a_wrong_turn_of_odometry_is_found(axis: int) -> None:
    true = true_drive()
    turn = np.zeros(3)
    turn[axis] = np.radians(0.3)
    wrong = [told(key, from_xyz_rpy([0.0, 0.0, 0.0], turn)) for key in true.frames[:2]]
    found = aligned_keyframes(true.frames[2], wrong, true.remembered)
    for key, at, corrected in zip(true.frames[:2], wrong, found, strict=True):
        before, after = (pixels_apart(true, key, pose) for pose in (at.T_odom_base, corrected.T_odom_base))
        assert before > 1.2 and after < 0.45 * before, (before, after)


def test_right_odometry_stays_right() -> None:
    true = true_drive()
    for key, kept in zip(true.frames, aligned_keyframes(true.frames[2], true.frames[:2], true.remembered),
                         strict=False):
        assert pixels_apart(true, key, kept.T_odom_base) < 0.15


def test_images_that_say_nothing_change_nothing() -> None:
    true = drive([replace(plane, contrast=0.0) for plane in PLANES])
    wrong = [told(key, from_xyz_rpy([0.0, 0.0, 0.0], [0.0, 0.005, 0.0])) for key in true.frames[:2]]
    found = aligned_keyframes(true.frames[2], wrong, true.remembered)
    for one, other in zip(found, wrong, strict=True):
        np.testing.assert_allclose(one.T_odom_base, other.T_odom_base, atol=1e-12)


def test_an_error_beyond_belief_is_not_followed() -> None:
    """Three metres are no error of odometry between two keyframes: whatever fits there is not the truth."""
    true = true_drive()
    wrong = told(true.frames[1], from_xyz_rpy([3.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
    found = aligned_keyframes(true.frames[2], [wrong], true.remembered)[0]
    moved = np.linalg.norm((inverse(wrong.T_odom_base) @ found.T_odom_base)[:3, 3])
    assert moved < 0.5


def test_without_depth_or_pose_nothing_is_aligned() -> None:
    true = true_drive()
    unknown = {of.stamp: {"front": RememberedView.of(of.views[0])} for of in true.frames}
    keyframes = [told(key, from_xyz_rpy([0.0, 0.0, 0.0], [0.0, 0.005, 0.0])) for key in true.frames[:2]]
    assert aligned_keyframes(true.frames[2], keyframes, lambda of: unknown[of.stamp]) == keyframes
    assert aligned_keyframes(replace(true.frames[2], T_odom_base=None), keyframes, true.remembered) == keyframes


def test_what_is_trusted() -> None:
    seen = true_drive().frames[0].views[0]
    kept = RememberedView.of(seen)
    assert not kept.trusted.numel()
    sure, sigma, valid = torch.ones(SIZE), torch.full(SIZE, 0.02), torch.ones(SIZE, dtype=torch.bool)
    sure[:64], sigma[64:96], valid[96:128] = 0.5, 0.4, False
    kept.keep(DepthView(seen, torch.full(SIZE, 5.0), sure, sigma, valid))
    assert kept.trusted.shape == (64, 96) and int(kept.trusted.sum()) == 32 * 96 and bool(kept.trusted[32:].all())
    assert torch.allclose(kept.inverse_depth, torch.tensor(0.2))
    assert torch.allclose(kept.grid_intrinsics[0], seen.intrinsics[0] / 4)
