"""House fronts with relief beyond windows: balconies with rails, cornices, pillars, pilasters, shop fronts, awnings,
drainpipes, roofs, chimneys; towers of glass, sheds and halls.

Frame: x along the street, the wall lies at y = 0 and the house behind it, towards side * y (side: +1 left of the
street, -1 right of it); z = 0 is the pavement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import Generator

from .looks import (
    DARK,
    GLASS,
    METAL,
    PAINTS,
    WALLS,
    advert,
    any_colour,
    boards,
    ribs,
    stripes,
    wall_finish,
    wild_colour,  # fmt: skip
)
from .primitives import Facade, Part, Pattern, Surface, box, cylinder, ellipsoid, rod, tilted_box

_RELIEF = 45  # parts on a front, at most


@dataclass(frozen=True, eq=False)
class _Front:
    """What the parts of a front need to know about it: metres, and its surfaces."""

    width: float
    depth: float
    height: float
    side: int
    facade: Facade
    columns: int
    wall: Surface
    trim: Surface

    def column(self, number: int) -> float:
        """x of the middle of a column of windows."""
        return (number + 0.5 - 0.5 * self.columns) * self.facade.pitch[0]

    @property
    def storeys(self) -> int:
        return max(1, int((self.height - 0.5) / self.facade.pitch[1]))


def varied_building(random: Generator, width: float, depth: float, side: int) -> list[Part]:
    """A house, a block of flats with balconies, a glass tower, a hall, a colonnade or a shop."""
    draw = random.random()
    if draw < 0.1:
        return _glass_tower(random, width, depth, side)
    if draw < 0.2:
        return _hall(random, width, depth, side)
    front = _front(random, width, depth, side)
    back = side * depth / 2
    parts = [box((0, back, front.height / 2), (width, depth, front.height), front.wall)]
    parts += _roof(random, front)
    if random.random() < 0.6:
        parts.append(box((0, back - side * 0.1, 0.35), (width + 0.04, depth + 0.2, random.uniform(0.4, 1.2)),
                         front.trim))
    relief = [_cornices, _pillars, _balconies, _ground_floor, _small_things, _sills]
    for chosen in random.permutation(len(relief))[: int(random.integers(2, 6))]:
        if len(parts) < _RELIEF:
            parts += relief[int(chosen)](random, front)
    return parts


def _front(random: Generator, width: float, depth: float, side: int) -> _Front:
    storeys, storey = int(random.integers(1, 8)), random.uniform(2.6, 3.8)
    height = storeys * storey + random.uniform(0.6, 1.6)
    opening = (random.uniform(0.6, 2.4), random.uniform(0.9, min(2.2, storey - 0.9)))
    facade = Facade((opening[0] + random.uniform(0.3, 2.0), storey), opening, random.uniform(0.04, 0.55),
                    random.uniform(0.5, 1.1))
    contrast, tint, scale, pattern = wall_finish(random)
    wall = Surface(any_colour(random, WALLS, 0.15), contrast, tint, scale, facade, pattern)
    trim = Surface(any_colour(random, WALLS, 0.1), random.uniform(0.05, 0.6), 0.08, random.uniform(0.5, 1.5))
    return _Front(width, depth, height, side, facade, int(width / facade.pitch[0]), wall, trim)


def _roof(random: Generator, front: _Front) -> list[Part]:
    """A flat roof with parapet and chimneys, or a gable roof of two slopes with tiles, with dormers."""
    top, back = front.height, front.side * front.depth / 2
    if random.random() < 0.45:
        parts = [box((0, back, top + 0.12), (front.width + 0.1, front.depth + random.uniform(0.2, 1.0), 0.3),
                     front.trim)]
        for _ in range(int(random.integers(0, 4))):
            size = random.uniform(0.6, 2.2, 3)
            parts.append(box((random.uniform(-0.4, 0.4) * front.width, back * random.uniform(0.3, 1.5),
                              top + size[2] / 2),
                             (size[0], size[1], size[2]), front.trim))
        if random.random() < 0.4:
            parts += [rod((x, back * 0.6, top), (x, back * 0.6, top + 2.5), 0.02, METAL)
                      for x in random.uniform(-0.4, 0.4, 2) * front.width]
        return parts
    rise = random.uniform(0.2, 0.55) * front.depth
    tiles = Pattern((0.3, 0.35), stagger=0.5, joint=0.02, joint_tone=0.5, spread=0.2)
    slate = Surface(any_colour(random, ((0.35, 0.13, 0.08), (0.12, 0.12, 0.13), (0.25, 0.18, 0.14)), 0.1), 0.4, 0.1,
                    pattern=tiles)
    half = front.depth / 2 + 0.4
    parts = [box((0, back, top + share * rise / 2), (front.width, 2.0 * half * (1.0 - share), share * rise), front.trim)
             for share in (0.3, 0.6, 0.85)]  # the gable ends, hidden below the slopes elsewhere
    slab = (front.width + 0.35, math.hypot(half, rise), 0.12)
    parts += [tilted_box((0, back + way * half / 2, top + rise / 2 + 0.04), slab, slate,
                         (-way * math.atan2(rise, half), 0.0, 0.0)) for way in (-1, 1)]
    for _ in range(int(random.integers(0, 3))):
        x = random.uniform(-0.4, 0.4) * front.width
        parts.append(box((x, back - front.side * 0.25 * half, top + rise), (0.7, 0.7, rise * 0.6 + 1.0), front.trim))
    if random.random() < 0.35:
        for x in (-0.25 * front.width, 0.25 * front.width):
            parts.append(box((x, back - front.side * 0.62 * half, top + 0.45 * rise), (1.5, 1.6, 1.3), front.trim))
            parts.append(box((x, back - front.side * (0.62 * half + 0.8), top + 0.45 * rise), (1.0, 0.06, 0.8), GLASS))
    return parts


def _cornices(random: Generator, front: _Front) -> list[Part]:
    """Ledges between storeys and below the roof."""
    out = random.uniform(0.08, 0.5)
    levels = [front.height - 0.15, *(storey * front.facade.pitch[1] + 0.12 for storey in range(1, front.storeys)
                                     if random.random() < 0.5)]
    return [box((0, -front.side * out / 2, z), (front.width, out, random.uniform(0.1, 0.35)), front.trim)
            for z in levels[:6]]


def _pillars(random: Generator, front: _Front) -> list[Part]:
    """Pilasters or round columns between the columns of windows."""
    count = min(front.columns + 1, 9)
    gap, out = front.width / max(count, 1), random.uniform(0.12, 0.6)
    tall = front.height if random.random() < 0.5 else min(front.height, front.facade.pitch[1])
    parts = []
    for number in range(count):
        x = (number + 0.5) * gap - front.width / 2 + 0.5 * gap * (count % 2 == front.columns % 2)
        if abs(x) > front.width / 2 - 0.2:
            continue
        if out > 0.4:
            parts.append(cylinder((x, -front.side * 0.35, 0), 0.2, tall, front.trim))
        else:
            parts.append(box((x, -front.side * out / 2, tall / 2), (random.uniform(0.2, 0.5), out, tall), front.trim))
    return parts


def _balconies(random: Generator, front: _Front) -> list[Part]:
    """Slabs with a closed parapet, a pane or bars."""
    kind, out = int(random.integers(3)), random.uniform(0.7, 1.7)
    wide = min(front.facade.pitch[0] * random.choice((1.0, 2.0)) * 0.85, 5.0)
    rail = (front.trim, GLASS, METAL)[kind]
    parts: list[Part] = []
    for storey in range(1, front.storeys):
        for column in range(0, front.columns, 2):
            if len(parts) > 30 or random.random() < 0.3:
                continue
            x, z, y = front.column(column), storey * front.facade.pitch[1] + 0.1, -front.side * out
            parts.append(box((x, y / 2, z), (wide, out, 0.16), front.trim))
            if kind < 2:
                parts.append(box((x, y, z + 0.5), (wide, 0.06, 1.0), rail))
                continue
            parts += [rod((x - wide / 2, y, z + 1.0), (x + wide / 2, y, z + 1.0), 0.025, rail)]
            bars = 5 if len(parts) < 16 else 2
            parts += [rod((x + (bar / (bars - 1) - 0.5) * wide, y, z), (x + (bar / (bars - 1) - 0.5) * wide, y,
                                                                        z + 1.0),
                          0.015, rail) for bar in range(bars)]
    return parts


def _ground_floor(random: Generator, front: _Front) -> list[Part]:
    """A shop: panes, door, fascia with letters, awning; or roller shutters with graffiti."""
    side, tall = front.side, min(front.facade.pitch[1], front.height) - 0.4
    parts, bays = [], max(1, min(4, int(front.width / 3.5)))
    closed = random.random() < 0.3
    shutter = Surface(any_colour(random, PAINTS, 0.3), 0.4, 0.1, pattern=advert(random) if random.random() < 0.4
                      else Pattern((1e3, 0.12), joint=0.02, joint_tone=0.5))
    for bay in range(bays):
        x, wide = ((bay + 0.5) / bays - 0.5) * front.width, front.width / bays - random.uniform(0.3, 1.2)
        parts.append(box((x, -side * 0.04, tall / 2 + 0.1), (wide, 0.1, tall - 0.4), shutter if closed else GLASS))
        parts.append(box((x + wide / 2 + 0.05, -side * 0.1, tall / 2), (0.14, 0.22, tall), front.trim))
        if random.random() < 0.4:
            out, drop = random.uniform(0.8, 1.8), random.uniform(0.2, 0.7)
            cloth = Surface(any_colour(random, PAINTS, 0.6), 0.2, 0.05,
                            pattern=stripes(random, 0.3) if random.random() < 0.5 else None)
            parts.append(tilted_box((x, -side * out / 2, tall + 0.1), (wide, out, 0.05), cloth,
                                    (side * math.atan2(drop, out), 0.0, 0.0)))
    sign = Surface(any_colour(random, PAINTS, 0.7), 0.1, 0.03, pattern=Pattern((0.5, 0.6), fine=0.8, spread=0.3),
                   glow=1.0)
    parts.append(box((0, -side * 0.12, tall + 0.15), (front.width * random.uniform(0.4, 0.98), 0.2, 0.55), sign))
    return parts


def _small_things(random: Generator, front: _Front) -> list[Part]:
    """Drainpipes, a door with steps, lamps, air conditioners, aerials, posters, a hanging sign."""
    side, parts = front.side, []
    if random.random() < 0.6:
        for x in (-0.5, 0.5):
            parts.append(cylinder((x * (front.width - 0.4), -side * 0.08, 0), 0.05, front.height, METAL))
    door = Surface(any_colour(random, PAINTS, 0.5), 0.4, 0.1, pattern=boards(random) if random.random() < 0.5 else None)
    x = random.uniform(-0.4, 0.4) * front.width
    parts += [box((x, -side * 0.06, 1.2), (1.2, 0.14, 2.2), door), box((x, -side * 0.4, 0.09), (1.8, 0.8, 0.18),
                                                                       front.trim)]
    if random.random() < 0.5:
        parts.append(box((x, -side * 0.5, 2.6), (1.9, 1.0, 0.1), front.trim))
    for _ in range(int(random.integers(0, 7))):
        at = (random.uniform(-0.45, 0.45) * front.width, -side * 0.2, random.uniform(0.3, 0.95) * front.height)
        parts.append(box(at, (0.8, 0.35, 0.55), Surface((0.6, 0.6, 0.58), 0.2, 0.02, pattern=ribs(0.08))))
    if random.random() < 0.4:
        sign = Surface(wild_colour(random), 0.1, 0.05, pattern=advert(random), glow=1.0)
        parts.append(box((random.uniform(-0.3, 0.3) * front.width, -side * 0.6, 3.4), (0.12, 0.9, 1.2), sign))
    if random.random() < 0.3:
        green = Surface((0.07, 0.14, 0.04), 1.4, 0.4, 0.5)
        place = random.uniform(-0.4, 0.4) * front.width
        parts += [ellipsoid((place + random.normal(0.0, 0.9), 0.0, random.uniform(0.2, 0.8) * min(front.height, 8.0)),
                            (random.uniform(0.3, 0.9), 0.14, random.uniform(0.4, 1.1)), green) for _ in range(10)]
    return parts


def _sills(random: Generator, front: _Front) -> list[Part]:
    """Sills that stand out below windows, flower boxes or open shutters, storey by storey."""
    parts: list[Part] = []
    out, shutters = random.uniform(0.08, 0.25), random.random() < 0.4
    paint = Surface(any_colour(random, PAINTS, 0.4), 0.3, 0.05, pattern=Pattern((1e3, 0.09), joint=0.012,
                                                                                joint_tone=0.5))
    for storey in range(front.storeys):
        for column in range(front.columns):
            if len(parts) > 28:
                return parts
            x, z = front.column(column), front.facade.sill + storey * front.facade.pitch[1]
            if z + front.facade.opening[1] + 0.5 > front.height:
                continue
            if shutters:
                half = front.facade.opening[0] / 2
                parts += [box((x + way * 1.25 * half, -front.side * 0.03, z + front.facade.opening[1] / 2),
                              (0.5 * half, 0.05, front.facade.opening[1]), paint) for way in (-1, 1)]
            else:
                parts.append(box((x, -front.side * out / 2, z - 0.05), (front.facade.opening[0] + 0.2, out, 0.09),
                                 front.trim))
    return parts


def _glass_tower(random: Generator, width: float, depth: float, side: int) -> list[Part]:
    """A front of panes in a fine grid of profiles: repetitive, dark and shiny."""
    height = random.uniform(9.0, 40.0)
    tone = random.uniform(0.4, 2.5)
    grid = Pattern((random.uniform(0.9, 2.0), random.uniform(1.2, 3.6)), joint=random.uniform(0.02, 0.07),
                   joint_tone=random.choice((0.3, 3.0)), spread=random.uniform(0.1, 0.6))
    skin = Surface((0.06 * tone, 0.075 * tone, 0.09 * tone), random.uniform(0.05, 0.4), 0.1, 3.0, pattern=grid,
                   shine=0.35)
    parts = [box((0, side * depth / 2, height / 2), (width, depth, height), skin)]
    fins = min(12, int(width / grid.pitch[0]))
    if random.random() < 0.5:
        parts += [box(((number + 0.5 - fins / 2) * width / fins, -side * 0.12, height / 2), (0.08, 0.24, height), METAL)
                  for number in range(fins)]
    parts.append(box((0, -side * 0.6, 3.2), (0.5 * width, 1.4, 0.25), DARK))
    return parts


def _hall(random: Generator, width: float, depth: float, side: int) -> list[Part]:
    """A shed or hall of corrugated sheet with gates."""
    height = random.uniform(3.5, 9.0)
    skin = Surface(any_colour(random, PAINTS, 0.3), random.uniform(0.05, 0.5), 0.08, 2.0,
                   pattern=ribs(random.uniform(0.15, 0.4)))
    gate = Surface(any_colour(random, PAINTS, 0.4), 0.2, 0.05, pattern=Pattern((1e3, 0.5), joint=0.02))
    parts = [box((0, side * depth / 2, height / 2), (width, depth, height), skin),
             box((0, side * depth / 2, height + 0.1), (width + 0.3, depth + 0.4, 0.2), METAL)]
    for bay in range(max(1, int(width / 5.0))):
        x = ((bay + 0.5) / max(1, int(width / 5.0)) - 0.5) * width
        parts.append(box((x, -side * 0.02, 1.7), (3.2, 0.12, 3.4), gate))
        parts += [box((x + way * 1.75, -side * 0.15, 1.8), (0.2, 0.35, 3.6), METAL) for way in (-1, 1)]
    if random.random() < 0.6:
        board = Surface(wild_colour(random), 0.1, 0.02, pattern=advert(random), glow=0.5)
        parts.append(box((0, -side * 0.1, 0.85 * height), (0.5 * width, 0.15, 0.2 * height + 0.4), board))
    return parts
