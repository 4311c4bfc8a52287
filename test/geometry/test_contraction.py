"""The contracted grid: near cells are metres, far ones grow, and nothing is lost on the way."""

import math

import pytest
import torch

from img2three_ros.geometry.contraction import ContractedGrid

GRID = ContractedGrid()


def test_near_cells_are_uniform_by_hand() -> None:
    cells = GRID.cells(torch.tensor([[0.0, 0.0, GRID.z_low], [0.4, -0.8, GRID.z_low + 1.2], [-20.0, 20.0, 4.6]]))
    expected = torch.tensor([[144.0, 144.0, 0.0], [145.0, 142.0, 3.0], [94.0, 194.0, 16.0]])
    torch.testing.assert_close(cells, expected, atol=1e-4, rtol=0)


def test_far_cells_by_hand() -> None:
    """16 m beyond the limit a cell has twice its size: ln(1 + 16/16) * 16 / 0.4 cells beyond the 50 near ones."""
    cells = GRID.cells(torch.tensor([36.0, -36.0, 0.0]))
    beyond = 16.0 * math.log(2.0) / 0.4
    torch.testing.assert_close(cells[:2], torch.tensor([194.0 + beyond, 94.0 - beyond]), atol=1e-3, rtol=0)
    step = GRID.points(cells + torch.tensor([1.0, 0.0, 0.0]))[0] - 36.0
    assert float(step) == pytest.approx(0.8, rel=0.02)


def test_there_and_back() -> None:
    torch.manual_seed(0)
    points = torch.rand(2000, 3, dtype=torch.float64) * torch.tensor([300.0, 300.0, 30.0]) - torch.tensor(
        [150.0, 150.0, 6.0])
    torch.testing.assert_close(GRID.points(GRID.cells(points)), points, atol=1e-9, rtol=1e-9)


def test_slope_is_continuous_at_the_limits() -> None:
    for axis, limit in ((0, 20.0), (1, -20.0), (2, GRID.z_low + 6.4), (2, GRID.z_low)):
        points = torch.zeros(3, 3, dtype=torch.float64)
        points[:, axis] = limit + torch.tensor([-1e-4, 0.0, 1e-4], dtype=torch.float64)
        below, above = GRID.cells(points)[:, axis].diff()
        assert [float(below), float(above)] == pytest.approx([1e-4 / 0.4] * 2, rel=1e-3)


def test_centres_lie_in_their_own_cells() -> None:
    small = ContractedGrid(near=2.0, growth=1.0, side=9, z_near=1.2, levels=6)
    cells = small.cells(small.centres())
    assert bool(small.inside(cells).all())
    assert torch.equal(small.flat_index(cells).flatten(), torch.arange(6 * 18 * 18))


def test_reach_top_and_outside() -> None:
    assert GRID.shape == (24, 288, 288)
    assert GRID.reach == pytest.approx(20.0 + 16.0 * math.expm1((144 * 0.4 - 20.0) / 16.0))
    assert GRID.top == pytest.approx(GRID.z_low + 6.4 + 1.6 * math.expm1(3.2 / 1.6))
    edge = torch.tensor([[GRID.reach - 0.1, 0, 0], [GRID.reach + 0.1, 0, 0], [0, 0, GRID.top + 0.1],
                         [0, 0, GRID.z_low - 0.1]])
    assert GRID.inside(GRID.cells(edge)).tolist() == [True, False, False, False]


def test_sampling_finds_the_centre_of_a_cell() -> None:
    small = ContractedGrid(near=2.0, growth=1.0, side=4, z_near=1.2, levels=3)
    volume = torch.arange(3 * 8 * 8.0).reshape(1, 1, 3, 8, 8)
    where = small.sampling_grid(small.cells(small.centres()))[None]
    torch.testing.assert_close(torch.nn.functional.grid_sample(volume, where, align_corners=False), volume,
                               atol=1e-3, rtol=0)
