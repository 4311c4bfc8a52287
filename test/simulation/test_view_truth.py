"""Truth about pixels and points: normals, classes, motion, visibility, views from anywhere, the vehicle's own body."""

from dataclasses import replace

import numpy as np
import pytest

from img2three_ros.geometry.transforms import T_BASE_OPTICAL, apply, from_xyz_rpy, inverse
from img2three_ros.simulation.appearance import OpticsConfig, WeatherConfig
from img2three_ros.simulation.camera_view import RenderedView
from img2three_ros.simulation.categories import SemanticClass, class_table, semantic_class
from img2three_ros.simulation.rig import camera_directions
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle

SMALL = SimulationConfig(seed=4, width=160, height=96, view_range=90.0)


@pytest.fixture(scope="module")
def street() -> SimulatedVehicle:
    return SimulatedVehicle(SMALL)


@pytest.fixture(scope="module")
def front(street: SimulatedVehicle) -> RenderedView:
    return street.render("front", street.stamp(7), all_truth=True)


def world_points(street: SimulatedVehicle, view: RenderedView) -> np.ndarray:
    """(H, W, 3) points of a mounted camera's pixels in the world."""
    directions = camera_directions(street.calibrations[view.camera])
    return apply(street.pose(view.stamp) @ street.T_base_camera[view.camera], directions * view.depth[..., None])


def test_normals_are_those_of_the_depth(street, front):
    points = camera_directions(street.calibrations["front"]) * front.depth[..., None]
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    measured = np.cross(down, across)
    measured /= np.linalg.norm(measured, axis=-1, keepdims=True)
    given = front.normals[1:-1, 1:-1]
    # Where the inverse depth is linear, the neighbours lie on one plane.
    inverse_depth = 1.0 / front.depth.astype(np.float64)
    middle = inverse_depth[1:-1, 1:-1]
    flat = np.isfinite(measured).all(-1)
    for one, other in ((inverse_depth[1:-1, :-2], inverse_depth[1:-1, 2:]),
                       (inverse_depth[:-2, 1:-1], inverse_depth[2:, 1:-1])):
        flat &= np.abs(one + other - 2.0 * middle) < 3e-5 * middle
    cosine = (measured * given).sum(-1)[flat]
    assert flat.sum() > 4000
    assert np.mean(cosine > 0.99) > 0.97
    length = np.linalg.norm(front.normals, axis=-1)
    assert np.allclose(length[np.isfinite(front.depth)], 1.0, atol=1e-3)
    assert np.isnan(length[np.isnan(front.depth)]).all()
    # Surfaces that are seen face the camera.
    assert ((front.normals * points).sum(-1)[np.isfinite(front.depth)] < 1e-3).mean() > 0.999


def test_category_follows_the_objects(street, front):
    assert (front.category[front.identity == -1] == SemanticClass.SKY).all()
    assert (front.category[front.identity == 0] == SemanticClass.GROUND).all()
    for number in np.unique(front.identity[front.identity > 0]):
        expected = semantic_class(street.world.objects[number - 1].category)
        assert (front.category[front.identity == number] == expected).all()
    assert {SemanticClass.BUILDING, SemanticClass.VEHICLE} <= set(front.category.reshape(-1))
    assert list(class_table(["tree", "no such thing"])) == [2, SemanticClass.VEGETATION, SemanticClass.OTHER]


def test_velocity_is_that_of_the_boxes(street, front):
    later = front.stamp + 20_000_000
    boxes = [{box.identity: street.pose(stamp) @ box.T_base_box for box in street.objects(stamp, 80.0)}
             for stamp in (front.stamp, later)]
    rotation = (street.pose(front.stamp) @ street.T_base_camera["front"])[:3, :3]
    checked = 0
    for number in np.unique(front.identity[front.moving]):
        if number in boxes[0] and street.world.objects[number - 1].category == "vehicle":
            expected = (boxes[1][number] - boxes[0][number])[:3, 3] / 0.02
            found = front.velocity[front.identity == number] @ rotation.T
            assert np.abs(found - expected).max() < 0.4  # the vehicle turns a little: its ends are faster
            assert np.linalg.norm(expected) > 1.0
            checked += 1
    assert checked >= 2
    still = np.isfinite(front.depth) & ~front.moving
    assert (front.velocity[still] == 0.0).all()
    assert np.isnan(front.velocity[np.isnan(front.depth)]).all()


