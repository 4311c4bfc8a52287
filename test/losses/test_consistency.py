"""Losses of agreement, each against a hand computation, with a gradient where there should be one."""

import math

import pytest
import torch

from img2three_ros.losses.consistency import between_times, coarse_to_fine, overlap

KEEP = torch.tensor([True, True, True, False])


def test_overlap_by_hand() -> None:
    own = torch.log(torch.tensor([10.0, 10.0, 10.0, 10.0])).requires_grad_(True)
    other = torch.log(torch.tensor([11.0, 10.0, 30.0, 1.0]))
    loss = overlap(own, other, KEEP)
    assert float(loss) == pytest.approx((math.log(1.1) + 0.0 + 0.2) / 3.0, abs=1e-6)
    loss.backward()
    assert own.grad is not None
    assert float(own.grad[0]) == pytest.approx(-1.0 / 3.0) and own.grad[2:].tolist() == [0.0, 0.0]


def test_between_times_by_hand() -> None:
    now = torch.logit(torch.tensor([0.8, 0.5, 0.3, 0.9])).requires_grad_(True)
    then = torch.logit(torch.tensor([0.2, 0.5, 0.6, 0.1]))

    def entropy(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    expected = sum(entropy((a + b) / 2) - 0.5 * (entropy(a) + entropy(b)) for a, b in ((0.8, 0.2), (0.5, 0.5),
                                                                                   (0.3, 0.6))) / 3.0
    loss = between_times(now, then, KEEP)
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert now.grad is not None
    assert float(now.grad[0]) > 0.0 > float(now.grad[2]) and abs(float(now.grad[1])) < 1e-7
    assert float(now.grad[3]) == 0.0


def test_to_be_surer_is_no_contradiction_and_certainty_is_finite() -> None:
    loss = between_times(torch.tensor([9.0, -50.0]), torch.tensor([5.0, -1000.0]), torch.tensor([True, True]))
    assert float(loss) == pytest.approx(0.0, abs=1e-7)


def test_coarse_to_fine_by_hand() -> None:
    """Steps 0-1, 1-2, 2-3, 3-4 m. The fine look finds 0.6 in the last one, the coarse one 0.1 there and 0.2 before."""
    coarse = torch.tensor([[0.5, 0.0, 0.2, 0.1]], requires_grad=True)
    fine, distances = torch.tensor([[0.3, 0.6]]), torch.tensor([[0.5, 3.5]])
    loss = coarse_to_fine(coarse, torch.arange(5.0), fine, distances)
    assert float(loss) == pytest.approx((0.6 - 0.3) ** 2 / 0.6001, rel=1e-4)  # 0.3 in the first step is within 0.5
    loss.backward()
    assert coarse.grad is not None
    assert coarse.grad[0, :2].tolist() == [0.0, 0.0] and bool((coarse.grad[0, 2:] < 0.0).all())


def test_a_coarse_look_that_covers_the_fine_one_costs_nothing() -> None:
    weights = torch.rand(5, 8) * 0.1
    edges = torch.arange(9.0)
    middles = (edges[:-1] + 0.5).expand(5, -1)
    assert float(coarse_to_fine(weights, edges, weights, middles)) == 0.0
