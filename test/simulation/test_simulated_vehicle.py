"""The simulated vehicle against itself from other sides: every truth it gives must fit all the others."""

import itertools

import cv2
import numpy as np
import pytest

from img2three_ros.geometry.transforms import apply, inverse
from img2three_ros.simulation.rig import T_BASE_LIDAR, camera_directions, mounts
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import RenderedView, SimulatedVehicle
from img2three_ros.structures import InputError

SMALL = SimulationConfig(seed=4, width=160, height=96, lidar_rings=16, lidar_step=1.0, view_range=90.0)


@pytest.fixture(scope="module")
def vehicle() -> SimulatedVehicle:
    return SimulatedVehicle(SMALL)


@pytest.fixture(scope="module")
def views(vehicle: SimulatedVehicle) -> dict[str, RenderedView]:
    return {view.camera: view for view in vehicle.views(7)}


def points_of(vehicle: SimulatedVehicle, view: RenderedView, stretch: float = 0.0) -> np.ndarray:
    """(H, W, 3) points in base_link at the view's stamp, moved along their rays by ``stretch`` metres."""
    directions = camera_directions(vehicle.calibrations[view.camera])
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    return apply(vehicle.T_base_camera[view.camera], directions * (view.depth[..., None] + stretch / length))


def test_depth_separates_free_from_occupied_space(vehicle, views):
    for view in views.values():
        known = np.isfinite(view.depth) & (view.depth < 60.0)
        before = vehicle.occupied(points_of(vehicle, view, -0.02)[known], view.stamp)
        behind = vehicle.occupied(points_of(vehicle, view, 0.02)[known], view.stamp)
        assert before.mean() < 0.002, view.camera
        assert behind.mean() > 0.985, view.camera  # rays that graze an edge leave it again within 2 cm


def test_a_pixel_finds_its_colour_again_in_the_next_image(vehicle, views):
    quiet = SimulatedVehicle(SimulationConfig(seed=4, width=320, height=192, noise=0.0, view_range=90.0))
    first = quiet.render("front", quiet.camera_stamp("front", 7))
    second = quiet.render("front", quiet.camera_stamp("front", 9))
    calibration, T = quiet.calibrations["front"], quiet.T_base_camera["front"]
    T_second_first = inverse(quiet.pose(second.stamp) @ T) @ quiet.pose(first.stamp) @ T
    points = apply(T_second_first, camera_directions(calibration) * first.depth[..., None])
    pixels = points @ calibration.intrinsics.T
    u, v = (np.nan_to_num(pixels[..., i] / pixels[..., 2], nan=-9.0).astype(np.float32) for i in (0, 1))
    inside = (u > 1) & (v > 1) & (u < calibration.width - 2) & (v < calibration.height - 2)
    there = cv2.remap(second.image, u, v, cv2.INTER_LINEAR).astype(float)
    depth = cv2.remap(second.depth, u, v, cv2.INTER_NEAREST)
    visible = inside & ~first.moving & (np.abs(depth - points[..., 2]) < 0.05 * points[..., 2])
    error = np.abs(there - first.image).mean(-1)[visible]
    shuffled = np.abs(np.roll(there, 7, axis=1) - first.image).mean(-1)[visible]
    assert visible.sum() > 8000
    assert np.median(error) < 4.0
    assert np.median(error) < 0.4 * np.median(shuffled)


def test_neighbouring_cameras_see_one_world(vehicle, views):
    """Points of one camera, seen by its neighbour at another stamp, lie on the neighbour's depth."""
    agreements = []
    for one, other in itertools.permutations(views.values(), 2):
        calibration = vehicle.calibrations[other.camera]
        T = inverse(vehicle.pose(other.stamp) @ vehicle.T_base_camera[other.camera]) @ vehicle.pose(one.stamp)
        known = np.isfinite(one.depth) & (one.depth < 40.0) & ~one.moving
        points = apply(T, points_of(vehicle, one)[known])
        points = points[points[:, 2] > 0.5]
        pixels = (points @ calibration.intrinsics.T)[:, :2] / points[:, 2:]
        column, row = np.round(pixels).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < calibration.width) & (row < calibration.height)
        if inside.sum() > 100:
            seen = other.depth[row[inside], column[inside]]
            agreements.append(np.nanmean(np.abs(seen / points[inside, 2] - 1.0) < 0.1))
    assert len(agreements) >= 8
    assert np.median(agreements) > 0.8


