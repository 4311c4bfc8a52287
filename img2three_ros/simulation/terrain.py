"""Ground that is not flat: a smooth height over the plane, of which rays, truth, objects and the vehicle all ask.

The height is written in coordinates of the road, x along the world and ``across`` = y minus the y of the road's
middle, so that banks and ditches follow its bends. It repeats with the road. The same formulas serve floats (objects,
the vehicle) and tensors (rays, truth).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

Number = TypeVar("Number", float, Tensor)
Wave = tuple[float, float, float]
"""amplitude, wave number along x (rad/m), phase (rad)."""

FLAT_WITHIN = 1.2
"""Roads end and banks begin at least this far apart, metres."""
_TILT_RANGE = 20.0  # a cross slope fades beyond this


@dataclass(frozen=True)
class Functions(Generic[Number]):
    """The functions that floats and tensors call by different names. unit: clipped to 0..1."""

    sin: Callable[[Number], Number]
    cos: Callable[[Number], Number]
    unit: Callable[[Number], Number]


FLOATS = Functions[float](math.sin, math.cos, lambda value: min(max(value, 0.0), 1.0))
TENSORS = Functions[Tensor](torch.sin, torch.cos, lambda value: value.clamp(0.0, 1.0))


@dataclass(frozen=True)
class Bank:
    """Ground that rises (or falls) beside the road: from ``start`` metres off its middle to ``rise`` metres within
    ``width``; ditch: depth of a hollow before it, ``ditch_width`` wide and centred on ``start``."""

    start: float
    width: float
    rise: float
    ditch: float = 0.0
    ditch_width: float = 2.0


@dataclass(frozen=True)
class Terrain:
    """waves: elevation along x, metres; tilt: cross slope, rises to the left; bump: (amplitude, wave number along,
    wave number across, phase) of an uneven surface; left, right: banks; hill: (height, distance from the road where
    it begins, distance over which it rises, wave number along, wave number across, phase)."""

    waves: tuple[Wave, ...] = ()
    tilt: Wave = (0.0, 0.0, 0.0)
    bump: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    left: Bank | None = None
    right: Bank | None = None
    hill: tuple[float, float, float, float, float, float] = (0.0, 100.0, 100.0, 0.0, 0.0, 0.0)

    @property
    def flat(self) -> bool:
        """Whether the height is 0 everywhere."""
        return self == Terrain()

    @property
    def highest(self) -> float:
        """A height that the ground never exceeds, metres."""
        banks = max([bank.rise for bank in (self.left, self.right) if bank] + [0.0])
        tilt = self.tilt[0] * _TILT_RANGE
        return sum(abs(wave[0]) for wave in self.waves) + abs(tilt) + self.bump[0] + banks + self.hill[0]

    @property
    def steepest(self) -> float:
        """From a place above the ground, no ground is seen steeper upwards than this (height per distance)."""
        slopes = sum(abs(a * k) for a, k, _ in self.waves) + 2.0 * abs(self.tilt[0])
        banks = max([bank.rise / bank.width for bank in (self.left, self.right) if bank] + [0.0])
        return slopes + self.bump[0] * (self.bump[1] + self.bump[2]) + banks + self.hill[0] / self.hill[1]

    def height(self, x: Number, across: Number, functions: Functions[Number]) -> Number:
        """Height at x and ``across``, metres."""
        sin = functions.sin
        total: Number = 0.0 * x
        for amplitude, k, phase in self.waves:
            total = total + amplitude * sin(k * x + phase)
        beside: Number = abs(across)
        if self.tilt[0]:
            total = total + self.tilt[0] * sin(self.tilt[1] * x + self.tilt[2]) * across / (1.0 + beside / _TILT_RANGE)
        if self.bump[0]:
            total = total + self.bump[0] * sin(self.bump[1] * x + self.bump[3]) * sin(self.bump[2] * across)
        for side, bank in ((1.0, self.left), (-1.0, self.right)):
            if bank is not None:
                total = total + _bank(bank, side * across, functions)
        if self.hill[0]:
            high, start, width, k, q, phase = self.hill
            total = total + (0.5 * high) * _smooth(functions.unit((beside - start) / width)) * (
                1.0 + sin(k * x + phase + q * across))
        return total


def _bank(bank: Bank, outward: Number, functions: Functions[Number]) -> Number:
    height = bank.rise * _smooth(functions.unit((outward - bank.start) / bank.width))
    if bank.ditch:
        offset = (outward - bank.start) / (0.5 * bank.ditch_width)
        hollow = functions.unit(1.0 - offset * offset)
        height = height - bank.ditch * hollow * hollow
    return height


def _smooth(share: Number) -> Number:
    return share * share * (3.0 - 2.0 * share)


def make_terrain(random: Generator, length: float, amplitude: float, clear: float, *, banks: bool,
                 hills: bool) -> Terrain:
    """A terrain that repeats every ``length`` metres.

    amplitude: 1 = slopes up to 6 %; clear: metres beside the road's middle that banks leave alone.
    """
    if amplitude <= 0.0:
        return Terrain()

    def wave_number(wavelength: float) -> float:
        return 2.0 * math.pi * max(1, round(length / wavelength)) / length

    def phase() -> float:
        return float(random.uniform(0.0, 2.0 * math.pi))

    waves = []
    steepness = amplitude * random.uniform(0.3, 1.0)
    for wavelength, slope in ((random.uniform(180.0, 400.0), 0.042), (random.uniform(60.0, 130.0), 0.018)):
        k = wave_number(wavelength)
        waves.append((steepness * slope / k, k, phase()))
    tilt = (amplitude * random.uniform(0.0, 0.035), wave_number(random.uniform(100.0, 250.0)), phase())
    bump = (amplitude * random.uniform(0.0, 0.015), wave_number(random.uniform(8.0, 20.0)),
            2.0 * math.pi / random.uniform(4.0, 9.0), phase())
    sides = [_make_bank(random, amplitude, clear) if banks and random.random() < 0.75 else None for _ in range(2)]
    high = amplitude * random.uniform(4.0, 22.0) if hills and random.random() < 0.75 else 0.0
    hill = (high, clear + random.uniform(25.0, 60.0), random.uniform(100.0, 220.0),
            wave_number(random.uniform(200.0, 500.0)), 2.0 * math.pi / random.uniform(300.0, 700.0), phase())
    return Terrain(tuple(waves), tilt, bump, sides[0], sides[1], hill)


def _make_bank(random: Generator, amplitude: float, clear: float) -> Bank:
    rise = amplitude * float(np.clip(random.normal(0.4, 1.4), -2.5, 3.5))
    ditch = amplitude * random.uniform(0.2, 0.7) if random.random() < 0.4 else 0.0
    width = max(abs(rise) * random.uniform(2.0, 4.0), 2.0)
    ditch_width = random.uniform(2.0, 3.5)
    start = clear + FLAT_WITHIN + 0.5 * ditch_width * (ditch > 0.0) + random.uniform(0.0, 3.0)
    return Bank(start, width, rise, ditch, ditch_width)
