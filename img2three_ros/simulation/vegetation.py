"""What grows beside the street. Every crown is a cloud of many small leafy clumps on branches, so that its outline is
ragged and the sky shines through: the fine structure that depth networks otherwise blur. At most about 40 parts."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .looks import Colour, wild_colour
from .primitives import Part, Surface, box, cylinder, ellipsoid, leaf_ball, point, rod, spindle

_LEAVES: tuple[Colour, ...] = ((0.085, 0.16, 0.045), (0.05, 0.11, 0.04), (0.14, 0.19, 0.05), (0.26, 0.17, 0.04),
                               (0.30, 0.09, 0.04), (0.10, 0.14, 0.09), (0.30, 0.17, 0.20), (0.11, 0.2, 0.06),
                               (0.07, 0.13, 0.035))


def foliage(random: Generator) -> Surface:
    """Leaves of one plant: any green, autumn colours, blossom; coarse or fine."""
    red, green, blue = _LEAVES[int(random.integers(len(_LEAVES)))] if random.random() < 0.92 else wild_colour(random)
    gain = random.uniform(0.6, 1.5)
    return Surface((red * gain, green * gain, blue * gain), random.uniform(0.8, 1.7), random.uniform(0.15, 0.45),
                   random.uniform(0.25, 1.0))


def bark(random: Generator) -> Surface:
    """Bark from pale to dark."""
    gain = random.uniform(0.5, 2.2)
    return Surface((0.17 * gain, 0.13 * gain, 0.095 * gain), random.uniform(0.5, 1.2), 0.1, random.uniform(0.3, 0.8))


def varied_tree(random: Generator) -> list[Part]:
    """A broadleaved tree in leaf or bare, a conifer, a poplar, a palm or a young tree on a stake."""
    build = (broadleaf, broadleaf, broadleaf, bare_tree, conifer, poplar, palm, sapling)[int(random.integers(8))]
    return build(random)


def broadleaf(random: Generator) -> list[Part]:
    """Trunk, forking branches, and a crown: clumps that overlap, sprays of leaves around them, twigs that stick out.

    Airy crowns (birches, young trees) have no core: the sky shows between their sprays.
    """
    height, crown, airy = random.uniform(4.0, 12.0), random.uniform(1.2, 3.4), random.random() < 0.35
    trunk, wood, leaves = random.uniform(0.2, 0.42) * height, bark(random), foliage(random)
    middle = max(height - 0.9 * crown, trunk + 0.6 * crown)
    parts = [cylinder((0, 0, 0), random.uniform(0.07, 0.26), trunk, wood)]
    parts.append(rod((0, 0, trunk), (*random.normal(0.0, 0.1, 2), middle), 0.07, wood))
    for number in range(5 if airy else 3):
        end = _on_ball(random, 2.4 * number, 0.75 * crown) + point(0.0, 0.0, middle)
        parts.append(rod((0, 0, trunk * random.uniform(0.8, 1.0)), end, random.uniform(0.025, 0.05), wood))
    tall = random.uniform(0.7, 1.15)
    for number in range(0 if airy else int(random.integers(6, 10))):
        place = _on_ball(random, 2.4 * number, crown * random.uniform(0.2, 0.6)) * point(1.0, 1.0, tall)
        parts.append(_clump(random, place + point(0.0, 0.0, middle), crown * random.uniform(0.3, 0.6, 3), leaves))
    for number in range(26 if airy else 18):
        out = crown * (random.uniform(0.25, 1.0) if airy else random.uniform(0.75, 1.05))
        start = _on_ball(random, 2.4 * number, out) * point(1.0, 1.0, tall) + point(0.0, 0.0, middle)
        along = random.normal(0.0, 1.0, 3) * point(1.0, 1.0, 0.6)
        end = start + crown * random.uniform(0.25, 0.6) * along / np.linalg.norm(along)
        wide = crown * random.uniform(0.12, 0.3)
        parts.append(spindle(start, end, wide, wide * random.uniform(0.4, 1.0), leaves, leafy=True))
    return parts


def _clump(random: Generator, centre: NDArray[np.float64], radii: NDArray[np.float64], leaves: Surface) -> Part:
    """A ball of leaves, turned at random."""
    roll, pitch, yaw = random.uniform(-3.0, 3.0, 3)
    return leaf_ball(centre, radii, leaves, (roll, pitch, yaw))


def _on_ball(random: Generator, angle: float, radius: float) -> NDArray[np.float64]:
    """A point on a ball, (3,), at about ``angle`` around z and any height."""
    rise, turn = random.uniform(-0.75, 1.0), angle + random.uniform(-0.5, 0.5)
    flat = math.sqrt(max(0.0, 1.0 - rise * rise))
    return radius * point(flat * math.cos(turn), flat * math.sin(turn), rise)


def bare_tree(random: Generator) -> list[Part]:
    """A tree in winter: branches that fork twice into twigs."""
    height, wood = random.uniform(4.0, 9.0), bark(random)
    trunk = random.uniform(0.3, 0.45) * height
    parts = [cylinder((0, 0, 0), random.uniform(0.08, 0.2), trunk, wood)]
    for number in range(int(random.integers(5, 8))):
        angle, rise = number * 2.4 + random.uniform(-0.5, 0.5), random.uniform(0.25, 0.5) * height
        spread = rise * random.uniform(0.4, 1.0)
        start = point(0.0, 0.0, trunk * random.uniform(0.8, 1.0))
        fork = start + point(spread * math.cos(angle), spread * math.sin(angle), rise)
        parts.append(rod(start, fork, random.uniform(0.03, 0.06), wood))
        for _ in range(int(random.integers(3, 5))):
            base = start + random.uniform(0.4, 1.0) * (fork - start)
            twig = base + random.normal(0.0, 0.13 * height, 3) + point(0.0, 0.0, 0.12 * height)
            parts.append(rod(base, twig, random.uniform(0.009, 0.022), wood))
    return parts


def conifer(random: Generator) -> list[Part]:
    """A fir or spruce: tiers of drooping boughs that narrow to a tip."""
    height, foot = random.uniform(3.0, 15.0), random.uniform(0.2, 1.8)
    radius, leaves = height * random.uniform(0.13, 0.26), foliage(random)
    parts = [cylinder((0, 0, 0), random.uniform(0.06, 0.2), 0.95 * height, bark(random))]
    boughs, droop = 34, random.uniform(-0.1, 0.6)
    for number in range(boughs):
        share = (number + random.uniform(0.0, 0.8)) / boughs
        out = radius * (1.0 - share) * random.uniform(0.75, 1.1) + 0.1
        heading = point(math.cos(2.4 * number), math.sin(2.4 * number), -droop)
        start = point(0.0, 0.0, foot + (height - foot) * share ** 0.9)
        parts.append(spindle(start - 0.15 * out * heading, start + out * heading, 0.3 * out + 0.06,
                             0.13 * out + 0.03 * height * (1.0 - share) + 0.03, leaves, leafy=True))
    return parts


def poplar(random: Generator) -> list[Part]:
    """A slender tree (poplar, cypress): upright sprays close to the stem."""
    height, radius, leaves = random.uniform(4.0, 13.0), random.uniform(0.35, 1.0), foliage(random)
    parts = [cylinder((0, 0, 0), 0.12, 0.6 * height, bark(random))]
    for number in range(30):
        share = 0.08 + 0.8 * (number + random.uniform(0.0, 1.0)) / 30
        out = radius * (1.05 - share) * random.uniform(0.4, 1.0)
        start = point(0.3 * out * math.cos(2.4 * number), 0.3 * out * math.sin(2.4 * number), share * height)
        end = start + point(0.7 * out * math.cos(2.4 * number), 0.7 * out * math.sin(2.4 * number),
                            height * random.uniform(0.1, 0.2))
        parts.append(spindle(start, end, 0.35 * radius, 0.3 * radius, leaves, leafy=True))
    return parts


def palm(random: Generator) -> list[Part]:
    """A palm: a slightly leaning stem and arched fronds of three pieces each."""
    height, leaves, wood = random.uniform(3.0, 10.0), foliage(random), bark(random)
    lean, wide = random.uniform(-0.8, 0.8, 2), random.uniform(0.1, 0.25)
    top = point(lean[0], lean[1], height)
    parts = [cylinder((0, 0, 0), 0.17, 0.3 * height, wood), rod((0, 0, 0.27 * height), top, 0.14, wood)]
    for number in range(int(random.integers(8, 13))):
        angle, out = number * 2.4, random.uniform(0.5, 0.9)
        heading = point(math.cos(angle), math.sin(angle), 0.0)
        rise, knots = random.uniform(0.2, 1.0), [top]
        for fall in (0.0, 0.5, 1.3):
            knots.append(knots[-1] + out * heading + point(0.0, 0.0, out * (rise - fall)))
        parts += [spindle(one - 0.1 * (other - one), other + 0.1 * (other - one), wide, 0.02, leaves)
                  for one, other in pairwise(knots)]
    return parts


def sapling(random: Generator) -> list[Part]:
    """A young tree tied to a stake."""
    height, wood, leaves = random.uniform(2.2, 4.0), bark(random), foliage(random)
    parts = [cylinder((0, 0, 0), 0.03, 0.8 * height, wood), cylinder((0.3, 0, 0), 0.035, 1.6, wood),
             box((0.15, 0, 1.5), (0.3, 0.04, 0.06), wood)]
    for _ in range(int(random.integers(9, 16))):
        start = random.normal(0.0, 0.25, 3) * point(1.0, 1.0, 1.6) + point(0.0, 0.0, 0.75 * height)
        parts.append(spindle(start, start + random.normal(0.0, 0.22, 3), random.uniform(0.1, 0.24),
                             0.12, leaves, leafy=True))
    return parts


def hedge(random: Generator, length: float) -> list[Part]:
    """A hedge ``length`` metres along x about its centre: clipped (a box with bulges) or left to grow."""
    height, depth, leaves = random.uniform(0.6, 2.2), random.uniform(0.5, 1.1), foliage(random)
    parts = [box((0, 0, 0.46 * height), (length, 0.8 * depth, 0.92 * height), leaves)]
    wild = random.uniform(0.06, 0.3)
    for number in range(min(30, max(3, round(length * 2.2)))):
        x = ((number + random.uniform(0.1, 0.9)) / min(30, max(3, round(length * 2.2))) - 0.5) * length
        size = random.uniform(0.25, 0.5, 3) * depth
        z = height * random.choice((random.uniform(0.1, 0.9), 0.95)) - 0.3 * size[2]
        y = 0.0 if z > 0.85 * height else depth * 0.36 * random.choice((-1.0, 1.0))
        radii = size * point(1.5, 1.0, 0.6 + 2.5 * wild)
        z = max(z, 0.9 * float(radii.max()))
        parts.append(leaf_ball((x, y, z), radii, leaves, (random.uniform(-0.5, 0.5), 0.0, random.uniform(-0.4, 0.4))))
    return parts


def bush(random: Generator) -> list[Part]:
    """A bush of 0.5 to 2.5 m: a dome of leafy balls and sprays, some with bare twigs that stick out."""
    radius, leaves, wood = random.uniform(0.3, 1.2), foliage(random), bark(random)
    parts = [leaf_ball((0, 0, 0.55 * radius), (0.85 * radius, 0.8 * radius, 0.6 * radius), leaves, (0.0, 0.0, 0.0))]
    for number in range(int(random.integers(6, 11))):
        place = _on_ball(random, 2.4 * number, 0.65 * radius) * point(1.1, 1.1, 0.6) + point(0.0, 0.0, 0.8 * radius)
        size = radius * random.uniform(0.3, 0.6, 3)
        parts.append(_clump(random, place + point(0.0, 0.0, max(0.0, float(size.max()) - place[2])), size, leaves))
    for _ in range(int(random.integers(3, 9))):
        start = random.normal(0.0, 0.45 * radius, 3) * point(1.0, 1.0, 0.4) + point(0.0, 0.0, radius)
        end = start + random.normal(0.0, 0.3 * radius, 3) + point(0.0, 0.0, 0.5 * radius)
        parts.append(spindle(start, end, radius * random.uniform(0.12, 0.3), radius * random.uniform(0.1, 0.2), leaves,
                             leafy=True))
    for _ in range(int(random.integers(0, 7))):
        x, y, _z = random.normal(0.0, 0.7 * radius, 3)
        parts.append(rod((0.3 * x, 0.3 * y, 0.2), (x, y, radius * random.uniform(1.4, 2.1)), 0.012, wood))
    return parts


def grass_tuft(random: Generator) -> list[Part]:
    """Weeds and long grass: a few blades and a clump."""
    leaves, height = foliage(random), random.uniform(0.15, 0.7)
    parts = [ellipsoid((0, 0, 0.08), (0.25, 0.22, 0.14), leaves)]
    for _ in range(int(random.integers(5, 12))):
        x, y, _z = random.normal(0.0, 0.22, 3)
        parts.append(rod((0.4 * x, 0.4 * y, 0.0), (1.4 * x, 1.4 * y, height * random.uniform(0.6, 1.2)), 0.01, leaves))
    return parts
