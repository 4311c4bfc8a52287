"""Losses of pointmaps against hand computations, and gradients where they belong."""

import math

import pytest
import torch
from torch import Tensor

from img2three_ros.losses.pointmap import (
    confident_error,
    confident_matching,
    matching_error,
    mean_distance,
    point_error,
)

FREE, METRIC = torch.tensor([False]), torch.tensor([True])
ALL = torch.ones(1, 2, dtype=torch.bool)
TRUTH = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)  # 5 and 1 from the origin: mean 3


def moved_by(error: list[float]) -> Tensor:
    return torch.tensor([error], dtype=torch.float64)


def test_mean_distance_by_hand():
    assert mean_distance(TRUTH, ALL).item() == pytest.approx(3.0)
    assert mean_distance(TRUTH, torch.tensor([[True, False]])).item() == pytest.approx(5.0)
    assert mean_distance(TRUTH, torch.zeros_like(ALL)).item() == 1.0


def test_points_count_up_to_a_scale_of_the_pair_unless_they_are_metric():
    assert point_error(7.0 * TRUTH, TRUTH, ALL, FREE).max().item() < 1e-7
    # 7 X / 3 - X / 3 = 2 X
    assert point_error(7.0 * TRUTH, TRUTH, ALL, METRIC)[0].tolist() == pytest.approx([10.0, 2.0])
    found = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 3.0]]], dtype=torch.float64)  # mean distance 4, not 3
    free = point_error(found, TRUTH, ALL, FREE)[0].tolist()
    assert free == pytest.approx([5.0 / 3.0 - 5.0 / 4.0, 3.0 / 4.0 - 1.0 / 3.0])
    assert point_error(found, TRUTH, ALL, METRIC)[0].tolist() == pytest.approx([0.0, 2.0 / 3.0], abs=1e-7)
    both = point_error(found.repeat(2, 1, 1), TRUTH.repeat(2, 1, 1), ALL.repeat(2, 1), torch.tensor([True, False]))
    assert both[1].tolist() == pytest.approx(free) and both[0].tolist() == pytest.approx([0.0, 2.0 / 3.0], abs=1e-7)


def test_unknown_truth_costs_nothing_and_pulls_at_nothing():
    truth = torch.cat((TRUTH, torch.tensor([[[math.nan, math.inf, 0.0]]], dtype=torch.float64)), 1)
    keep = torch.tensor([[True, True, False]])
    found = torch.rand(1, 3, 3, dtype=torch.float64).requires_grad_(True)
    error = point_error(found, truth, keep, FREE)
    assert error[0, 2].item() == 0.0
    error.sum().backward()
    assert bool(found.grad[0, :2].any(-1).all()) and not bool(found.grad[0, 2].any())
    assert bool(found.grad.isfinite().all())
    nowhere = point_error(found, torch.full_like(truth, math.nan), torch.zeros_like(keep), FREE)
    assert nowhere.tolist() == [[0.0, 0.0, 0.0]]


def test_a_network_that_says_zero_everywhere_has_an_error_and_finite_gradients():
    found = torch.zeros(1, 2, 3, requires_grad=True)
    error = point_error(found, TRUTH.float(), ALL, FREE)
    assert error[0].tolist() == pytest.approx([5.0 / 3.0, 1.0 / 3.0], rel=1e-3)
    error.sum().backward()
    assert bool(found.grad.isfinite().all())


def test_confidence_by_hand():
    error, confidence = moved_by([0.5, 1.0]), moved_by([2.0, 1.0])
    no_sky = torch.zeros_like(ALL)
    by_hand = (2.0 * 0.5 - 0.2 * math.log(2.0) + 1.0) / 2.0
    assert confident_error(error, confidence, ALL, no_sky).item() == pytest.approx(by_hand)
    first, second = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    with_sky = (2.0 * 0.5 - 0.2 * math.log(2.0) + 1.0 * 2.0) / 2.0
    assert confident_error(error, confidence, first, second).item() == pytest.approx(with_sky)
    left_out = 2.0 * 0.5 - 0.2 * math.log(2.0)
    assert confident_error(error, confidence, first, second, sky_error=0.0).item() == pytest.approx(left_out)


