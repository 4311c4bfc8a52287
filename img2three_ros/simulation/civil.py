"""Large structures of highways: noise walls and bridges across."""

from __future__ import annotations

from numpy.random import Generator

from .looks import METAL, WALLS, any_colour
from .primitives import Part, Surface, box, cylinder


def noise_wall(random: Generator, length: float) -> list[Part]:
    """A noise wall of panels between posts, ``length`` metres along x about its centre."""
    height, panels = random.uniform(2.0, 5.5), max(1, round(length / random.uniform(3.0, 5.0)))
    panel = Surface(any_colour(random, WALLS, 0.25), random.uniform(0.2, 0.8), 0.1, random.uniform(0.4, 1.5))
    band = Surface(any_colour(random, WALLS, 0.4), 0.3, 0.05)
    parts = [box((0, 0, height / 2), (length, 0.15, height), panel)]
    if random.random() < 0.5:
        parts.append(box((0, 0, random.uniform(0.2, 0.9) * height), (length, 0.19, 0.2 * height), band))
    posts = [((number + 0.5) / panels - 0.5) * length for number in range(panels)]
    return parts + [box((x, 0, height / 2 + 0.05), (0.2, 0.28, height + 0.1), METAL) for x in posts]


def bridge(random: Generator, span: float, clear: float) -> list[Part]:
    """A bridge across the road, along y: ``span`` metres long, pillars at y = +-``clear`` and beyond, abutments at
    its ends."""
    width, level, deep = random.uniform(5.0, 14.0), random.uniform(5.2, 7.5), random.uniform(0.7, 1.8)
    concrete = Surface(any_colour(random, ((0.35, 0.35, 0.34), (0.5, 0.48, 0.44), (0.25, 0.25, 0.26)), 0.1),
                       random.uniform(0.2, 0.7), 0.06, random.uniform(0.8, 2.0))
    trim = Surface(any_colour(random, WALLS, 0.3), 0.3, 0.05)
    parts = [box((0, 0, level + deep / 2), (width, span, deep), concrete)]
    for x in (-0.5, 0.5):
        parts.append(box((x * width, 0, level + deep - 0.1), (0.3, span, 0.45), trim))
        parts.append(box((x * width, 0, level + deep + 0.95), (0.06, span, 0.08), METAL))
        posts = int(span / 3.0)
        parts += [box((x * width, (number / posts - 0.5) * span, level + deep + 0.55), (0.06, 0.06, 0.8), METAL)
                  for number in range(posts + 1)]
    for y in (-clear, clear):
        if random.random() < 0.6:
            parts += [cylinder((x * width, y, -1.0), 0.45, level + 1.2, concrete) for x in (-0.3, 0.0, 0.3)]
        else:
            parts.append(box((0, y, level / 2 - 0.5), (0.8 * width, 0.8, level + 1.0), concrete))
    for y in (-0.5, 0.5):
        parts.append(box((0, y * span * 1.15, level / 2 - 0.5), (width + 1.0, 0.17 * span, level + 1.0 + 2.0 * deep),
                         concrete))
    return parts
