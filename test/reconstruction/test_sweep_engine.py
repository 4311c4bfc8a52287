"""The sweep engine against worlds of textured planes whose depth is known exactly."""

import numpy as np
import pytest
import torch
from sweep_scene import GROUND, camera_pose, frame, side_wall, view, wall

from img2three_ros.config import SweepConfig
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.reconstruction.sweep_engine import SweepEngine

CPU = torch.device("cpu")


def pose(x: float) -> np.ndarray:
    return from_xyz_rpy([x, 0.0, 0.0])


def stereo(planes, config=None, **right):
    """Depth view of the left of two cameras 0.5 m apart, and its truth."""
    left, truth = view(planes, "left", camera_pose(y=0.25), pose(0.0))
    other, _ = view(planes, "right", camera_pose(y=-0.25), pose(0.0), **right)
    geometry = SweepEngine(config or SweepConfig(), CPU).reconstruct(frame(1, [left, other], None), [])
    return geometry.depths[0], truth


def errors(depth_view, truth, inner=12):
    """Relative errors of given depths where truth is finite, away from the border; and the share given."""
    region = np.zeros(truth.shape, dtype=bool)
    region[inner:-inner, 3 * inner:-inner] = True
    region &= np.isfinite(truth)
    valid = depth_view.valid.numpy() & region
    return np.abs(depth_view.depth.numpy()[valid] / truth[valid] - 1.0), valid.sum() / region.sum()


def test_a_wall_is_placed_to_a_fraction_of_a_plane():
    depth, truth = stereo([wall(8.0)])
    error, given = errors(depth, truth)
    assert given > 0.95
    # Neighbouring planes are about 3 % apart here.
    assert np.median(error) < 0.006
    assert np.quantile(error, 0.95) < 0.03
    assert float(depth.confidence[32:96, 64:160].median()) > 0.8


def test_half_resolution_finds_the_same_wall():
    depth, truth = stereo([wall(8.0)], SweepConfig(full_resolution_pixels=0))
    error, given = errors(depth, truth)
    assert given > 0.9
    assert np.median(error) < 0.015


def test_exposure_difference_between_cameras_changes_little():
    depth, truth = stereo([wall(8.0)], gain=0.6, offset=0.15)
    error, given = errors(depth, truth)
    assert given > 0.95
    assert np.median(error) < 0.01


def test_ground_and_wall_seen_by_cameras_of_different_size_and_focal_length():
    depth, truth = stereo([GROUND, wall(15.0)], size=(96, 240), focal=130.0)
    error, given = errors(depth, truth)
    assert given > 0.8
    assert np.median(error) < 0.03
    assert np.mean(error < 0.25) > 0.93


def test_ego_motion_alone_gives_depth_of_road_and_side_walls():
    planes = [GROUND, side_wall(4.0), side_wall(-5.0)]
    mount = camera_pose()
    engine = SweepEngine(SweepConfig(), CPU)
    frames = []
    for index, x in enumerate((0.0, 1.0, 2.0)):
        image, truth = view(planes, "front", mount, pose(x))
        frames.append(frame(index, [image], pose(x)))
        geometry = engine.reconstruct(frames[-1], frames[:-1])
    truth = np.where(truth < 60.0, truth, np.inf)
    error, given = errors(geometry.depths[0], truth)
    assert given > 0.7
    assert np.median(error) < 0.03
    confident = geometry.depths[0].confidence.numpy() > 0.8
    near = confident & np.isfinite(truth)
    assert near.mean() > 0.3
    assert np.mean(np.abs(geometry.depths[0].depth.numpy()[near] / truth[near] - 1.0) < 0.25) > 0.95


def test_odometry_error_is_corrected_by_the_images():
    planes = [GROUND, side_wall(4.0), side_wall(-5.0), wall(25.0)]
    mounts = [camera_pose(y=0.25), camera_pose(y=-0.25)]
    wrong = from_xyz_rpy([0.0, 0.0, 0.0], [0.0, np.radians(0.25), np.radians(0.2)])

    def median_error(correct: bool) -> float:
        engine = SweepEngine(SweepConfig(), CPU)
        frames = []
        for index, x in enumerate((0.0, 1.0)):
            views = [view(planes, f"c{number}", mount, pose(x)) for number, mount in enumerate(mounts)]
            odometry = pose(x) if index == 0 else pose(x) @ wrong
            frames.append(frame(index, [image for image, _ in views], odometry))
            if not correct and index == 1:
                engine.reset()
            geometry = engine.reconstruct(frames[-1], frames[:-1])
        return float(np.median(errors(geometry.depths[0], views[0][1])[0]))

    corrected, uncorrected = median_error(True), median_error(False)
    assert corrected < 0.6 * uncorrected
    assert corrected < 0.02


