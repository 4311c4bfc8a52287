"""Vehicles of many shapes. Frame: x forward, y left, z up from the road below the middle of the vehicle. The first part
is an upright box; sloping bonnets and screens are leaning boxes that overlap it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import Generator

from .looks import (
    DARK,
    GLASS,
    METAL,
    PAINTS,
    RED_LIGHT,
    TYRE,
    WHITE_LIGHT,
    advert,
    any_colour,
    car_paint,
    ribs,
    wild_colour,  # fmt: skip
)
from .people import rider
from .primitives import Part, Pattern, Surface, box, cylinder, ellipsoid, leaning_box, placed, rod, tilted_box, wheel

_RIM = Surface((0.42, 0.43, 0.44), 0.2, 0.0, shine=0.2)


@dataclass(frozen=True)
class _Shape:
    """Proportions of a car as shares of its length (along) or height (up).

    bonnet: length of the bonnet; boot: length of the boot lid; front, rear: how far the screens lean; waist: height of
    the sills of the windows.
    """

    bonnet: float
    boot: float
    front: float
    rear: float
    waist: float


_HATCHBACK = _Shape(0.23, 0.02, 0.15, 0.07, 0.58)
_SALOON = _Shape(0.26, 0.16, 0.14, 0.12, 0.60)
_ESTATE = _Shape(0.24, 0.01, 0.14, 0.05, 0.60)
_SUV = _Shape(0.24, 0.01, 0.10, 0.05, 0.60)
_COUPE = _Shape(0.32, 0.08, 0.18, 0.20, 0.64)
_ONE_BOX = _Shape(0.12, 0.01, 0.20, 0.03, 0.54)


def varied_car(random: Generator) -> list[Part]:
    """A hatchback, saloon, estate, SUV, coupe, people carrier, pickup or old box on wheels."""
    kind = int(random.integers(8))
    if kind == 6:
        return pickup(random)
    shape, length, height = ((_HATCHBACK, 4.0, 1.5), (_SALOON, 4.7, 1.45), (_ESTATE, 4.7, 1.5), (_SUV, 4.6, 1.75),
                             (_COUPE, 4.4, 1.3), (_ONE_BOX, 4.4, 1.75), (_SUV, 5.0, 1.9), (_HATCHBACK, 3.5, 1.5))[kind]
    length, height = length * random.uniform(0.92, 1.1), height * random.uniform(0.94, 1.08)
    return _car(random, shape, length, random.uniform(1.65, 1.95), height)


def _car(random: Generator, shape: _Shape, length: float, width: float, height: float) -> list[Part]:
    paint, clearance = car_paint(random), random.uniform(0.16, 0.28)
    radius = random.uniform(0.28, 0.38)
    waist = shape.waist * height
    nose = waist - random.uniform(0.04, 0.16)
    bonnet, boot = shape.bonnet * length, shape.boot * length
    lower = 0.72 * waist
    parts = [box((0, 0, 0.5 * (clearance + lower)), (length, width, lower - clearance), paint)]
    # Body between bonnet and boot up to the waist, the bonnet itself falling towards the nose.
    back, front = -length / 2 + 0.03, length / 2 - bonnet
    parts.append(box((0.5 * (back + front), 0, 0.5 * (lower + waist)), (front - back, 0.98 * width, waist - lower),
                     paint))
    fall = math.atan2(waist - nose, bonnet)
    parts.append(tilted_box((front + bonnet / 2 - 0.04, 0, 0.5 * (waist + nose) - 0.13), (bonnet, 0.94 * width, 0.22),
                            paint, (0.0, fall, 0.0)))
    parts += _cabin(shape, (-length / 2 + boot, front + 0.05), (length, width, height), waist, paint)
    parts += _lamps_and_plates(random, length, width, 0.86 * lower)
    for y in (-1.0, 1.0):
        parts.append(box((front - 0.12 * length, y * (width / 2 + 0.09), waist + 0.07), (0.14, 0.2, 0.13), paint))
        parts.append(box((-0.06 * length, y * width / 2, 0.86 * waist), (0.18, 0.04, 0.03), METAL))
    axles = (-0.5 * length + random.uniform(0.62, 0.95), 0.5 * length - random.uniform(0.68, 0.95))
    parts += wheels(random, axles, width, radius)
    if random.random() < 0.15:
        parts += _roof_load(random, shape, length, height)
    return parts


def _cabin(shape: _Shape, span: tuple[float, float], size: tuple[float, float, float], waist: float,
           paint: Surface) -> list[Part]:
    """Glass between waist and roof: a front half leaning back and a rear half leaning forward, roof and pillars."""
    (rear, front), (length, width, height) = span, size
    tall = height - waist - 0.05
    lean_front, lean_rear = shape.front * length, shape.rear * length
    middle = 0.5 * (rear + front) + 0.25 * (lean_rear - lean_front)
    z, parts = waist + tall / 2, []
    for foot, lean, half in ((front, -lean_front, 1.0), (rear, lean_rear, -1.0)):
        # The outer face leans; the inner one leans with it and overlaps the other half.
        inner = middle - half * 0.5 * abs(lean) - half * 0.1
        long, at = abs(foot - inner), 0.5 * (foot + inner) + lean / 2
        parts.append(leaning_box((at, 0, z), (long, 0.88 * width, tall), GLASS, (lean, 0.0)))
        for y in (-1.0, 1.0):
            parts.append(leaning_box((foot + lean / 2 - half * 0.04, y * 0.435 * width, z), (0.08, 0.06, tall + 0.02),
                                     paint, (lean, 0.0)))
    roof_rear, roof_front = rear + lean_rear, front - lean_front
    parts.append(box((0.5 * (roof_rear + roof_front), 0, height - 0.03),
                     (roof_front - roof_rear + 0.04, 0.88 * width, 0.06), paint))
    parts.append(box((middle - 0.05, 0, z), (0.1, 0.9 * width, tall), paint))
    return parts


def _roof_load(random: Generator, shape: _Shape, length: float, height: float) -> list[Part]:
    """Rails with a box, a lamp bar or a taxi sign."""
    middle = -0.08 * length
    draw = random.random()
    if draw < 0.4:
        return [ellipsoid((middle, 0, height + 0.17), (0.85, 0.4, 0.2), DARK),
                *(box((middle + x, 0, height + 0.03), (0.06, 1.2, 0.08), METAL) for x in (-0.5, 0.5))]
    if draw < 0.7:
        lamp = Surface((0.04, 0.1, 0.6), 0.1, 0.0, glow=5.0)
        return [box((middle, 0, height + 0.06), (0.25, 1.1, 0.12), lamp)]
    sign = Surface((0.7, 0.6, 0.1), 0.1, 0.0, pattern=Pattern((0.3, 0.1), fine=0.8), glow=2.0)
    return [box((middle, 0, height + 0.07), (0.15, 0.45, 0.14), sign)]


def wheels(random: Generator, axles: tuple[float, ...], width: float, radius: float) -> list[Part]:
    """Tyres with rims at the given places along x."""
    parts = []
    for x in axles:
        for y in (-1.0, 1.0):
            parts.append(wheel((x, y * (width / 2 - 0.11), radius), radius, 0.24, TYRE))
            parts.append(wheel((x, y * (width / 2 - 0.1), radius), 0.62 * radius, 0.24, _RIM))
    return parts


def _lamps_and_plates(random: Generator, length: float, width: float, z: float) -> list[Part]:
    """Head and tail lamps, grille, bumpers and number plates."""
    lamp, tail = random.uniform(0.08, 0.18), random.uniform(0.1, 0.35)
    wide = random.uniform(0.22, 0.42)
    plate = Surface((0.70, 0.69, 0.6), 0.1, 0.0, pattern=Pattern((0.25, 0.3), fine=0.85))
    parts = []
    for y in (-1.0, 1.0):
        parts.append(box((length / 2, y * (0.48 * width - wide / 2), z), (0.06, wide, lamp), WHITE_LIGHT))
        parts.append(box((-length / 2, y * 0.42 * width, z + 0.05), (0.06, 0.24, tail), RED_LIGHT))
    parts.append(box((length / 2, 0, z - 0.05), (0.05, 0.5 * width, random.uniform(0.08, 0.25)), DARK))
    parts.append(box((0, 0, 0.36), (length + 0.08, 0.9 * width, 0.14), DARK if random.random() < 0.6 else METAL))
    parts += [box((x, 0, z - 0.17), (0.03, 0.52, 0.11), plate) for x in (length / 2 + 0.035, -length / 2 - 0.035)]
    return parts


def pickup(random: Generator) -> list[Part]:
    """A pickup with an open bed, loaded or not."""
    length, width, height = random.uniform(4.9, 5.6), random.uniform(1.8, 2.0), random.uniform(1.7, 1.9)
    paint = car_paint(random)
    bed = random.uniform(0.28, 0.42) * length
    rear, waist = -length / 2, 0.6 * height
    parts = [box((0, 0, 0.62), (length, width, 0.5), paint)]
    parts += [box((rear + bed / 2, y * 0.47 * width, 0.98), (bed, 0.07, 0.36), paint) for y in (-1.0, 1.0)]
    parts.append(box((rear + 0.04, 0, 0.98), (0.06, width, 0.36), paint))
    shape = _Shape(0.24, bed / length, 0.1, 0.01, 0.6)
    parts.append(box((rear + 0.5 * (bed + 0.76 * length), 0, waist - 0.12), (0.76 * length - bed, width, 0.24), paint))
    parts.append(box((length / 2 - 0.12 * length, 0, waist - 0.16), (0.24 * length, 0.95 * width, 0.2), paint))
    parts += _cabin(shape, (rear + bed, length / 2 - 0.23 * length), (length, width, height), waist, paint)
    for _ in range(int(random.integers(0, 5))):
        size = random.uniform(0.2, 0.8, 3)
        load = Surface(wild_colour(random), 0.6, 0.1, 0.6)
        parts.append(box((rear + bed * random.uniform(0.3, 0.7), random.uniform(-0.4, 0.4), 0.85 + size[2] / 2),
                         (size[0], size[1], size[2]), load, random.uniform(0.0, 3.0)))
    return parts + _lamps_and_plates(random, length, width, 0.72) + wheels(random, (-0.32 * length, 0.31 * length),
                                                                          width, 0.39)


def varied_van(random: Generator) -> list[Part]:
    """A van with a sloping nose, windows or a closed and perhaps printed body."""
    length, width, height = random.uniform(4.4, 6.2), random.uniform(1.8, 2.1), random.uniform(1.85, 2.7)
    paint, nose = car_paint(random), random.uniform(0.5, 0.95)
    front, waist = length / 2 - nose, random.uniform(1.15, 1.3)
    parts = [box(((front - length / 2) / 2, 0, (0.25 + height) / 2), (length - nose, width, height - 0.25), paint)]
    parts.append(box((front + nose / 2, 0, 0.58), (nose, 0.98 * width, 0.7), paint))
    lean = nose * random.uniform(0.55, 0.9)
    parts.append(leaning_box((front + 0.38 * nose - lean / 2, 0, (0.9 + height) / 2 - 0.1),
                             (0.8 * nose, 0.94 * width, height - 1.1), GLASS, (-lean, 0.0)))
    parts += [box((front - 0.4, y * width / 2, waist + 0.25), (0.85, 0.03, 0.5), GLASS) for y in (-1.0, 1.0)]
    draw = random.random()
    if draw < 0.35:
        parts.append(box((-0.12 * length, 0, waist + 0.3), (0.55 * length, width + 0.02, 0.55), GLASS))
    elif draw < 0.75:
        parts.append(box((-0.14 * length, 0, random.uniform(0.9, 1.4)), (0.5 * length, width + 0.02,
                         random.uniform(0.3, 0.9)), Surface(wild_colour(random), 0.1, 0.05, pattern=advert(random))))
    parts.append(box((-length / 2, 0, 1.5), (0.04, 0.75 * width, 0.5), GLASS))
    for y in (-1.0, 1.0):
        parts.append(box((front - 0.05, y * (width / 2 + 0.12), waist + 0.2), (0.12, 0.22, 0.3), DARK))
    return parts + _lamps_and_plates(random, length, width, 0.78) + wheels(random, (-0.3 * length, 0.33 * length),
                                                                          width, 0.35)


def bus(random: Generator) -> list[Part]:
    """A city bus, coach or tram-like long bus; some printed all over."""
    length, width, height = random.uniform(8.5, 15.0), 2.5, random.uniform(2.9, 3.9)
    draw = random.random()
    pattern = advert(random) if draw < 0.3 else None
    paint = Surface(any_colour(random, PAINTS, 0.6), random.uniform(0.05, 0.35), 0.05, 1.5, pattern=pattern, shine=0.15)
    trim = Surface(wild_colour(random), 0.15, 0.02, shine=0.1)
    low = random.uniform(1.0, 1.5)
    parts = [box((0, 0, (0.3 + height) / 2), (length, width, height - 0.3), paint),
             box((0, 0, (low + height - 0.5) / 2), (0.93 * length, width + 0.02, height - 0.5 - low), GLASS)]
    pillars = int(length / random.uniform(1.3, 2.0))
    parts += [box((((number + 0.5) / pillars - 0.5) * 0.93 * length, 0, (low + height - 0.5) / 2),
                  (0.12, width + 0.05, height - 0.5 - low), DARK) for number in range(pillars)]
    parts.append(box((length / 2, 0, (0.9 + height - 0.5) / 2), (0.06, 0.94 * width, height - 1.4), GLASS))
    number_sign = Surface((0.04, 0.04, 0.04), 0.05, 0.0, pattern=Pattern((0.3, 0.25), fine=0.0, hue=0.4), glow=3.0)
    parts.append(box((length / 2 + 0.01, 0, height - 0.3), (0.06, 1.7, 0.26), number_sign))
    parts.append(box((-length / 2, 0, height - 0.9), (0.04, 0.7 * width, 0.8), GLASS))
    parts.append(box((0, 0, 0.55), (length + 0.04, width + 0.03, 0.3), trim))
    for y in (-1.0, 1.0):
        parts.append(box((length / 2 + 0.15, y * 1.25, height - 0.8), (0.12, 0.2, 0.45), DARK))
    for door in (0.4, 0.0):
        parts.append(box((door * length, -width / 2, 1.4), (1.2, 0.06, 2.1), GLASS))
    if random.random() < 0.5:
        parts.append(box((-0.15 * length, 0, height + 0.12), (2.4, 1.6, 0.24), METAL))
    return parts + _lamps_and_plates(random, length, width, 0.85) + wheels(random, (-0.27 * length, 0.32 * length),
                                                                          width, 0.48)


def truck(random: Generator) -> list[Part]:
    """A lorry: cab and a box, flat bed, tank, tipper or container; some with a trailer."""
    load, width = random.uniform(3.6, 7.5), random.uniform(2.2, 2.55)
    cab, paint = random.uniform(1.7, 2.3), car_paint(random)
    length, height = load + cab + 0.2, random.uniform(2.4, 3.4)
    front, floor = length / 2, random.uniform(0.9, 1.15)
    parts = [box((0, 0, floor - 0.15), (length, 0.8, 0.25), DARK),
             box((front - cab / 2, 0, (0.5 + height) / 2), (cab, width, height - 0.5), paint),
             box((front - 0.02, 0, 0.72 * height), (0.12, 0.9 * width, 0.26 * height), GLASS),
             box((front - 0.55, 0, 0.72 * height), (0.7, width + 0.02, 0.22 * height), GLASS)]
    if random.random() < 0.4:
        parts.append(leaning_box((front - 0.6 * cab, 0, height + 0.3), (0.6 * cab, 0.9 * width, 0.6), paint, (-0.5, 0)))
    for y in (-1.0, 1.0):
        parts.append(box((front + 0.1, y * (width / 2 + 0.12), 0.72 * height), (0.12, 0.16, 0.6), DARK))
        parts.append(box((-0.1 * length, y * 0.42 * width, 0.65), (1.2, 0.4, 0.5), METAL))
    parts += placed(_load(random, load, width, floor), x=-length / 2 + load / 2)
    parts += _lamps_and_plates(random, length, width, 0.8)
    rear = (-0.28 * length, -0.28 * length - 1.15) if load > 5.0 else (-0.3 * length,)
    parts += wheels(random, (front - 0.5 * cab, *rear), width, 0.48)
    if random.random() < 0.25:
        tow = trailer(random)
        parts += placed(tow, x=-length / 2 - 4.2)
    return parts


def _load(random: Generator, length: float, width: float, floor: float) -> list[Part]:
    """What a lorry carries, about x = 0."""
    kind, high = int(random.integers(5)), random.uniform(1.8, 2.8)
    if kind <= 1:
        pattern = (None, advert(random), ribs(random.uniform(0.1, 0.3)))[int(random.integers(3))]
        skin = Surface(any_colour(random, PAINTS, 0.5), random.uniform(0.05, 0.5), 0.05, 1.5, pattern=pattern)
        return [box((0, 0, floor + high / 2), (length, width + 0.04, high), skin),
                box((0, 0, floor + 0.05), (length + 0.04, width + 0.08, 0.1), METAL)]
    if kind == 2:
        tank = Surface(any_colour(random, PAINTS, 0.3), 0.15, 0.03, shine=0.4)
        radius = 0.45 * width
        return [rod((-length / 2, 0, floor + radius), (length / 2, 0, floor + radius), radius, tank),
                *(rod((x * length - 0.05, 0, floor + radius), (x * length + 0.05, 0, floor + radius), radius + 0.04,
                      METAL)
                  for x in (-0.3, 0.0, 0.3)), box((0, 0, floor + 2 * radius + 0.05), (0.8 * length, 0.5, 0.08), METAL)]
    steel = Surface(any_colour(random, PAINTS, 0.4), 0.6, 0.1, pattern=ribs(0.6))
    sides = [box((0, y * width / 2, floor + 0.4), (length, 0.06, 0.8), steel) for y in (-1.0, 1.0)]
    parts = [box((0, 0, floor), (length, width, 0.15), METAL), *(sides if kind == 3 else [])]
    parts.append(box((length / 2 - 0.03, 0, floor + 0.6), (0.08, width, 1.2), steel))
    for _ in range(int(random.integers(0, 8))):
        goods = Surface(wild_colour(random), random.uniform(0.1, 1.0), 0.15, random.uniform(0.3, 1.5))
        size = random.uniform(0.4, 1.5, 3)
        place = (random.uniform(-0.35, 0.35) * length, random.uniform(-0.25, 0.25) * width, floor + size[2] / 2)
        shape = int(random.integers(3))
        if shape == 0:
            parts.append(ellipsoid(place, 0.6 * size, goods))
        elif shape == 1:
            parts.append(box(place, (size[0], 0.7 * size[1], size[2]), goods, random.uniform(-0.2, 0.2)))
        else:
            parts.append(rod((-0.4 * length, place[1], floor + 0.25), (0.4 * length, place[1], floor + 0.25), 0.17,
                             goods))
    return parts


def trailer(random: Generator) -> list[Part]:
    """A trailer on its own: goods trailer, caravan or boat trailer."""
    length, width = random.uniform(2.4, 5.5), random.uniform(1.5, 2.2)
    draw = random.random()
    if draw < 0.4:
        parts = _load(random, length, width, 0.7)
        parts.insert(0, box((0, 0, 0.6), (length, 0.8 * width, 0.12), DARK))
    elif draw < 0.8:
        high, paint = random.uniform(1.9, 2.4), car_paint(random)
        parts = [box((0, 0, 0.45 + high / 2), (length, width, high), paint),
                 box((-0.05 * length, 0, 0.45 + 0.65 * high), (0.5 * length, width + 0.02, 0.5), GLASS),
                 box((0.25 * length, -width / 2, 0.45 + 0.5 * high), (0.6, 0.04, 0.85 * high), METAL)]
    else:
        hull = Surface(any_colour(random, PAINTS, 0.4), 0.1, 0.03, shine=0.2)
        parts = [box((0, 0, 0.45), (length, 0.5, 0.08), METAL),
                 ellipsoid((0, 0, 1.0), (0.55 * length, 0.45 * width, 0.5), hull),
                 box((0.05 * length, 0, 1.5), (0.25 * length, 0.5 * width, 0.6), GLASS)]
    parts.append(rod((length / 2 - 0.2, 0, 0.5), (length / 2 + 1.0, 0, 0.48), 0.05, METAL))
    parts.append(cylinder((length / 2 + 0.8, 0, 0), 0.05, 0.6, METAL))
    return parts + wheels(random, (-0.08 * length,), width, 0.33)


def motorcycle(random: Generator, ridden: bool = False) -> list[Part]:
    """A motorcycle or scooter; ``ridden``: with a rider."""
    paint, radius = car_paint(random), random.uniform(0.22, 0.33)
    half = random.uniform(0.55, 0.75)
    parts = [box((0, 0, 0.48), (0.5, 0.3, 0.36), METAL)]
    for x in (-half, half):
        parts += [wheel((x, 0, radius), radius, 0.13, TYRE), wheel((x, 0, radius), 0.55 * radius, 0.14, _RIM)]
    parts += [ellipsoid((0.12, 0, 0.85), (0.3, 0.16, 0.15), paint), ellipsoid((-0.38, 0, 0.82), (0.4, 0.14, 0.09),
                                                                              DARK),
              rod((half, 0, radius), (half - 0.32, 0, 1.05), 0.05, METAL), rod((-half, 0, radius), (0, 0, 0.45), 0.05,
                                                                               METAL),
              rod((half - 0.3, -0.35, 1.05), (half - 0.3, 0.35, 1.05), 0.02, DARK),
              ellipsoid((half - 0.18, 0, 0.88), (0.12, 0.12, 0.13), WHITE_LIGHT),
              box((-half - 0.12, 0, 0.72), (0.06, 0.18, 0.1), RED_LIGHT),
              rod((-half - 0.1, -0.17, 0.32), (0.1, -0.17, 0.3), 0.05, METAL)]
    if random.random() < 0.5:
        parts.append(leaning_box((half - 0.28, 0, 1.15), (0.04, 0.4, 0.4), GLASS, (-0.15, 0.0)))
        parts.append(leaning_box((half - 0.35, 0, 0.62), (0.1, 0.45, 0.6), paint, (-0.2, 0.0)))
    if random.random() < 0.3:
        parts.append(box((-half - 0.02, 0, 1.05), (0.4, 0.4, 0.35), Surface(wild_colour(random), 0.1)))
    return parts + (rider(random, (-0.3, 0.82), (half - 0.3, 1.05), 0.42) if ridden else [])
