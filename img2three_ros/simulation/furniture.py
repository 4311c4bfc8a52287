"""What stands singly on pavements and over roads: signs, signals, lamps, gantries, bins, cones, benches, shelters.

Object frames: x along the street, y left, z up from the foot. ``side`` is +1 left of the street, -1 right of it; what
reaches over the street reaches towards -side * y."""

from __future__ import annotations

import math

from numpy.random import Generator

from .looks import DARK, GLASS, METAL, PAINTS, WALLS, advert, any_colour, bands, boards, ribs, warning
from .primitives import Part, Pattern, Surface, box, cylinder, ellipsoid, rod, tilted_box

_PLATES = ((0.55, 0.06, 0.05), (0.06, 0.15, 0.5), (0.7, 0.6, 0.08), (0.72, 0.71, 0.68), (0.05, 0.3, 0.12))


def _steel(random: Generator) -> Surface:
    """Galvanised, painted or rusty steel."""
    if random.random() < 0.5:
        return METAL
    return Surface(any_colour(random, PAINTS, 0.2), random.uniform(0.05, 0.7), 0.05, random.uniform(0.5, 2.0),
                   shine=0.05)


def _printed(random: Generator, size: float) -> Surface:
    """A plate with writing on it."""
    colour = _PLATES[int(random.integers(len(_PLATES)))]
    return Surface(colour, 0.1, 0.03, pattern=Pattern((size, size * 0.4), fine=random.uniform(0.3, 0.9),
                                                      spread=0.2), glow=random.choice((0.0, 0.3)))


def varied_sign(random: Generator) -> list[Part]:
    """One or two plates (discs, triangles, boards with print) on a post, turned a little."""
    height, post = random.uniform(2.0, 3.4), _steel(random)
    parts = [cylinder((0, 0, 0), random.uniform(0.025, 0.05), height, post)]
    z = height - 0.1
    for _ in range(int(random.integers(1, 4))):
        size, yaw = random.uniform(0.4, 0.9), random.uniform(-0.4, 0.4)
        face = _printed(random, size) if random.random() < 0.7 else Surface(any_colour(random, _PLATES, 0.3), 0.1)
        shape = int(random.integers(4))
        if shape == 0:
            disc = rod((-0.05, 0, z - size / 2), (-0.03, 0, z - size / 2), size / 2, face)
            rim = rod((-0.045, 0, z - size / 2), (-0.028, 0, z - size / 2), size / 2 + 0.05, _edge(random))
            parts += [disc, rim]
        elif shape == 1:
            parts.append(tilted_box((-0.05, 0, z - 0.55 * size), (0.02, 0.75 * size, 0.75 * size), face,
                                    (math.pi / 4, 0.0, 0.0)))
        else:
            wide, high = (size * random.uniform(0.8, 2.0), size * random.uniform(0.4, 1.0))
            parts.append(tilted_box((-0.05, 0, z - high / 2), (0.02, wide, high), face, (0.0, 0.0, yaw)))
        z -= size + 0.1
        if z < 1.6:
            break
    return parts


def _edge(random: Generator) -> Surface:
    return Surface(any_colour(random, ((0.55, 0.06, 0.05), (0.75, 0.74, 0.7), (0.05, 0.05, 0.05)), 0.1), 0.1, 0.0)


def varied_lamp(random: Generator, side: int) -> list[Part]:
    """A street lamp: bent arm, two arms, an old lantern, or a high mast; some with a banner."""
    steel, height = _steel(random), random.uniform(3.2, 11.0)
    lamp = Surface((0.7, 0.68, 0.6), 0.1, 0.0, glow=6.0)
    radius = random.uniform(0.05, 0.11)
    parts = [cylinder((0, 0, 0), radius, height, steel), cylinder((0, 0, 0), 1.7 * radius, 0.12 * height, steel)]
    if height < 5.0:
        parts.append(cylinder((0, 0, height), 0.05, 0.1, steel))
        if random.random() < 0.5:
            parts.append(ellipsoid((0, 0, height + 0.3), (0.22, 0.22, 0.24), lamp))
        else:
            parts += [cylinder((0, 0, height + 0.05), 0.14, 0.4, lamp),
                      cylinder((0, 0, height + 0.45), 0.24, 0.06, steel)]
    else:
        reach, rise = random.uniform(0.8, 2.6), random.uniform(-0.2, 0.8)
        for way in ((-side,), (-side, side))[int(random.random() < 0.3)]:
            end = (0.0, way * reach, height + rise)
            parts.append(rod((0, 0, height - 0.15), end, 0.04, steel))
            parts.append(box((0, way * (reach + 0.25), end[2] - 0.02), (0.25, 0.65, 0.1), steel))
            parts.append(box((0, way * (reach + 0.25), end[2] - 0.08), (0.18, 0.5, 0.04), lamp))
    if random.random() < 0.25:
        banner = Surface(any_colour(random, PAINTS, 1.0), 0.1, 0.05, pattern=advert(random))
        parts.append(box((0, -side * 0.45, min(height - 0.8, 4.2)), (0.02, 0.7, 1.4), banner))
    return parts


