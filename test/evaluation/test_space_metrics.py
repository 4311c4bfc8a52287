"""Voxels, rays and pictures against what is counted by hand; truth about space where the simulation says what it is."""

import math

import numpy as np
import pytest

from img2three_ros.evaluation.held_out import held_out
from img2three_ros.evaluation.image_metrics import (
    filled_with_mean,
    filled_with_nearest,
    fitted,
    mean_picture_scores,
    picture_scores,
    psnr,
    reprojected,
    ssim,
)
from img2three_ros.evaluation.space_held_out import NovelView, SpaceDrive, SpaceTruth, grid_centres, space_drive
from img2three_ros.evaluation.space_measure import SpaceFigures, measured_answers, pooled
from img2three_ros.evaluation.space_metrics import (
    RayCounts,
    VoxelCounts,
    first_hits,
    lidar_directions,
    ray_counts,
    voxel_counts,
)
from img2three_ros.evaluation.space_page import space_page, space_tree
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, apply, from_xyz_rpy, inverse
from img2three_ros.geometry.voxel_grid import GridSize
from img2three_ros.simulation.vehicle import SimulatedVehicle
from img2three_ros.structures import CameraCalibration, PointCloud

GRID = GridSize((-2.0, -2.0, 0.0), (4, 8, 8), 0.5)
CAMERA = CameraCalibration(20, 12, np.array([[10.0, 0, 9.5], [0, 10.0, 5.5], [0, 0, 1]]))


def wall(x):
    """Solid voxels of index x."""
    solid = np.zeros(GRID.shape, dtype=bool)
    solid[:, :, x] = True
    return solid


def test_voxels_are_counted_where_asked():
    truth, told = np.array([[[1, 1, 0, 0, 1]]], bool), np.array([[[1, 0, 1, 0, 1]]], bool)
    where = np.array([[[1, 1, 1, 1, 0]]], bool)
    counts = voxel_counts(told, truth, where)
    assert counts == VoxelCounts(1, 1, 1)
    assert counts.iou == pytest.approx(1 / 3) and counts.precision == counts.recall == 0.5
    both = counts + VoxelCounts(2, 0, 1)
    assert both.iou == pytest.approx(3 / 6) and both.precision == 0.75 and both.recall == 0.6
    assert math.isnan(VoxelCounts().iou) and math.isnan(VoxelCounts().precision) and math.isnan(VoxelCounts().recall)


def test_rays_end_where_they_enter_the_first_solid_voxel():
    origin = np.array((0.25, 0.25, 0.75))
    ahead, back, up = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    slanted = np.array((0.8, 0.6, 0.0))
    found = first_hits(wall(6), GRID, origin, np.array([ahead, back, up, slanted]))
    # the wall is entered at x = 1: 0.75 m ahead, 0.75 / 0.8 m on the slanted ray (y = 0.8 there, inside)
    np.testing.assert_allclose(found, [0.75, np.inf, np.inf, 0.9375])
    behind = first_hits(wall(6) | wall(1), GRID, origin, np.array([back]))
    np.testing.assert_allclose(behind, [1.25])  # left at x = -1
    np.testing.assert_allclose(first_hits(wall(4), GRID, origin, np.array([ahead, back])), [0.0, 0.0])
    with pytest.raises(ValueError, match="outside the grid"):
        first_hits(wall(6), GRID, np.array((3.0, 0.0, 0.5)), np.array([ahead]))


def test_rays_agree_with_steps_of_a_millimetre():
    random = np.random.default_rng(4)
    solid = random.random(GRID.shape) < 0.2
    origin = np.array((0.1, -0.2, 0.9))
    solid[tuple(np.floor((origin - GRID.low) / 0.5).astype(int)[::-1])] = False
    directions = random.normal(size=(60, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    steps = np.arange(0.0, 6.0, 0.001)
    cells = np.floor((origin + directions[:, None] * steps[:, None] - GRID.low) / 0.5).astype(int)
    inside = ((cells >= 0) & (cells < (8, 8, 4))).all(-1)
    x, y, z = np.where(inside[..., None], cells, 0).transpose(2, 0, 1)
    hit = inside & solid[z, y, x]
    expected = np.where(hit.any(1), steps[hit.argmax(1)], np.inf)
    found = first_hits(solid, GRID, origin, directions)
    assert np.isfinite(expected).sum() > 15
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], atol=0.0011)


