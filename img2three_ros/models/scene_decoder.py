"""The query decoder: any point of space -> what is there, how sure, and what it looks like; and views rendered by it.

Features of the cell (trilinear) and what is seen of it now go through a small network of two layers, the same for
every point: dense decoding of the planner's grid and of rays is one call each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..geometry.contraction import ContractedGrid
from ..structures import VOXEL_LABELS
from .scene_volume import SceneState

LABELS = VOXEL_LABELS[1:]
"""Classes of occupied points, in the order of ``PointAnswer.label_logits``."""

_AT_ONCE = 1 << 14
"""Points that go through the network together, so that what is computed of them stays in the caches of a CPU."""


@dataclass(frozen=True, eq=False)
class PointAnswer:
    """What the scene holds at N points.

    occupancy: (N,) logit that the point lies in something solid. density: (N,) 1/m >= 0, for rendering. colour:
    (N, 3) 0..1. label_logits: (N, 6), see LABELS. log_uncertainty: (N,) log of the expected |error| of the occupancy
    probability. inside: (N,) bool, the point lies in the grid; outside nothing is known.
    """

    occupancy: Tensor
    density: Tensor
    colour: Tensor
    label_logits: Tensor
    log_uncertainty: Tensor
    inside: Tensor


class SceneDecoder(nn.Module):
    """See the module. features: channels of the volume; hidden: width of its two layers."""

    def __init__(self, grid: ContractedGrid, features: int = 8, hidden: int = 32) -> None:
        super().__init__()
        self.grid = grid
        self.layers = nn.Sequential(nn.Linear(features + 2 + 2, hidden), nn.SiLU(), nn.Linear(hidden, hidden),
                                    nn.SiLU())
        self.answer = nn.Linear(hidden, 3 + 3 + len(LABELS))
        with torch.no_grad():  # most of space is empty: start so, and rays see through it
            self.answer.bias[0] = -1.0
            self.answer.bias[1] = -4.0
        self.sky = nn.Sequential(nn.Linear(3 + 3, hidden), nn.SiLU(), nn.Linear(hidden, 3))

    def query(self, state: SceneState, points: Tensor) -> PointAnswer:
        """points: (N, 3) in ``base_link``, metres."""
        cells = self.grid.cells(points)
        where = self.grid.sampling_grid(cells)[None, None, None]
        sampled = functional.grid_sample(state.known[None], where, align_corners=False)[0, :, 0, 0].T
        return self._answers(sampled, points, self.grid.inside(cells))

    def at_cells(self, state: SceneState, index: Tensor) -> PointAnswer:
        """The answers at the centres of cells (N,) int64, numbers in the flattened (Z, Y, X): what ``query`` says
        there, without interpolation."""
        _, rows, columns = self.grid.shape
        cells = torch.stack((index % columns, index // columns % rows, index // (rows * columns)), 1)
        everywhere = torch.ones(len(index), dtype=torch.bool, device=index.device)
        return self._answers(state.known.flatten(1)[:, index].T, self.grid.points(cells + 0.5), everywhere)

    def _answers(self, features: Tensor, points: Tensor, inside: Tensor) -> PointAnswer:
        parts = zip(features.split(_AT_ONCE), points.split(_AT_ONCE), strict=True)
        said = torch.cat([self.said(*part) for part in parts])
        return PointAnswer(said[:, 0], functional.softplus(said[:, 1]), torch.sigmoid(said[:, 2:5]), said[:, 6:],
                           said[:, 5], inside)

    def said(self, features: Tensor, points: Tensor) -> Tensor:
        """(N, 12) raw answers from features and evidence (N, F + 2) of points (N, 3); see ``_answers``."""
        place = torch.stack((points[:, 2] / 4.0, points[:, :2].norm(dim=1) / 40.0), 1)
        said: Tensor = self.answer(self.layers(torch.cat((features, place), 1))).float()
        return said

    def sky_colour(self, directions: Tensor, light: Tensor) -> Tensor:
        """(N, 3) colour 0..1 of directions (N, 3) of unit length in ``base_link`` that meet nothing. light: (3,) mean
        colour of the sky, roughly."""
        known = torch.cat((directions, light.expand(len(directions), 3)), 1)
        return torch.sigmoid(self.sky(known).float() + torch.logit(light.clamp(0.02, 0.98)))


@dataclass(frozen=True, eq=False)
class RenderedRays:
    """What R rays show. weights: (R, S) share of each sample; distances: (R, S) metres from the origin; colour:
    (R, 3) and depth (R,), expected distance of what is met (inf where nothing is); opacity: (R,)."""

    weights: Tensor
    distances: Tensor
    colour: Tensor
    depth: Tensor
    opacity: Tensor


def march(decoder: SceneDecoder, state: SceneState, origins: Tensor, directions: Tensor, distances: Tensor,
          widths: Tensor, light: Tensor) -> RenderedRays:
    """Volume rendering (Max 1995) of rays from origins (R, 3) along unit directions (R, 3) at ascending distances
    (R, S), metres, each of which stands for ``widths`` (R, S) metres of the ray."""
    rays, samples = distances.shape
    points = origins[:, None] + directions[:, None] * distances[..., None]
    answer = decoder.query(state, points.reshape(-1, 3))
    density = torch.where(answer.inside, answer.density, 0.0).reshape(rays, samples)
    weights = shares(density * widths)
    opacity = weights.sum(1)
    sky = decoder.sky_colour(directions, light)
    colour = (weights[..., None] * answer.colour.reshape(rays, samples, 3)).sum(1) + (1.0 - opacity[:, None]) * sky
    depth = (weights * distances).sum(1) / opacity.clamp(min=1e-6)
    return RenderedRays(weights, distances, colour, torch.where(opacity > 0.5, depth, torch.inf), opacity)


def shares(thickness: Tensor) -> Tensor:
    """Weights (R, S) of samples of optical thickness (R, S) >= 0: what is met there of what got so far."""
    reached = torch.exp(-(thickness.cumsum(1) - thickness))
    return reached * (1.0 - torch.exp(-thickness))