def traffic_light(random: Generator, side: int) -> list[Part]:
    """Signals on a post, some with an arm over the street; they face along x."""
    steel, height = _steel(random), random.uniform(2.6, 3.6)
    housing = Surface(any_colour(random, ((0.03, 0.03, 0.03), (0.02, 0.05, 0.03), (0.5, 0.4, 0.05)), 0.1), 0.15, 0.0)
    parts = [cylinder((0, 0, 0), random.uniform(0.05, 0.1), height, steel)]
    heads = [(0.0, 0.0, height - 0.45)]
    if random.random() < 0.5:
        top, reach = random.uniform(5.2, 6.5), random.uniform(2.5, 6.0)
        parts += [cylinder((0, 0, 0), 0.11, top, steel), rod((0, 0, top - 0.2), (0, -side * reach, top), 0.06, steel)]
        heads += [(0.0, -side * reach * share, top - 0.55) for share in ((0.95,), (0.5, 0.95))[int(random.integers(2))]]
    shown = int(random.integers(3))
    lights = ((0.7, 0.04, 0.03), (0.75, 0.4, 0.03), (0.05, 0.6, 0.25))
    for y_index, (x, y, z) in enumerate(heads):
        parts.append(box((x - 0.16, y, z), (0.2, 0.32, 0.95), housing))
        if random.random() < 0.5:
            parts.append(box((x - 0.07, y, z), (0.02, 0.6, 1.25), DARK))
        for number, colour in enumerate(lights):
            lit = number == shown
            dim = colour if lit else tuple(0.25 * c for c in colour)
            lens = Surface((dim[0], dim[1], dim[2]), 0.1, 0.0, glow=4.0 if lit else 0.0)
            centre = z + 0.29 * (1 - number)
            parts.append(rod((x - 0.28, y, centre), (x - 0.25, y, centre), 0.1, lens))
        if y_index == 0 and random.random() < 0.6:
            parts.append(box((x, y + 0.25, z - 0.1), (0.26, 0.16, 0.6), housing))
    return parts


def billboard(random: Generator, side: int) -> list[Part]:
    """A poster panel, from a city light on the pavement to a large board on legs; it faces along x or across."""
    small = random.random() < 0.5
    wide, high = (random.uniform(1.2, 1.9), random.uniform(1.6, 2.6)) if small else (random.uniform(3.5, 8.0),
                                                                                      random.uniform(2.2, 4.0))
    foot = random.uniform(0.3, 0.7) if small else random.uniform(1.2, 4.0)
    poster = Surface(any_colour(random, PAINTS, 1.0), random.uniform(0.03, 0.3), 0.1, pattern=advert(random),
                     glow=random.choice((0.0, 1.0)))
    frame = _steel(random)
    across = random.random() < 0.6
    size = (0.1, wide, high) if across else (wide, 0.1, high)
    legs = [(0.0, y * wide) if across else (y * wide, 0.0) for y in (-0.38, 0.38)]
    parts = [box((0, 0, foot + high / 2), size, poster)]
    parts += [box((x - 0.04 * across, y + 0.04 * side * (not across), (foot + high) / 2),
                  (0.12, 0.12, foot + high), frame) for x, y in legs]
    for z in (foot - 0.05, foot + high + 0.05):
        parts.append(box((0, 0, z), (size[0] + 0.06, size[1] + 0.06, 0.1), frame))
    return parts


