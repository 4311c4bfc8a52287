"""Builders of what stands and drives in the street: this module offers them all.

Object frames: x forward (along the street), y left, z up from the object's foot; every builder draws its variety from
the random generator it is given. ``variety`` is the probability that an object is one of many shapes rather than the
plain one of this file; 0 draws nothing more. What has a ``length`` or ``span`` is centred on the origin. ``side`` is +1
left of the street, -1 right of it. The first part of every object is upright: it sets the axes of the object's box.
"""

from __future__ import annotations

import math

from numpy.random import Generator

from .barriers import barrier, bollards, fence, steps, wall, wire_span
from .furniture import (
    bench,
    billboard,
    bin,
    bus_shelter,
    cone,
    gantry,
    traffic_light,
    varied_furniture,
    varied_lamp,
    varied_sign,  # fmt: skip
    warning_board,
)
from .houses import varied_building
from .looks import CLOTHES, GLASS, METAL, PAINTS, TYRE, WALLS, pick, wall_finish, wild_colour
from .people import bicycle, cyclist, varied_person
from .primitives import Facade, Part, Pattern, Surface, box, cylinder, ellipsoid, wheel
from .vegetation import bush, grass_tuft, hedge, varied_tree
from .vehicles import bus, motorcycle, trailer, truck, varied_car, varied_van

__all__ = ["backdrop", "barrier", "bench", "bicycle", "billboard", "bin", "bollards", "building", "bus", "bus_shelter",
           "bush", "car", "cone", "cyclist", "fence", "furniture", "gantry", "grass_tuft", "hedge", "lamp_post",
           "motorcycle", "person", "sign", "steps", "traffic_light", "trailer", "tree", "truck", "van", "wall",
           "warning_board", "wire_span"]  # fmt: skip

_STONES = Pattern((0.54, 0.29), stagger=0.5, spread=0.16)
_CAR_WIDTH = 1.82


def _varied(random: Generator, variety: float) -> bool:
    """Whether to build the varied kind; draws nothing where variety is 0."""
    return variety > 0.0 and random.random() < variety


def building(random: Generator, width: float, depth: float, side: int, variety: float = 0.0) -> list[Part]:
    """A house front ``width`` metres along x; its wall lies at y = 0, the house behind it. side: +1 left of the
    street, -1 right of it."""
    if _varied(random, variety):
        return varied_building(random, width, depth, side)
    storeys = int(random.integers(2, 7))
    storey = random.uniform(2.8, 3.4)
    height = storeys * storey + random.uniform(0.6, 1.4)
    opening = (random.uniform(0.9, 1.5), random.uniform(1.2, 1.8))
    facade = Facade((opening[0] + random.uniform(0.7, 1.6), storey), opening, random.uniform(0.1, 0.3),
                    random.uniform(0.7, 1.0))
    wall = Surface(pick(random, WALLS), random.uniform(0.5, 0.85), 0.14, random.uniform(0.8, 1.3), facade,
                   _STONES)
    trim = Surface(pick(random, WALLS), 0.65, 0.1)
    parts = [box((0, side * depth / 2, height / 2), (width, depth, height), wall)]
    parts.append(box((0, side * (depth / 2 - 0.12), 0.3), (width + 0.04, depth + 0.24, 0.6), trim))
    parts.append(box((0, side * (depth / 2 - 0.15), height + 0.15), (width + 0.1, depth + 0.5, 0.35), trim))
    parts.append(box((random.uniform(-0.3, 0.3) * width, side * depth * 0.6, height + 0.9), (1.6, 1.2, 1.5), trim))
    if random.random() < 0.5:
        ledge = storey + 0.1
        parts.append(box((0, -side * 0.1, ledge), (width, 0.2, 0.22), trim))
    for _ in range(int(random.integers(0, 4)) if storeys > 2 else 0):
        level = int(random.integers(1, storeys)) * storey + 0.45
        parts.append(box((random.uniform(-0.35, 0.35) * width, -side * 0.5, level), (2.2, 1.0, 0.9), trim))
    if random.random() < 0.4:
        awning = Surface(pick(random, PAINTS), 0.4, 0.05)
        parts.append(box((random.uniform(-0.2, 0.2) * width, -side * 0.55, 2.75), (0.5 * width, 1.1, 0.16), awning))
    door = Surface(pick(random, PAINTS, 0.3), 0.5, 0.1)
    parts.append(box((random.uniform(-0.4, 0.4) * width, -side * 0.06, 1.15), (1.3, 0.12, 2.3), door))
    return parts


