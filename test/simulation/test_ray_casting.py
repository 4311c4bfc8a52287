"""Hits and shadows against values computed by hand and against an independent march along the rays."""

import math

import numpy as np
import pytest
import torch

from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.simulation.primitives import Facade, Part, Surface, box, cylinder, ellipsoid, gather, wheel
from img2three_ros.simulation.ray_casting import nearest_hits, ray_tiles, shadows
from img2three_ros.simulation.sensor_scenes import sensor_scene
from img2three_ros.simulation.shading import PrimitiveTables, surface_hits
from img2three_ros.simulation.street_world import ROAD_HALF_WIDTH
from img2three_ros.simulation.trajectories import Road
from img2three_ros.simulation.truth import occupied

GREY = Surface((0.5, 0.5, 0.5))
SUN = np.array([0.0, -1.0, 0.0])  # the optical y axis points down: this sun stands overhead
EYE = np.eye(4)


def world(*parts: Part):
    return gather(parts, list(range(1, len(parts) + 1)), salt=0)


def fan(rows: int = 20, columns: int = 36, spread: float = 0.6) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(-spread, spread, rows), np.linspace(-spread, spread, columns), indexing="ij")
    return np.stack((x, y, np.ones_like(x)), axis=-1)


def cast(primitives, directions: np.ndarray, T_world_sensor: np.ndarray = EYE, chunk: int = 1 << 16):
    rays = ray_tiles(directions, "cpu")
    scene = sensor_scene(primitives, T_world_sensor, SUN, "cpu")
    limit = torch.full(rays.directions.shape[1:], torch.inf)
    depth, found = nearest_hits(rays, scene, limit, chunk)
    return rays.to_image(depth).numpy(), rays.to_image(found).numpy()


def single(primitives, direction: tuple[float, float, float], T_world_sensor: np.ndarray = EYE):
    depth, found = cast(primitives, np.array(direction, dtype=float).reshape(1, 1, 3), T_world_sensor)
    return float(depth[0, 0]), int(found[0, 0])


def test_box_is_hit_where_its_front_face_is():
    assert single(world(box((0, 0, 10), (2, 2, 4), GREY)), (0.01, 0.02, 1.0)) == (pytest.approx(8.0), 0)
    assert single(world(box((0, 0, 10), (2, 2, 4), GREY)), (0.2, 0.0, 1.0)) == (math.inf, -1)


def test_turned_box_is_hit_at_its_edge():
    turned = box((0, 0, 0), (2, 2, 2), GREY, yaw=math.pi / 4).T_object_unit
    upright = from_xyz_rpy((0, 0, 10), (math.pi / 2, 0, 0)) @ turned  # its edge points at the sensor
    depth, _ = single(world(Part(0, upright, GREY)), (1e-4, 1e-4, 1.0))
    assert depth == pytest.approx(10.0 - math.sqrt(2.0), abs=2e-3)


def test_sphere_and_ellipsoid():
    assert single(world(ellipsoid((0, 0, 10), (2, 2, 2), GREY)), (0, 0, 1.0))[0] == pytest.approx(8.0)
    assert single(world(ellipsoid((0, 0, 10), (2, 3, 1), GREY)), (0, 0, 1.0))[0] == pytest.approx(9.0)
    # x^2 + (z - 10)^2 = 4 along x = 0.1 z: 1.01 z^2 - 20 z + 96 = 0
    expected = (20.0 - math.sqrt(400.0 - 4 * 1.01 * 96)) / 2.02
    assert single(world(ellipsoid((0, 0, 10), (2, 2, 2), GREY)), (0.1, 0, 1.0))[0] == pytest.approx(expected, rel=1e-5)


def test_cylinder_cap_and_side():
    lying = world(cylinder((0, 0, 5), 1.0, 3.0, GREY))  # its axis is the optical axis
    assert single(lying, (0.05, 0.0, 1.0))[0] == pytest.approx(5.0)
    across = world(wheel((0, 0, 5), 1.0, 0.5, GREY))  # its axis is y
    assert single(across, (0.0, 0.01, 1.0))[0] == pytest.approx(4.0)
    assert single(across, (0.0, 0.1, 1.0))[0] == math.inf


def test_thin_far_pole_does_not_lose_precision():
    pole = world(Part(1, from_xyz_rpy((0.5, 0, 150)) @ wheel((0, 0, 0), 0.05, 6.0, GREY).T_object_unit, GREY))
    depth, found = single(pole, (0.5 / 150, 0.0, 1.0))
    assert found == 0 and depth == pytest.approx(149.95, abs=5e-3)


def test_nearest_of_several_wins_and_what_is_behind_is_not_seen():
    parts = [box((0, 0, 20), (6, 6, 1), GREY), ellipsoid((0, 0, 12), (1, 1, 1), GREY), box((0, 0, -5), (4, 4, 2), GREY)]
    assert single(world(*parts), (0.0, 0.01, 1.0)) == (pytest.approx(11.0, abs=1e-2), 1)
    assert single(world(*parts), (0.12, 0.0, 1.0)) == (pytest.approx(19.5), 0)


