"""The objective as a whole: what each kind of pixel asks of the network."""

import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from img2three_ros.models.depth_network import DepthPrediction
from img2three_ros.training.objective import PARTS, ObjectiveConfig, objective

PLANES = torch.linspace(0.0, 5.0, 11)
INTRINSICS = torch.tensor([[[32.0, 0.0, 15.5], [0.0, 32.0, 15.5], [0.0, 0.0, 1.0]]])
DEPTH, SKY, UNKNOWN = 20.0, math.inf, math.nan


def prediction(depth: float = 10.0, confidence: float = 0.0) -> DepthPrediction:
    logits = torch.zeros(1, 11, 4, 4, requires_grad=True)
    stages = tuple(torch.full((1, size, size), math.log(depth), requires_grad=True) for size in (4, 8, 32))
    return DepthPrediction(logits, logits, stages, torch.full((1, 32, 32), -1.0, requires_grad=True),
                           torch.full((1, 32, 32), confidence, requires_grad=True))


def parts(found: DepthPrediction, depth: Tensor, mask: Tensor | None = None) -> dict[str, float]:
    mask = torch.ones(1, 32, 32, dtype=torch.bool) if mask is None else mask
    total, named = objective(found, PLANES, depth, mask, INTRINSICS, ObjectiveConfig())
    total.backward()
    assert set(named) == set(PARTS) and total.item() == pytest.approx(
        sum(getattr(ObjectiveConfig(), name) * value.item() for name, value in named.items()), rel=1e-5)
    return {name: value.item() for name, value in named.items()}


def wall(depth: float = DEPTH) -> Tensor:
    return torch.full((1, 32, 32), depth)


def test_a_wall_seen_at_half_its_distance():
    found = prediction()
    named = parts(found, wall())
    error = math.log(2.0)
    assert named["planes"] == pytest.approx(math.log(11.0))
    assert [named["depth"], named["stages"]] == pytest.approx([error - 0.01] * 2)
    assert named["scale_invariant"] == pytest.approx(0.5 * error**2, rel=1e-4)
    assert [named["gradient"], named["normal"]] == pytest.approx([0.0, 0.0], abs=1e-5)
    assert named["likelihood"] == pytest.approx((error * math.e - 1.0) * math.exp(-0.5), rel=1e-5)
    assert named["confidence"] == pytest.approx(math.log(2.0))
    assert found.confidence.grad is not None and (found.confidence.grad > 0.0).all()  # wrong: less sure
    assert all(stage.grad is not None and (stage.grad < 0.0).all() for stage in found.log_depths)  # farther


def test_right_depth_wants_confidence():
    found = prediction(depth=18.0)
    parts(found, wall())
    assert found.confidence.grad is not None and (found.confidence.grad < 0.0).all()


def test_sky_belongs_to_the_last_plane_has_no_depth_and_wants_doubt():
    found = prediction()
    named = parts(found, wall(SKY))
    assert {name for name, value in named.items() if value != 0.0} == {"planes", "matching", "confidence"}
    assert found.plane_logits.grad is not None and found.confidence.grad is not None
    assert (found.plane_logits.grad[:, -1] < 0.0).all() and (found.plane_logits.grad[:, :-1] > 0.0).all()
    assert (found.confidence.grad > 0.0).all()
    for tensor in (*found.log_depths, found.log_scale):
        assert tensor.grad is None or not tensor.grad.any()


def test_ego_vehicle_and_unknown_truth_ask_for_nothing():
    mask = torch.ones(1, 32, 32, dtype=torch.bool)
    mask[:, 16:] = False
    depth = wall()
    depth[:, :, 16:] = UNKNOWN
    found = prediction()
    parts(found, depth, mask)
    for tensor in (*found.log_depths, found.log_scale, found.confidence, found.plane_logits.sum(1)):
        size = tensor.shape[-1]
        grad = tensor.grad if tensor.is_leaf else found.plane_logits.grad.abs().sum(1)  # type: ignore[union-attr]
        assert grad is not None and not grad[:, size // 2:].any() and not grad[:, :, size // 2:].any()
        assert grad[:, :size // 2, :size // 2].any()


def test_nothing_known_costs_nothing():
    named = parts(prediction(), wall(UNKNOWN))
    assert set(named.values()) == {0.0}


def test_depth_beyond_the_planes_pulls_no_farther_than_the_last():
    limit = math.exp(5.0)
    found = prediction(depth=limit)
    named = parts(found, wall(limit * 1.2))
    assert named["depth"] == pytest.approx(0.0, abs=1e-5)
    assert found.confidence.grad is not None and (found.confidence.grad < 0.0).all()  # within 25 % of the truth
    named = parts(prediction(depth=limit), wall(limit * 1.3))
    assert named["depth"] == pytest.approx(0.0, abs=1e-5)


def test_weights_scale_their_parts():
    nothing = replace(ObjectiveConfig(), **{field.name: 0.0 for field in fields(ObjectiveConfig)})
    mask = torch.ones(1, 32, 32, dtype=torch.bool)
    for name in PARTS:
        total, named = objective(prediction(), PLANES, wall(), mask, INTRINSICS, replace(nothing, **{name: 3.0}))
        if name != "likelihood":  # depends on focus
            assert total.item() == pytest.approx(3.0 * named[name].item()), name
