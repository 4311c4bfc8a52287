"""What runs along a street: fences, guard rails, concrete barriers, walls, wires. All of them lie along x about their
centre, ``length`` metres long, and stand on z = 0."""

from __future__ import annotations

import math
from itertools import pairwise

from numpy.random import Generator

from .looks import DARK, METAL, WALLS, advert, any_colour, bands, wall_finish, warning
from .primitives import Part, Surface, box, cylinder, leaning_box, rod, tilted_box

_MOST_BARS = 30


def fence(random: Generator, length: float) -> list[Part]:
    """Iron bars, wooden pickets, planks on posts, rails on posts, or wire mesh on posts."""
    height = random.uniform(0.8, 2.2)
    kind = int(random.integers(5))
    paint = Surface(any_colour(random, WALLS, 0.5), random.uniform(0.1, 0.7), 0.08, random.uniform(0.3, 1.0))
    posts = max(2, min(9, round(length / 2.4) + 1))
    gap = length / (posts - 1)
    parts = [box(((number - (posts - 1) / 2) * gap, 0, height / 2), (0.08, 0.08, height), paint)
             for number in range(posts)]
    if kind == 3:
        levels = int(random.integers(2, 5))
        return parts + [box((0, 0, height * (level + 1) / levels - 0.08), (length, 0.04, 0.1), paint)
                        for level in range(levels)]
    if kind == 4:
        return parts + _mesh(random, length, height, paint)
    parts += [box((0, 0, z * height), (length, 0.04, 0.06), paint) for z in (0.15, 0.85)]
    width, thickness = ((0.022, 0.022), (0.07, 0.02), (0.17, 0.02))[kind]
    bars = min(_MOST_BARS, int(length / (width + random.uniform(0.07, 0.18))))
    for number in range(bars):
        x = ((number + 0.5) / bars - 0.5) * length
        parts.append(box((x, 0.03, 0.54 * height), (width, thickness, 0.92 * height), paint))
    return parts


def _mesh(random: Generator, length: float, height: float, paint: Surface) -> list[Part]:
    """Level and slanted wires between posts, about 30 in all."""
    radius = random.uniform(0.004, 0.012)
    levels = int(random.integers(4, 8))
    parts = [rod((-length / 2, 0, height * (level + 0.5) / levels), (length / 2, 0, height * (level + 0.5) / levels),
                 radius, paint) for level in range(levels)]
    slants = _MOST_BARS - levels
    for number in range(slants):
        x = ((number + 0.5) / slants - 0.5) * length
        lean = min(0.5 * height, 0.5 * length) * (1.0 if number % 2 else -1.0)
        parts.append(rod((x - lean / 2, 0, 0.02), (x + lean / 2, 0, height), radius, paint))
    return parts


def barrier(random: Generator, length: float) -> list[Part]:
    """A guard rail, a concrete barrier, a water-filled barrier of a building site, or posts with a handrail."""
    kind = int(random.integers(4))
    if kind == 0:
        return _guard_rail(random, length)
    if kind == 1:
        tone = random.uniform(0.2, 0.55)
        concrete = Surface((tone, tone, 0.95 * tone), random.uniform(0.1, 0.6), 0.05, random.uniform(0.5, 2.0))
        high = random.uniform(0.8, 1.2)
        return [box((0, 0, 0.09), (length, 0.62, 0.18), concrete),
                leaning_box((0, 0.14, 0.27), (length, 0.3, 0.2), concrete, (0.0, -0.16)),
                leaning_box((0, -0.14, 0.27), (length, 0.3, 0.2), concrete, (0.0, 0.16)),
                box((0, 0, high / 2), (length, 0.22, high), concrete)]
    if kind == 2:
        return _site_blocks(random, length)
    paint = Surface(any_colour(random, WALLS, 0.5), random.uniform(0.05, 0.5), 0.03)
    posts = max(2, min(12, round(length / 1.5)))
    parts = [cylinder((((number + 0.5) / posts - 0.5) * length, 0, 0), 0.035, 1.05, paint) for number in range(posts)]
    return parts + [rod((-length / 2, 0, z), (length / 2, 0, z), 0.03, paint) for z in (1.05, 0.55)]


def _guard_rail(random: Generator, length: float) -> list[Part]:
    """A W-shaped steel beam on posts."""
    posts = max(2, min(16, round(length / 2.0)))
    parts = [box((((number + 0.5) / posts - 0.5) * length, 0.1, 0.36), (0.1, 0.1, 0.72), METAL)
             for number in range(posts)]
    tone = random.uniform(0.25, 0.6)
    beam = Surface((tone, tone, tone), random.uniform(0.05, 0.4), 0.05, 2.0, shine=0.15)
    for level in ((0.6,), (0.6, 1.05))[int(random.integers(2))]:
        for z, roll in ((0.11, 0.5), (0.035, -0.5), (-0.035, 0.5), (-0.11, -0.5)):
            parts.append(tilted_box((0, 0, level + z), (length, 0.012, 0.09), beam, (roll, 0.0, 0.0)))
    return parts