def gantry(random: Generator, span: float) -> list[Part]:
    """A sign gantry across a highway: posts at y = +-span/2, a lattice beam, and panels that face along x."""
    steel, clear = _steel(random), random.uniform(5.2, 6.5)
    top, half = clear + 1.1, span / 2
    parts = [box((0, y, top / 2), (0.35, 0.3, top), steel) for y in (-half, half)]
    parts += [rod((0, -half, z), (0, half, z), 0.08, steel) for z in (clear, top)]
    cells = max(4, min(14, round(span / 1.6)))
    for number in range(cells):
        left, right = ((number + share) / cells - 0.5 for share in (0, 1))
        low, high = (clear, top) if number % 2 else (top, clear)
        parts.append(rod((0, left * span, low), (0, right * span, high), 0.04, steel))
    panels = int(random.integers(1, 4))
    for number in range(panels):
        high, wide = random.uniform(1.6, 3.4), min(random.uniform(2.2, 5.0), 0.9 * span / panels)
        y = ((number + 0.5) / panels - 0.5) * 0.9 * span
        parts.append(box((-0.18, y, clear + 0.4 + high / 3), (0.1, wide, high), _printed(random, 0.45 * wide)))
    return parts


def bin(random: Generator) -> list[Part]:
    """A litter bin, a wheelie bin, a glass container or a skip."""
    kind = int(random.integers(4))
    paint = Surface(any_colour(random, PAINTS, 0.5), random.uniform(0.1, 0.7), 0.08, random.uniform(0.4, 1.5))
    if kind == 0:
        height = random.uniform(0.7, 1.1)
        return [cylinder((0, 0, 0), 0.24, height, paint), cylinder((0, 0, height), 0.27, 0.08, METAL)]
    if kind == 1:
        return [box((0, 0, 0.55), (0.5, 0.55, 0.95), paint), box((0.02, 0, 1.06), (0.58, 0.6, 0.07), paint),
                *(rod((-0.24, y - 0.03, 0.1), (-0.24, y + 0.03, 0.1), 0.1, DARK) for y in (-0.25, 0.25))]
    if kind == 2:
        return [box((0, 0, 0.6), (1.3, 1.1, 1.2), paint), ellipsoid((0, 0, 1.15), (0.65, 0.55, 0.45), paint),
                cylinder((0, 0, 1.55), 0.05, 0.15, METAL)]
    rusty = Surface(any_colour(random, PAINTS, 0.5), 0.8, 0.15, pattern=ribs(0.5))
    return [box((0, 0, 0.65), (3.2, 1.7, 1.1), rusty), box((0, 0, 1.2), (3.5, 1.8, 0.08), rusty),
            ellipsoid((random.uniform(-0.8, 0.8), 0.1, 1.2), (0.8, 0.6, 0.3), Surface((0.3, 0.25, 0.2), 1.2, 0.2))]


def cone(random: Generator) -> list[Part]:
    """A traffic cone of stacked rings, or a tall marker post."""
    orange = (0.65, 0.16, 0.03) if random.random() < 0.8 else any_colour(random, PAINTS, 1.0)
    rubber, white = Surface(orange, 0.2, 0.03), Surface((0.75, 0.74, 0.70), 0.15, 0.0, glow=0.5)
    if random.random() < 0.25:
        return [cylinder((0, 0, 0.05), 0.05, 0.95, Surface(orange, 0.2, 0.03, pattern=bands(0.15))),
                cylinder((0, 0, 0), 0.2, 0.06, DARK)]
    height, layers = random.uniform(0.45, 0.8), 7
    parts = [box((0, 0, 0.02), (0.38, 0.38, 0.04), DARK)]
    for layer in range(layers):
        radius = 0.15 * (1.0 - layer / layers) + 0.025
        parts.append(cylinder((0, 0, 0.04 + layer * height / layers), radius, height / layers,
                              white if layer in (2, 4) else rubber))
    return parts


def bench(random: Generator) -> list[Part]:
    """A bench with slats."""
    wood = Surface(any_colour(random, ((0.28, 0.17, 0.09), (0.4, 0.3, 0.2)), 0.3), 0.6, 0.1, 0.5)
    length = random.uniform(1.4, 2.2)
    parts = [box((0, 0, 0.44), (length, 0.1, 0.04), wood)]
    parts += [box((0, y, 0.44), (length, 0.1, 0.04), wood) for y in (-0.13, 0.13)]
    if random.random() < 0.7:
        parts += [tilted_box((0, 0.24, z), (length, 0.03, 0.1), wood, (-0.2, 0.0, 0.0)) for z in (0.62, 0.78)]
    for x in (-0.4 * length, 0.4 * length):
        parts += [box((x, 0, 0.21), (0.06, 0.4, 0.42), METAL), rod((x, 0.2, 0.3), (x, 0.27, 0.85), 0.02, METAL)]
    return parts


