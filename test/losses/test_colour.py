"""Losses of colour: by hand, and gradients."""

import pytest
import torch

from img2three_ros.losses.colour import colour, perceptual


def test_colour_by_hand() -> None:
    rendered = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]], requires_grad=True)
    truth = torch.tensor([[0.1, 0.4, 0.0], [0.0, 0.0, 0.0]])
    loss = colour(rendered, truth, torch.tensor([True, False]))
    assert float(loss.detach()) == pytest.approx((0.04 + 0.09) / 3)
    loss.backward()
    assert rendered.grad is not None and not bool(rendered.grad[1].any()) and float(rendered.grad[0, 2]) > 0.0


def test_perceptual_by_hand() -> None:
    """Features at right angles are sqrt(2) apart whatever their length; the same direction is no distance."""
    one = torch.tensor([3.0, 0.0]).reshape(1, 2, 1, 1)
    other = torch.tensor([0.0, 0.5]).reshape(1, 2, 1, 1)
    assert float(perceptual([one, one], [other, 2.0 * one])) == pytest.approx(1.0, abs=1e-4)


def test_perceptual_gradient_reaches_every_layer() -> None:
    torch.manual_seed(0)
    layers = [torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, 8, 2, 2, requires_grad=True)]
    perceptual(layers, [torch.randn(2, 4, 3, 3), torch.randn(2, 8, 2, 2)]).backward()
    assert all(layer.grad is not None and bool((layer.grad != 0).all()) for layer in layers)
