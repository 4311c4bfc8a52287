"""Ground that is not flat: hits of rays, occupancy and what stands on it, against formulas and a march in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from img2three_ros.geometry.transforms import T_BASE_OPTICAL, apply, from_xyz_rpy
from img2three_ros.simulation.ground import GroundView, height, outside_road
from img2three_ros.simulation.ray_casting import ray_tiles
from img2three_ros.simulation.section import Crossings, Section
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.terrain import FLOATS, TENSORS, Bank, Terrain, make_terrain
from img2three_ros.simulation.trajectories import Road, make_drive, make_road

LENGTH = 400.0
HILLY = Terrain(
    ((2.0, 2 * math.pi * 2 / LENGTH, 0.4), (0.2, 2 * math.pi * 5 / LENGTH, 2.0)),
    (0.03, 2 * math.pi * 3 / LENGTH, 1.0), (0.01, 2 * math.pi * 30 / LENGTH, 1.1, 0.3),
    Bank(9.0, 8.0, 2.5), Bank(10.0, 6.0, -1.5, 0.5, 3.0), (10.0, 50.0, 150.0, 2 * math.pi / LENGTH, 0.01, 0.0),
)  # fmt: skip
WINDING = ((3.0, 2 * math.pi * 2 / LENGTH, 0.5),)


def looking(x: float, y: float, z: float, yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    return from_xyz_rpy((x, y, z), (0.0, pitch, yaw)) @ T_BASE_OPTICAL


def fan(rows: int = 32, columns: int = 40) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(-0.2, 0.6, rows), np.linspace(-0.7, 0.7, columns), indexing="ij")
    return np.stack((x, y, np.ones_like(x)), axis=-1)


def hits(road: Road, pose: np.ndarray, directions: np.ndarray) -> np.ndarray:
    rays = ray_tiles(directions, "cpu")
    return rays.to_image(GroundView(road, pose).hits(rays)).numpy()


def marched(road: Road, pose: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """First depth at which a ray is below the ground, by steps of 0.3 %; inf beyond 300 m."""
    steps = 0.5 * 1.003 ** np.arange(2136)
    world = directions.reshape(-1, 3) @ pose[:3, :3].T
    found = np.full(len(world), np.inf)
    for chunk in np.array_split(np.arange(len(world)), 16):
        points = torch.tensor(pose[:3, 3] + world[chunk, None, :] * steps[:, None])
        level = height(road, torch.remainder(points[..., 0], road.length), points[..., 1])
        below = (points[..., 2] < level).numpy()
        found[chunk] = np.where(below.any(1), steps[below.argmax(1)], np.inf)
    return found.reshape(directions.shape[:2])


def test_rays_meet_a_cross_slope_where_the_formula_says():
    # height = 0.05 * y / (1 + |y| / 20) on a straight road; a ray to the right: 2 - 0.4 t = -0.05 t / (1 + t / 20)
    road = Road(LENGTH, ((0.0, 1.0, 0.0),), Section(kerb=0.0), Terrain(tilt=(0.05, 0.0, math.pi / 2)))
    # (2 - 0.4 t)(1 + t / 20) = -0.05 t  ->  0.02 t^2 + 0.25 t - 2 = 0
    expected = (-0.25 + math.sqrt(0.25**2 + 4 * 0.02 * 2.0)) / 0.04
    depth = hits(road, looking(50.0, 0.0, 2.0, -math.pi / 2), np.array([[[0.0, 0.4, 1.0]]]))
    assert depth[0, 0] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("pose", [(120.0, -1.8, 0.0, 0.0), (310.0, 0.0, 2.2, 0.05), (15.0, 2.0, 1.5, -0.05)])
@pytest.mark.parametrize("kerb", [0.0, 0.15])
def test_first_ground_is_found_over_crests_banks_and_kerbs(pose, kerb):
    crossings = Crossings(200.0, 130.0, 4.0, 0.2, 5.0) if kerb else None
    road = Road(LENGTH, WINDING, Section(kerb=kerb, crossings=crossings), HILLY)
    x, lateral, yaw, pitch = pose
    px, py, heading = road.place(x, lateral)
    T = looking(px, py, road.height(px, py) + 1.5, heading + yaw, pitch)
    depth, expected = hits(road, T, fan()), marched(road, T, fan())
    both = np.isfinite(depth) & np.isfinite(expected)
    assert both.mean() > 0.5
    assert (np.abs(depth[both] / expected[both] - 1.0) < 0.005).mean() > 0.97  # the rest: over the lip of a crest
    assert (np.abs(depth[both] / expected[both] - 1.0) < 0.3).mean() > 0.99
    near = np.isfinite(expected) & (expected < 250.0)
    assert np.isfinite(depth[near]).mean() > 0.99  # some graze a crest and are lost in the sky
    assert (np.isinf(expected) & (depth < 250.0)).mean() < 0.002


def test_hits_lie_on_the_surface_to_a_millimetre():
    road = Road(LENGTH, WINDING, Section(kerb=0.0), HILLY)
    px, py, heading = road.place(200.0, -1.8)
    T, directions = looking(px, py, road.height(px, py) + 1.6, heading), fan()
    depth = hits(road, T, directions).astype(float)
    points = apply(T, directions * np.where(depth < 80.0, depth, np.nan)[..., None])[depth < 80.0]
    level = height(road, torch.tensor(points[:, 0]), torch.tensor(points[:, 1])).numpy()
    assert len(points) > 500
    assert np.abs(points[:, 2] - level).max() < 1.5e-3


def test_terrain_is_the_same_for_floats_and_tensors_and_repeats():
    random = np.random.default_rng(3)
    made = make_terrain(random, LENGTH, 1.0, 8.0, banks=True, hills=True)
    for terrain in (HILLY, made):
        x, across = random.uniform(0.0, LENGTH, 200), random.uniform(-150.0, 150.0, 200)
        floats = [terrain.height(a, b, FLOATS) for a, b in zip(x.tolist(), across.tolist(), strict=True)]
        tensors = terrain.height(torch.tensor(x), torch.tensor(across), TENSORS)
        assert floats == pytest.approx(tensors.numpy(), abs=1e-9)
        later = terrain.height(torch.tensor(x + LENGTH), torch.tensor(across), TENSORS)
        assert later.numpy() == pytest.approx(floats, abs=1e-6)
        assert max(floats) <= terrain.highest
    assert Terrain().flat and not made.flat and make_terrain(random, LENGTH, 0.0, 8.0, banks=True, hills=True).flat


def test_slopes_along_the_road_stay_below_six_percent():
    steepest = []
    for seed in range(30):
        terrain = make_terrain(np.random.default_rng(seed), LENGTH, 1.0, 8.0, banks=False, hills=False)
        smooth = replace(terrain, bump=(0.0, 0.0, 0.0, 0.0))
        level = np.array([smooth.height(x, 0.0, FLOATS) for x in np.arange(0.0, LENGTH, 1.0)])
        steepest.append(np.abs(np.diff(level)).max())
    assert max(steepest) < 0.0601
    assert np.median(steepest) > 0.02


def test_crossing_roads_are_road_with_rounded_corners():
    road = Road(LENGTH, ((0.0, 1.0, 0.0),), Section(half_width=6.0, crossings=Crossings(200.0, 50.0, 4.0, 0.0, 5.0)))
    # On the road, on the crossing road, beside both, and at the corner: its circle is centred on (59, 11), radius 5.
    x = torch.tensor([10.0, 50.0, 251.0, 80.0, 54.5, 56.0, 58.0])
    y = torch.tensor([5.0, 40.0, -60.0, 20.0, 6.5, 8.0, 10.0])
    found = outside_road(road, x, y)
    expected = [-1.0, -4.0, -3.0, 14.0, 5 - math.hypot(4.5, 4.5), 5 - math.hypot(3, 3), 5 - math.hypot(1, 1)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    ends = replace(road, section=replace(road.section, crossings=Crossings(200.0, 50.0, 4.0, 0.0, 5.0, 1)))
    assert outside_road(ends, torch.tensor([50.0, 50.0]), torch.tensor([20.0, -20.0])).tolist() == pytest.approx(
        [-4.0, 14.0])


@pytest.mark.parametrize("scene", ["street", "country"])
def test_the_vehicle_stands_on_its_wheels(scene):
    config = SimulationConfig(scene=scene, seed=3, terrain=1.0, turning=0.5)
    road = make_road(config)
    drive = make_drive(config, road)
    wheels = np.array([(x, y, 0.0) for x in (0.0, 2.8) for y in (-0.8, 0.8)])
    gaps, pitches = [], []
    for seconds in np.arange(0.0, 60.0, 2.0):
        T = drive.pose(float(seconds))
        assert T[:3, :3] @ T[:3, :3].T == pytest.approx(np.eye(3), abs=1e-9)
        gaps += [point[2] - road.height(*point[:2]) for point in apply(T, wheels)]
        pitches.append(-T[2, 0])
    assert np.abs(gaps).max() < 0.04  # body sway and bumps
    assert np.ptp(pitches) > 0.02


def test_objects_lean_with_the_ground_or_stand_upright():
    road = Road(LENGTH, ((0.0, 1.0, 0.0),), Section(), Terrain(((0.05 / 0.03, 0.03, 0.0),)))
    tilted, upright = road.stand(0.0, 5.0, 0.0, 0.0, True), road.stand(0.0, 5.0, 0.0, 0.1)
    assert tilted[:3, 0] == pytest.approx(np.array((1.0, 0.0, 0.05)) / math.hypot(1, 0.05), abs=1e-4)
    assert upright[:3, :3] == pytest.approx(np.eye(3)) and upright[2, 3] == pytest.approx(0.1)
    backward = road.stand(0.0, 5.0, math.pi, 0.0, True)
    assert backward[2, 0] == pytest.approx(-0.05, abs=1e-3)