def test_lidar_lies_on_the_surfaces(vehicle):
    stamp = vehicle.stamp(3)
    exact = SimulatedVehicle(SimulationConfig(seed=4, lidar_rings=16, lidar_step=1.0, lidar_noise=0.0,
                                              view_range=90.0))
    points = exact.lidar(stamp)
    assert len(points) > 2500
    direction = points / np.linalg.norm(points, axis=1, keepdims=True)
    for stretch, expected in ((-0.02, 0.0), (0.02, 1.0)):
        moved = apply(T_BASE_LIDAR, points + stretch * direction)
        assert abs(exact.occupied(moved, stamp).mean() - expected) < 0.015
    noisy = vehicle.lidar(stamp)
    assert 0.01 < np.std(np.linalg.norm(noisy, axis=1) - np.linalg.norm(points, axis=1)) < 0.03
    # Full turn: every octant around the vehicle has returns.
    base = apply(T_BASE_LIDAR, points)
    assert len(np.unique(np.floor(np.arctan2(base[:, 1], base[:, 0]) / (np.pi / 4)))) == 8


def test_lidar_projects_onto_the_depth_images(vehicle):
    stamp = vehicle.stamp(3)
    view = vehicle.render("front", stamp)
    points = apply(inverse(vehicle.T_base_camera["front"]) @ T_BASE_LIDAR, vehicle.lidar(stamp))
    points = points[points[:, 2] > 1.0]
    pixels = (points @ vehicle.calibrations["front"].intrinsics.T)[:, :2] / points[:, 2:]
    column, row = np.round(pixels).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < SMALL.width) & (row < SMALL.height)
    relative = np.abs(view.depth[row[inside], column[inside]] / points[inside, 2] - 1.0)
    assert inside.sum() > 200
    assert np.mean(relative < 0.1) > 0.8  # the rest: seen past edges from the roof


def test_same_seed_same_pixels_other_seed_other_world(vehicle, views):
    stamp = views["back_left"].stamp
    again = SimulatedVehicle(SMALL).render("back_left", stamp)
    assert np.array_equal(again.image, views["back_left"].image)
    assert np.array_equal(again.depth, views["back_left"].depth, equal_nan=True)
    other = SimulatedVehicle(SimulationConfig(seed=5, width=160, height=96)).render("back_left", stamp)
    assert np.mean(other.image != again.image) > 0.5


def test_moving_objects_move_and_static_ones_do_not(vehicle):
    before = {box.identity: box for box in vehicle.objects(vehicle.stamp(0), 40.0)}
    after = {box.identity: box for box in vehicle.objects(vehicle.stamp(5), 40.0)}
    T_before, T_after = vehicle.pose(vehicle.stamp(0)), vehicle.pose(vehicle.stamp(5))
    moved = {}
    for identity in before.keys() & after.keys():
        shift = (T_after @ after[identity].T_base_box)[:3, 3] - (T_before @ before[identity].T_base_box)[:3, 3]
        moved[identity] = np.linalg.norm(shift)
    moving = [identity for identity in moved if before[identity].moving and before[identity].category == "vehicle"]
    still = [identity for identity in moved if not before[identity].moving]
    assert len(moving) >= 2 and min(moved[identity] for identity in moving) > 1.0
    assert len(still) > 20 and max(moved[identity] for identity in still) < 1e-6


def test_box_of_an_object_holds_its_pixels(vehicle, views):
    view = views["front"]
    boxes = {box.identity: box for box in vehicle.objects(view.stamp, 50.0)}
    checked = 0
    for identity in np.unique(view.identity[view.identity > 0]):
        mask = view.identity == identity
        if identity in boxes and mask.sum() > 20:
            local = apply(inverse(boxes[identity].T_base_box), points_of(vehicle, view)[mask])
            assert (np.abs(local) <= boxes[identity].size / 2 + 0.02).mean() > 0.99
            checked += 1
    assert checked > 3


