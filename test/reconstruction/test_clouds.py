"""Points from depth against hand-computed positions; obstacles are above the ground and never alone."""

import numpy as np
import torch

from img2three_ros.config import CloudConfig
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.reconstruction.clouds import depth_image, obstacle_points, point_cloud
from img2three_ros.reconstruction.ground import flat_ground
from img2three_ros.reconstruction.views import DepthView, Geometry, View
from img2three_ros.structures import PointCloud


def depth_view(depth=10.0, confidence=0.9, mask=True):
    view = View("front", 5, torch.full((3, 32, 48), 0.5), torch.tensor(((40.0, 0, 24), (0, 40.0, 16), (0, 0, 1))),
                torch.full((32, 48), mask), from_xyz_rpy((1, 0, 1.5)) @ T_BASE_OPTICAL)
    plane = torch.full((32, 48), depth)
    return DepthView(view, plane, torch.full_like(plane, confidence), plane * 0 + 0.01, plane > 0)


def test_the_principal_pixel_lies_straight_ahead():
    cloud = point_cloud(Geometry((depth_view(),)), CloudConfig(stride=1))
    assert len(cloud) == 32 * 48 and cloud.points.dtype == np.float32
    np.testing.assert_allclose(cloud.points[16 * 48 + 24], (11, 0, 1.5), atol=1e-5)
    # 8 pixels to the right at 10 m and f = 40: 2 m to the right, which is -y.
    np.testing.assert_allclose(cloud.points[16 * 48 + 32], (11, -2, 1.5), atol=1e-5)
    assert cloud.colours[0].tolist() == [128, 128, 128]


def test_what_is_unsure_far_or_masked_is_left_out():
    assert len(point_cloud(Geometry((depth_view(confidence=0.2),)), CloudConfig(min_confidence=0.3))) == 0
    assert len(point_cloud(Geometry((depth_view(depth=90.0),)), CloudConfig(max_range=80.0))) == 0
    assert len(point_cloud(Geometry((depth_view(mask=False),)), CloudConfig())) == 0
    assert len(point_cloud(Geometry(()), CloudConfig())) == 0


def test_depth_image_is_nan_where_nothing_is_given():
    view = depth_view()
    view.valid[0, 0] = False
    view.view.mask[1, 1] = False
    image = depth_image(view)
    assert np.isnan(image.depth[[0, 1], [0, 1]]).all() and np.isnan(image.confidence[[0, 1], [0, 1]]).all()
    assert np.isfinite(image.depth).sum() == 32 * 48 - 2
    assert image.stamp == 5 and image.calibration.intrinsics[0, 2] == 24


def cloud_of(points, confidence=0.9):
    points = np.asarray(points, np.float32)
    return PointCloud(points, np.zeros((len(points), 3), np.uint8), np.full(len(points), confidence, np.float32))


def test_obstacles_are_groups_above_the_ground_within_range():
    group = np.array((0.1, 0.1, 0.0)) + np.linspace(0, 0.2, 5)[:, None] * (0, 1, 0)
    at = {"car": (10, 0, 1), "road": (10, 5, 0.1), "bridge": (10, -5, 4), "far": (60, 0, 1)}
    cloud = cloud_of(np.concatenate([group + position for position in at.values()] + [[(20.1, 0.1, 1.1)]]))
    obstacles = obstacle_points(cloud, flat_ground(), CloudConfig())
    assert len(obstacles) == 5
    np.testing.assert_allclose(obstacles.points[:, 0], 10.1, atol=1e-5)
    assert len(obstacle_points(cloud_of(group + at["car"], 0.4), flat_ground(), CloudConfig())) == 0


def test_no_points_no_obstacles():
    assert len(obstacle_points(cloud_of(np.zeros((0, 3))), flat_ground(), CloudConfig())) == 0
