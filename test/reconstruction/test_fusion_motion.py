"""Evidence stays where it belongs in the world while the vehicle drives, turns and tilts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from img2three_ros.config import OccupancyConfig
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, apply, from_xyz_rpy, inverse
from img2three_ros.geometry.voxel_grid import GridSize, grid_size, states_at
from img2three_ros.reconstruction.fusion import OccupancyFusion
from img2three_ros.reconstruction.fusion_grid import EvidenceGrid
from img2three_ros.reconstruction.views import DepthView, Geometry, PreparedFrame, View
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN

CPU = torch.device("cpu")
SIZE = GridSize(low=(-8.0, -8.0, -1.0), shape=(10, 40, 40), voxel_size=0.4)
CELL_OF_BLOCK = np.array((5.0, 1.8, 0.8))  # world point in the middle of a voxel of the lattice at -8, -8, -1

pytestmark = pytest.mark.usefixtures("one_thread")


def put(grid: EvidenceGrid, world: np.ndarray, pose: np.ndarray, value: float) -> None:
    """Set the voxel that holds a point of odom."""
    x, y, z = np.floor(apply(grid.cell_from_base @ inverse(pose), world)).astype(int)
    grid.log_odds[z, y, x] = value


def found(grid: EvidenceGrid, pose: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """(N, 3) points of odom at the centres of the output voxels above a threshold."""
    log_odds, _ = grid.lookup(-0.8)
    zyx = (log_odds >= threshold).nonzero().numpy()
    return apply(pose, (zyx[:, ::-1] + 0.5) * SIZE.voxel_size + np.array(SIZE.low))


def test_many_small_steps_lose_and_blur_nothing():
    grid = EvidenceGrid(SIZE, CPU)
    grid.move(np.eye(4), 1.0)
    put(grid, CELL_OF_BLOCK, np.eye(4), 1.0)
    for step in range(1, 101):
        pose = from_xyz_rpy((0.1 * step, 0.03 * step, 0.0))
        grid.move(pose, 1.0)
        assert int((grid.log_odds != 0).sum()) == 1 and float(grid.log_odds.max()) == 1.0
        points = found(grid, pose)
        assert len(points) == 1
        assert np.abs(points[0] - CELL_OF_BLOCK).max() <= 0.2 + 1e-5


def test_turning_on_the_spot_moves_nothing_in_the_world():
    grid = EvidenceGrid(SIZE, CPU)
    grid.move(np.eye(4), 1.0)
    block = np.stack(np.meshgrid((4.6, 5.0, 5.4), (1.4, 1.8, 2.2), (0.8, 1.2)), axis=-1).reshape(-1, 3)
    for point in block:
        put(grid, point, np.eye(4), 1.0)
    before = grid.log_odds.clone()
    for step in range(1, 37):
        pose = from_xyz_rpy((0.0, 0.0, 0.0), (0.0, 0.0, np.radians(10.0 * step)))
        grid.move(pose, 1.0)
        points = found(grid, pose)
        # 18 voxels of 0.4 m: 1.2 x 1.2 x 0.8 m around (5, 1.8, 1), looked up by centres.
        assert 12 <= len(points) <= 24
        assert (np.abs(points - (5.0, 1.8, 1.0)) <= (0.6, 0.6, 0.4)).all()
    assert torch.equal(grid.log_odds, before)


def test_leaving_the_grid_forgets_and_returning_is_unknown():
    grid = EvidenceGrid(SIZE, CPU)
    grid.move(np.eye(4), 1.0)
    put(grid, CELL_OF_BLOCK, np.eye(4), 1.0)
    grid.move(from_xyz_rpy((60.0, 0.0, 0.0)), 1.0)
    assert not grid.log_odds.any()
    grid.move(np.eye(4), 1.0)
    assert not grid.log_odds.any()


def test_scroll_in_every_direction():
    for move in np.concatenate((np.eye(3), -np.eye(3))) * 1.2:
        grid = EvidenceGrid(SIZE, CPU)
        grid.move(np.eye(4), 1.0)
        put(grid, CELL_OF_BLOCK, np.eye(4), 1.0)
        pose = from_xyz_rpy(move)
        grid.move(pose, 0.5)
        assert np.allclose(found(grid, pose, 0.4), CELL_OF_BLOCK, atol=1e-4)
        assert float(grid.log_odds.max()) == 0.5


def test_far_from_the_origin_of_odom_stays_exact():
    """A lattice anchored where the vehicle is keeps single precision out of large coordinates."""
    grid = EvidenceGrid(SIZE, CPU)
    start = from_xyz_rpy((5.0e5, 4.2e6, 30.0), (0.0, 0.0, 1.0))
    grid.move(start, 1.0)
    put(grid, apply(start, CELL_OF_BLOCK), start, 1.0)
    pose = start @ from_xyz_rpy((2.0, 0.4, 0.0))
    grid.move(pose, 1.0)
    assert np.allclose(found(grid, pose), apply(start, CELL_OF_BLOCK), atol=1e-3)


def test_strong_tilt_starts_anew():
    grid = EvidenceGrid(SIZE, CPU)
    grid.move(np.eye(4), 1.0)
    put(grid, CELL_OF_BLOCK, np.eye(4), 1.0)
    grid.move(from_xyz_rpy((0.0, 0.0, 0.0), (0.0, np.radians(4.0), 0.0)), 1.0)
    assert grid.log_odds.any()
    grid.move(from_xyz_rpy((0.0, 0.0, 0.0), (0.0, np.radians(8.0), 0.0)), 1.0)
    assert not grid.log_odds.any()


def test_an_output_voxel_is_free_only_if_all_it_overlaps_is_free():
    grid = EvidenceGrid(SIZE, CPU)
    grid.move(np.eye(4), 1.0)
    grid.log_odds.fill_(-1.0)
    put(grid, CELL_OF_BLOCK, np.eye(4), 0.0)
    grid.move(from_xyz_rpy((0.15, -0.1, 0.05)), 1.0)
    _, free = grid.lookup(-0.8)
    # Shifted by a fraction of a voxel along each axis, eight output voxels share the one that is not free.
    assert int((~free).sum()) == 8
    grid.move(np.eye(4), 1.0)
    _, free = grid.lookup(-0.8)
    assert int((~free).sum()) == 1


def test_columns_hold_the_whole_output_box_also_when_tilted():
    for pose in (np.eye(4), from_xyz_rpy((3.3, 1.1, 0.2), (0.03, -0.05, 0.7))):
        grid = EvidenceGrid(SIZE, CPU)
        grid.move(np.eye(4), 1.0)
        grid.move(pose, 1.0)
        grid.log_odds.view(-1)[grid.flat_index(grid.columns())] = 1.0
        log_odds, _ = grid.lookup(-0.8)
        assert (log_odds == 1.0).all()


def street_view(pose: np.ndarray, yaw: float = 0.0) -> DepthView:
    """A camera that sees a road at z = 0 and a wall at x = 30 of odom, from a vehicle at ``pose``."""
    height, width, focal = 192, 320, 200.0
    T_base_camera = from_xyz_rpy((1.0, 0.0, 1.6), (0.0, 0.0, yaw)) @ T_BASE_OPTICAL
    T = pose @ T_base_camera
    v, u = np.mgrid[:height, :width]
    rays = np.stack(((u - 159.5) / focal, (v - 95.5) / focal, np.ones(u.shape)), axis=-1) @ T[:3, :3].T
    with np.errstate(divide="ignore"):
        to_road, to_wall = -T[2, 3] / rays[..., 2], (30.0 - T[0, 3]) / rays[..., 0]
    depth = np.minimum(np.where(to_road > 0, to_road, np.inf), np.where(to_wall > 0, to_wall, np.inf))
    depth = torch.from_numpy(np.where(depth < 100.0, depth, np.nan)).float()
    valid = torch.isfinite(depth)
    view = View("front", 0, torch.zeros(3, height, width),
                torch.tensor([[focal, 0.0, 159.5], [0.0, focal, 95.5], [0.0, 0.0, 1.0]]),
                torch.ones(height, width, dtype=torch.bool), T_base_camera)
    return DepthView(view, depth, torch.where(valid, 0.95, 0.0), torch.full((height, width), 0.01), valid)


def test_driving_at_a_wall_keeps_it_one_place():
    """After three metres in steps of 0.1 m the wall is as thin as at the start, and where it is."""
    fusion = OccupancyFusion(OccupancyConfig(x_min=-10, x_max=30, y_min=-12, y_max=12))
    for step in range(31):
        pose = from_xyz_rpy((10.0 + 0.1 * step, 0.0, 0.0))
        depth = street_view(pose)
        volume = fusion.update(PreparedFrame(step * 100_000_000, (depth.view,), (), pose), Geometry((depth,)))
        wall = volume.centres(volume.state == OCCUPIED)
        wall = wall[wall[:, 2] > 0.6]
        in_odom = wall[:, 0] + pose[0, 3]
        assert len(wall) > 300
        assert np.abs(in_odom - 30.0).max() <= 0.61
        row = states_at(volume, np.stack(np.broadcast_arrays(np.arange(0.2, 29.9, 0.4), 0.2, 1.8), axis=1))
        assert 1 <= (row == OCCUPIED).sum() <= 2
    ahead = volume.centres(volume.state == FREE)
    assert ((ahead[:, 0] + pose[0, 3]) < 29.6).all()


def test_turning_keeps_the_obstacle_seen_before():
    fusion = OccupancyFusion(OccupancyConfig(x_min=-20, x_max=20, y_min=-20, y_max=20))
    start = from_xyz_rpy((22.0, 0.0, 0.0))
    depth = street_view(start)
    fusion.update(PreparedFrame(0, (depth.view,), (), start), Geometry((depth,)))
    turned = start @ from_xyz_rpy((0.0, 0.0, 0.0), (0.0, 0.0, np.pi / 2))
    blind = street_view(turned)
    blind = replace(blind, confidence=torch.zeros_like(blind.depth), valid=torch.zeros_like(blind.valid))
    volume = fusion.update(PreparedFrame(100_000_000, (blind.view,), (), turned), Geometry((blind,)))
    wall = volume.centres(volume.state == OCCUPIED)
    wall = wall[wall[:, 2] > 0.6]
    assert len(wall) > 100 and np.abs(wall[:, 1] + 8.0).max() <= 0.61  # 8 m ahead before the turn, now at the right
    free = volume.centres(volume.state == FREE)
    assert (np.abs(free[:, 1]) <= 0.8 * free[:, 0] + 0.2).all()  # free only within the frustum of now


def test_free_belief_ends_when_it_leaves_the_frustum():
    fusion = OccupancyFusion(OccupancyConfig(x_min=-20, x_max=20, y_min=-20, y_max=20))
    for step, x in enumerate(np.arange(0.0, 8.0, 0.5)):
        pose = from_xyz_rpy((x, 0.0, 0.0))
        depth = street_view(pose)
        volume = fusion.update(PreparedFrame(step * 100_000_000, (depth.view,), (), pose), Geometry((depth,)))
        free = volume.centres(volume.state == FREE)
        assert (free[:, 0] > 1.0).all()
    assert (volume.state[:, :, :50] != FREE).all() and (volume.state != UNKNOWN).any()


def test_grid_size_rounds_up_to_whole_voxels():
    size = grid_size(OccupancyConfig(x_min=0.0, x_max=1.0, y_min=-0.6, y_max=0.6, z_min=0.0, z_max=0.4))
    assert size.shape == (1, 3, 3)
    assert size.high == pytest.approx((1.2, 0.6, 0.4))
