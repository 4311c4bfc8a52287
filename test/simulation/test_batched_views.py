"""Views rendered together are, bit for bit, the views rendered one by one, whatever the batch."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.simulation.appearance import OpticsConfig, WeatherConfig
from img2three_ros.simulation.camera_view import RenderedView
from img2three_ros.simulation.ground import GroundView
from img2three_ros.simulation.primitives import Part, PrimitiveSet, Surface, box, ellipsoid, gather, leaf_ball, wheel
from img2three_ros.simulation.ray_casting import RayTiles, nearest_hits, ray_tiles, shadows, turned
from img2three_ros.simulation.sensor_scenes import sensor_scene, views_scene
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import OutsideRequest, SimulatedVehicle, ViewRequest
from img2three_ros.structures import CameraCalibration

TOGETHER = 1 << 24
GREY = Surface((0.5, 0.5, 0.5))
SUN = np.array([0.36, -0.48, 0.8])


def assert_same(one: RenderedView, other: RenderedView) -> None:
    for field in fields(RenderedView):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second, err_msg=field.name)
        else:
            assert first == second


def requests_of(vehicle: SimulatedVehicle) -> list[ViewRequest | OutsideRequest]:
    """Cameras of several instants, standing and moving, own poses and others, one outside, sizes that differ."""
    stamp, later = vehicle.stamp(3), vehicle.stamp(11)
    away = vehicle.pose(later) @ from_xyz_rpy((4.0, 1.0, 0.3), (0.02, 0.0, 0.4))
    end = away @ from_xyz_rpy((0.2, 0.0, 0.0), (0.0, 0.0, 0.01))
    small = CameraCalibration(80, 48, np.array([[60.0, 0.0, 40.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]]))
    above = vehicle.pose(stamp) @ from_xyz_rpy((-6.0, 0.0, 5.0)) @ vehicle.T_base_camera["front"]
    return [ViewRequest("front", stamp), ViewRequest("back", stamp, all_truth=True), ViewRequest("front", later),
            ViewRequest("front_left", later, away, end), ViewRequest("front_left", later, away),
            OutsideRequest(above, small, stamp, all_truth=True), ViewRequest("back", stamp)]


@pytest.mark.parametrize("config", [
    SimulationConfig(seed=3, width=160, height=96),
    SimulationConfig(seed=4, width=160, height=96, scene="country", variety=0.9, terrain=1.2, speed=9.0, traffic=3.0,
                     ego_body=1.0, weather=WeatherConfig(wet=0.8, gloss=1.0, glare=1.0, haze_depth=150.0),
                     optics=OpticsConfig(exposure_time=0.02, auto_exposure=1.0, shot_noise=0.05, bloom=0.3, jpeg=80)),
    SimulationConfig(seed=5, width=160, height=96, scene="junction", variety=0.5, traffic=3.0,
                     weather=WeatherConfig(night=1.0, gloss=0.5)),
], ids=("plain day", "wet country", "night junction"))
def test_views_rendered_together_equal_views_rendered_alone(config: SimulationConfig):
    vehicle = SimulatedVehicle(config)
    requests = requests_of(vehicle)
    alone = [vehicle.render_views([request])[0] for request in requests]
    for together in (vehicle.render_views(requests, TOGETHER), vehicle.render_views(requests, 2 * 160 * 96)):
        assert [view.stamp for view in together] == [request.stamp for request in requests]
        for one, other in zip(alone, together, strict=True):
            assert_same(one, other)
    assert np.array_equal(alone[1].image, alone[6].image)  # the noise of an image is its own: it follows from its stamp
    assert not np.array_equal(alone[0].image, alone[2].image)


def test_moving_objects_stand_where_each_view_has_its_instant():
    vehicle = SimulatedVehicle(SimulationConfig(seed=3, width=160, height=96, traffic=3.0))
    pose = vehicle.pose(vehicle.stamp(0))
    requests = [ViewRequest("front", vehicle.stamp(index), pose) for index in (0, 10)]
    before, after = vehicle.render_views(requests, TOGETHER)
    still = ~before.moving & ~after.moving & (before.identity == after.identity)
    np.testing.assert_array_equal(before.depth[still], after.depth[still])
    assert (before.moving != after.moving).sum() > 20


def test_render_and_render_from_are_batches_of_one():
    vehicle = SimulatedVehicle(SimulationConfig(seed=3, width=96, height=64))
    stamp, calibration = vehicle.stamp(2), vehicle.calibrations["back"]
    T_world_camera = vehicle.pose(stamp) @ vehicle.T_base_camera["back"]
    first, second = vehicle.render_views([ViewRequest("back", stamp, all_truth=True),
                                          OutsideRequest(T_world_camera, calibration, stamp)], TOGETHER)
    assert_same(vehicle.render("back", stamp, all_truth=True), first)
    assert_same(vehicle.render_from(T_world_camera, calibration, stamp), second)
    assert vehicle.render_views([]) == []


def primitives_of(seed: int, count: int) -> PrimitiveSet:
    random, parts = np.random.default_rng(seed), []
    for index in range(count):
        centre, size = random.uniform((-8, -6, 4), (8, 6, 30)), random.uniform(0.2, 3.0, 3)
        spin = random.uniform(-2, 2, 3)
        turned_wheel = from_xyz_rpy(centre, spin) @ wheel((0, 0, 0), size[0], size[1], GREY).T_object_unit
        parts.append((box(centre, size, GREY, spin[0]), ellipsoid(centre, size, GREY, spin[0]),
                      Part(1, turned_wheel, GREY), leaf_ball(centre, size, GREY, tuple(spin)))[index % 4])
    return gather(parts, list(range(1, count + 1)), salt=0)


def test_rays_cast_together_meet_what_each_sensor_meets_alone():
    """Sensors of other places, directions and primitives, against each sensor alone in its own optical frame."""
    sets = [primitives_of(1, 40), primitives_of(2, 7), primitives_of(3, 90)]
    poses = np.stack([from_xyz_rpy((0.3, 0.2, 0.0)), from_xyz_rpy((-1.0, 0.5, 2.0), (0.1, -0.2, 0.3)),
                      from_xyz_rpy((2.0, 0.0, -3.0), (0.0, 0.25, -0.1))])
    y, x = np.meshgrid(np.linspace(-0.5, 0.5, 32), np.linspace(-0.6, 0.6, 48), indexing="ij")
    rays = ray_tiles(np.stack((x, y, np.ones_like(x)), -1), "cpu")
    directions = torch.cat([turned(rays.directions, pose[:3, :3]) for pose in poses], 1)
    batch = RayTiles(directions, rays.bounds.repeat(3, 1), 0, 0)
    scene = views_scene(sets, poses, SUN, "cpu")
    depth, found = nearest_hits(batch, scene, torch.full(directions.shape[1:], torch.inf))
    lit = torch.isfinite(depth)
    dark = shadows(directions * torch.where(lit, depth, 0.0), found, lit, scene)
    first, tiles = 0, len(rays.bounds)
    for view, (primitives, pose) in enumerate(zip(sets, poses, strict=True)):
        own = slice(view * tiles, (view + 1) * tiles)
        alone = sensor_scene(primitives, pose, SUN, "cpu")
        expected, hit = nearest_hits(rays, alone, torch.full(rays.directions.shape[1:], torch.inf))
        same = found[own] == torch.where(hit >= 0, hit + first, -1)
        assert same.float().mean() > 0.995  # other frames round otherwise: edges may differ by a ray
        assert torch.allclose(depth[own][same], expected[same], rtol=1e-4, atol=1e-4)
        shaded = shadows(rays.directions * torch.where(torch.isfinite(expected), expected, 0.0), hit,
                         torch.isfinite(expected), alone)
        assert (dark[own] == shaded)[same].float().mean() > 0.99 and shaded.any()
        first += len(primitives)


@pytest.mark.parametrize("terrain", [0.0, 1.3])
def test_ground_seen_together_is_the_ground_seen_alone(terrain: float):
    vehicle = SimulatedVehicle(SimulationConfig(seed=6, width=96, height=64, scene="street", variety=0.7,
                                                terrain=terrain))
    rays = ray_tiles(np.stack((*np.meshgrid(np.linspace(-0.7, 0.7, 64), np.linspace(-0.2, 0.6, 48)),
                               np.ones((48, 64))), -1), "cpu")
    road, poses = vehicle.world.road, np.tile(np.eye(4), (3, 1, 1))
    turns = []
    for view, index in enumerate((2, 40, 90)):
        camera = vehicle.pose(vehicle.stamp(index)) @ vehicle.T_base_camera["front"]
        poses[view, :3, 3] = camera[:3, 3]
        turns.append(RayTiles(turned(rays.directions, camera[:3, :3]), rays.bounds, rays.rows, rays.columns))
    batch = RayTiles(torch.cat([one.directions for one in turns], 1), rays.bounds.repeat(3, 1), 0, 0)
    together = GroundView(road, poses).hits(batch)
    alone = torch.cat([GroundView(road, pose).hits(one) for pose, one in zip(poses, turns, strict=True)])
    assert torch.equal(together, alone) and torch.isfinite(alone).float().mean() > 0.3
