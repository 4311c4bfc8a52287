"""Pairs of views that show the same surfaces, with the true geometry: what the pointmap network learns from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from ..config import setting
from ..structures import InputError
from .group_layout import Unit, draw_units
from .simulated import SimulatedGroups, SimulatedGroupSettings
from .view_group import ViewGroup

_TRIES = 4
_SAME_SURFACE = 0.1  # of the depth: rounding to whole pixels moves depth on slanted ground by about as much


@dataclass(frozen=True)
class PairSettings:
    """Which views of a group are paired."""

    covisible: float = setting(0.2, "least share of the pixels of either view that the other shows too", low=0.0,
                               high=1.0)
    pairs: int = setting(3, "pairs of a group, each in both orders", low=1, high=64)


@dataclass(frozen=True, eq=False)
class PairGroup:
    """Views of one vehicle and those of them that are paired.

    views: intrinsics and T_base_camera are the truth. pairs: (P, 2) int64, P >= 1: rows of views, first and second;
    both orders of a pair follow each other. covisibility: (P,) float32, share of the pixels of the first (those that
    show a surface) whose surface the second shows too.
    """

    views: ViewGroup
    pairs: Tensor
    covisibility: Tensor


class SimulatedPairs:
    """``group(index)`` is a pure function of the settings, the index, the size and the number of views."""

    def __init__(self, groups: SimulatedGroupSettings | None = None, settings: PairSettings | None = None) -> None:
        self.settings = settings or PairSettings()
        told_the_truth = replace(groups or SimulatedGroupSettings(), noisy_geometry=0.0, moved_base=0.0)
        self._groups = SimulatedGroups(told_the_truth)

    def group(self, index: int, size: tuple[int, int], views: int) -> PairGroup:
        """2 to ``views`` views of (height, width) pixels: a camera at several instants, neighbours, a stereo pair.

        Where after several tries no two views show the same, the first is paired with itself.
        """
        if views < 2 or index < 0:
            raise InputError("parameter", f"pairs need at least two views and an index from 0 on, not views = {views}, "
                             f"index = {index}")
        groups = self._groups
        random = np.random.default_rng((groups.settings.seed, 40, index))
        world = groups.world(index // groups.settings.groups_per_world)
        for _ in range(_TRIES):
            shots = groups.outing(random, world, _unit(random, views), size).shots
            group = groups.stacked(random, shots, size)
            pairs, shares = self._pairs(random, group)
            if len(pairs):
                return PairGroup(group, pairs, shares)
        return PairGroup(group, torch.zeros((1, 2), dtype=torch.int64), torch.ones(1))

    def _pairs(self, random: Generator, group: ViewGroup) -> tuple[Tensor, Tensor]:
        """(P, 2) pairs that are drawn of those that show the same, and their covisibility (P,)."""
        count = len(group.images)
        shares = torch.tensor([[1.0 if first == second else covisibility(group, first, second)
                                for second in range(count)] for first in range(count)])
        possible = [(first, second) for first in range(count) for second in range(first + 1, count)
                    if min(shares[first, second], shares[second, first]) >= self.settings.covisible]
        drawn = random.permutation(len(possible))[:self.settings.pairs]
        pairs = torch.tensor([order for number in drawn for order in (possible[number], possible[number][::-1])],
                             dtype=torch.int64).reshape(-1, 2)
        return pairs, shares[pairs[:, 0], pairs[:, 1]]


def _unit(random: Generator, views: int) -> Unit:
    while True:
        unit = max(draw_units(random, views), key=lambda one: len(one.mounts) * one.instants)
        if len(unit.mounts) * unit.instants > 1:
            return unit


def points_of(group: ViewGroup) -> Tensor:
    """(V, H, W, 3) float32 points of the pixels in the optical frame of their own view; not finite where depth is
    not."""
    height, width = group.depth.shape[1:]
    v, u = torch.meshgrid(torch.arange(height, device=group.depth.device, dtype=torch.float32),
                          torch.arange(width, device=group.depth.device, dtype=torch.float32), indexing="ij")
    pixels = torch.stack((u, v, torch.ones_like(u)), -1)
    inverse = torch.linalg.inv(group.intrinsics.double()).float()
    return torch.einsum("hwc,vdc->vhwd", pixels, inverse) * group.depth[..., None]


def moved(T_target_source: Tensor, points: Tensor) -> Tensor:
    """Points (..., 3) from source to target; T (4, 4) float64."""
    T = T_target_source.to(points.dtype)
    return points @ T[:3, :3].T + T[:3, 3]


def T_between(group: ViewGroup, target: int, source: int) -> Tensor:
    """(4, 4) float64 that moves the optical frame of view ``source`` into that of ``target``."""
    return torch.linalg.inv(group.T_base_camera[target]) @ group.T_base_camera[source]


def shown_in(group: ViewGroup, first: int, second: int, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where in view ``second`` the surfaces of points (..., 3) of view ``first``, in its frame, are seen.

    Returns pixels (..., 2) int64, column and row, and seen (...) bool: within the image, not covered by something
    before them or by the vehicle itself.
    """
    height, width = group.depth.shape[1:]
    there = moved(T_between(group, second, first), torch.where(points.isfinite(), points, 0.0))
    depth = there[..., 2]
    projected = there @ group.intrinsics[second].T
    pixels = (projected[..., :2] / depth.clamp(min=1e-3)[..., None]).clamp(-1e6, 1e6).round().long()
    column, row = pixels.unbind(-1)
    inside = (depth > 0.1) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row.clamp(0, height - 1), column.clamp(0, width - 1))
    found = group.depth[second][place]
    same = ((found - depth).abs() < _SAME_SURFACE * depth) & group.mask[second][place]
    return pixels, inside & same & points.isfinite().all(-1)


def covisibility(group: ViewGroup, first: int, second: int) -> float:
    """Share of the pixels of view ``first`` that show a surface whose surface ``second`` shows too; 0 without any."""
    solid = group.depth[first].isfinite() & group.mask[first]
    _, seen = shown_in(group, first, second, points_of(group)[first])
    return float((seen & solid).sum() / solid.sum().clamp(min=1))


def true_matches(group: ViewGroup, first: int, second: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """``count`` pixels of view ``first`` and those of ``second`` that show the same place, drawn by torch's generator.

    Returns pixels1, pixels2 (count, 2) int64, column and row, and keep (count,) bool: False where there are no more.
    Nothing that moves; there and back again must end within a pixel.
    """
    points = points_of(group)
    solid = group.mask[first] & ~group.moving[first] & points[first].isfinite().all(-1)
    pixels, seen = shown_in(group, first, second, points[first])
    rows, columns = (seen & solid).nonzero(as_tuple=True)
    order = torch.randperm(len(rows)).to(rows.device)
    rows, columns = rows[order], columns[order]
    own, other = torch.stack((columns, rows), -1), pixels[rows, columns]
    back, returned = shown_in(group, second, first, points[second][other[:, 1], other[:, 0]])
    good = returned & ((back - own).abs().amax(-1) <= 1) & ~group.moving[second][other[:, 1], other[:, 0]]
    own, other = own[good][:count], other[good][:count]
    missing = (0, 0, 0, count - len(own))
    keep = torch.arange(count, device=own.device) < len(own)
    return torch.nn.functional.pad(own, missing), torch.nn.functional.pad(other, missing), keep