def backdrop(random: Generator, width: float, variety: float = 0.0) -> list[Part]:
    """A large building far behind the street, about its centre."""
    height = random.uniform(12.0, 34.0)
    if _varied(random, variety):
        contrast, tint, scale, pattern = wall_finish(random)
        size = (random.uniform(0.8, 2.6), random.uniform(0.8, 2.0))
        windows = Facade((size[0] + random.uniform(0.5, 2.0), random.uniform(2.8, 3.6)), size, 0.2, 1.0)
        skin = Surface(wild_colour(random) if random.random() < 0.2 else pick(random, WALLS), contrast, tint,
                       2.0 * scale,
                       windows, pattern)
        return [box((0, 0, height / 2), (width, random.uniform(9.0, 20.0), height), skin)]
    facade = Facade((3.2, 3.3), (1.8, 1.7), 0.25, 1.0)
    wall = Surface(pick(random, WALLS), 0.7, 0.12, 1.5, facade)
    return [box((0, 0, height / 2), (width, 16.0, height), wall)]


def car(random: Generator, variety: float = 0.0) -> list[Part]:
    """A passenger car of about 4.4 x 1.8 x 1.5 m."""
    if _varied(random, variety):
        return varied_car(random)
    length, width, height = random.uniform(4.0, 4.8), _CAR_WIDTH * random.uniform(0.95, 1.03), random.uniform(1.4, 1.65)
    paint = Surface(pick(random, PAINTS, 0.25), 0.36, 0.06)
    waist, nose = 0.58 * height, random.uniform(0.45, 0.95)
    cabin = length - nose - random.uniform(0.3, 0.8)
    shift = -(nose - (length - cabin - nose)) / 2.0
    parts = [box((0, 0, (0.24 + waist) / 2), (length, width, waist - 0.24), paint),
             box((shift, 0, (waist + height - 0.06) / 2), (cabin * 0.92, width * 0.86, height - 0.06 - waist), GLASS),
             box((shift - 0.05, 0, height - 0.04), (cabin * 0.8, width * 0.84, 0.08), paint)]
    for pillar in (-0.44, 0.0, 0.42):
        middle = (shift + pillar * cabin, 0, (waist + height) / 2)
        parts.append(box(middle, (0.09, width * 0.875, height - waist - 0.04), paint))
    parts += _running_gear(length, width)
    return parts


def van(random: Generator, variety: float = 0.0) -> list[Part]:
    """A delivery van of about 5.4 x 2.0 x 2.3 m."""
    if _varied(random, variety):
        return varied_van(random)
    length, width, height = random.uniform(5.0, 5.8), 1.98, random.uniform(2.1, 2.5)
    paint = Surface(pick(random, PAINTS, 0.2), 0.38, 0.06)
    stripe = Surface(pick(random, PAINTS, 0.2), 0.3, 0.05)
    parts = [box((-0.4, 0, (0.3 + height) / 2), (length - 0.8, width, height - 0.3), paint),
             box((length / 2 - 0.4, 0, 0.72), (0.8, width * 0.97, 0.84), paint),
             box((length / 2 - 0.55, 0, 1.45), (0.5, width * 0.9, 0.7), GLASS),
             box((-0.6, 0, 1.35), (length * 0.5, width + 0.02, 0.25), stripe)]
    return parts + _running_gear(length, width)


def _running_gear(length: float, width: float) -> list[Part]:
    """Wheels, lights and plates of a vehicle."""
    front, rear = Surface((0.75, 0.74, 0.68), 0.2, 0.0), Surface((0.42, 0.03, 0.03), 0.25, 0.0)
    plate = Surface((0.70, 0.68, 0.45), 0.9, 0.0, 0.35)
    parts = [wheel((x * length, y * (width / 2 - 0.1), 0.33), 0.33, 0.22, TYRE)
             for x in (-0.31, 0.31) for y in (-1.0, 1.0)]
    for y in (-1.0, 1.0):
        parts.append(box((length / 2, y * 0.36 * width, 0.68), (0.06, 0.34, 0.16), front))
        parts.append(box((-length / 2, y * 0.39 * width, 0.74), (0.06, 0.26, 0.2), rear))
    parts.append(box((0, 0, 0.38), (length + 0.1, width * 0.8, 0.16), METAL))
    parts.append(box((0, 0, 0.52), (length + 0.06, 0.5, 0.11), plate))
    return parts


