"""Losses of rays and volumes: by hand, against the definition, and with gradients where upstream had none."""

import math

import pytest
import torch

from img2three_ros.losses.volume import distortion, expected_depth, opacity_entropy, total_variation


def test_distortion_by_hand() -> None:
    weights, edges = torch.tensor([[0.5, 0.0, 0.25]]), torch.tensor([[0.0, 1.0, 2.0, 4.0]])
    between = 2 * 0.5 * 0.25 * abs(0.5 - 3.0)
    within = (0.25 * 1.0 + 0.0625 * 2.0) / 3
    assert float(distortion(weights, edges)) == pytest.approx(between + within)


def test_distortion_against_its_definition() -> None:
    torch.manual_seed(1)
    weights = torch.rand(7, 20, dtype=torch.float64) / 20
    edges = torch.rand(7, 21, dtype=torch.float64).cumsum(1)
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    pairs = weights[:, :, None] * weights[:, None] * (middle[:, :, None] - middle[:, None]).abs()
    expected = pairs.sum((1, 2)) + (weights.square() * edges.diff(dim=1)).sum(1) / 3
    torch.testing.assert_close(distortion(weights, edges), expected.mean())


def test_distortion_draws_a_ray_together() -> None:
    weights = torch.tensor([[0.4, 0.1, 0.1, 0.4]], requires_grad=True)
    distortion(weights, torch.arange(5.0)[None]).backward()
    assert weights.grad is not None and bool((weights.grad[0] > 0.0).all())
    assert float(weights.grad[0, 0]) > float(weights.grad[0, 1])  # mass at the ends costs more than in the middle


def test_expected_depth_by_hand_and_its_gradient() -> None:
    weights = torch.tensor([[0.3, 0.3], [0.0, 0.0], [0.5, 0.5]], requires_grad=True)
    distances = torch.tensor([[4.0, 8.0], [4.0, 8.0], [4.0, 8.0]])
    loss = expected_depth(weights, distances, torch.tensor([3.0, 5.0, math.nan]), torch.tensor([True, True, False]))
    assert float(loss) == pytest.approx(math.log(6.0 / 3.0) - 0.01)  # Huber of width 0.02; the empty ray says nothing
    loss.backward()
    assert weights.grad is not None
    assert float(weights.grad[0, 0]) < 0.0 < float(weights.grad[0, 1]) and not bool(weights.grad[1:].any())


def test_entropy_by_hand() -> None:
    assert float(opacity_entropy(torch.tensor([0.5, 1.0, 0.0]))) == pytest.approx(math.log(2.0) / 3, abs=1e-4)
    opacity = torch.tensor([0.7, 0.2], requires_grad=True)
    opacity_entropy(opacity).backward()
    assert opacity.grad is not None and float(opacity.grad[0]) < 0.0 < float(opacity.grad[1])


def test_total_variation_by_hand() -> None:
    plane = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])  # down: 2, 3; right: 1, 2
    expected = (4 + 9) / 2 + (1 + 4) / 2
    assert float(total_variation([plane])) == pytest.approx(expected)
    assert float(total_variation([plane, torch.zeros(2, 3, 3, 3)])) == pytest.approx(expected / 2)
    grid = torch.randn(2, 3, 4, 5, requires_grad=True)
    total_variation([grid]).backward()
    assert grid.grad is not None and bool((grid.grad != 0).all())
