"""The query decoder and its rays: against volumes made by hand."""

import math

import pytest
import torch
from plain_decoder import PlainDecoder
from torch import nn

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.scene_decoder import SceneDecoder, march, shares
from img2three_ros.models.scene_volume import SceneState

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
GRID = ContractedGrid(near=6.0, growth=4.0, side=24, levels=8, z_near=3.2)
GREY = torch.tensor([0.5, 0.5, 0.5])


def state(solid_beyond: float = math.inf) -> SceneState:
    """Feature 0 is 1 in cells more than so many metres ahead, otherwise -1."""
    centres = GRID.centres()
    volume = torch.zeros(4, *GRID.shape)
    volume[0] = torch.where(centres[..., 0] > solid_beyond, 1.0, -1.0)
    return SceneState(volume, torch.zeros(2, *GRID.shape), torch.zeros(1, 4, 24, 24))


def test_query_by_hand() -> None:
    with torch.no_grad():
        points = torch.tensor([[4.6, 0.2, 0.0], [1.0, 0.2, 0.0], [500.0, 0.0, 0.0]])
        answer = PlainDecoder(GRID).query(state(3.0), points)
    assert answer.occupancy[0] > 5.0 > -5.0 > answer.occupancy[1]
    assert float(answer.density[0]) == pytest.approx(20.0, abs=0.1) and float(answer.density[1]) < 1e-3
    assert answer.inside.tolist() == [True, True, False]
    assert answer.label_logits.shape == (3, 6) and answer.colour.shape == (3, 3)


def test_a_ray_ends_at_the_surface() -> None:
    distances = torch.linspace(0.2, 6.0, 59)[None].expand(2, -1)
    directions = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    decoder = PlainDecoder(GRID)
    with torch.no_grad():
        widths = torch.full_like(distances, 0.1)
        rays = march(decoder, state(3.0), torch.zeros(2, 3), directions, distances, widths, GREY)
    assert float(rays.depth[0]) == pytest.approx(3.3, abs=0.2)  # the first solid centre lies 3.4 m ahead
    assert float(rays.opacity[0]) == pytest.approx(1.0, abs=0.01)
    assert math.isinf(float(rays.depth[1])) and float(rays.opacity[1]) < 0.02
    assert float(rays.colour[0, 0]) > 0.95  # red at the surface
    torch.testing.assert_close(rays.colour[1], decoder.sky_colour(directions[1:], GREY)[0].detach(), atol=0.02, rtol=0)


def test_shares_by_hand() -> None:
    """Half is met at the first sample, half of the rest at the second, all the rest at the third."""
    thickness = torch.tensor([[math.log(2.0), math.log(2.0), 100.0]])
    torch.testing.assert_close(shares(thickness), torch.tensor([[0.5, 0.25, 0.25]]))


def test_sky_without_training_has_the_colour_of_the_light() -> None:
    decoder = SceneDecoder(GRID, features=4)
    nn.init.zeros_(decoder.sky[2].weight)
    nn.init.zeros_(decoder.sky[2].bias)
    light = torch.tensor([0.2, 0.5, 0.8])
    torch.testing.assert_close(decoder.sky_colour(torch.eye(3), light), light.expand(3, 3))


def test_every_parameter_and_the_volume_learn() -> None:
    torch.manual_seed(0)
    decoder = SceneDecoder(GRID, features=4)
    scene = SceneState(torch.randn(4, *GRID.shape, requires_grad=True), torch.rand(2, *GRID.shape),
                       torch.zeros(1, 4, 24, 24))
    directions = nn.functional.normalize(torch.randn(16, 3), dim=1)
    distances = torch.linspace(0.3, 8.0, 16).expand(16, -1)
    rays = march(decoder, scene, torch.zeros(16, 3), directions, distances, torch.full_like(distances, 0.5), GREY)
    answer = decoder.query(scene, torch.randn(50, 3))
    (rays.colour.square().mean() + answer.occupancy.mean() + answer.label_logits.square().mean()
     + answer.log_uncertainty.square().mean()).backward()
    assert [name for name, parameter in decoder.named_parameters()
            if parameter.grad is None or not bool(parameter.grad.any())] == []
    assert scene.volume.grad is not None and bool(scene.volume.grad.any())
