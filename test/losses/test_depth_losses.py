"""Losses of depth: values worked out by hand, gradients by finite differences."""

import math

import pytest
import torch
from torch import Tensor

from img2three_ros.losses.depth import (
    confidence_cross_entropy,
    confidence_weighted,
    huber,
    right_within,
    scale_invariant,
)
from img2three_ros.losses.planes import plane_cross_entropy, two_bin_target

TRUTH = torch.tensor([[[1.0, 2.0], [3.0, math.nan]], [[math.nan, math.nan], [math.nan, math.nan]]],
                     dtype=torch.float64)
KEEP = TRUTH.isfinite()
PREDICTION = torch.tensor([[[1.1, 1.8], [3.6, 9.0]], [[5.0, 6.0], [7.0, 8.0]]], dtype=torch.float64)
# Errors of the kept pixels: 0.1, -0.2, 0.6


def has_right_gradient(loss, *inputs: Tensor) -> bool:
    return torch.autograd.gradcheck(loss, tuple(tensor.clone().requires_grad_(True) for tensor in inputs))


def test_scale_invariant_loss_by_hand():
    square, mean = (0.01 + 0.04 + 0.36) / 3, 0.5 / 3
    assert scale_invariant(PREDICTION, TRUTH, KEEP, 0.0).item() == pytest.approx(square)
    assert scale_invariant(PREDICTION, TRUTH, KEEP, 0.5).item() == pytest.approx(square - 0.5 * mean**2)
    assert has_right_gradient(lambda p: scale_invariant(p, TRUTH, KEEP), PREDICTION)


def test_a_common_factor_costs_nothing_with_balance_one():
    truth, keep = TRUTH[:1].nan_to_num(), torch.ones(1, 2, 2, dtype=torch.bool)
    assert scale_invariant(truth + 0.7, truth, keep, 1.0).item() == pytest.approx(0.0, abs=1e-12)
    assert scale_invariant(truth + 0.7, truth, keep, 0.5).item() == pytest.approx(0.5 * 0.49)


def test_huber_is_round_near_zero_and_straight_beyond():
    # width 0.15: 0.1² / 0.3 within; 0.2 - 0.075 and 0.6 - 0.075 beyond
    assert huber(PREDICTION, TRUTH, KEEP, 0.15).item() == pytest.approx((0.01 / 0.3 + 0.125 + 0.525) / 3)
    assert has_right_gradient(lambda p: huber(p, TRUTH, KEEP, 0.15), PREDICTION)


def test_pixels_without_truth_have_no_gradient_and_no_nan():
    for loss in (scale_invariant, huber):
        prediction = PREDICTION.clone().requires_grad_(True)
        loss(prediction, TRUTH, KEEP).backward()
        assert prediction.grad is not None and torch.equal(prediction.grad != 0.0, KEEP)
    nothing = torch.zeros_like(KEEP)
    assert scale_invariant(PREDICTION, TRUTH, nothing).item() == huber(PREDICTION, TRUTH, nothing).item() == 0.0


def test_confidence_aware_loss_is_the_laplace_likelihood():
    error = torch.tensor([[[0.3, 0.1]]], dtype=torch.float64)
    scale = torch.tensor([[[0.2, 0.4]]], dtype=torch.float64)
    keep = torch.ones(1, 1, 2, dtype=torch.bool)
    expected = -torch.distributions.Laplace(0.0, scale).log_prob(error) - math.log(2.0)
    assert confidence_weighted(error, -scale.log(), keep).item() == pytest.approx(expected.mean().item())
    assert confidence_weighted(error, -scale.log(), keep, alpha=0.5).item() == pytest.approx(
        (1.5 + 0.5 * math.log(0.2) + 0.25 + 0.5 * math.log(0.4)) / 2)
    assert has_right_gradient(lambda e, c: confidence_weighted(e, c, keep), error, -scale.log())


def test_focus_changes_how_much_depth_moves_but_not_the_best_confidence():
    keep = torch.ones(1, 1, 1, dtype=torch.bool)
    for focus, slope in ((1.0, 1.0 / 0.04), (0.5, 0.04**-0.5), (0.0, 1.0)):
        error = torch.full((1, 1, 1), 0.04, dtype=torch.float64, requires_grad=True)
        log_confidence = torch.full((1, 1, 1), -math.log(0.04), dtype=torch.float64, requires_grad=True)
        confidence_weighted(error, log_confidence, keep, focus=focus).backward()
        assert error.grad is not None and error.grad.item() == pytest.approx(slope)
        assert log_confidence.grad is not None and log_confidence.grad.item() == pytest.approx(0.0, abs=1e-9)


def test_right_means_within_25_percent_either_way():
    truth = torch.full((1, 1, 4), math.log(10.0))
    depth = torch.tensor([[[12.4, 12.6, 8.1, 7.9]]])
    keep = torch.ones(1, 1, 4, dtype=torch.bool)
    assert right_within(depth.log(), truth, keep).tolist() == [[[True, False, True, False]]]
    assert not right_within(depth.log(), torch.full_like(truth, math.nan), ~keep).any()


def test_confidence_cross_entropy_by_hand():
    logit = torch.tensor([[[0.0, 2.0, -1.0, 7.0]]], dtype=torch.float64)
    right = torch.tensor([[[True, True, False, False]]])
    keep = torch.tensor([[[True, True, True, False]]])
    expected = (math.log(2.0) + math.log(1 + math.exp(-2.0)) + math.log(1 + math.exp(-1.0))) / 3
    assert confidence_cross_entropy(logit, right, keep).item() == pytest.approx(expected)
    assert has_right_gradient(lambda c: confidence_cross_entropy(c, right, keep), logit)


PLANES = torch.tensor([0.0, 1.0, 3.0, 4.0], dtype=torch.float64)


def test_a_depth_is_shared_between_the_planes_around_it():
    below, share = two_bin_target(torch.tensor([0.25, 1.0, 2.5, -1.0, 9.0, math.inf], dtype=torch.float64), PLANES)
    assert below.tolist() == [0, 1, 1, 0, 2, 2]
    assert share.tolist() == pytest.approx([0.25, 0.0, 0.75, 0.0, 1.0, 1.0])


def test_plane_cross_entropy_by_hand():
    logits = torch.tensor([1.0, 2.0, 0.0, -1.0], dtype=torch.float64).reshape(1, 4, 1, 1).repeat(1, 1, 1, 3)
    log_depth = torch.tensor([[[2.5, math.inf, math.nan]]], dtype=torch.float64)
    keep = ~log_depth.isnan()
    total = math.log(math.exp(1) + math.exp(2) + 1.0 + math.exp(-1))
    expected = (-(0.25 * 2.0 + 0.75 * 0.0) + total + 1.0 + total) / 2
    assert plane_cross_entropy(logits, PLANES, log_depth, keep).item() == pytest.approx(expected)
    assert has_right_gradient(lambda z: plane_cross_entropy(z, PLANES, log_depth, keep), logits)
