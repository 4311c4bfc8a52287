"""Fusion against hand-computed truth: one camera at the origin of a small grid, walls, poles, masks, motion."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from img2three_ros.config import OccupancyConfig
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.geometry.voxel_grid import states_at
from img2three_ros.reconstruction.fusion import OccupancyFusion
from img2three_ros.reconstruction.views import DepthView, Geometry, PreparedFrame, View
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN

HEIGHT, WIDTH, FOCAL = 192, 320, 200.0
GRID = OccupancyConfig(x_min=-20.0, x_max=20.0, y_min=-20.0, y_max=20.0)
CAMERA_HEIGHT = 1.6
TENTH = 100_000_000

pytestmark = pytest.mark.usefixtures("one_thread")


def camera_pose(yaw: float = 0.0, x: float = 0.0) -> np.ndarray:
    return from_xyz_rpy((x, 0.0, CAMERA_HEIGHT), (0.0, 0.0, yaw)) @ T_BASE_OPTICAL


def depth_view(depth, name="front", confidence=0.95, sigma=0.01, mask=None, T_base_camera=None) -> DepthView:
    """A camera that sees ``depth`` (number or (H, W)); NaN or inf = no depth."""
    depth = torch.as_tensor(depth, dtype=torch.float32).expand(HEIGHT, WIDTH)
    valid = torch.isfinite(depth)
    confidence = torch.as_tensor(confidence, dtype=torch.float32).expand(HEIGHT, WIDTH)
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    view = View(name, 0, torch.zeros(3, HEIGHT, WIDTH),
                torch.tensor([[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]]), mask,
                camera_pose() if T_base_camera is None else T_base_camera)
    return DepthView(view, depth, torch.where(valid, confidence, 0.0), torch.full((HEIGHT, WIDTH), sigma), valid)


def frame(*depths: DepthView, stamp: int = 0, pose=None, missing=()) -> tuple[PreparedFrame, Geometry]:
    return (PreparedFrame(stamp, tuple(depth.view for depth in depths), tuple(missing), pose), Geometry(tuple(depths)))


def state(volume, x, y, z) -> int:
    return int(states_at(volume, np.array([[x, y, z]]))[0])


def fuse(*depths: DepthView, config: OccupancyConfig = GRID):
    return OccupancyFusion(config).update(*frame(*depths))


def along(volume, y=0.2, z=1.6, start=0.2):
    """State by x of the voxels ahead."""
    return {x: state(volume, x, y, z) for x in np.arange(start, 19.9, 0.4)}


def test_wall_free_before_occupied_at_unknown_behind():
    ahead = along(fuse(depth_view(10.1)))
    # One voxel (0.4) and one sigma (1 % of 10.1) before the wall: free up to 9.6 m, so the voxel 8.8 .. 9.2 is.
    assert all(value == FREE for x, value in ahead.items() if 2.0 < x < 9.2), ahead
    assert state(fuse(depth_view(10.1)), 10.2, 0.2, 1.6) == OCCUPIED
    assert all(value == UNKNOWN for x, value in ahead.items() if 9.6 < x < 10.0)
    assert all(value == UNKNOWN for x, value in ahead.items() if x > 10.6)


def test_shape_origin_and_probability():
    volume = fuse(depth_view(10.1))
    assert volume.state.shape == (16, 100, 100) and volume.state.dtype == np.int8
    assert volume.probability.dtype == np.float32
    assert np.allclose(volume.origin, (-20, -20, -1)) and volume.voxel_size == 0.4
    assert (volume.probability[volume.state == UNKNOWN] == 0.5).all()
    assert (volume.probability[volume.state == FREE] <= GRID.free_threshold + 1e-6).all()
    assert (volume.probability[volume.state == OCCUPIED] >= GRID.occupied_threshold - 1e-6).all()


def test_outside_the_frustum_is_unknown():
    volume = fuse(depth_view(15.0))
    known = volume.centres(volume.state != UNKNOWN)
    # Half the image is 160 px of focal 200: |y| <= 0.8 x, and half a voxel more for surface points.
    assert (np.abs(known[:, 1]) <= 0.8 * known[:, 0] + 0.4).all()
    free = volume.centres(volume.state == FREE)
    assert (np.abs(free[:, 1]) + 0.2 <= 0.8 * (free[:, 0] + 0.2)).all() and len(free) > 1000


@pytest.mark.parametrize("width", [0.1, 0.2])
@pytest.mark.parametrize("distance", [4.0, 8.0, 14.0])
@pytest.mark.parametrize("y", [0.0, 0.13, 0.37, -1.21])
def test_thin_pole_before_a_wall_is_occupied_and_never_free(width, distance, y):
    u = np.arange(WIDTH) - (WIDTH - 1) / 2
    half = max(0.5, FOCAL * width / distance / 2)
    columns = np.abs(u + FOCAL * y / distance) <= half
    depth = np.full((HEIGHT, WIDTH), 18.0, np.float32)
    depth[:, columns] = distance
    volume = fuse(depth_view(depth))
    zs = np.arange(0.8, 2.6, 0.1)
    pole = np.stack(np.broadcast_arrays(distance, y, zs), axis=1)
    states = states_at(volume, pole)
    assert (states != FREE).all()
    assert (states == OCCUPIED).mean() > 0.7
    assert state(volume, distance - 1.5, y, 1.6) == FREE


def test_masked_pixels_show_nothing():
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[:, : WIDTH // 2] = False  # the left half of the image, y > 0
    volume = fuse(depth_view(10.0, mask=mask))
    left = volume.centres(volume.state != UNKNOWN)
    assert (left[:, 1] < 0.4).all()
    free = volume.centres(volume.state == FREE)
    assert (free[:, 1] + 0.2 <= 0.0).all() and len(free) > 300


def test_low_confidence_shows_nothing():
    assert (fuse(depth_view(10.0, confidence=0.45)).state == UNKNOWN).all()


def test_medium_confidence_makes_surfaces_but_not_free_space():
    volume = fuse(depth_view(10.1, confidence=0.6))
    assert not (volume.state == FREE).any()
    assert (volume.state == OCCUPIED).any()


def test_sky_without_depth_is_not_free():
    depth = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    assert (fuse(depth_view(depth)).state == UNKNOWN).all()
    depth[HEIGHT // 2:] = 12.0
    volume = fuse(depth_view(depth))
    free = volume.centres(volume.state == FREE)
    assert len(free) > 300 and (free[:, 2] < CAMERA_HEIGHT + 0.2).all()


def test_uncertain_depth_keeps_more_distance():
    def last_free(sigma):
        return max(x for x, value in along(fuse(depth_view(15.0, sigma=sigma))).items() if value == FREE)

    # The far face of the last free voxel is at most 15 exp(-sigma) - 0.4 m: 14.45 and 13.17.
    assert last_free(0.01) == pytest.approx(14.2)
    assert last_free(0.1) == pytest.approx(12.6)


def test_a_surface_that_may_be_anywhere_occupies_nothing():
    """With a sigma of 4.5 m, 6 % of a Laplace distribution lie within half a voxel (0.2 m) of the depth."""
    assert OCCUPIED in along(fuse(depth_view(15.0, sigma=0.05))).values()
    assert OCCUPIED not in along(fuse(depth_view(15.0, sigma=0.3))).values()


def test_no_output_from_invalid_numbers():
    depth = torch.full((HEIGHT, WIDTH), float("nan"))
    view = depth_view(10.0)
    broken = DepthView(view.view, depth, view.confidence, view.sigma, view.valid)
    assert (fuse(broken).state == UNKNOWN).all()
    broken = DepthView(view.view, view.depth, view.confidence, torch.full_like(depth, float("nan")), view.valid)
    assert (fuse(broken).state == UNKNOWN).all()


def test_range_limit():
    volume = fuse(depth_view(30.0), config=OccupancyConfig(x_min=-20, x_max=20, y_min=-20, y_max=20, max_range=8.0))
    free = volume.centres(volume.state == FREE)
    assert 7.0 < np.hypot(free[:, 0], free[:, 1]).max() <= 8.0
    assert not (volume.state == OCCUPIED).any()


def test_far_free_space_needs_two_frames():
    config = OccupancyConfig(x_min=-20, x_max=20, y_min=-20, y_max=20, free_range=5.0)
    fusion = OccupancyFusion(config)
    volume = fusion.update(*frame(depth_view(15.0), pose=np.eye(4)))
    assert state(volume, 4.6, 0.2, 1.6) == FREE and state(volume, 10.2, 0.2, 1.6) == UNKNOWN
    volume = fusion.update(*frame(depth_view(15.0), pose=np.eye(4), stamp=TENTH))
    assert state(volume, 10.2, 0.2, 1.6) == FREE


def test_lost_camera_leaves_its_sector_unknown_in_that_frame_and_touches_nothing_else():
    fusion = OccupancyFusion(GRID)
    front, left = depth_view(10.1), depth_view(10.1, "left", T_base_camera=camera_pose(np.pi / 2))
    for step in range(4):
        before = fusion.update(*frame(front, left, stamp=step * TENTH, pose=np.eye(4)))
    after = fusion.update(*frame(front, stamp=4 * TENTH, pose=np.eye(4), missing=("left",)))
    x, y, z = np.moveaxis(before.centres(np.ones_like(before.state, bool)).reshape(*before.state.shape, 3), -1, 0)
    in_left = (y > 0.2) & (np.abs(x) <= 0.8 * y) & (np.abs(z - CAMERA_HEIGHT) <= (HEIGHT / 2 / FOCAL) * y)
    assert (before.state[in_left] == FREE).sum() > 1000 and (before.state[in_left] == OCCUPIED).sum() > 50
    seen_by_front = (x > 0) & (np.abs(y) <= 0.8 * (x + 0.4) + 0.4)
    assert (after.state[in_left & ~seen_by_front] == UNKNOWN).all()
    only_front = seen_by_front & ~(np.abs(x) <= 0.8 * (y + 0.4) + 0.6)
    assert (after.state[only_front] == before.state[only_front]).all() and (after.state[only_front] == FREE).any()


def test_lost_camera_where_a_live_one_sees_the_same():
    fusion = OccupancyFusion(GRID)
    pair = depth_view(10.1), depth_view(10.1, "twin")
    fusion.update(*frame(*pair, pose=np.eye(4)))
    volume = fusion.update(*frame(pair[0], stamp=TENTH, pose=np.eye(4), missing=("twin",)))
    assert state(volume, 6.2, 0.2, 1.6) == FREE and state(volume, 10.2, 0.2, 1.6) == OCCUPIED


def test_all_cameras_lost():
    fusion = OccupancyFusion(GRID)
    fusion.update(*frame(depth_view(10.1), pose=np.eye(4)))
    volume = fusion.update(*frame(stamp=TENTH, pose=np.eye(4), missing=("front",)))
    assert (volume.state == UNKNOWN).all()


def test_without_ego_pose_every_frame_stands_alone():
    fusion = OccupancyFusion(GRID)
    fusion.update(*frame(depth_view(6.1)))
    second = fusion.update(*frame(depth_view(10.1), stamp=TENTH))
    assert (second.state == fuse(depth_view(10.1)).state).all()


def test_reset_and_time_going_back_forget():
    nothing = depth_view(np.full((HEIGHT, WIDTH), np.nan))
    fusion = OccupancyFusion(GRID)
    fusion.update(*frame(depth_view(10.1), stamp=50 * TENTH, pose=np.eye(4)))
    assert (fusion.update(*frame(nothing, stamp=51 * TENTH, pose=np.eye(4))).state != UNKNOWN).any()
    assert (fusion.update(*frame(nothing, stamp=20 * TENTH, pose=np.eye(4))).state == UNKNOWN).all()
    fusion.update(*frame(depth_view(10.1), stamp=21 * TENTH, pose=np.eye(4)))
    fusion.reset()
    assert (fusion.update(*frame(nothing, stamp=22 * TENTH, pose=np.eye(4))).state == UNKNOWN).all()


def test_decay_ends_in_unknown_and_never_in_free():
    nothing = depth_view(np.full((HEIGHT, WIDTH), np.nan))
    fusion = OccupancyFusion(GRID)
    volume = fusion.update(*frame(depth_view(10.1), pose=np.eye(4)))
    free, occupied = volume.state == FREE, volume.state == OCCUPIED
    for step in range(1, 15):
        volume = fusion.update(*frame(nothing, stamp=step * TENTH, pose=np.eye(4)))
        assert not (volume.state == FREE)[~free].any() and not (volume.state == OCCUPIED)[~occupied].any()
    assert (volume.state == UNKNOWN).all()


def test_a_pause_decays_like_the_frames_it_lacks():
    nothing = depth_view(np.full((HEIGHT, WIDTH), np.nan))
    fusion = OccupancyFusion(GRID)
    fusion.update(*frame(depth_view(10.1), pose=np.eye(4)))
    assert (fusion.update(*frame(nothing, stamp=20 * TENTH, pose=np.eye(4))).state == UNKNOWN).all()


def test_an_obstacle_that_appears_in_free_space_is_never_free_again():
    fusion = OccupancyFusion(GRID)
    for step in range(10):
        volume = fusion.update(*frame(depth_view(15.0), stamp=step * TENTH, pose=np.eye(4)))
    assert state(volume, 8.2, 0.2, 1.6) == FREE
    volume = fusion.update(*frame(depth_view(8.1), stamp=10 * TENTH, pose=np.eye(4)))
    assert state(volume, 8.2, 0.2, 1.6) == OCCUPIED


def test_an_obstacle_that_leaves_is_cleared_within_half_a_second():
    fusion = OccupancyFusion(GRID)
    for step in range(10):
        fusion.update(*frame(depth_view(8.1), stamp=step * TENTH, pose=np.eye(4)))
    states = [state(fusion.update(*frame(depth_view(15.0), stamp=step * TENTH, pose=np.eye(4))), 8.2, 0.2, 1.6)
              for step in range(10, 15)]
    assert states[-1] == FREE and sorted(states, reverse=True) in (states, [OCCUPIED, *states[1:]])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(4, 120),
                          st.integers(4, 120), st.floats(1.0, 25.0), st.sampled_from((0.3, 0.6, 0.95))), max_size=6),
       st.floats(-np.pi, np.pi))
def test_no_voxel_is_free_without_a_ray_that_passes_it(patches, yaw):
    depth = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    confidence = np.zeros((HEIGHT, WIDTH), np.float32)
    for u, v, width, height, distance, sure in patches:
        depth[v:v + height, u:u + width], confidence[v:v + height, u:u + width] = distance, sure
    T_base_camera = camera_pose(yaw)
    volume = fuse(depth_view(depth, confidence=confidence, T_base_camera=T_base_camera))
    free = volume.centres(volume.state == FREE)
    if len(free) == 0:
        return
    in_camera = (np.c_[free, np.ones(len(free))] @ np.linalg.inv(T_base_camera).T)[:, :3]
    u = np.rint(FOCAL * in_camera[:, 0] / in_camera[:, 2] + (WIDTH - 1) / 2).astype(int)
    v = np.rint(FOCAL * in_camera[:, 1] / in_camera[:, 2] + (HEIGHT - 1) / 2).astype(int)
    assert (in_camera[:, 2] > 0).all() and (u >= 0).all() and (u < WIDTH).all() and (v >= 0).all()
    assert (v < HEIGHT).all()
    # The pixel at the centre has no depth, or little confidence, or looks beyond the voxel; and nearly all over
    # the voxel do: the mean confidence over its footprint is at least free_confidence.
    at_centre = depth[v, u]
    assert (~(confidence[v, u] >= 0.5) | (at_centre >= in_camera[:, 2] + 0.4)).all()
    for index in np.linspace(0, len(free) - 1, 10).astype(int):
        half = int(FOCAL * 0.2 / in_camera[index, 2])
        window = np.s_[max(0, v[index] - half):v[index] + half + 1, max(0, u[index] - half):u[index] + half + 1]
        assert (confidence[window] >= 0.5).mean() > 0.4


def test_default_grid_of_the_design():
    volume = OccupancyFusion(OccupancyConfig()).update(*frame(depth_view(10.0)))
    assert volume.state.shape == (16, 200, 200)