def test_moved_points_stay_at_their_place_in_the_box(street, front):
    later = front.stamp + 1_000_000_000
    numbers = [box.identity for box in street.objects(front.stamp, 60.0) if box.moving and box.category == "vehicle"]
    chosen = np.isin(front.identity, numbers)
    points, identity = world_points(street, front)[chosen], front.identity[chosen]
    moved = street.moved_points(points, identity, front.stamp, later)
    poses = [{box.identity: street.pose(stamp) @ box.T_base_box for box in street.objects(stamp, 120.0)}
             for stamp in (front.stamp, later)]
    assert chosen.sum() > 50
    for number in np.unique(identity):
        before, after = (apply(inverse(pose[number]), place[identity == number])
                         for pose, place in zip(poses, (points, moved), strict=True))
        assert np.abs(before - after).max() < 0.05
    assert np.linalg.norm(moved - points, axis=1).min() > 1.0


def test_surfaces_are_visible_and_what_lies_behind_is_not(street, front):
    T = street.pose(front.stamp) @ street.T_base_camera["front"]
    known = np.isfinite(front.depth)
    points = world_points(street, front)[known]
    assert street.visible(points, T, front.stamp).mean() > 0.999
    eye = T[:3, 3]
    assert street.visible(eye + 0.97 * (points - eye), T, front.stamp).mean() > 0.999
    assert street.visible(eye + 1.05 * (points - eye), T, front.stamp).mean() < 0.001
    assert not street.visible(2.0 * eye - points, T, front.stamp).any()  # behind the camera
    assert street.visible(np.zeros((0, 3)), T, front.stamp).shape == (0,)


def test_a_view_from_outside_agrees_with_visibility(street, front):
    """A camera high above the street: what its depth shows is what rays to single points meet."""
    T_above = street.pose(front.stamp) @ from_xyz_rpy((-6.0, 3.0, 6.0), (0.0, 0.45, -0.2)) @ T_BASE_OPTICAL
    calibration = street.calibrations["back"]
    above = street.render_from(T_above, calibration, front.stamp)
    points = world_points(street, front)[np.isfinite(front.depth) & (front.depth < 40.0)]
    local = apply(inverse(T_above), points)
    pixels = local @ calibration.intrinsics.T
    column, row = np.round(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    inside = (local[:, 2] > 1.0) & (column >= 0) & (row >= 0) & (column < SMALL.width) & (row < SMALL.height)
    by_depth = local[inside, 2] < 1.03 * above.depth[row[inside], column[inside]]
    by_rays = street.visible(points[inside], T_above, front.stamp)
    assert inside.sum() > 2000 and 0.2 < by_rays.mean() < 0.98
    assert np.mean(by_depth == by_rays) > 0.93  # the rest: edges within a pixel
    own = street.render_from(street.pose(front.stamp) @ street.T_base_camera["front"], street.calibrations["front"],
                             front.stamp)
    near = np.nan_to_num(front.depth, nan=np.inf) < 60.0
    assert np.allclose(own.depth[near], front.depth[near])


def test_the_look_changes_the_image_and_no_truth(front):
    weather = WeatherConfig(night=1.0, wet=1.0, gloss=1.0, haze_depth=60.0)
    strange = replace(SMALL, weather=weather, optics=OpticsConfig(auto_exposure=0.8, jpeg=50, defocus=1.0, dirt=0.5))
    view = SimulatedVehicle(strange).render("front", front.stamp)
    assert np.array_equal(view.depth, front.depth, equal_nan=True)
    assert np.array_equal(view.identity, front.identity)
    assert np.mean(np.abs(view.image.astype(int) - front.image) > 10) > 0.5


def test_the_own_body_hides_the_street_in_the_same_place_of_every_image(street):
    body = SimulatedVehicle(replace(SMALL, ego_body=1.0))
    shares = []
    for name in ("front", "front_left", "back"):
        first, later = (body.render(name, body.stamp(index), all_truth=index == 3) for index in (3, 9))
        plain = street.render(name, street.stamp(3))
        assert np.array_equal(first.ego, later.ego)
        assert np.isnan(first.depth[first.ego]).all() and np.isnan(first.velocity[first.ego]).all()
        assert (first.identity[first.ego] == -2).all() and (first.category[first.ego] == SemanticClass.UNKNOWN).all()
        assert not first.moving[first.ego].any()
        seen = ~first.ego
        assert np.array_equal(first.depth[seen], plain.depth[seen], equal_nan=True)
        assert np.mean(np.abs(first.image[seen].astype(int) - plain.image[seen]) > 3) < 0.06  # its soft edge
        assert np.mean(first.image[first.ego] != plain.image[first.ego]) > 0.5
        shares.append(first.ego.mean())
        border = np.concatenate((first.ego[-1], first.ego[:, 0], first.ego[:, -1]))
        assert border.any()
    assert min(shares) > 0.0 and max(shares) < 0.6 and len(set(shares)) == 3
    assert not street.render("front", street.stamp(3)).ego.any()
