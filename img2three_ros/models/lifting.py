"""From images with depth to cells of space: what each view says of the cells it looks at.

Cells pull from the pixel they project to (no scattering: deterministic, and tables depend on the calibration alone).
A depth is a Laplace distribution of log depth, right with the probability of its confidence; so a cell between two
distances along the ray is free with the probability that the surface lies beyond it, and hit with the probability
that the surface lies in it; behind the surface nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.contraction import ContractedGrid


@dataclass(frozen=True, eq=False)
class LiftedView:
    """One view and what is known of its pixels.

    features: (C, h, w). colours: (3, h, w) RGB 0..1. log_depth, log_scale: (h, w), Laplace distribution of the log of
    metres; confidence: (h, w) 0..1. mask: (h, w) bool, False = ego vehicle or outside the image.
    """

    features: Tensor
    colours: Tensor
    log_depth: Tensor
    log_scale: Tensor
    confidence: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class CellTable:
    """Which cells a camera looks at, and where.

    cells: (N,) int64 into the flattened grid. pixels: (N,) int64 into the flattened (h, w). log_near, log_far: (N,)
    log of the distances along the optical axis between which the cell lies.
    """

    cells: Tensor
    pixels: Tensor
    log_near: Tensor
    log_far: Tensor


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of ``step`` x ``step`` cells of every level of a grid, flattened (Z, Y / step, X / step) = N.

    centres: (N, 3) float32 metres in ``base_link``; edges: (N, 3) float32 metres, their extent along x, y and z.
    """

    centres: Tensor
    edges: Tensor

    @staticmethod
    def of(grid: ContractedGrid, step: int) -> Blocks:
        """All blocks of a grid, on the CPU."""
        levels, rows, columns = grid.shape
        z = torch.arange(levels, dtype=torch.float32) + 0.5
        y = (torch.arange(rows // step, dtype=torch.float32) + 0.5) * step
        x = (torch.arange(columns // step, dtype=torch.float32) + 0.5) * step
        cells = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], -1).reshape(-1, 3)
        half = cells.new_tensor((0.5 * step, 0.5 * step, 0.5))
        return Blocks(grid.points(cells), grid.points(cells + half) - grid.points(cells - half))


def cell_table(blocks: Blocks, intrinsics: Tensor, T_base_camera: Tensor, size: tuple[int, int]) -> CellTable:
    """The table of one camera: intrinsics (3, 3) of an image of ``size`` (height, width); T_base_camera (4, 4)."""
    T_camera_base = torch.linalg.inv(T_base_camera.double()).to(blocks.centres.device, torch.float32)
    ahead = (blocks.centres @ T_camera_base[2, :3] + T_camera_base[2, 3] > 0.1).nonzero().squeeze(1)
    local = blocks.centres[ahead] @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
    depth = local[:, 2]
    pixels = local @ intrinsics.T
    u, v = (pixels[:, 0] / depth).round(), (pixels[:, 1] / depth).round()
    height, width = size
    seen = ((u >= 0) & (u < width) & (v >= 0) & (v < height)).nonzero().squeeze(1)
    chosen, depth = ahead[seen], depth[seen]
    extent = 0.5 * blocks.edges[chosen] @ T_camera_base[2, :3].abs()
    return CellTable(chosen, (v[seen] * width + u[seen]).long(), (depth - extent).clamp(min=0.05).log(),
                     (depth + extent).log())


def evidence(views: Sequence[LiftedView], tables: Sequence[CellTable], cells: int, device: torch.device) -> Tensor:
    """(2, cells): probability that a cell is free, and that it is hit, each as the surest of the views says."""
    free = torch.zeros(cells, device=device)
    hit = torch.zeros_like(free)
    for view, table in zip(views, tables, strict=True):
        beyond, within = _probabilities(view, table)
        free[table.cells] = torch.maximum(free[table.cells], beyond)
        hit[table.cells] = torch.maximum(hit[table.cells], within)
    return torch.stack((free, hit))


def lifted(views: Sequence[LiftedView], features: Sequence[Tensor], tables: Sequence[CellTable], cells: int,
           channels: int, device: torch.device) -> Tensor:
    """(C + 1, cells): ``features`` (C = channels, h, w) of the pixels whose surface lies in a cell, averaged by that
    probability, and its sum.

    Gradients reach the features, not the depth.
    """
    total = torch.zeros(cells, channels, device=device)
    weight = torch.zeros(cells, device=device)
    for view, of_view, table in zip(views, features, tables, strict=True):
        _, within = _probabilities(view, table)
        near = (within > 0.01).nonzero().squeeze(1)
        index, share = table.cells[near], within[near]
        pulled = of_view.flatten(1)[:, table.pixels[near]].T
        total = total.index_add(0, index, pulled * share[:, None])
        weight = weight.index_add(0, index, share)
    return torch.cat((total.T / (weight + 0.05), weight[None]))


@torch.no_grad()
def _probabilities(view: LiftedView, table: CellTable) -> tuple[Tensor, Tensor]:
    """(N,) that the surface lies beyond a cell of the table, and (N,) that it lies in it."""
    centre, log_scale, confidence, mask = (values.flatten()[table.pixels] for values in (
        view.log_depth, view.log_scale, view.confidence, view.mask))
    trust = confidence * mask
    inverse = (-log_scale).exp()
    before_near = _laplace((table.log_near - centre) * inverse)
    before_far = _laplace((table.log_far - centre) * inverse)
    return trust * (1.0 - before_far), trust * (before_far - before_near)


def _laplace(x: Tensor) -> Tensor:
    """Cumulative distribution of the standard Laplace distribution."""
    tail = 0.5 * torch.exp(-x.abs())
    return torch.where(x < 0.0, tail, 1.0 - tail)
