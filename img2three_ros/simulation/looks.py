"""Colours and finishes that the builders of objects share, from the ordinary to the far-fetched."""

from __future__ import annotations

import colorsys

from numpy.random import Generator

from .primitives import Pattern, Surface

Colour = tuple[float, float, float]

WALLS: tuple[Colour, ...] = ((0.46, 0.22, 0.15), (0.55, 0.47, 0.36), (0.40, 0.40, 0.40), (0.62, 0.58, 0.50),
                             (0.50, 0.34, 0.24), (0.34, 0.37, 0.42), (0.60, 0.50, 0.30), (0.30, 0.24, 0.21))
PAINTS: tuple[Colour, ...] = ((0.60, 0.60, 0.62), (0.10, 0.10, 0.11), (0.45, 0.06, 0.05), (0.07, 0.12, 0.33),
                              (0.32, 0.33, 0.35), (0.70, 0.69, 0.66), (0.10, 0.22, 0.15), (0.42, 0.30, 0.12))
CLOTHES: tuple[Colour, ...] = ((0.45, 0.10, 0.10), (0.10, 0.16, 0.38), (0.09, 0.09, 0.10), (0.50, 0.45, 0.34),
                               (0.12, 0.30, 0.20), (0.55, 0.40, 0.10))
GLASS = Surface((0.05, 0.06, 0.075), 0.55, 0.1, shine=0.35)
TYRE = Surface((0.03, 0.03, 0.032), 0.4, 0.0)
METAL = Surface((0.30, 0.31, 0.32), 0.35, 0.05, shine=0.1)
DARK = Surface((0.04, 0.04, 0.045), 0.3, 0.0)
WHITE_LIGHT = Surface((0.75, 0.74, 0.68), 0.2, 0.0, shine=0.2, glow=3.0)
RED_LIGHT = Surface((0.42, 0.03, 0.03), 0.25, 0.0, glow=2.0)
_ENDLESS = 1e3  # a tile so high that there is only one row of it


def pick(random: Generator, choices: tuple[Colour, ...], spread: float = 0.12) -> Colour:
    """One of the colours, a little brighter or darker."""
    red, green, blue = choices[int(random.integers(len(choices)))]
    gain = 1.0 + random.uniform(-spread, spread)
    return red * gain, green * gain, blue * gain


def wild_colour(random: Generator) -> Colour:
    """Any colour at all."""
    red, green, blue = colorsys.hsv_to_rgb(random.random(), random.random(), random.uniform(0.03, 0.8))
    return red, green, blue


def any_colour(random: Generator, choices: tuple[Colour, ...], wild: float = 0.3) -> Colour:
    """An ordinary colour, or with probability ``wild`` any."""
    return wild_colour(random) if random.random() < wild else pick(random, choices, 0.3)


def car_paint(random: Generator) -> Surface:
    """Paint between matt and polished; hardly any texture on most cars, prints or dirt on some."""
    pattern = None
    if random.random() < 0.08:
        pattern = advert(random) if random.random() < 0.5 else stripes(random, random.uniform(0.1, 0.5))
    contrast = random.uniform(0.03, 0.3) if random.random() < 0.75 else random.uniform(0.3, 0.8)
    return Surface(any_colour(random, PAINTS, 0.35), contrast, random.uniform(0.0, 0.08), random.uniform(0.5, 2.0),
                   pattern=pattern, shine=random.uniform(0.05, 0.3))


def stripes(random: Generator, width: float, slant: float = 0.0, upright: bool = True) -> Pattern:
    """Stripes of two colours, upright or level, ``width`` metres each."""
    pitch = (width, _ENDLESS) if upright else (_ENDLESS, width)
    return Pattern(pitch, slant=slant, other=wild_colour(random))


def warning(width: float = 0.3, slant: float = 1.0) -> Pattern:
    """Slanted white stripes, for red, yellow or black things that warn."""
    return Pattern((width, _ENDLESS), slant=slant, other=(0.75, 0.74, 0.70))


def bands(width: float) -> Pattern:
    """Level white bands."""
    return Pattern((_ENDLESS, width), other=(0.75, 0.74, 0.70))


def ribs(width: float) -> Pattern:
    """Upright ribs of corrugated sheet, containers, roller shutters."""
    return Pattern((width, _ENDLESS), joint=0.2 * width, joint_tone=0.55, spread=0.08)


def bricks(random: Generator) -> Pattern:
    """Bricks, blocks, natural stone or panels with joints."""
    kind = int(random.integers(4))
    width, height, spread = ((0.25, 0.085, 0.25), (0.42, 0.2, 0.15), (random.uniform(0.3, 0.7), 0.35, 0.45),
                             (random.uniform(1.0, 2.5), random.uniform(0.8, 2.8), 0.1))[kind]
    return Pattern((width, height), stagger=0.0 if kind == 3 else random.uniform(0.3, 0.5),
                   joint=random.uniform(0.006, 0.015), joint_tone=random.choice((0.5, 0.75, 1.4)), spread=spread,
                   hue=0.15 if kind == 2 else random.choice((0.0, 0.06)))


def boards(random: Generator) -> Pattern:
    """Planks, upright or level."""
    width = random.uniform(0.09, 0.22)
    pitch = (width, random.uniform(1.5, 4.0)) if random.random() < 0.5 else (random.uniform(1.5, 4.0), width)
    return Pattern(pitch, stagger=0.37, joint=0.008, joint_tone=0.4, spread=0.3)


def advert(random: Generator) -> Pattern:
    """A gaudy print: areas of random colours with marks like letters."""
    size = random.uniform(0.25, 1.2)
    return Pattern((size * random.uniform(0.7, 1.8), size), stagger=random.uniform(0.0, 0.5), spread=0.5,
                   hue=random.uniform(0.5, 1.0), fine=random.uniform(0.3, 0.9))


def wall_finish(random: Generator) -> tuple[float, float, float, Pattern | None]:
    """Contrast, tint, scale and pattern of a wall: from bare and almost textureless to rough, laid and gaudy."""
    draw = random.random()
    if draw < 0.2:
        return random.uniform(0.04, 0.15), 0.04, random.uniform(1.0, 3.0), None
    if draw < 0.45:
        return random.uniform(0.3, 0.9), 0.12, random.uniform(0.5, 2.0), None
    if draw < 0.85:
        return random.uniform(0.15, 0.5), 0.1, random.uniform(0.6, 1.5), bricks(random)
    if draw < 0.93:
        return random.uniform(0.1, 0.4), 0.06, 1.0, boards(random)
    return random.uniform(0.1, 0.4), 0.05, 1.0, Pattern((random.uniform(0.5, 2.0), random.uniform(0.5, 1.5)),
                                                         hue=random.uniform(0.2, 0.8), spread=0.3)
