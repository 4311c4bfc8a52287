"""Losses of occupancy: by hand, and a gradient for every point that counts."""

import math

import pytest
import torch

from img2three_ros.losses.occupancy import lovasz_hinge, occupancy_cross_entropy

LOGIT = torch.tensor([2.0, -1.0, 0.5, -3.0, 9.0])
OCCUPIED = torch.tensor([True, True, False, False, False])
KEEP = torch.tensor([True, True, True, True, False])


def test_cross_entropy_by_hand() -> None:
    parts = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(1.0)), math.log1p(math.exp(0.5)),
             math.log1p(math.exp(-3.0))]
    assert float(occupancy_cross_entropy(LOGIT, OCCUPIED, KEEP)) == pytest.approx(sum(parts) / 4)
    weighted = (3.0 * (parts[0] + parts[1]) + parts[2] + parts[3]) / 8.0
    assert float(occupancy_cross_entropy(LOGIT, OCCUPIED, KEEP, 3.0)) == pytest.approx(weighted)


def test_lovasz_by_hand() -> None:
    """Hinge errors 2 (second), 1.5 (third), then -1 and -2. Jaccard loss after the first wrong: one of two occupied
    missed = 1/2; after the second: 1 of 3 left = 2/3."""
    expected = 2.0 * 0.5 + 1.5 * (2.0 / 3.0 - 0.5)
    assert float(lovasz_hinge(LOGIT, OCCUPIED, KEEP)) == pytest.approx(expected)


def test_lovasz_of_hard_answers_is_the_loss_of_iou() -> None:
    """Answers of ±1 have hinge errors 0 or 2: twice 1 - IoU."""
    torch.manual_seed(0)
    truth, said = torch.rand(500) < 0.3, torch.rand(500) < 0.4
    logit = torch.where(said, 1.0, -1.0)
    iou = float((truth & said).sum() / (truth | said).sum())
    loss = lovasz_hinge(logit, truth, torch.ones(500, dtype=torch.bool))
    assert float(loss) == pytest.approx(2 * (1 - iou), abs=1e-5)


@pytest.mark.parametrize("loss", [occupancy_cross_entropy, lovasz_hinge])
def test_gradients_reach_what_counts_and_nothing_else(loss) -> None:
    logit = LOGIT.clone().requires_grad_(True)
    loss(logit, OCCUPIED, KEEP).backward()
    assert logit.grad is not None and float(logit.grad[4]) == 0.0
    assert float(logit.grad[1]) < 0.0 < float(logit.grad[2])  # missed: up; false: down


@pytest.mark.parametrize("loss", [occupancy_cross_entropy, lovasz_hinge])
def test_nothing_kept_costs_nothing(loss) -> None:
    logit = LOGIT.clone().requires_grad_(True)
    value = loss(logit, OCCUPIED, torch.zeros(5, dtype=torch.bool))
    value.backward()
    assert float(value) == 0.0 and not bool(logit.grad.any())
