"""Recordings of the simulated vehicle as training data: what the groups say must agree with the exact world."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from img2three_ros.data.bag_cache import CachedFrame, load_frame, load_pose, prepare_bags
from img2three_ros.data.bag_groups import BagGroups
from img2three_ros.data.bag_truth import NearestInTime, decode_depth, lidar_depth
from img2three_ros.data.view_group import ViewGroup
from img2three_ros.simulation.recording import record
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle
from img2three_ros.structures import InputError

CONFIG = SimulationConfig(seed=3, width=96, height=64, lidar_rings=24, lidar_step=2.0, view_range=60.0, traffic=0.0,
                          phase=0.0, jitter=0.0)
CAMERAS = 6


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("drive") / "bag", 0.6, config=CONFIG, truth_depth=True).path


@pytest.fixture(scope="module")
def cached(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ...]]:
    cache = tmp_path_factory.mktemp("cache")
    return {kind: prepare_bags((bag,), cache, kind, report=lambda _: None)[0] for kind in ("lidar", "depth")}


def truth(frame: CachedFrame) -> list[np.ndarray]:
    """Exact depth of each view of a frame, rendered again."""
    vehicle = SimulatedVehicle(CONFIG)
    return [vehicle.render(view.name, frame.stamp).depth for view in frame.views]


def test_depth_images_are_found_and_belong_to_their_cameras(cached):
    assert len(cached["depth"]) == 6
    frame = load_frame(cached["depth"][2])
    assert len(frame.views) == CAMERAS and frame.points is None
    assert load_pose(cached["depth"][2])[0] == frame.stamp
    for view, exact in zip(frame.views, truth(frame), strict=True):
        assert view.image.shape == (64, 96, 3) and view.mask.all()
        assert view.depth == pytest.approx(exact, rel=1e-5, nan_ok=True)


def test_lidar_supervision_agrees_with_the_exact_depth(cached):
    frame = load_frame(cached["lidar"][2])
    assert frame.points is not None and all(view.depth is None for view in frame.views)
    errors = []
    for view, exact in zip(frame.views, truth(frame), strict=True):
        depth = lidar_depth(frame.points, view.T_base_camera, view.intrinsics, view.mask.shape)
        known = np.isfinite(depth) & np.isfinite(exact)
        assert known.sum() > 50
        errors.append(np.abs(depth[known] - exact[known]) / exact[known])
    together = np.concatenate(errors)
    assert np.median(together) < 0.02 and (together < 0.15).mean() > 0.95


def test_points_seen_over_an_obstacle_are_hidden_but_the_ground_is_not():
    """A camera 1 m above the ground looks at a 1 m wide box 4 m ahead, from above which a LiDAR sees a wall at 20 m."""
    T_base_camera = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    intrinsics = np.array([[200.0, 0.0, 160.0], [0.0, 200.0, 96.0], [0.0, 0.0, 1.0]])

    def grid(x: float, ys: np.ndarray, zs: np.ndarray) -> np.ndarray:
        y, z = (part.ravel() for part in np.meshgrid(ys, zs))
        return np.stack((np.full_like(y, x), y, z), 1)

    box = grid(4.0, np.arange(-0.5, 0.51, 0.05), np.arange(0.2, 1.6, 0.05))
    wall = grid(20.0, np.arange(-6.0, 6.1, 0.2), np.arange(0.5, 4.0, 0.2))
    x, y = (part.ravel() for part in np.meshgrid(np.arange(3.0, 18.0, 0.7), np.arange(-4.0, -1.0, 0.1)))
    ground = np.stack((x, y, np.zeros_like(x)), 1)
    depth = lidar_depth(np.concatenate((box, wall, ground)), T_base_camera, intrinsics, (192, 320))
    # The box covers columns 135..185 and rows 66..136
    inside = depth[70:130, 140:180]
    assert np.isfinite(inside).any() and np.nanmax(inside) == pytest.approx(4.0)
    beside = depth[80:100, 195:215]
    assert np.nanmin(beside) == pytest.approx(20.0)
    rows, columns = np.nonzero(np.isfinite(depth[:, 200:]))
    found = {round(float(value), 1) for value in depth[:, 200:][rows, columns]}
    assert {3.0, 5.1, 10.0, 15.6} <= found


def test_groups_are_consistent_geometry(cached):
    """A point of one view, by its depth and the poses, is seen at the same depth where another view shows it."""
    groups = BagGroups((cached["depth"],))
    agreements = []
    for index in range(6):
        group = groups.group(index, (64, 96), 6)
        assert len(group.images) <= 6 and group.images.dtype == torch.uint8 and group.depth.dtype == torch.float32
        agreements += [agreement(group, view, source) for view, sources in enumerate(group.sources.tolist())
                       for source in sources if source >= 0]
    together = np.concatenate(agreements)
    assert len(together) > 1000 and (np.abs(together) < 0.03).mean() > 0.8


def agreement(group: ViewGroup, view: int, source: int) -> np.ndarray:
    """Relative difference of depth at the pixels of ``source`` that show points of ``view``."""
    depth = group.depth[view].double().numpy()
    row, column = np.nonzero(np.isfinite(depth) & (depth < 40.0))
    K, K_source = group.intrinsics[view].double().numpy(), group.intrinsics[source].double().numpy()
    rays = np.stack((column, row, np.ones_like(row)), 1) @ np.linalg.inv(K).T
    points = np.concatenate((rays * depth[row, column][:, None], np.ones((len(row), 1))), 1)
    T = np.linalg.inv(group.T_base_camera[source].numpy()) @ group.T_base_camera[view].numpy()
    moved = (points @ T.T)[:, :3]
    moved = moved[moved[:, 2] > 0.5]
    pixel = np.round((moved @ K_source.T)[:, :2] / moved[:, 2:]).astype(int)
    height, width = depth.shape
    inside = (pixel >= 0).all(1) & (pixel < (width, height)).all(1)
    there = group.depth[source].double().numpy()[pixel[inside, 1], pixel[inside, 0]]
    return ((there - moved[inside, 2]) / moved[inside, 2])[np.isfinite(there)]


def test_groups_are_cut_to_any_size_and_reproducible(cached):
    groups = BagGroups((cached["lidar"],))
    for index in range(4):
        group = groups.group(index, (32, 64), 4)
        again = pickle.loads(pickle.dumps(groups)).group(index, (32, 64), 4)
        assert group.images.shape[1:] == (3, 32, 64) and len(group.images) <= 4
        assert torch.equal(group.images, again.images) and torch.equal(group.sources, again.sources)
        assert torch.isfinite(group.depth).any()
        assert (group.intrinsics[:, 0, 0] > 0.0).all()
    assert any(groups.group(index, (32, 64), 4).instant.max() > 0 for index in range(4))


def test_held_out_frames_are_never_trained_on(cached):
    files = cached["depth"]
    many = (files * 5)[:20]
    training, held_out = BagGroups((many,)), BagGroups((many,), held_out=True)
    assert training._part(0) + held_out._part(0) == many and len(held_out._part(0)) == 2
    with pytest.raises(InputError, match="too few"):
        BagGroups((files[:1],))


def test_the_cache_is_used_again_until_the_bag_changes(bag, tmp_path):
    said: list[str] = []
    first = prepare_bags((bag,), tmp_path, "lidar", report=said.append)
    assert prepare_bags((bag,), tmp_path, "lidar", report=said.append) == first
    assert sum("reading" in text for text in said) == 1
    prepare_bags((bag,), tmp_path, "depth", report=said.append)
    assert sum("reading" in text for text in said) == 2
    first[0][0].write_bytes(b"broken")
    with pytest.raises(InputError, match="delete its folder"):
        load_frame(first[0][0])


def test_a_bag_without_truth_is_named(tmp_path):
    config = replace(CONFIG, width=32, height=32, lidar_rings=1, lidar_step=180.0)
    path = record(tmp_path / "plain", 0.1, config=config).path
    with pytest.raises(InputError, match="no image with truth"):
        prepare_bags((path,), tmp_path / "cache", "depth", report=lambda _: None)
    assert not list((tmp_path / "cache").iterdir())


def test_depth_encodings():
    def image(encoding: str, data: bytes, step: int, big: bool = False) -> SimpleNamespace:
        return SimpleNamespace(encoding=encoding, data=data, width=2, height=2, step=step, is_bigendian=big)

    metres = np.array([[1.5, np.inf, 9.0], [np.nan, 0.0, 9.0]], dtype=np.float32)  # the last column is padding
    decoded = decode_depth(image("32FC1", metres.tobytes(), 12), "d")
    assert decoded.tolist()[0] == [1.5, np.inf] and np.isnan(decoded[1]).all()
    millimetres = np.array([[1500, 0], [20, 65535]], dtype=">u2")
    decoded = decode_depth(image("16UC1", millimetres.tobytes(), 4, big=True), "d")
    assert decoded[[0, 1, 1], [0, 0, 1]] == pytest.approx([1.5, 0.02, 65.535]) and np.isnan(decoded[0, 1])
    with pytest.raises(InputError, match="not depth"):
        decode_depth(image("rgb8", b"", 4), "d")
    with pytest.raises(InputError, match="too few"):
        decode_depth(image("16UC1", b"1234", 4), "d")


def test_nearest_in_time_within_the_tolerance():
    items = [("a", stamp * 100_000_000, stamp) for stamp in range(50)]
    finder = NearestInTime(items, tolerance=40_000_000)
    assert finder.at("a", 330_000_000) == 3 and finder.at("b", 330_000_000) is None
    assert finder.at("a", 350_000_000) is None
    assert finder.at("a", 4_700_000_000) == 47 and finder.at("a", 9_000_000_000) is None
