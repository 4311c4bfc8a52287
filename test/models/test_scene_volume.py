"""The scene volume: shapes, memory that moves with the vehicle, and gradients everywhere."""

import math

import pytest
import torch
from torch import Tensor, nn

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.lifting import LiftedView
from img2three_ros.models.scene_volume import (
    BLOCK,
    SceneVolume,
    SceneVolumeConfig,
    ViewTable,
    moved_plane,
)

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
GRID = ContractedGrid(near=6.0, growth=4.0, side=24, levels=8, z_near=3.2)
SMALL = SceneVolumeConfig(GRID, context=8, lift=4, widths=(16, 16, 24), features=4)
SIZE = (12, 16)
INTRINSICS = torch.tensor([[10.0, 0.0, 7.5], [0.0, 10.0, 5.5], [0.0, 0.0, 1.0]])


def poses(count: int) -> list[Tensor]:
    """Cameras of one rig, looking around."""
    found = []
    for number in range(count):
        angle = 2 * math.pi * number / max(count, 1)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = torch.tensor([[math.sin(angle), 0, math.cos(angle)], [-math.cos(angle), 0, math.sin(angle)],
                                     [0, -1, 0]])
        pose[2, 3] = 1.2
        found.append(pose)
    return found


def views(count: int, seed: int = 0, sizes: tuple[tuple[int, int], ...] = (SIZE,),
          ) -> tuple[list[LiftedView], list[ViewTable]]:
    torch.manual_seed(seed)
    chosen = [sizes[number % len(sizes)] for number in range(count)]
    seen = [LiftedView(torch.randn(8, *size), torch.rand(3, *size), torch.rand(size) + 1.0, torch.full(size, -3.0),
                       torch.rand(size), torch.ones(size, dtype=torch.bool)) for size in chosen]
    network = SceneVolume(SMALL)
    return seen, [network.table(INTRINSICS, pose, size) for pose, size in zip(poses(count), chosen, strict=True)]


def awake(network: SceneVolume) -> SceneVolume:
    for parameter in network.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.05)
    return network


def test_without_views_only_the_past_speaks() -> None:
    network = awake(SceneVolume(SMALL))
    with torch.no_grad():
        state = network(*views(0))
        remembered = network(*views(0), network(*views(2)).plane, torch.eye(4))
    assert not bool(state.evidence.any()) and bool(torch.isfinite(state.volume).all())
    assert not torch.allclose(remembered.plane, state.plane)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_shapes_with_any_number_of_views(count: int) -> None:
    with torch.no_grad():
        state = awake(SceneVolume(SMALL))(*views(count))
    assert state.volume.shape == (4, 8, 48, 48) and state.evidence.shape == (2, 8, 48, 48)
    assert state.plane.shape == (1, 16, 24, 24)
    assert bool(torch.isfinite(state.volume).all())
    assert float(state.evidence.min()) >= 0.0 and float(state.evidence.max()) <= 1.0 and bool(state.evidence.any())


def test_views_may_differ_in_size_and_their_order_does_not_matter() -> None:
    network, (seen, tables) = awake(SceneVolume(SMALL)), views(3, sizes=(SIZE, (8, 20)))
    with torch.no_grad():
        torch.testing.assert_close(network(seen[::-1], tables[::-1]).volume, network(seen, tables).volume, atol=1e-4,
                                   rtol=1e-4)


def test_the_past_speaks_and_only_where_it_reaches() -> None:
    network, now = awake(SceneVolume(SMALL)), views(1, seed=1)
    with torch.no_grad():
        past = network(*views(2)).plane
        alone = network(*now)
        here = network(*now, past, torch.eye(4))
        away = torch.eye(4)
        away[0, 3] = 10_000.0
        gone = network(*now, past, away)
    assert not torch.allclose(here.plane, alone.plane)
    torch.testing.assert_close(gone.plane, alone.plane)


def test_what_is_remembered_fades() -> None:
    """Standing before scene B, it does not matter for long which scene was seen before."""
    network, there, here = awake(SceneVolume(SMALL)), views(2, seed=5), views(2, seed=6)
    nn.init.constant_(network.gate.bias, 50.0)  # as much of the past as it can take
    with torch.no_grad():
        one, other = network(*there).plane, network(*views(2, seed=7)).plane
        apart = [float((one - other).norm())]
        for _ in range(12):
            one, other = (network(*here, plane, torch.eye(4)).plane for plane in (one, other))
            apart.append(float((one - other).norm()))
    assert apart[1] > 0.5 * apart[0] and apart[12] < 0.1 * apart[0]


def test_a_plane_moves_with_the_vehicle() -> None:
    """After 1.6 m ahead what was 4 m ahead is 2.4 m ahead; after a quarter turn left it is to the right."""
    plane = torch.zeros(1, 1, 24, 24)
    row, column = (int(value) // BLOCK for value in GRID.cells(torch.tensor([4.4, 0.4, 0.0]))[[1, 0]])
    plane[0, 0, row, column] = 1.0

    def peak(T_past_now: Tensor) -> list[float]:
        moved, known = moved_plane(plane, GRID, T_past_now)
        assert known.shape == (1, 1, 24, 24)
        y, x = divmod(int(moved.argmax()), 24)
        return GRID.points(torch.tensor([(x + 0.5) * BLOCK, (y + 0.5) * BLOCK, 4.0]))[:2].tolist()

    assert peak(torch.eye(4)) == pytest.approx([4.4, 0.4], abs=0.01)
    ahead = torch.eye(4)
    ahead[0, 3] = 1.6
    assert peak(ahead) == pytest.approx([2.8, 0.4], abs=0.01)
    left = torch.tensor([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert peak(left) == pytest.approx([0.4, -4.4], abs=0.01)


def test_every_parameter_learns() -> None:
    network = awake(SceneVolume(SMALL))
    past, _ = network.observe(*views(2))
    state = network(*views(3, seed=2), past.detach(), torch.eye(4))
    state.volume.square().mean().backward()
    silent = [name for name, parameter in network.named_parameters()
              if parameter.grad is None or not bool(parameter.grad.any())]
    assert silent == []
