"""Losses of shape, and truth at lower resolution."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from img2three_ros.losses.pyramid import sample_depth
from img2three_ros.losses.surface import gradient, normal
from img2three_ros.structures import InputError

INTRINSICS = torch.tensor([[[40.0, 0.0, 11.5], [0.0, 50.0, 7.5], [0.0, 0.0, 1.0]]], dtype=torch.float64)


def plane_depth(towards: tuple[float, float, float], distance: float, height: int = 16, width: int = 24) -> Tensor:
    """(1, H, W) depth of the plane n · p = distance."""
    v, u = torch.meshgrid(torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64),
                          indexing="ij")
    rays = torch.stack((u, v, torch.ones_like(u)), -1) @ torch.linalg.inv(INTRINSICS[0]).T
    return (distance / (rays @ torch.tensor(towards, dtype=torch.float64)))[None]


def has_right_gradient(loss, value: Tensor) -> bool:
    return torch.autograd.gradcheck(loss, (value.clone().requires_grad_(True),))


def test_gradient_loss_by_hand():
    truth = torch.zeros(1, 2, 3, dtype=torch.float64)
    error = torch.tensor([[[0.1, 0.4, 0.2], [0.1, 0.0, 0.7]]], dtype=torch.float64)
    keep = torch.tensor([[[True, True, True], [True, True, False]]])
    across = (0.3 + 0.2 + 0.1) / 3
    down = (0.0 + 0.4) / 2
    assert gradient(error, truth, keep, scales=1).item() == pytest.approx(across + down)
    # Of every second pixel two are left: 0.1 and 0.2
    assert gradient(error, truth, keep, scales=2).item() == pytest.approx((across + down + 0.1) / 2)
    assert gradient(error + 0.3, truth, keep).item() == pytest.approx(gradient(error, truth, keep).item())
    assert has_right_gradient(lambda e: gradient(e, truth, keep, scales=2), error)


def test_normal_loss_is_one_minus_the_cosine_of_the_angle():
    angle = math.radians(20.0)
    wall, turned = plane_depth((0.0, 0.0, 1.0), 8.0), plane_depth((math.sin(angle), 0.0, math.cos(angle)), 8.0)
    ground = plane_depth((0.0, math.sin(angle), math.cos(angle)), 8.0)
    keep = torch.ones_like(wall, dtype=torch.bool)
    expected = 1.0 - math.cos(angle)
    assert normal(turned.log(), wall.log(), keep, INTRINSICS, step=1).item() == pytest.approx(expected, rel=0.02)
    assert normal(ground.log(), wall.log(), keep, INTRINSICS, step=1).item() == pytest.approx(expected, rel=0.02)
    # Both turned the same way: no angle, whatever the distance
    assert normal((3.0 * turned).log(), turned.log(), keep, INTRINSICS).item() == pytest.approx(0.0, abs=1e-9)


def test_normal_loss_ignores_edges_and_unknown_truth():
    truth = plane_depth((0.0, 0.0, 1.0), 8.0).log()
    keep = torch.ones_like(truth, dtype=torch.bool)
    slanted = truth + 0.01 * torch.arange(24)
    level = normal(slanted, truth, keep, INTRINSICS).item()
    stepped = truth.clone()
    stepped[:, :, 12:] += 0.5
    assert normal(slanted, stepped, keep, INTRINSICS).item() == pytest.approx(level, rel=0.2)
    stepped[:, :, 12:] = math.nan
    assert normal(slanted, stepped, stepped.isfinite(), INTRINSICS).item() == pytest.approx(level, rel=0.2)
    small = (truth + 0.1 * torch.rand(truth.shape, dtype=torch.float64))[:, :5, :6]
    assert has_right_gradient(lambda p: normal(p, truth[:, :5, :6], keep[:, :5, :6], INTRINSICS), small)


def test_sampled_truth_of_a_plane_is_its_depth_at_the_new_pixel_centres():
    depth = plane_depth((0.1, 0.5, 0.8), 3.0)
    for factor in (2, 4, 8):
        sampled = sample_depth(depth, (16 // factor, 24 // factor))
        centres = [np.arange(size // factor) * factor + (factor - 1) / 2 for size in (16, 24)]
        v, u = np.meshgrid(*centres, indexing="ij")
        rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(INTRINSICS[0].numpy()).T
        assert sampled[0].numpy() == pytest.approx(3.0 / (rays @ (0.1, 0.5, 0.8)), rel=1e-9)


def test_sampled_truth_never_lies_between_two_surfaces():
    depth = torch.full((1, 8, 8), 32.0)
    depth[:, :, :4] = 8.0
    assert sample_depth(depth, (1, 1)).item() == 8.0
    assert set(sample_depth(depth, (2, 2)).flatten().tolist()) == {8.0, 32.0}
    depth[:, :, 4:] = math.inf
    assert sample_depth(depth, (1, 1)).item() == 8.0
    assert sample_depth(depth, (2, 2)).tolist() == [[[8.0, math.inf], [8.0, math.inf]]]


def test_sparse_truth_is_kept_and_the_pixel_closest_to_the_centre_wins():
    depth = torch.full((1, 8, 16), math.nan)
    depth[0, 0, 0], depth[0, 2, 5] = 5.0, 9.0
    sampled = sample_depth(depth, (1, 2))
    assert sampled[0, 0, 0].item() == pytest.approx(9.0) and sampled[0, 0, 1].isnan()
    assert torch.equal(sample_depth(depth, (8, 16)).isnan(), depth.isnan())


def test_a_size_that_does_not_divide_is_refused():
    for size in ((3, 6), (4, 5), (32, 48)):
        with pytest.raises(InputError, match="cannot be sampled"):
            sample_depth(torch.ones(1, 16, 24), size)