def test_a_period_ends_where_it_began():
    config = SimulationConfig(seed=2, width=96, height=64, period=12.0, noise=0.0, view_range=60.0)
    vehicle = SimulatedVehicle(config)
    start, end = vehicle.stamp(0), vehicle.stamp(120)
    shift = vehicle.pose(end)[:3, 3] - vehicle.pose(start)[:3, 3]
    assert shift == pytest.approx([vehicle.world.road.length, 0.0, 0.0], abs=1e-6)
    first, later = vehicle.render("front", start), vehicle.render("front", end)
    # The far end of the view is cut at view_range alike; only rounding differs.
    assert np.mean(np.abs(first.image.astype(int) - later.image) > 2) < 0.01


def test_cameras_expose_at_their_own_stamps(vehicle):
    offsets = np.array([[vehicle.camera_stamp(name, index) - vehicle.stamp(index) for name in vehicle.camera_names]
                        for index in range(50)]) * 1e-9
    assert np.abs(offsets).max() < SMALL.phase + 4 * SMALL.jitter
    assert (offsets.std(axis=0) > 0.3 * SMALL.jitter).all()
    assert np.ptp(offsets.mean(axis=0)) > 0.002


def test_frame_is_what_the_pipeline_takes(vehicle, views):
    frame = vehicle.frame(7, tuple(views.values()))
    assert frame.present == vehicle.camera_names and frame.missing == ()
    assert frame.stamp == frame.images[0].stamp
    for image in frame.images:
        assert image.image.shape == (96, 160, 3) and image.image.dtype == np.uint8
        assert np.allclose(image.T_odom_base, vehicle.pose(image.stamp))
    assert np.allclose(frame.T_odom_base, frame.images[0].T_odom_base)


def test_the_drive_turns_and_changes_speed(vehicle):
    stamps = [vehicle.stamp(index) for index in range(0, 600, 10)]
    speeds = [vehicle.twist(stamp)[0][0] for stamp in stamps]
    turning = [vehicle.twist(stamp)[1][2] for stamp in stamps]
    assert 7.0 < np.mean(speeds) < 9.0 and np.ptp(speeds) > 3.0
    assert min(turning) < -0.02 and max(turning) > 0.02
    step = np.linalg.norm(np.diff([vehicle.pose(s)[:2, 3] for s in (stamps[3], stamps[3] + 10_000_000)], axis=0))
    assert step / 0.01 == pytest.approx(speeds[3], rel=0.01)


def test_a_standing_vehicle_stands_in_moving_traffic():
    vehicle = SimulatedVehicle(SimulationConfig(seed=1, speed=0.0))
    first, later = vehicle.stamp(0), vehicle.stamp(30)
    assert np.array_equal(vehicle.pose(first)[:2, 3], vehicle.pose(later)[:2, 3])
    assert np.allclose(vehicle.twist(first)[0], 0.0)
    before = {box.identity: box.T_base_box[:2, 3] for box in vehicle.objects(first) if box.moving}
    after = {box.identity: box.T_base_box[:2, 3] for box in vehicle.objects(later) if box.moving}
    assert max(np.linalg.norm(after[one] - before[one]) for one in before.keys() & after.keys()) > 10.0


def test_distorted_pixels_project_back_with_opencv():
    config = SimulationConfig(width=128, height=80, distortion=-0.2, rig="ddad")
    calibration = mounts("ddad")[1].calibration(config)
    directions = camera_directions(calibration)
    pixels, _ = cv2.projectPoints(directions.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), calibration.intrinsics,
                                  calibration.distortion)
    v, u = np.mgrid[0:80, 0:128]
    assert np.abs(pixels.reshape(80, 128, 2) - np.stack((u, v), -1)).max() < 1e-3


def test_rigs_have_six_cameras_of_different_view():
    for rig in ("nuscenes", "ddad"):
        assert len({mount.name for mount in mounts(rig)}) == 6
        assert len({mount.field_of_view for mount in mounts(rig)}) > 1


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(InputError, match="rate"):
        SimulationConfig(rate=100.0)