def test_rays_count_as_in_rayiou():
    truth = np.array([5.0, 5.0, 5.0, 5.0, np.inf, np.inf])
    told = np.array([5.5, 6.5, 10.0, np.inf, 3.0, np.inf])
    counts = ray_counts(told, truth)
    assert (counts.truth, counts.told, dict(counts.right)) == (4, 4, {1.0: 1, 2.0: 2, 4.0: 2})
    assert counts.iou(1.0) == pytest.approx(1 / 7) and counts.iou(4.0) == pytest.approx(2 / 6)
    assert counts.mean == pytest.approx((1 / 7 + 2 / 6 + 2 / 6) / 3)
    twice = counts + counts
    assert twice.iou(2.0) == counts.iou(2.0) and twice.truth == 8
    assert math.isnan(RayCounts().iou(1.0))


def test_a_lidar_looks_around():
    directions = lidar_directions(3, 4, -20.0, 10.0)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    np.testing.assert_allclose(np.degrees(np.arcsin(directions[[0, 4, 8], 2])), [-20.0, -5.0, 10.0])
    np.testing.assert_allclose(directions[5] / np.cos(np.radians(5.0)), [0.0, 1.0, directions[5, 2] / np.cos(
        np.radians(5.0))], atol=1e-12)  # the second column looks left


def test_psnr_and_the_best_factor():
    truth = np.full((12, 12, 3), 0.5)
    assert psnr(truth + 0.1, truth) == pytest.approx(20.0) and psnr(truth, truth) == math.inf
    ramp = np.linspace(0.1, 0.4, 12 * 12 * 3).reshape(12, 12, 3)
    np.testing.assert_allclose(fitted(ramp * (0.5, 1.0, 2.0), ramp), ramp)
    assert not fitted(np.zeros_like(ramp), ramp).any()
    scores = picture_scores(truth + 0.1, truth)
    assert scores.psnr == pytest.approx(20.0) and scores.psnr_fitted > 100.0
    assert mean_picture_scores([scores, picture_scores(truth + 0.01, truth)]).psnr == pytest.approx(30.0)
    assert math.isnan(mean_picture_scores([]).ssim)


def test_ssim_of_flat_pictures_is_their_luminance_term():
    one, other = np.full((16, 16, 3), 0.2), np.full((16, 16, 3), 0.6)
    assert ssim(one, other) == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4))
    assert ssim(one, one) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(one[:8], other[:8])


def test_ssim_of_one_window_by_hand():
    random = np.random.default_rng(0)
    one, other = random.random((11, 11, 3)), random.random((11, 11, 3))
    offset = np.arange(11) - 5
    weights = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    weights = (weights / weights.sum())[..., None]
    m, n = (one * weights).sum((0, 1)), (other * weights).sum((0, 1))
    v, w = ((one - m) ** 2 * weights).sum((0, 1)), ((other - n) ** 2 * weights).sum((0, 1))
    c = ((one - m) * (other - n) * weights).sum((0, 1))
    expected = (2 * m * n + 1e-4) * (2 * c + 9e-4) / ((m**2 + n**2 + 1e-4) * (v + w + 9e-4))
    assert ssim(one, other) == pytest.approx(expected.mean())