def test_the_best_confidence_is_alpha_over_the_error_and_none_in_the_sky():
    confidence = moved_by([4.0, 4.0]).requires_grad_(True)
    solid, sky = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    confident_error(moved_by([0.2 / 4.0, 0.0]), confidence, solid, sky).backward()
    assert confidence.grad[0, 0].item() == pytest.approx(0.0, abs=1e-12)
    assert confidence.grad[0, 1].item() == pytest.approx((2.0 - 0.2 / 4.0) / 2.0)  # downwards, to 1


def test_matching_by_hand():
    axes = torch.eye(3, dtype=torch.float64)
    one, other = axes[None, :2], axes[None, [0, 1]]
    # Similarities 20 where right, 0 where wrong: log(e^20 + 1) - 20, both ways
    assert matching_error(one, other, ALL)[0].tolist() == pytest.approx(2 * [2.0 * math.log1p(math.exp(-20.0))])
    swapped = matching_error(one, axes[None, [1, 0]], ALL, temperature=1.0)
    assert swapped[0].tolist() == pytest.approx(2 * [2.0 * math.log(1.0 + math.e)])
    alike = matching_error(axes[None, [0, 0, 0]], axes[None, [0, 0, 0]], torch.ones(1, 3, dtype=torch.bool))
    assert alike[0].tolist() == pytest.approx(3 * [2.0 * math.log(3.0)])
    without_third = matching_error(axes[None, [0, 0, 0]], axes[None, [0, 0, 0]], torch.tensor([[True, True, False]]))
    assert without_third[0].tolist() == pytest.approx([2.0 * math.log(2.0), 2.0 * math.log(2.0), 0.0])


def test_matching_differs_by_direction_as_the_paper_says():
    angle = math.radians(60.0)
    one = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    other = torch.tensor([[[1.0, 0.0], [math.cos(angle), math.sin(angle)]]], dtype=torch.float64)
    s = [[1.0, math.cos(angle)], [0.0, math.sin(angle)]]
    forward = math.log(math.exp(s[0][0]) + math.exp(s[0][1])) - s[0][0]
    backward = math.log(math.exp(s[0][0]) + math.exp(s[1][0])) - s[0][0]
    assert matching_error(one, other, ALL, 1.0)[0, 0].item() == pytest.approx(forward + backward)


def test_confident_matching_by_hand():
    error = moved_by([4.0, 100.0])
    only_first = torch.tensor([[True, False]])
    value = confident_matching(error, moved_by([1.0, 1.0]), moved_by([4.0, 1.0]), only_first)
    assert value.item() == pytest.approx(2.5 * 4.0 - 10.0 * math.log(2.5))
    at_best = moved_by([2.5, 1.0]).requires_grad_(True)
    confident_matching(error, at_best, at_best, only_first).backward()
    assert at_best.grad[0, 0].item() == pytest.approx(0.0, abs=1e-12)


def test_gradients_are_right():
    torch.manual_seed(0)
    points = torch.randn(2, 5, 3, dtype=torch.float64)
    truth, keep = torch.randn_like(points), torch.rand(2, 5) < 0.8
    mixed = torch.tensor([True, False])
    assert torch.autograd.gradcheck(lambda p: point_error(p, truth, keep, mixed), (points.requires_grad_(True),))
    descriptors = [torch.nn.functional.normalize(torch.randn(1, 4, 3, dtype=torch.float64), dim=-1).requires_grad_(True)
                   for _ in range(2)]
    kept = torch.tensor([[True, True, False, True]])
    assert torch.autograd.gradcheck(lambda a, b: matching_error(a, b, kept, 0.5), tuple(descriptors))
    matching_error(*descriptors, kept).sum().backward()
    for side in descriptors:
        assert bool(side.grad[kept].any(-1).all()) and not bool(side.grad[~kept].any())
