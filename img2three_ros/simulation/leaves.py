"""Leafy shells: unit spheres whose skin, from INNER to 1, is cut into leaves and holes. Rays pass through the holes and
meet the leaves of the far side from within, or nothing.

Which places of the skin are leaf follows from their direction from the centre alone, so that it is the same from every
view. Where leaves are finer than the pixels of an ordinary camera, the holes close: nothing aliases.
"""

from __future__ import annotations

import torch
from torch import Tensor

INNER = 0.9
"""Inner radius of the skin."""

_CELLS = 6.0  # leaves per radius
_COVER = 0.58  # share of the skin that is leaf
_NEAR = 0.05  # a sensor within a crown sees what is at least this far
_PIXEL = 1.0 / 500.0  # size of an ordinary camera's pixel at depth 1


def first_leaf(origin: list[Tensor], direction: list[Tensor]) -> Tensor:
    """Length along rays, given in the frame of the unit sphere, at which they meet a leaf; inf or NaN = never."""
    squared = sum(d * d for d in direction)
    nearest = -sum(o * d for o, d in zip(origin, direction, strict=True)) / squared
    miss = sum((o + nearest * d) ** 2 for o, d in zip(origin, direction, strict=True))
    enter = nearest - torch.sqrt((1.0 - miss) / squared)
    inside = nearest + torch.sqrt((INNER * INNER - miss) / squared)
    # Cells across a pixel: holes start to close where a cell is 1.4 pixels wide, and are gone at 0.6.
    fine = nearest.abs() * torch.sqrt(squared) * (_CELLS * _PIXEL)
    cover = _COVER + (1.0 - _COVER) * (fine - 0.7).clamp(0.0, 1.0)
    outer = _leafy([o + enter * d for o, d in zip(origin, direction, strict=True)], cover, 1.0)
    far = _leafy([o + inside * d for o, d in zip(origin, direction, strict=True)], cover, 1.0 / INNER)
    return torch.where(outer & (enter > _NEAR), enter, torch.where(far, inside, torch.inf))


def in_leaf(unit: Tensor) -> Tensor:
    """(N,) bool: whether points (3, N) in the frame of the unit sphere lie within a leaf."""
    radius = torch.sqrt(unit.square().sum(0))
    cover = torch.full_like(radius, _COVER)
    return (radius <= 1.0) & (radius >= INNER) & _leafy(list(unit), cover, 1.0 / radius.clamp(min=1e-9))


def _leafy(place: list[Tensor], cover: Tensor, scale: float | Tensor) -> Tensor:
    """Whether there is leaf at places that ``scale`` brings to radius 1: hashed cells of a skewed lattice."""
    x, y, z = place
    step = scale * _CELLS
    i = ((x + 0.37 * y) * step).floor().to(torch.int32)
    j = ((y - 0.41 * z) * step).floor().to(torch.int32)
    k = ((z + 0.33 * x) * step).floor().to(torch.int32)
    mixed = (i * 7919) ^ (j * 104729) ^ (k * 15731)
    mixed = (mixed ^ (mixed >> 9)) * 40503
    return ((mixed >> 8) & 1023).to(cover.dtype) < cover * 1024.0