def bus_shelter(random: Generator, side: int) -> list[Part]:
    """A roof on posts with panes, a poster and a seat; open towards the street."""
    length, depth, height = random.uniform(3.0, 5.0), random.uniform(1.3, 1.7), random.uniform(2.3, 2.6)
    steel = _steel(random)
    parts = [box((0, 0, height), (length, depth, 0.12), steel)]
    back = side * depth * 0.45
    parts += [box((x * length, y, height / 2), (0.07, 0.07, height), steel)
              for x in (-0.48, 0.0, 0.48) for y in (back, -back * 0.6)]
    parts += [box((x * length, back, 1.2), (0.44 * length, 0.02, 1.8), GLASS) for x in (-0.24, 0.24)]
    poster = Surface(any_colour(random, PAINTS, 1.0), 0.1, 0.1, pattern=advert(random), glow=1.0)
    parts.append(box((0.48 * length, 0, 1.25), (0.1, 0.75 * depth, 1.7), poster))
    return [*parts, box((-0.1 * length, back * 0.7, 0.45), (0.5 * length, 0.3, 0.05), steel)]


def cabinet(random: Generator) -> list[Part]:
    """A switch box, a letter box, a parking meter, a hydrant or a planter."""
    kind = int(random.integers(5))
    pattern = advert(random) if random.random() < 0.25 else None
    paint = Surface(any_colour(random, WALLS, 0.4), random.uniform(0.05, 0.6), 0.08, 1.0, pattern=pattern)
    if kind == 0:
        return [box((0, 0, 0.6), (random.uniform(0.5, 1.6), 0.4, 1.2), paint),
                box((0, 0, 0.05), (1.7, 0.5, 0.1), METAL)]
    if kind == 1:
        return [cylinder((0, 0, 0), 0.05, 0.7, METAL), box((0, 0, 1.05), (0.45, 0.4, 0.7), paint)]
    if kind == 2:
        return [cylinder((0, 0, 0), 0.06, 1.1, METAL), box((0, 0, 1.35), (0.2, 0.3, 0.5), paint)]
    if kind == 3:
        return [cylinder((0, 0, 0), 0.11, 0.65, paint), ellipsoid((0, 0, 0.68), (0.12, 0.12, 0.12), paint),
                rod((0, -0.2, 0.45), (0, 0.2, 0.45), 0.06, paint)]
    wood = Surface((0.3, 0.2, 0.12), 0.5, 0.1, pattern=boards(random))
    green = Surface((0.08, 0.15, 0.05), 1.3, 0.35, 0.5)
    parts = [box((0, 0, 0.25), (1.2, 0.6, 0.5), wood)]
    return parts + [ellipsoid((random.uniform(-0.5, 0.5), random.uniform(-0.2, 0.2), 0.6),
                              random.uniform(0.12, 0.32, 3), green) for _ in range(9)]


def varied_furniture(random: Generator) -> list[Part]:
    """Any small thing of the pavement."""
    return (bin, cabinet, cabinet, bench, cone)[int(random.integers(5))](random)


def warning_board(random: Generator) -> list[Part]:
    """A board with slanted stripes on a foot, some with a lamp."""
    colour = (0.5, 0.06, 0.04) if random.random() < 0.7 else any_colour(random, PAINTS, 0.5)
    board = Surface(colour, 0.2, 0.03, pattern=warning(random.uniform(0.1, 0.25), random.choice((-1.0, 1.0))))
    high = random.uniform(0.7, 1.1)
    parts = [box((0, 0, 0.2 + high / 2), (0.04, random.uniform(0.2, 0.5), high), board),
             box((0, 0, 0.06), (0.7, 0.35, 0.12), DARK)]
    if random.random() < 0.5:
        parts.append(ellipsoid((0, 0, 0.3 + high), (0.09, 0.09, 0.1), Surface((0.75, 0.4, 0.03), 0.1, 0.0, glow=4.0)))
    return parts