def test_the_nearest_point_covers_its_four_pixels():
    # camera 1 m up looks along x; a red point 5 m ahead, a blue one behind it, a green one behind the camera
    points = np.array([(5.0, 0.0, 1.0), (8.0, 0.0, 1.0), (-5.0, 0.0, 1.0)], np.float32)
    colours = np.array([(255, 0, 0), (0, 0, 255), (0, 255, 0)], np.uint8)
    cloud = PointCloud(points, colours, np.ones(3, np.float32))
    image = reprojected(cloud, CAMERA, from_xyz_rpy((0, 0, 1)) @ T_BASE_OPTICAL)
    known = np.isfinite(image[..., 0])
    assert np.argwhere(known).tolist() == [[5, 9], [5, 10], [6, 9], [6, 10]]  # centre (9.5, 5.5)
    np.testing.assert_array_equal(image[known], np.tile((1.0, 0.0, 0.0), (4, 1)))
    far_left = PointCloud(np.array([(5.0, 40.0, 1.0)], np.float32), colours[:1], np.ones(1, np.float32))
    assert np.isnan(reprojected(far_left, CAMERA, from_xyz_rpy((0, 0, 1)) @ T_BASE_OPTICAL)).all()


def test_holes_are_filled():
    picture = np.full((3, 4, 3), np.nan)
    assert (filled_with_mean(picture) == 0.5).all() and (filled_with_nearest(picture) == 0.5).all()
    picture[0, 0], picture[2, 3] = 0.2, 0.8
    assert filled_with_mean(picture)[1, 1] == pytest.approx(0.5)
    nearest = filled_with_nearest(picture)[..., 0]
    assert nearest[0, 1] == nearest[1, 0] == 0.2 and nearest[2, 2] == nearest[1, 3] == 0.8


def made_up_drive():
    """A wall; what lies behind it is hidden, the lower two levels are not above the ground."""
    visible = np.zeros(GRID.shape, dtype=bool)
    visible[:, :, :6] = True
    above = np.zeros(GRID.shape, dtype=bool)
    above[2:] = True
    truth = SpaceTruth(GRID, wall(5) | wall(7), visible, np.ones(GRID.shape, bool), above)
    view = NovelView(np.full((12, 20, 3), 51, np.uint8), CAMERA, np.eye(4), False)
    return SpaceDrive("made up", (), truth, (view,), np.array([(0.1, 0.1, 0.6)]))


def test_answers_are_measured_region_by_region():
    figures = measured_answers(made_up_drive(), {"right": wall(5) | wall(7), "seen": wall(5), "off": wall(6)},
                               {"dark": [np.full((12, 20, 3), 0.3)]})
    assert all(counts.iou == 1.0 for counts in figures.voxels["right"].values())
    assert figures.voxels["seen"]["visible"] == VoxelCounts(32, 0, 0)
    assert figures.voxels["seen"]["hidden"] == VoxelCounts(0, 0, 32)
    assert figures.voxels["off"]["hidden, above the ground"] == VoxelCounts(0, 16, 16)
    assert figures.voxels["off"]["visible, above the ground"] == VoxelCounts(0, 0, 16)
    assert figures.rays["right"].iou(1.0) == 1.0 and 0.0 < figures.rays["off"].iou(2.0) <= 1.0
    assert figures.picture("dark").psnr == pytest.approx(20.0)
    total = pooled([figures, figures])
    assert total.voxels["off"]["hidden"] == VoxelCounts(0, 64, 64) and len(total.pictures["dark"]) == 2


@pytest.fixture(scope="module")
def rendered_space():
    grid = GridSize((-8.0, -8.0, -1.0), (8, 20, 20), 0.8)
    return held_out(96, 64, rigs=("kitti",))[0], space_drive(held_out(96, 64, rigs=("kitti",))[0], grid, 2)


