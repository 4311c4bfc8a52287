"""Projection in torch against hand-computed pixels."""

import numpy as np
import torch

from img2three_ros.geometry.rays import pixel_rays, project, sampling_grid, transform_points, unproject

K = torch.tensor(((100.0, 0, 31.5), (0, 100.0, 23.5), (0, 0, 1)))


def test_point_one_metre_right_at_ten_metres():
    pixels, depth = project(torch.tensor(((1.0, -0.5, 10.0),)), K)
    np.testing.assert_allclose(pixels, ((41.5, 18.5),), atol=1e-5)
    assert depth.item() == 10.0


def test_unproject_is_the_inverse_of_project():
    depth = torch.rand(48, 64) * 20 + 1
    pixels, again = project(unproject(depth, K), K)
    v, u = np.mgrid[0:48, 0:64]
    np.testing.assert_allclose(pixels[..., 0], u, atol=1e-3)
    np.testing.assert_allclose(pixels[..., 1], v, atol=1e-3)
    np.testing.assert_allclose(again, depth, rtol=1e-5)


def test_depth_is_z_not_ray_length():
    assert torch.all(pixel_rays(K, 48, 64)[..., 2] == 1.0)


def test_sampling_grid_reads_the_pixel_itself():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    pixels = torch.tensor((((2.0, 1.0), (3.0, 2.0)),))
    values = torch.nn.functional.grid_sample(image, sampling_grid(pixels, 3, 4)[None], align_corners=False)
    assert values.flatten().tolist() == [6.0, 11.0]


def test_transform_points_moves_by_rotation_then_translation():
    T = torch.tensor(((0.0, -1, 0, 5), (1, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)))
    assert transform_points(T, torch.tensor((1.0, 2.0, 3.0))).tolist() == [3.0, 1.0, 3.0]
