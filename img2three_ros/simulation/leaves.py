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

_CELLS = 5.0  # leaves per radius
_COVER = 0.58  # share of the skin that is leaf
_SHADE = 0.8  # share of a ball's shadow that is dark
_NEAR = 0.05  # a sensor within a crown sees what is at least this far
_PIXEL = 1.0 / 500.0  # size of an ordinary camera's pixel at depth 1


def first_leaf(origin: list[Tensor], direction: list[Tensor]) -> Tensor:
    """Length along rays, given in the frame of the unit sphere, at which they meet a leaf; inf or NaN = never."""
    squared, nearest, closest, miss = _closest(origin, direction)
    shape = miss.shape
    length = torch.full_like(miss, torch.inf)
    # Most rays that are tried miss the ball; the rest of the work is for those that meet it.
    met = (miss.reshape(-1) < 1.0).nonzero().squeeze(1)

    def chosen(values: Tensor) -> Tensor:
        return values.expand(shape).reshape(-1).index_select(0, met)

    found = _leaf_on_chord([chosen(c) for c in closest], [chosen(d) for d in direction], chosen(nearest),
                           chosen(miss), chosen(squared))
    length.view(-1)[met] = found
    return length


def dappled(origin: list[Tensor], direction: list[Tensor]) -> Tensor:
    """Whether crowns keep the sun from points (rays as in ``first_leaf``): spots of light as large as leaves. It is
    cheaper than the leaves themselves, whose spots of light blur on their way to the ground anyway."""
    _, nearest, closest, miss = _closest(origin, direction)
    covered = (miss < 1.0) & (nearest > 0.0)
    met = covered.reshape(-1).nonzero().squeeze(1)
    place = [c.reshape(-1).index_select(0, met) for c in closest]
    covered.view(-1)[met] = _leafy(place, torch.full_like(place[0], _SHADE), 1.0)
    return covered


def _closest(origin: list[Tensor], direction: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    """Squared length of the direction; length at which a ray is nearest to the centre, the point there, and its
    squared distance from the centre."""
    squared = sum(d * d for d in direction)
    nearest = -sum(o * d for o, d in zip(origin, direction, strict=True)) / squared
    closest = [o + nearest * d for o, d in zip(origin, direction, strict=True)]
    return squared, nearest, closest, sum(c * c for c in closest)


def _leaf_on_chord(closest: list[Tensor], direction: list[Tensor], nearest: Tensor, miss: Tensor,
                   squared: Tensor) -> Tensor:
    """(M,) lengths for rays that meet the ball: closest: the point of the ray nearest to the centre, at the length
    ``nearest``; miss: its squared distance; squared: squared length of the direction."""
    half = torch.sqrt((1.0 - miss) / squared)
    inner = torch.sqrt((INNER * INNER - miss) / squared)  # NaN where the ray stays within the skin
    enter, inside = nearest - half, nearest + inner
    # Cells across a pixel: holes start to close where a cell is 1.4 pixels wide, and are gone at 0.6.
    fine = nearest.abs() * torch.sqrt(squared) * (_CELLS * _PIXEL)
    cover = _COVER + (1.0 - _COVER) * (fine - 0.7).clamp(0.0, 1.0)
    outer = _leafy([c - half * d for c, d in zip(closest, direction, strict=True)], cover, 1.0)
    far = _leafy([c + inner * d for c, d in zip(closest, direction, strict=True)], cover, 1.0 / INNER)
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
