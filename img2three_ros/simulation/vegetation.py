"""What grows beside the street. Every crown is a cloud of many small leafy clumps on branches, so that its outline is
ragged and the sky shines through: the fine structure that depth networks otherwise blur. At most about 40 parts."""

from __future__ import annotations

import math

from numpy.random import Generator

from .looks import Colour, wild_colour
from .primitives import Part, Surface, box, cylinder, ellipsoid, point, rod

_LEAVES: tuple[Colour, ...] = ((0.085, 0.16, 0.045), (0.05, 0.11, 0.04), (0.14, 0.19, 0.05), (0.26, 0.17, 0.04),
                               (0.30, 0.09, 0.04), (0.10, 0.14, 0.09), (0.28, 0.22, 0.24))


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
    """Trunk, forking branches and a crown of clumps around their ends."""
    height, crown = random.uniform(4.5, 11.0), random.uniform(1.2, 3.2)
    trunk, wood, leaves = random.uniform(0.25, 0.45) * height, bark(random), foliage(random)
    parts = [cylinder((0, 0, 0), random.uniform(0.08, 0.28), trunk, wood)]
    middle = max(height - crown, trunk + 0.4 * crown)
    ends = []
    for number in range(int(random.integers(4, 8))):
        angle = number * 2.4 + random.uniform(-0.4, 0.4)
        out = crown * random.uniform(0.4, 0.9)
        end = (out * math.cos(angle), out * math.sin(angle), middle + crown * random.uniform(-0.6, 0.6))
        parts.append(rod((0, 0, trunk * random.uniform(0.75, 1.0)), end, random.uniform(0.025, 0.06), wood))
        ends.append(end)
    share = random.uniform(0.16, 0.34)
    for number in range(int(random.integers(18, 31))):
        x, y, z = ends[number % len(ends)]
        step = random.normal(0.0, 0.34 * crown, 3)
        size = crown * share * random.uniform(0.6, 1.4, 3)
        parts.append(ellipsoid((x + step[0], y + step[1], z + 0.8 * step[2]), size, leaves, random.uniform(0.0, 3.1)))
    return parts


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
    """A fir: tiers of drooping clumps that narrow to a tip."""
    height, foot = random.uniform(4.0, 14.0), random.uniform(0.2, 1.5)
    radius, leaves = height * random.uniform(0.13, 0.24), foliage(random)
    parts = [cylinder((0, 0, 0), random.uniform(0.08, 0.2), 0.92 * height, bark(random))]
    tiers = int(random.integers(5, 9))
    for tier in range(tiers):
        share = tier / tiers
        out, z = radius * (1.0 - share), foot + (height - foot) * share
        for arm in range(4 if tier < tiers - 2 else 2):
            angle = 2.1 * tier + arm * 1.57 * (1 if tier < tiers - 2 else 2)
            centre = (0.5 * out * math.cos(angle), 0.5 * out * math.sin(angle), z + 0.35 * height / tiers)
            parts.append(ellipsoid(centre, (0.6 * out, 0.33 * out + 0.05, 0.5 * height / tiers), leaves, angle))
    parts.append(ellipsoid((0, 0, 0.95 * height), (0.12, 0.12, 0.08 * height), leaves))
    return parts


def poplar(random: Generator) -> list[Part]:
    """A slender tree: a column of upright clumps."""
    height, radius, leaves = random.uniform(5.0, 12.0), random.uniform(0.4, 0.9), foliage(random)
    parts = [cylinder((0, 0, 0), 0.12, 0.5 * height, bark(random))]
    for number in range(int(random.integers(14, 24))):
        angle, share = 2.4 * number, random.uniform(0.12, 0.95)
        out = radius * random.uniform(0.1, 0.7) * math.sin(math.pi * share ** 0.6)
        parts.append(ellipsoid((out * math.cos(angle), out * math.sin(angle), share * height),
                               (0.4 * radius, 0.4 * radius, random.uniform(0.06, 0.12) * height), leaves))
    return parts


def palm(random: Generator) -> list[Part]:
    """A palm: a slightly leaning stem and arched fronds of two pieces each."""
    height, leaves, wood = random.uniform(4.0, 9.0), foliage(random), bark(random)
    lean = random.uniform(-0.8, 0.8, 2)
    top = point(lean[0], lean[1], height)
    parts = [cylinder((0, 0, 0), 0.17, 0.3 * height, wood), rod((0, 0, 0.25 * height), top, 0.13, wood)]
    for number in range(int(random.integers(8, 14))):
        angle, out = number * 2.4, random.uniform(1.2, 2.0)
        heading = point(math.cos(angle), math.sin(angle), 0.0)
        arch = top + out * heading * 0.6 + point(0.0, 0.0, random.uniform(0.1, 0.7))
        parts.append(rod(top, arch, 0.07, leaves))
        parts.append(rod(arch, arch + out * heading * 0.5 - point(0.0, 0.0, random.uniform(0.4, 1.2)), 0.05, leaves))
    return parts


def sapling(random: Generator) -> list[Part]:
    """A young tree tied to a stake."""
    height, wood, leaves = random.uniform(2.2, 4.0), bark(random), foliage(random)
    parts = [cylinder((0, 0, 0), 0.03, 0.8 * height, wood), cylinder((0.3, 0, 0), 0.035, 1.6, wood),
             box((0.15, 0, 1.5), (0.3, 0.04, 0.06), wood)]
    for _ in range(int(random.integers(9, 16))):
        x, y, z = random.normal(0.0, 0.28, 3)
        parts.append(ellipsoid((x, y, 0.75 * height + 1.4 * z), random.uniform(0.08, 0.24, 3), leaves))
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
        parts.append(ellipsoid((x, y, z), (size[0] * 1.5, size[1], size[2] * (0.4 + 2.0 * wild)), leaves))
    return parts


def bush(random: Generator) -> list[Part]:
    """A bush of 0.5 to 2.5 m: clumps, some with bare twigs that stick out."""
    radius, leaves, wood = random.uniform(0.3, 1.2), foliage(random), bark(random)
    parts = [ellipsoid((0, 0, 0.7 * radius), (0.55 * radius, 0.5 * radius, 0.7 * radius), leaves)]
    for _ in range(int(random.integers(7, 16))):
        x, y, z = random.normal(0.0, 0.42 * radius, 3)
        parts.append(ellipsoid((x, y, max(0.1, 0.85 * radius + z)), radius * random.uniform(0.15, 0.42, 3), leaves))
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
