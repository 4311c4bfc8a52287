"""Lifting into cells: where a camera looks, and what a depth says along its ray, against hand computation."""

import math

import numpy as np
import pytest
import torch

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.lifting import Blocks, LiftedView, cell_table, evidence, lifted

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
GRID = ContractedGrid(near=20.0, side=64)
CELLS = int(np.prod(GRID.shape))
SIZE = (24, 32)
CPU = torch.device("cpu")
INTRINSICS = torch.tensor([[20.0, 0.0, 15.5], [0.0, 20.0, 11.5], [0.0, 0.0, 1.0]])
T_BASE_CAMERA = torch.tensor([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.4], [0, 0, 0, 1]],
                             dtype=torch.float64)


def view(depth: float, scale: float = 0.02, confidence: float = 1.0) -> LiftedView:
    def plane(value: float) -> torch.Tensor:
        return torch.full(SIZE, value)

    rows = torch.arange(SIZE[0] * SIZE[1], dtype=torch.float32).reshape(1, *SIZE)
    return LiftedView(rows.expand(2, -1, -1).clone(), torch.zeros(3, *SIZE), plane(math.log(depth)),
                      plane(math.log(scale)), plane(confidence), torch.ones(SIZE, dtype=torch.bool))


def table(step: int = 1):
    return cell_table(Blocks.of(GRID, step), INTRINSICS, T_BASE_CAMERA, SIZE)


def at(values: torch.Tensor, x: float, y: float, z: float) -> float:
    index = GRID.flat_index(GRID.cells(torch.tensor([x, y, z])))
    return float(values[index])


def test_cells_ahead_and_in_the_image_are_in_the_table() -> None:
    found = table()
    centres = GRID.centres().reshape(-1, 3)[found.cells]
    assert bool((centres[:, 0] > 0.1).all())
    u = 15.5 - 20.0 * centres[:, 1] / centres[:, 0]
    v = 11.5 - 20.0 * (centres[:, 2] - 1.4) / centres[:, 0]
    assert torch.equal(found.pixels, (v.round() * 32 + u.round()).long())
    everything = GRID.centres().reshape(-1, 3)
    inside = everything[:, 0] > 0.1
    for place, limit in ((15.5 - 20.0 * everything[:, 1] / everything[:, 0], 31.5),
                         (11.5 - 20.0 * (everything[:, 2] - 1.4) / everything[:, 0], 23.5)):
        inside &= (place > -0.5 + 1e-4) & (place < limit - 1e-4)
    assert set(inside.nonzero().flatten().tolist()) <= set(found.cells.tolist())


def test_near_and_far_side_by_hand() -> None:
    found = table()
    cell = GRID.flat_index(GRID.cells(torch.tensor([10.2, 0.2, 1.6])))
    row = int((found.cells == cell).nonzero())
    assert float(found.log_near[row].exp()) == pytest.approx(10.0, abs=1e-3)
    assert float(found.log_far[row].exp()) == pytest.approx(10.4, abs=1e-3)


def test_free_hit_and_nothing_along_a_ray_by_hand() -> None:
    free, hit = evidence([view(10.2, scale=0.02, confidence=0.9)], [table()], CELLS, CPU)

    def before(distance: float) -> float:
        x = math.log(distance / 10.2) / 0.02
        return 0.5 * math.exp(x) if x < 0 else 1.0 - 0.5 * math.exp(-x)

    assert at(free, 9.4, 0.2, 1.4) == pytest.approx(0.9 * (1.0 - before(9.6)), abs=1e-3)
    assert at(hit, 10.2, 0.2, 1.4) == pytest.approx(0.9 * (before(10.4) - before(10.0)), abs=1e-3)
    assert at(free, 14.2, 0.2, 1.4) < 1e-3 and at(hit, 14.2, 0.2, 1.4) < 1e-3
    assert at(free, -5.0, 0.2, 1.4) == at(hit, -5.0, 0.2, 1.4) == 0.0


def test_masked_pixels_say_nothing() -> None:
    masked = view(10.0)
    masked.mask[:] = False
    assert not bool(evidence([masked], [table()], CELLS, CPU).any())


def test_the_surest_view_decides() -> None:
    both = [view(10.0, confidence=0.4), view(5.0, confidence=0.9)]
    free, _ = evidence(both, [table(), table()], CELLS, CPU)
    assert at(free, 3.0, 0.2, 1.4) == pytest.approx(0.9, abs=1e-2)
    assert at(free, 8.2, 0.2, 1.4) == pytest.approx(0.4, abs=1e-2)  # the other view has its surface before


def test_features_come_from_the_pixels_of_the_surface() -> None:
    count = CELLS // 4
    seen = view(10.2)
    pulled = lifted([seen], [seen.features], [table(2)], count, 2, CPU)
    levels, rows, columns = GRID.shape
    volume = pulled.reshape(3, levels, rows // 2, columns // 2)
    x, y, z = (GRID.cells(torch.tensor([10.2, 0.3, 1.4])) / torch.tensor([2.0, 2.0, 1.0])).long().tolist()
    centre = GRID.points((torch.tensor([x, y, z]) + 0.5) * torch.tensor([2.0, 2.0, 1.0]))
    u = round(15.5 - 20.0 * float(centre[1] / centre[0]))
    v = round(11.5 - 20.0 * float((centre[2] - 1.4) / centre[0]))
    weight = float(volume[2, z, y, x])
    assert weight > 0.3
    assert float(volume[0, z, y, x]) == pytest.approx((v * 32 + u) * weight / (weight + 0.05), rel=1e-4)
    assert not bool(volume[:, :, :, :columns // 4].any())  # behind the camera


def test_gradients_reach_the_features() -> None:
    seen = view(10.2)
    seen.features.requires_grad_(True)
    lifted([seen], [seen.features], [table(2)], CELLS // 4, 2, CPU).sum().backward()
    assert seen.features.grad is not None and float((seen.features.grad != 0).float().mean()) > 0.3
