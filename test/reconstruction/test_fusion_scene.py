"""Fusion in a street of boxes: how much of the free road it finds, and how often noise makes it call a thing free."""

import numpy as np
import pytest
import torch

from img2three_ros.config import OccupancyConfig
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.geometry.voxel_grid import occupancy_slice, states_at
from img2three_ros.reconstruction.fusion import OccupancyFusion
from img2three_ros.reconstruction.views import DepthView, Geometry, PreparedFrame, View
from img2three_ros.structures import FREE, OCCUPIED

HEIGHT, WIDTH, FOCAL = 192, 320, 180.0
BOXES = np.array([  # low x, y, z, high x, y, z: road, houses, parked cars, a van, two poles, the end of the street
    (-100, -100, -1, 100, 100, 0), (-60, -14, 0, 60, -9, 9), (-60, 9, 0, 60, 14, 9),
    (9, -7, 0, 13.5, -5.2, 1.5), (16, -7, 0, 20.5, -5.2, 1.5), (12, 4, 0, 17.5, 6.2, 2.4),
    (7.0, 5.0, 0, 7.15, 5.15, 5), (15.0, -4.0, 0, 15.2, -3.8, 5), (38, -9, 0, 40, 9, 9)], dtype=float)
CONFIG = OccupancyConfig(x_min=-4, x_max=40, y_min=-12, y_max=12)

pytestmark = pytest.mark.usefixtures("one_thread")


def distances(origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Along rays (..., 3) from a point to the first box (slabs), inf = none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (BOXES[:, None, :3] - origin) / rays.reshape(-1, 3)
        b = (BOXES[:, None, 3:] - origin) / rays.reshape(-1, 3)
    near, far = np.minimum(a, b).max(axis=2), np.maximum(a, b).min(axis=2)
    hit = np.where((near <= far) & (near > 0), near, np.inf)
    return hit.min(axis=0).reshape(rays.shape[:-1])


def cameras(x: float) -> list[DepthView]:
    """Three cameras (ahead, ahead left, ahead right) of a vehicle at x, with exact depth."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack(((u - (WIDTH - 1) / 2) / FOCAL, (v - (HEIGHT - 1) / 2) / FOCAL, np.ones(u.shape)), axis=-1)
    intrinsics = torch.tensor([[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])
    views = []
    for index, yaw in enumerate((0.0, 0.9, -0.9)):
        T = from_xyz_rpy((0.5, 0.0, 1.6), (0.0, 0.0, yaw)) @ T_BASE_OPTICAL
        depth = torch.from_numpy(distances(T[:3, 3] + (x, 0, 0), pixels @ T[:3, :3].T)).float()
        valid = torch.isfinite(depth)
        view = View(f"camera_{index}", 0, torch.zeros(3, HEIGHT, WIDTH), intrinsics,
                    torch.ones(HEIGHT, WIDTH, dtype=torch.bool), T)
        views.append(DepthView(view, depth.nan_to_num(posinf=0.0), torch.where(valid, 0.95, 0.0),
                               torch.full_like(depth, 0.02), valid))
    return views


def spoiled(image: DepthView, random: np.random.Generator) -> DepthView:
    """5 % noise; a tenth of the image in patches at 1.6 times the depth, four in five of them known to be doubtful."""
    depth = image.depth * torch.from_numpy(np.exp(random.normal(0, 0.05, image.depth.shape))).float()
    confidence = torch.where(image.valid, 0.9, 0.0)
    patches = round(0.1 * HEIGHT * WIDTH / (16 * 16))
    for number in range(patches):
        v, u = random.integers(0, HEIGHT - 16), random.integers(0, WIDTH - 16)
        depth[v:v + 16, u:u + 16] *= 1.6
        if number % 5:
            confidence[v:v + 16, u:u + 16] = torch.where(image.valid[v:v + 16, u:u + 16], 0.4, 0.0)
    return DepthView(image.view, depth, confidence, torch.full_like(depth, 0.05), image.valid)


def returns(x: float, count: int = 20000) -> np.ndarray:
    """(N, 3) LiDAR-like points on the boxes in ``base_link`` of a vehicle at x, 0.3 < z < 3 m."""
    random = np.random.default_rng(3)
    angle, rise = random.uniform(-1.2, 1.2, count), random.uniform(-0.3, 0.15, count)
    rays = np.column_stack((np.cos(angle), np.sin(angle), rise))
    origin = np.array((x + 0.5, 0.0, 1.9))
    points = origin + rays * distances(origin, rays)[:, None] - (x, 0, 0)
    return points[np.isfinite(points).all(axis=1) & (points[:, 2] > 0.3) & (points[:, 2] < 3.0)]


def drive(frames: int, spoil: bool, known_pose: bool = True):
    random = np.random.default_rng(0)
    fusion = OccupancyFusion(CONFIG)
    for step in range(frames):
        depths = [spoiled(image, random) if spoil else image for image in cameras(0.7 * step)]
        pose = from_xyz_rpy((0.7 * step, 0.0, 0.0)) if known_pose else None
        prepared = PreparedFrame(step * 100_000_000, tuple(image.view for image in depths), (), pose)
        volume = fusion.update(prepared, Geometry(tuple(depths)))
    return volume, 0.7 * (frames - 1)


@pytest.mark.parametrize(("frames", "known_pose"), [(1, False), (4, True)])
def test_most_of_the_free_road_is_found_when_depth_is_right(frames, known_pose):
    volume, x = drive(frames, spoil=False, known_pose=known_pose)
    every = volume.centres(np.ones(volume.state.shape, bool))
    in_world = every + np.array((x, 0.0, 0.0))
    road = (np.hypot(every[:, 0], every[:, 1]) < 15) & (every[:, 0] > 3.5) & (np.abs(every[:, 1]) < 3.2)
    road &= (every[:, 2] > 0.6) & (every[:, 2] < 2.3)
    for box in BOXES[1:]:
        road &= ~((in_world > box[:3] - 0.6) & (in_world < box[3:] + 0.6)).all(axis=1)
    visible = distances(np.array((x + 0.5, 0.0, 1.6)), every - (0.5, 0.0, 1.6)) > 1.0
    road &= visible
    assert road.sum() > 1000
    assert (volume.state.ravel()[road] == FREE).mean() > 0.75
    assert (states_at(volume, returns(x)) == FREE).mean() < 0.001
    cells = occupancy_slice(volume)
    rows, columns = (int((y + 12) / 0.4) for y in (-1.0, 0.2, 1.0)), (int((at + 4) / 0.4) for at in (4.2, 8.2, 12.2))
    free = cells[np.ix_(list(rows), list(columns))]
    assert ((free >= 0) & (free < 0.31)).all()


@pytest.mark.parametrize(("frames", "known_pose"), [(1, False), (5, True)])
def test_noise_rarely_makes_a_thing_free(frames, known_pose):
    volume, x = drive(frames, spoil=True, known_pose=known_pose)
    states = states_at(volume, returns(x))
    assert (states == FREE).mean() < 0.02
    assert (states == OCCUPIED).mean() > 0.3
    assert (volume.state == FREE).sum() > 1000
