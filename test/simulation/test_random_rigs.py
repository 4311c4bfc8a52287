"""Random rigs stay within what vehicles carry; a crop sees exactly the part of the image it was cut from."""

from dataclasses import replace

import numpy as np

from img2three_ros.geometry.transforms import inverse
from img2three_ros.simulation.random_rig import cropped, neighbours, random_rig, ring_rig, stereo_rig
from img2three_ros.simulation.rig import CameraMount, mounts
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle


def drawn(count: int = 300) -> list[tuple[CameraMount, ...]]:
    return [random_rig(np.random.default_rng(seed)) for seed in range(count)]


def test_random_rigs_are_within_what_vehicles_carry():
    rigs = drawn()
    assert {len(rig) for rig in rigs} == set(range(1, 9))
    for rig in rigs:
        assert len({mount.name for mount in rig}) == len(rig)
    cameras = [mount for rig in rigs for mount in rig]
    views = np.array([mount.field_of_view for mount in cameras])
    assert views.min() >= 25.0 and views.max() <= 120.0
    assert np.mean((views > 40.0) & (views < 95.0)) > 0.7
    assert min(mount.xyz[2] for mount in cameras) > 0.75 and max(mount.xyz[2] for mount in cameras) < 3.1
    assert max(abs(mount.pitch) for mount in cameras) < 9.0 and max(abs(mount.roll) for mount in cameras) < 5.0


def test_random_rigs_follow_from_the_generator():
    assert drawn(20) == drawn(20)
    assert len({rig[0] for rig in drawn(20)}) == 20


def test_a_stereo_pair_looks_the_same_way_from_beside_each_other():
    for seed in range(50):
        left, right = stereo_rig(np.random.default_rng(seed))
        across = (inverse(left.T_base_camera) @ right.T_base_camera)[:3, 3]
        assert 0.09 < np.linalg.norm(across) < 1.25
        assert across[0] > 0.9 * np.linalg.norm(across)  # to the right, hardly ahead or above
        assert abs(left.yaw - right.yaw) < 2.5 and left.field_of_view == right.field_of_view


def test_public_layouts_are_as_their_names_say():
    left, right = (mount.T_base_camera for mount in mounts("kitti"))
    assert np.allclose((inverse(left) @ right)[:3, 3], (0.54, 0.0, 0.0), atol=0.01)
    assert len(mounts("waymo")) == 5
    assert len(SimulatedVehicle(SimulationConfig(rig="kitti", width=64, height=48)).camera_names) == 2
    seeds = [SimulatedVehicle(SimulationConfig(rig="random", seed=seed, width=64, height=48)) for seed in (0, 1, 0)]
    views = [[c.intrinsics[0, 0] for c in vehicle.calibrations.values()] for vehicle in seeds]
    assert views[0] == views[2] != views[1]


def test_neighbours_look_to_neighbouring_sides():
    rig = ring_rig(np.random.default_rng(3), 6)
    for seed in range(20):
        chosen = neighbours(rig, 3, np.random.default_rng(seed))
        turns = np.diff([mount.yaw % 360.0 for mount in chosen]) % 360.0
        assert len(set(chosen)) == 3 and (turns < 180.0).all()


def test_a_crop_sees_what_its_part_of_the_image_shows():
    """A window of 64 x 48 of an image of 192 x 144, once cut out and once rendered as a camera of its own."""
    whole = CameraMount("front", (1.7, 0.0, 1.5), 10.0, 80.0, 2.0, 1.0, (0.52, 0.47))
    left, top = 101, 88
    part = replace(whole, field_of_view=2.0 * np.degrees(np.arctan(np.tan(np.radians(40.0)) / 3.0)),
                   principal_point=((0.52 * 192 - left) / 64, (0.47 * 144 - top) / 48))
    assert part.principal_point[1] < 0.0  # outside
    large = SimulatedVehicle(SimulationConfig(width=192, height=144, noise=0.0), (whole,))
    small = SimulatedVehicle(SimulationConfig(width=64, height=48, noise=0.0), (part,))
    expected = large.render("front", large.stamp(3)).depth[top:top + 48, left:left + 64]
    depth = small.render("front", small.stamp(3)).depth
    assert np.isfinite(expected).mean() > 0.5
    same = np.isclose(depth, expected, rtol=1e-3, equal_nan=True)
    assert same.mean() > 0.995  # edges may fall on either side


def test_crops_lie_within_the_image_they_are_cut_from():
    config = SimulationConfig(width=320, height=192)
    for seed in range(60):
        random = np.random.default_rng(seed)
        rig = ring_rig(random, 4)
        rig = tuple(replace(mount, principal_point=(0.5, 0.5)) for mount in rig)
        for whole, part in zip(rig, cropped(rig, 2.4, random), strict=True):
            full, cut = whole.calibration(config).intrinsics, part.calibration(config).intrinsics
            zoom = cut[0, 0] / full[0, 0]
            assert 1.0 <= zoom <= 2.4 + 1e-9
            corners = np.array([(-0.5, -0.5, 1.0), (319.5, 191.5, 1.0)]).T
            seen = full @ np.linalg.inv(cut) @ corners
            assert seen[0].min() >= -0.5 - 1e-6 and seen[0].max() <= 319.5 + 1e-6
            assert seen[1].min() >= -0.5 - 1e-6 and seen[1].max() <= 191.5 + 1e-6
