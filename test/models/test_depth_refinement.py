"""Refinement: what witnesses say by hand, corrections by hand, and that it learns to believe them."""

import math
from dataclasses import replace

import pytest
import torch

from img2three_ros.models.depth_refinement import Correction, DepthRefinement, Witness, account
from img2three_ros.models.lifting import LiftedView

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
SIZE = (12, 20)
INTRINSICS = torch.tensor([[10.0, 0.0, 9.5], [0.0, 10.0, 5.5], [0.0, 0.0, 1.0]])
SEES, COARSE, FINE, SURE, SCALE, COLOUR, FOLLOWS, ANGLE = range(8)


def view(depth: float, confidence: float = 0.8, colour: float = 0.5) -> LiftedView:
    return LiftedView(torch.zeros(8, *SIZE), torch.full((3, *SIZE), colour), torch.full(SIZE, math.log(depth)),
                      torch.full(SIZE, -3.0), torch.full(SIZE, confidence), torch.ones(SIZE, dtype=torch.bool))


def moved(x: float = 0.0, z: float = 0.0) -> torch.Tensor:
    """T_witness_view of a witness that stands x to the right of the view and z ahead of it."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3], pose[2, 3] = -x, -z
    return pose


def said(depth: float, witness: Witness, colour: float = 0.5) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(12.0), torch.arange(20.0), indexing="ij")
    rays = torch.stack(((u - 9.5) / 10.0, (v - 5.5) / 10.0, torch.ones_like(u)))
    return account(torch.full((3, *SIZE), colour), rays * depth, rays, witness)


def test_an_account_of_a_wall_by_hand() -> None:
    """A wall 8 m ahead, found at 10 m; the witness, 2 m ahead, knows that it is 6 m away."""
    heard = said(10.0, Witness(view(6.0, 0.7, colour=0.4), INTRINSICS, moved(z=2.0)))
    middle = heard[:, 6, 10]
    assert float(middle[SEES]) == 1.0
    ratio = math.log(6.0 / 8.0)
    assert float(middle[COARSE]) == pytest.approx(math.tanh(3.0 * ratio), abs=1e-5)
    assert float(middle[FINE]) == pytest.approx(math.tanh(20.0 * ratio), abs=1e-5)
    assert float(middle[SURE]) == pytest.approx(0.7)
    assert float(middle[SCALE]) == pytest.approx(0.0, abs=1e-6)
    assert float(middle[COLOUR]) == pytest.approx(0.4, abs=1e-5)
    assert float(middle[FOLLOWS]) == pytest.approx(10.0 / 8.0, abs=1e-5)
    assert 0.999 < float(middle[ANGLE]) <= 1.0 + 1e-6
    assert float(heard[SEES, 0, 0]) == 0.0 and not bool(heard[:, 0, 0].any())  # leaves the witness's picture


def test_a_witness_to_the_side_by_hand() -> None:
    """2 m to the right of the view, a point at 10 m lies 2 pixels farther to the left."""
    of = view(10.0)
    of.log_depth[:, 8] = math.log(5.0)
    heard = said(10.0, Witness(of, INTRINSICS, moved(x=2.0)))
    nearer = (heard[COARSE] < -0.5) & (heard[SEES] > 0.0)
    assert nearer.nonzero()[:, 1].unique().tolist() == [10]
    assert float(heard[ANGLE, 6, 10]) == pytest.approx(math.cos(math.atan2(2.0 - 0.5, 10.0) + math.atan2(0.5, 10.0)),
                                                       abs=2e-3)


def test_behind_outside_and_masked_say_nothing() -> None:
    assert not bool(said(10.0, Witness(view(5.0), INTRINSICS, moved(z=20.0))).any())
    assert not bool(said(10.0, Witness(view(5.0), INTRINSICS, moved(x=100.0))).any())
    masked = replace(view(5.0), mask=torch.zeros(SIZE, dtype=torch.bool))
    assert not bool(said(10.0, Witness(masked, INTRINSICS, moved())).any())


def test_corrections_by_hand() -> None:
    ones = torch.ones(SIZE)
    corrected = Correction(0.1 * ones, 0.5 * ones, -1.0 * ones).applied(view(10.0, 0.8))
    torch.testing.assert_close(corrected.log_depth.exp(), 10.0 * math.exp(0.1) * ones)
    torch.testing.assert_close(corrected.log_scale, -2.5 * ones)
    torch.testing.assert_close(corrected.confidence, torch.sigmoid(torch.logit(torch.tensor(0.8)) - 1.0) * ones)


def test_untrained_it_corrects_nothing_and_without_witnesses_it_says_nothing() -> None:
    network = DepthRefinement(width=8)
    looks = network(view(10.0), INTRINSICS, [Witness(view(6.0), INTRINSICS, moved(z=2.0))])
    assert len(looks) == 2
    assert not any(bool(values.any()) for look in looks for values in vars(look).values())
    assert network(view(10.0), INTRINSICS, []) == []


def test_only_what_a_witness_sees_is_corrected() -> None:
    torch.manual_seed(0)
    network = DepthRefinement(width=8)
    torch.nn.init.normal_(network.answer[-1].weight)
    of = replace(view(6.0), mask=torch.arange(20).expand(SIZE) < 6)
    correction = network(view(10.0), INTRINSICS, [Witness(of, INTRINSICS, torch.eye(4))])[-1]
    changed = correction.log_depth.any(0)
    assert bool(changed[:8].all()) and not bool(changed[8:].any())  # and two pixels around


def test_the_surer_the_depth_the_smaller_the_correction() -> None:
    torch.manual_seed(0)
    network = DepthRefinement(width=8, steps=1)
    torch.nn.init.normal_(network.answer[-1].weight)
    mixed = view(10.0)
    mixed.confidence[:, 10:] = 1.0
    correction = network(mixed, INTRINSICS, [Witness(view(6.0), INTRINSICS, torch.eye(4))])[-1]
    assert bool(correction.log_depth[:, :10].all()) and not bool(correction.log_depth[:, 10:].any())


def test_a_number_that_is_none_stays_with_its_witness() -> None:
    torch.manual_seed(0)
    network = DepthRefinement(width=8)
    torch.nn.init.normal_(network.answer[-1].weight)
    broken = view(6.0)
    broken.log_depth[5, 9] = torch.nan
    correction = network(view(10.0), INTRINSICS, [Witness(broken, INTRINSICS, moved(z=2.0))])[-1]
    assert all(bool(values.isfinite().all()) and bool(values.any()) for values in vars(correction).values())


def test_the_order_of_witnesses_does_not_matter() -> None:
    torch.manual_seed(0)
    network = DepthRefinement(width=8)
    torch.nn.init.normal_(network.answer[-1].weight)
    witnesses = [Witness(view(6.0), INTRINSICS, moved(z=2.0)), Witness(view(9.0), INTRINSICS, moved(x=1.0))]
    there, back = (network(view(10.0), INTRINSICS, order)[-1].log_depth for order in (witnesses, witnesses[::-1]))
    assert bool(there.any())
    torch.testing.assert_close(there, back, atol=1e-5, rtol=1e-5)


def test_it_learns_to_believe_a_sure_witness() -> None:
    """Walls at random distances, found wrongly; the witness ahead is right. After a little training depth is better by
    half, the second look better than the first."""
    torch.manual_seed(1)
    network = DepthRefinement(width=8)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    errors = []
    for _ in range(100):
        truth = float(torch.empty(()).uniform_(6.0, 12.0))
        wrong = truth * float(torch.empty(()).uniform_(0.85, 1.18))
        looks = network(view(wrong, 0.5), INTRINSICS, [Witness(view(truth - 2.0, 0.95), INTRINSICS, moved(z=2.0))])
        off = [(math.log(wrong) + look.log_depth - math.log(truth))[3:9, 5:15].abs().mean() for look in looks]
        optimizer.zero_grad()
        (0.6 * off[0] + off[1]).backward()
        optimizer.step()
        errors.append([abs(math.log(wrong / truth)), *(float(value.detach()) for value in off)])
    before, first, second = torch.tensor(errors[-40:]).mean(0).tolist()
    assert second < 0.5 * before and second < first