def test_what_is_hidden_from_the_other_camera_is_not_confidently_wrong():
    depth, truth = stereo([GROUND, wall(4.0, y=(-0.6, 0.6)), wall(12.0)])
    given = depth.valid.numpy() & np.isfinite(truth) & (depth.confidence.numpy() > 0.8)
    error = np.abs(depth.depth.numpy()[given] / truth[given] - 1.0)
    assert given.mean() > 0.3
    assert np.mean(error < 0.25) > 0.97


def test_without_any_other_view_nothing_is_confident():
    image, _ = view([GROUND, wall(10.0)], "front", camera_pose(), pose(0.0))
    geometry = SweepEngine(SweepConfig(), CPU).reconstruct(frame(1, [image], None), [])
    assert float(geometry.depths[0].confidence.max()) < 0.6
    assert any("no other view" in note for note in geometry.notes)


def test_standing_still_nothing_is_confident():
    views = [view([GROUND, wall(10.0)], "front", camera_pose(), pose(0.0))[0] for _ in range(2)]
    engine = SweepEngine(SweepConfig(), CPU)
    earlier, now = frame(1, [views[0]], pose(0.0)), frame(2, [views[1]], pose(0.0))
    engine.reconstruct(earlier, [])
    geometry = engine.reconstruct(now, [earlier])
    assert float(geometry.depths[0].confidence.max()) < 0.6


def test_texture_free_wall_is_not_confident():
    depth, _ = stereo([wall(8.0, contrast=0.0)])
    assert float(depth.confidence[32:96, 64:160].median()) < 0.6


def test_masked_pixels_get_no_depth_and_do_not_disturb_others():
    planes = [wall(8.0)]
    left, truth = view(planes, "left", camera_pose(y=0.25), pose(0.0))
    right, _ = view(planes, "right", camera_pose(y=-0.25), pose(0.0))
    for image in (left, right):
        image.mask[100:] = False
        image.image[:, 100:] = torch.rand(28, 192, generator=torch.Generator().manual_seed(1))
    depth = SweepEngine(SweepConfig(), CPU).reconstruct(frame(1, [left, right], None), []).depths[0]
    assert not depth.valid[100:].any()
    assert float(depth.confidence[100:].abs().max()) == 0.0
    valid = depth.valid.numpy()[12:88, 36:180]
    error = np.abs(depth.depth.numpy()[12:88, 36:180][valid] / truth[12:88, 36:180][valid] - 1.0)
    assert valid.mean() > 0.9
    assert np.quantile(error, 0.9) < 0.05


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_blank_and_noisy_images_give_finite_numbers(fill):
    left, _ = view([wall(8.0)], "left", camera_pose(y=0.25), pose(0.0))
    right, _ = view([wall(8.0)], "right", camera_pose(y=-0.25), pose(0.0))
    left.image[:] = fill
    geometry = SweepEngine(SweepConfig(), CPU).reconstruct(frame(1, [left, right], None), [])
    for depth in geometry.depths:
        for values in (depth.depth, depth.confidence, depth.sigma):
            assert torch.isfinite(values).all()
        assert ((depth.confidence >= 0.0) & (depth.confidence <= 1.0)).all()
        assert (depth.confidence[~depth.valid] == 0.0).all()
        assert (depth.depth > 0.0).all()


def test_views_that_point_away_from_each_other_are_no_sources():
    planes = [wall(8.0), side_wall(4.0)]
    front, _ = view(planes, "front", camera_pose(), pose(0.0))
    back, _ = view(planes, "back", camera_pose(yaw=np.pi), pose(0.0))
    geometry = SweepEngine(SweepConfig(), CPU).reconstruct(frame(1, [front, back], None), [])
    assert float(geometry.depths[0].confidence.max()) < 0.6