def test_a_wall_beside_the_sensor_is_seen_although_it_reaches_behind_it():
    wall = world(box((3.0, 0, 0), (0.2, 4, 60), GREY))
    assert single(wall, (1.0, 0.0, 1.0))[0] == pytest.approx(2.9)
    depth, _ = cast(wall, fan())
    assert np.isfinite(depth[:, -1]).any()


def random_world(seed: int, count: int = 40):
    random = np.random.default_rng(seed)
    parts = []
    for index in range(count):
        centre = random.uniform((-8, -6, 4), (8, 6, 30))
        size = random.uniform(0.2, 3.0, 3)
        shape = (box, ellipsoid)[index % 2](centre, size, GREY, random.uniform(0, 3))
        if index % 3 == 0:
            shape = Part(1, from_xyz_rpy(centre, random.uniform(-2, 2, 3)) @ np.diag((*size, 1.0)), GREY)
        parts.append(shape)
    return world(*parts)


@pytest.mark.parametrize("seed", [1, 2])
def test_hits_agree_with_a_march_through_the_occupied_space(seed: int):
    primitives = random_world(seed)
    far_below = Road(1000.0, ((0.0, 1.0, 0.0),))
    directions = fan(12, 16)
    depth, _ = cast(primitives, directions)
    steps = np.arange(0.05, 40.0, 0.02)
    points = directions[:, :, None, :] * steps[:, None]
    raised = points + np.array([0.0, 0.0, 100.0])  # above the ground of the truth
    solid = occupied(raised.reshape(-1, 3), primitives.moved(from_xyz_rpy((0, 0, 100))), far_below, "cpu")
    solid = solid.reshape(points.shape[:3])
    marched = np.where(solid.any(-1), steps[solid.argmax(-1)], np.inf)
    both = np.isfinite(marched) & np.isfinite(depth)
    assert both.sum() > 60
    assert np.abs(marched[both] - depth[both]).max() < 0.03
    # The march may miss what is thinner than a step, never find what the rays miss.
    assert (np.isfinite(marched) & ~np.isfinite(depth)).sum() == 0
    assert (~np.isfinite(marched) & np.isfinite(depth)).mean() < 0.02


def test_results_do_not_depend_on_the_chunk():
    primitives, directions = random_world(3), fan(45, 70)
    depth, found = cast(primitives, directions)
    for chunk in (256, 3000, 1 << 22):
        other_depth, other_found = cast(primitives, directions, chunk=chunk)
        assert np.array_equal(depth, other_depth) and np.array_equal(found, other_found)


def test_shadow_falls_below_an_obstacle_only():
    primitives = world(box((0, -3, 10), (2, 0.5, 2), GREY), box((0, 3, 10), (20, 0.1, 20), GREY))
    rays = ray_tiles(fan(16, 16), "cpu")
    scene = sensor_scene(primitives, EYE, SUN, "cpu")
    points = torch.zeros(3, 1, 256)
    points[0, 0, :4] = torch.tensor([0.0, 0.9, 1.1, -3.0])
    points[1, 0], points[2, 0] = 2.9, 10.0
    lit = torch.ones(1, 256, dtype=torch.bool)
    dark = shadows(points, torch.ones(1, 256, dtype=torch.int64), lit, scene)
    assert dark[0, :4].tolist() == [True, True, False, False]
    assert rays.directions.shape[1:] == lit.shape


def test_window_panes_lie_behind_the_wall():
    facade = Facade(pitch=(2.0, 3.0), opening=(1.0, 1.0), recess=0.25, sill=0.5)
    # A wall of 4 x 4 m seen head-on (the box stands upright in the world: sensor looks along world x).
    house = world(box((12, 0, 2), (4, 4, 4), Surface((0.5, 0.5, 0.5), facade=facade)))
    T_world_sensor = from_xyz_rpy((0, 0, 1.0)) @ np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    scene, tables = sensor_scene(house, T_world_sensor, np.array([0, 0, 1.0]), "cpu"), PrimitiveTables(house, "cpu")
    # Columns centre at y = +-1; the opening spans z 0.5..1.5. Rays: into the left window, at the wall between, at
    # the reveal (enters 5 cm before the window's outer edge while moving outwards).
    directions = torch.tensor([[-0.1, 0.0, 1.0], [0.0, 0.0, 1.0], [-0.149, 0.0, 1.0], [0.1, 0.06, 1.0]]).T
    depth = torch.full((4,), 10.0)
    hits = surface_hits(directions, depth, torch.zeros(4, dtype=torch.int64), scene, tables)
    assert hits.window.tolist() == [1, 0, 2, 0]
    assert hits.depth.tolist() == pytest.approx([10.25, 10.0, 1.5 / 0.149, 10.0], rel=1e-4)
    hollow = np.array([[10.1, 1.0, 1.0], [10.3, 1.0, 1.0], [10.1, 0.0, 1.0], [9.9, 1.0, 1.0]])
    flat = Road(1000.0, ((0.0, 1.0, 0.0),))
    assert abs(hollow[:, 1]).max() < ROAD_HALF_WIDTH
    assert occupied(hollow, house, flat, "cpu").tolist() == [False, True, True, False]