def _site_blocks(random: Generator, length: float) -> list[Part]:
    """Alternating red and white blocks, or boards with slanted stripes."""
    if random.random() < 0.5:
        board = Surface((0.45, 0.05, 0.04), 0.3, 0.05, pattern=warning(random.uniform(0.15, 0.4)))
        posts = [cylinder((x * length, 0, 0), 0.03, 1.0, METAL) for x in (-0.48, 0.0, 0.48)]
        return [*posts, box((0, 0.03, 0.95), (length, 0.03, 0.25), board)]
    count = max(1, min(20, round(length / 1.2)))
    parts, size = [], length / count
    for number in range(count):
        colour = (0.5, 0.06, 0.04) if number % 2 else (0.72, 0.70, 0.66)
        plastic = Surface(colour, random.uniform(0.1, 0.5), 0.03, shine=0.05)
        parts.append(box((((number + 0.5) / count - 0.5) * length, 0, 0.4), (0.95 * size, 0.4, 0.8), plastic))
    return parts


def wall(random: Generator, length: float) -> list[Part]:
    """A garden or retaining wall with pillars and a coping, some with graffiti or posters."""
    height, depth = random.uniform(0.5, 3.2), random.uniform(0.15, 0.5)
    contrast, tint, scale, pattern = wall_finish(random)
    stone = Surface(any_colour(random, WALLS, 0.15), contrast, tint, scale, pattern=pattern)
    trim = Surface(any_colour(random, WALLS, 0.1), 0.4, 0.08)
    parts = [box((0, 0, height / 2), (length, depth, height), stone)]
    if random.random() < 0.7:
        parts.append(box((0, 0, height + 0.03), (length, depth + 0.1, 0.07), trim))
    if random.random() < 0.5:
        pillars = max(2, min(8, round(length / 3.0)))
        parts += [box(((number / (pillars - 1) - 0.5) * length, 0, height / 2 + 0.08),
                      (0.35, depth + 0.16, height + 0.16), stone) for number in range(pillars)]
    for _ in range(int(random.integers(0, 4))):
        poster = Surface(any_colour(random, WALLS, 1.0), 0.2, 0.1, pattern=advert(random))
        width, high = random.uniform(0.4, 2.0), random.uniform(0.3, 0.75) * height
        x = random.uniform(-0.4, 0.4) * length
        parts.append(box((x, 0, height * 0.5), (width, depth + 0.02, high), poster))
    return parts


def wire_span(random: Generator, length: float) -> list[Part]:
    """A pole at x = -length/2 with insulators, and sagging wires to where the next pole stands at x = +length/2."""
    height = random.uniform(5.5, 9.5)
    tone = random.uniform(0.5, 1.6)
    wood = Surface((0.20 * tone, 0.15 * tone, 0.11 * tone), 0.6, 0.1, 0.5)
    start = -length / 2
    parts = [cylinder((start, 0, 0), random.uniform(0.09, 0.16), height + 0.3, wood)]
    arms = int(random.integers(1, 3))
    wires = [(y, height - 0.9 * arm) for arm in range(arms) for y in ((-0.8, -0.25, 0.8), (-0.5, 0.5))[arm]]
    parts += [box((start, 0, height - 0.9 * arm - 0.08), (0.1, 1.9 - 0.6 * arm, 0.12), wood) for arm in range(arms)]
    if random.random() < 0.3:
        parts.append(cylinder((start + 0.3, 0, height - 2.2), 0.25, 0.8, METAL))
    for y, z in wires:
        sag, radius = random.uniform(0.005, 0.03) * length, random.uniform(0.008, 0.02)
        knots = [(start + length * share, y, z - 4.0 * sag * share * (1.0 - share))
                 for share in (0.0, 0.2, 0.5, 0.8, 1.0)]
        parts += [rod(one, other, radius, DARK) for one, other in pairwise(knots)]
    return parts


def bollards(random: Generator, length: float) -> list[Part]:
    """A row of bollards, some with a chain."""
    count, height, radius = max(2, min(12, round(length / 1.4))), random.uniform(0.6, 1.1), random.uniform(0.04, 0.13)
    pattern = bands(0.15) if random.random() < 0.4 else None
    paint = Surface(any_colour(random, WALLS, 0.5), random.uniform(0.1, 0.6), 0.05, pattern=pattern)
    places = [((number + 0.5) / count - 0.5) * length for number in range(count)]
    parts = [cylinder((x, 0, 0), radius, height, paint) for x in places]
    if random.random() < 0.3:
        for x, following in pairwise(places):
            middle = ((x + following) / 2, 0.0, 0.55 * height)
            parts += [rod((x, 0, 0.85 * height), middle, 0.02, METAL),
                      rod(middle, (following, 0, 0.85 * height), 0.02, METAL)]
    return parts


def steps(random: Generator, width: float) -> list[Part]:
    """Stairs that rise along +y, ``width`` metres along x, with a handrail on one side."""
    count, rise = int(random.integers(2, 7)), random.uniform(0.14, 0.19)
    stone = Surface(any_colour(random, WALLS, 0.1), random.uniform(0.2, 0.6), 0.06)
    parts = [box((0, 0.15 * (number + count), rise * (number + 0.5)), (width, 0.3 * (count - number), rise), stone)
             for number in range(count)]
    top = (0.3 * count, rise * count)
    angle = math.copysign(width / 2 - 0.06, random.uniform(-1.0, 1.0))
    return [*parts, rod((angle, 0.1, 0.9), (angle, top[0], top[1] + 0.9), 0.025, METAL),
            cylinder((angle, 0.12, 0.0), 0.02, 0.9, METAL), cylinder((angle, top[0] - 0.1, top[1]), 0.02, 0.9, METAL)]