def test_the_truth_about_space_lies_where_the_pictures_show_it(rendered_space):
    about, drive = rendered_space
    vehicle, frame, image = SimulatedVehicle(about.config), drive.frames[-1], drive.frames[-1].images[-1]
    view = vehicle.render(image.name, image.stamp)
    v, u = np.mgrid[:64, :96]
    rays = np.stack((u, v, np.ones_like(u)), -1).reshape(-1, 3) @ np.linalg.inv(image.calibration.intrinsics).T
    seen = (view.identity.ravel() == 0) & (view.depth.ravel() < 20.0)  # the ground: other things may be thin
    T_base_camera = inverse(frame.T_odom_base) @ image.T_odom_base @ image.T_base_camera

    def solid(offset):
        points = apply(T_base_camera, rays[seen] * (view.depth.ravel()[seen, None] + offset))
        return vehicle.occupied(points, frame.stamp, frame.T_odom_base).mean()

    assert seen.sum() > 500 and solid(-0.3) < 0.02 and solid(0.3) > 0.98


def test_regions_of_space(rendered_space):
    _, drive = rendered_space
    truth, centres = drive.truth, grid_centres(drive.truth.grid).reshape(8, 20, 20, 3)
    np.testing.assert_allclose(centres[0, 0, 0], (-7.6, -7.6, -0.6), atol=1e-6)
    np.testing.assert_allclose(centres[1, 2, 3], (-5.2, -6.0, 0.2), atol=1e-6)
    assert truth.visible.any() and not truth.visible[..., :8].any()  # both cameras look ahead
    assert truth.visible[truth.pictured].any() and not truth.pictured[..., :8].any()
    under = centres[..., 2] < -0.5
    assert truth.solid[under].mean() > 0.95 and not truth.above[under].any()
    assert not (truth.solid & truth.above)[2:4, 9:11, 9:11].any()  # where the vehicle is
    regions = truth.regions()
    assert (regions["visible"] ^ regions["hidden"]).all()
    assert (regions["hidden in a picture, above the ground"] <= regions["hidden, above the ground"]).all()


def test_novel_views_stand_in_free_space_and_look_at_the_vehicle(rendered_space):
    about, drive = rendered_space
    places = np.array([view.T_base_camera[:3, 3] for view in drive.views])
    assert [view.ahead for view in drive.views] == [False] * 4 + [True]
    assert not SimulatedVehicle(about.config).occupied(places, drive.frames[-1].stamp).any()
    for view, place in zip(drive.views[:4], places[:4], strict=True):
        assert 6.0 <= np.linalg.norm(place) <= 14.0 and place[2] > 0.8
        np.testing.assert_allclose(view.T_base_camera[:3, 2], -place / np.linalg.norm(place), atol=1e-9)
        assert view.image.shape == (192, 320, 3) and view.image.std() > 5.0
    assert [(math.atan2(y, x) // (math.pi / 2)) % 4 for x, y, _ in places[:4]] == [0, 1, 2, 3]
    assert places[4, 0] > 1.5
    origins = drive.origins
    np.testing.assert_allclose(origins[0], SimulatedVehicle(about.config).T_base_lidar[:3, 3],
                               atol=1e-9)
    assert (np.abs(origins[:, :2]) < 8.0).all()


def test_the_page_says_what_was_reached():
    figures = measured_answers(made_up_drive(), {"depth alone, fused": wall(6), "scene, p > 0.5": wall(5) | wall(7)},
                               {"coloured points": [np.full((12, 20, 3), 0.3)], "scene": [np.full((12, 20, 3), 0.21)]})
    page = space_page(["made up"], [figures])
    assert "| scene, p > 0.5 | 1.000 | 1.000 | 1.000 |" in page and "made up" in page
    assert "at least .60" in page and "LPIPS" in page
    tree = space_tree(["made up"], [figures])
    assert tree["voxels"]["scene, p > 0.5"]["hidden"]["iou"] == 1.0
    assert tree["pictures"]["coloured points"]["psnr"] == pytest.approx(20.0)
    assert tree["drives"]["made up"]["rays"]["scene, p > 0.5"]["mean"] == 1.0 and SpaceFigures().voxels == {}