def person(random: Generator, variety: float = 0.0) -> list[Part]:
    """A person of 1.6 to 1.9 m, walking along x."""
    if _varied(random, variety):
        return varied_person(random)
    height = random.uniform(1.58, 1.9)
    top, bottom = Surface(pick(random, CLOTHES, 0.3), 0.45, 0.1), Surface(pick(random, CLOTHES, 0.3), 0.4, 0.05)
    skin = Surface((0.42, 0.27, 0.19), 0.25, 0.05)
    hip, shoulder = 0.48 * height, 0.82 * height
    step = random.uniform(0.06, 0.2)
    parts = [cylinder((sign * step, sign * 0.09, 0.0), 0.085, hip, bottom) for sign in (-1.0, 1.0)]
    parts.append(ellipsoid((0, 0, (hip + shoulder) / 2), (0.15, 0.23, 0.6 * (shoulder - hip)), top))
    parts += [cylinder((-sign * step, sign * 0.25, 0.9 * hip), 0.05, shoulder - hip, top) for sign in (-1.0, 1.0)]
    parts.append(ellipsoid((0.02, 0, 0.93 * height), (0.10, 0.085, 0.075 * height), skin))
    return parts


def tree(random: Generator, variety: float = 0.0) -> list[Part]:
    """A street tree: a trunk and a crown of several leafy ellipsoids."""
    if _varied(random, variety):
        return varied_tree(random)
    trunk, crown = random.uniform(2.2, 3.2), random.uniform(1.1, 1.8)
    green = random.uniform(0.8, 1.3)
    bark = Surface((0.17, 0.12, 0.085), 0.8, 0.1, 0.6)
    parts = [cylinder((0, 0, 0), random.uniform(0.1, 0.2), trunk + 0.6 * crown, bark)]
    for _ in range(int(random.integers(4, 7))):
        leaves = Surface((0.085 * green, 0.16 * green, 0.045 * green), 1.25, 0.35, 0.8)
        radius = crown * random.uniform(0.5, 0.8)
        angle, out = random.uniform(0.0, 2.0 * math.pi), crown * random.uniform(0.1, 0.6)
        centre = (out * math.cos(angle), out * math.sin(angle), trunk + crown * random.uniform(0.4, 1.4))
        parts.append(ellipsoid(centre, (radius, radius * random.uniform(0.8, 1.2), radius * 0.8), leaves, angle))
    return parts


def lamp_post(random: Generator, side: int, variety: float = 0.0) -> list[Part]:
    """A lamp post whose arm reaches over the street (towards -side * y)."""
    if _varied(random, variety):
        return varied_lamp(random, side)
    height = random.uniform(6.0, 7.5)
    return [cylinder((0, 0, 0), 0.08, height, METAL), cylinder((0, 0, 0), 0.13, 1.1, METAL),
            box((0, -side * 0.8, height - 0.05), (0.08, 1.7, 0.08), METAL),
            box((0, -side * 1.6, height - 0.12), (0.26, 0.6, 0.12), METAL)]


def sign(random: Generator, variety: float = 0.0) -> list[Part]:
    """A traffic sign that faces along the street."""
    if _varied(random, variety):
        return varied_sign(random)
    plate = Surface(pick(random, ((0.55, 0.06, 0.05), (0.06, 0.15, 0.5), (0.7, 0.6, 0.08))), 0.6, 0.1, 0.5)
    return [cylinder((0, 0, 0), 0.035, 2.6, METAL), box((0, 0, 2.35), (0.04, 0.6, 0.6), plate)]


def furniture(random: Generator, variety: float = 0.0) -> list[Part]:
    """A litter bin, a bollard, a bench or a cabinet."""
    if _varied(random, variety):
        return varied_furniture(random)
    choice = int(random.integers(4))
    colour = Surface(pick(random, PAINTS, 0.3), 0.55, 0.08)
    if choice == 0:
        return [cylinder((0, 0, 0), 0.24, 0.95, colour)]
    if choice == 1:
        return [cylinder((0, 0, 0), 0.09, 0.9, METAL), ellipsoid((0, 0, 0.92), (0.1, 0.1, 0.08), colour)]
    if choice == 2:
        wood = Surface((0.28, 0.17, 0.09), 0.7, 0.1)
        return [box((0, 0, 0.45), (1.6, 0.45, 0.07), wood), box((-0.6, 0, 0.21), (0.1, 0.4, 0.42), METAL),
                box((0.6, 0, 0.21), (0.1, 0.4, 0.42), METAL), box((0, 0.22, 0.75), (1.6, 0.06, 0.4), wood)]
    return [box((0, 0, 0.6), (0.9, 0.45, 1.2), colour)]
