"""Scenes other than the plain street: truths that fit each other, what moves and stands, ways of the vehicle."""

from functools import cache

import numpy as np
import pytest

from img2three_ros.geometry.transforms import apply
from img2three_ros.simulation.rig import camera_directions
from img2three_ros.simulation.settings import SCENES, SimulationConfig
from img2three_ros.simulation.street_world import StreetWorld
from img2three_ros.simulation.trajectories import make_drive, make_road
from img2three_ros.simulation.vehicle import SimulatedVehicle

HULL = np.stack(np.meshgrid((-0.8, 0.5, 1.8, 3.4), (-0.8, 0.0, 0.8), (0.4, 1.2), indexing="ij"), -1).reshape(-1, 3)


def config_of(scene: str, **changes) -> SimulationConfig:
    values = {"scene": scene, "seed": 3, "variety": 1.0, "terrain": 1.0, "turning": 0.4, "period": 12.0, "width": 128,
              "height": 80, "shadows": False, "view_range": 90.0} | changes
    return SimulationConfig(**values)


@cache
def vehicle_in(scene: str) -> SimulatedVehicle:
    return SimulatedVehicle(config_of(scene))


@pytest.mark.parametrize("scene", SCENES)
def test_depth_ends_at_what_is_solid(scene):
    vehicle = vehicle_in(scene)
    stamp = vehicle.stamp(20)
    view = vehicle.render("back", stamp)
    directions = camera_directions(vehicle.calibrations["back"])[::2, ::2]
    depth = view.depth[::2, ::2]
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    near = np.isfinite(depth) & (depth < 50.0)
    assert near.mean() > 0.25
    for stretch, low, high in ((-0.03, 0.0, 0.01), (0.03, 0.9, 1.0)):  # mesh and twigs are thinner than this
        points = directions * (depth[..., None] + stretch / length)
        solid = vehicle.occupied(apply(vehicle.T_base_camera["back"], points)[near], stamp).mean()
        assert low <= solid <= high, (scene, stretch)


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_is_where_the_vehicle_is(scene):
    vehicle = vehicle_in(scene)
    for index in range(0, 120, 29):
        assert not vehicle.occupied(HULL, vehicle.stamp(index)).any(), index


@pytest.mark.parametrize("scene", SCENES)
def test_objects_move_stand_and_are_few_enough(scene):
    world = vehicle_in(scene).world
    assert len(world.primitives(1.0, 10.0)) < 4500  # of 180 m
    moved = [np.linalg.norm((one.pose_at(2.0) - one.pose_at(0.0))[:3, 3]) for one in world.objects if one.moving]
    assert len(moved) >= 4 and max(moved) > 5.0
    still = [one for one in world.objects if not one.moving]
    assert len(still) > 30
    assert all(np.array_equal(one.pose_at(0.0), one.pose_at(5.0)) for one in still[::9])


def test_scenes_show_what_they_are_named_for():
    def categories(scene: str) -> set[str]:
        return {one.category for one in vehicle_in(scene).world.objects}

    assert {"building", "person", "vehicle", "pole"} <= categories("junction")
    assert "person" not in categories("highway") and "structure" in categories("highway")
    parked = [one for one in vehicle_in("car_park").world.objects if one.category == "vehicle" and not one.moving]
    assert len(parked) > 60
    assert vehicle_in("narrow").world.road.section.half_width <= 2.2


def test_traffic_crosses_at_most_junctions():
    """By chance (or because it would drive into the vehicle) a seed may have none that heads along y."""
    worlds = [StreetWorld(config_of("junction", seed=seed)) for seed in range(4)]
    across = [sum(one.moving and one.category == "vehicle" and abs(one.pose_at(0.0)[1, 0]) > 0.8
                  for one in world.objects) for world in worlds]
    assert sum(count > 0 for count in across) >= 3


def test_a_lane_never_drives_through_itself():
    """Same-direction vehicles of one lane keep their order and do not overlap."""
    world = StreetWorld(config_of("highway", terrain=0.0))
    lanes: dict[int, list] = {}
    for one in world.objects:
        pose = one.pose_at(0.0)
        if one.moving and pose[0, 0] > 0.0:
            lateral = pose[1, 3] - world.road.centre(pose[0, 3])
            lanes.setdefault(round(lateral / world.road.section.lane - 0.5), []).append(one)
    assert len(lanes) >= 2
    for members in lanes.values():
        for seconds in (0.0, 3.0, 7.5):
            x = np.sort([one.pose_at(seconds)[0, 3] for one in members])
            assert len(x) < 2 or np.diff(x).min() > 2.5


@pytest.mark.parametrize(("speed", "scene"), [(0.0, "street"), (1.0, "narrow"), (25.0, "highway")])
def test_the_vehicle_stands_creeps_and_speeds(speed, scene):
    config = config_of(scene, speed=speed)
    drive = make_drive(config, make_road(config))
    travelled = np.linalg.norm(drive.pose(12.0)[:2, 3] - drive.pose(0.0)[:2, 3])
    assert travelled == pytest.approx(12.0 * speed, rel=0.1, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_vehicle_turns_off_at_the_junction(seed):
    config = config_of("junction", turning=1.0, seed=seed, speed=8.0, terrain=0.0)
    road = make_road(config)
    drive = make_drive(config, road)
    poses = [drive.pose(seconds) for seconds in np.arange(0.1, 11.9, 0.1)]
    headings = np.unwrap([np.arctan2(pose[1, 0], pose[0, 0]) for pose in poses])
    assert 1.1 < abs(headings[-1] - headings[0]) < 2.0
    steps = np.linalg.norm(np.diff([pose[:2, 3] for pose in poses], axis=0), axis=1)
    assert steps.max() < 1.2 * 0.8 and steps[:40].min() > 0.4  # never faster than told, and no jumps
    assert abs(drive.twist(3.0)[0][1]) < 0.02 * drive.twist(3.0)[0][0]  # it rolls along its heading


def test_seeds_differ_and_repeat():
    sections = [make_road(config_of("street", seed=seed)).section for seed in range(12)]
    assert len({section.half_width for section in sections}) == 12
    assert make_road(config_of("street")).section == make_road(config_of("street")).section
    one, other = (StreetWorld(config_of("junction")).primitives(2.0, 30.0) for _ in range(2))
    assert np.array_equal(one.T_world_unit, other.T_world_unit) and np.array_equal(one.look, other.look)
