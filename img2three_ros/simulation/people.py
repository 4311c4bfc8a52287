"""People in many poses and clothes, and cyclists. They face along x; feet (or wheels) stand on z = 0."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .looks import CLOTHES, DARK, METAL, PAINTS, any_colour, stripes
from .primitives import Part, Pattern, Surface, box, ellipsoid, point, rod, tilted_box

_SKINS = ((0.42, 0.27, 0.19), (0.55, 0.38, 0.29), (0.20, 0.11, 0.07), (0.10, 0.06, 0.04), (0.32, 0.20, 0.12))
_HAIRS = ((0.03, 0.025, 0.02), (0.12, 0.07, 0.03), (0.35, 0.25, 0.12), (0.4, 0.4, 0.4))
Point = NDArray[np.float64]


def cloth(random: Generator) -> Surface:
    """Clothes: plain, striped, checked or printed; some glow in headlights."""
    draw, pattern = random.random(), None
    if draw < 0.12:
        pattern = stripes(random, random.uniform(0.03, 0.12), upright=random.random() < 0.4)
    elif draw < 0.2:
        pattern = Pattern((0.09, 0.09), hue=random.uniform(0.2, 0.9), spread=0.3)
    vest = random.random() < 0.06
    colour = (0.6, 0.7, 0.05) if vest else any_colour(random, CLOTHES, 0.4)
    return Surface(colour, random.uniform(0.1, 0.6), 0.08, random.uniform(0.3, 1.0), pattern=pattern,
                   glow=1.0 if vest else 0.0)


def _limb(start: Point, joint: Point, end: Point, radius: float, upper: Surface, lower: Surface) -> list[Part]:
    """Two pieces with a rounded joint."""
    return [rod(start, joint, radius, upper), rod(joint, end, 0.8 * radius, lower)]


def _head(random: Generator, neck: Point, size: float, skin: Surface) -> list[Part]:
    hair = Surface(any_colour(random, _HAIRS, 0.1), 0.6, 0.05, 0.4)
    head = neck + point(0.02, 0.0, 0.75 * size)
    parts = [ellipsoid(head, (0.66 * size, 0.55 * size, 0.75 * size), skin)]
    draw = random.random()
    if draw < 0.7:
        parts.append(ellipsoid(head + point(-0.025, 0, 0.03), (0.66 * size, 0.6 * size, 0.74 * size), hair))
    elif draw < 0.85:
        hat = cloth(random)
        parts += [ellipsoid(head + point(0, 0, 0.45 * size), (0.72 * size, 0.64 * size, 0.42 * size), hat),
                  ellipsoid(head + point(0.5 * size, 0, 0.3 * size), (0.6 * size, 0.45 * size, 0.05), hat)]
    return parts


def varied_person(random: Generator) -> list[Part]:
    """A child or grown-up, walking, standing, running, waving or with a bag, a skirt, an umbrella, a pram."""
    height = random.uniform(0.95, 1.45) if random.random() < 0.15 else random.uniform(1.5, 2.0)
    girth = height / 1.75 * random.uniform(0.85, 1.35)
    top, bottom, shoe = cloth(random), cloth(random), DARK
    skin = Surface(any_colour(random, _SKINS, 0.0), 0.15, 0.04)
    hip, shoulder = 0.5 * height, 0.82 * height
    lean = random.normal(0.0, 0.04)
    chest = point(lean, 0.0, 0.5 * (hip + shoulder) + 0.03)
    parts = [ellipsoid(chest, (0.13 * girth, 0.21 * girth, 0.56 * (shoulder - hip) + 0.06), top)]
    parts.append(ellipsoid((0, 0, hip + 0.03), (0.13 * girth, 0.17 * girth, 0.12), bottom))
    stride = random.choice((0.0, random.uniform(0.1, 0.35), random.uniform(0.3, 0.7)))
    for sign in (-1.0, 1.0):
        swing = sign * stride * 0.5 * height / 1.75
        start = point(0.0, sign * 0.085 * girth, hip)
        knee = start + point(0.55 * swing + 0.05, 0.0, -0.24 * height)
        foot = point(swing, sign * 0.09 * girth, 0.06 + max(0.0, -0.25 * swing))
        parts += _limb(start, knee, foot, 0.075 * girth, bottom, bottom if random.random() < 0.85 else skin)
        parts.append(ellipsoid(foot + point(0.06, 0.0, -0.01), (0.13, 0.05, 0.05), shoe))
        parts += _arm(random, point(lean, sign * 0.2 * girth, shoulder - 0.03), -swing, sign, height, top, skin)
    if random.random() < 0.2:
        parts.append(ellipsoid((0, 0, hip - 0.14 * height), (0.19 * girth, 0.22 * girth, 0.2 * height), bottom))
    parts += _head(random, point(lean, 0.0, shoulder), 0.115 * height, skin)
    return parts + _carried(random, hip, shoulder, lean)


def _arm(random: Generator, start: Point, swing: float, sign: float, height: float, top: Surface,
         skin: Surface) -> list[Part]:
    draw, piece = random.random(), 0.16 * height
    if draw < 0.08:  # raised
        elbow, hand = start + point(0.05, sign * 0.12, 0.7 * piece), start + point(0.1, sign * 0.15, 1.7 * piece)
    elif draw < 0.3:  # bent forward: a phone, a bag, a pram
        elbow, hand = start + point(-0.02, sign * 0.05, -piece), start + point(0.8 * piece, -sign * 0.05, -0.8 * piece)
    else:
        elbow = start + point(0.5 * swing - 0.03, sign * 0.06, -piece)
        hand = elbow + point(0.6 * swing + 0.05, sign * 0.01, -0.95 * piece)
    return _limb(start, elbow, hand, 0.05 * height / 1.75, top, top if random.random() < 0.6 else skin)


def _carried(random: Generator, hip: float, shoulder: float, lean: float) -> list[Part]:
    """Nothing, a rucksack, a bag, an umbrella or a pram."""
    draw = random.random()
    if draw < 0.15:
        return [ellipsoid((lean - 0.18, 0, shoulder - 0.2), (0.11, 0.15, 0.24), cloth(random))]
    if draw < 0.28:
        return [box((0.05, 0.32, hip - 0.1), (0.34, 0.1, 0.3), cloth(random))]
    if draw < 0.34:
        cover = cloth(random)
        return [rod((0.15, 0.1, shoulder - 0.1), (0.1, 0.05, shoulder + 0.75), 0.012, METAL),
                ellipsoid((0.1, 0.05, shoulder + 0.62), (0.55, 0.55, 0.2), cover)]
    if draw < 0.38:
        frame = [rod((0.75, y - 0.02, 0.14), (0.75, y + 0.02, 0.14), 0.14, DARK) for y in (-0.22, 0.22)]
        return [*frame, ellipsoid((0.72, 0, 0.6), (0.38, 0.22, 0.22), cloth(random)),
                rod((0.2, 0, 1.0), (0.7, 0, 0.45), 0.025, METAL)]
    return []


def _spoked(x: float, radius: float) -> list[Part]:
    """A thin wheel as eight pieces of tyre, see-through between a few spokes, in the plane y = 0."""
    ring = [point(x + radius * math.sin(k * math.pi / 4), 0.0, radius + radius * math.cos(k * math.pi / 4))
            for k in range(8)]
    parts = [rod(one, other, 0.022, DARK) for one, other in zip(ring, ring[1:] + ring[:1], strict=True)]
    return parts + [rod(ring[k], ring[k + 4], 0.006, METAL) for k in range(0, 4, 2)]


def bicycle(random: Generator) -> list[Part]:
    """A bicycle with a see-through frame and wheels."""
    paint = Surface(any_colour(random, PAINTS, 0.5), 0.1, 0.02, shine=0.15)
    radius, half = random.uniform(0.29, 0.35), random.uniform(0.5, 0.56)
    crank, seat, fork = (-0.08, 0.0, 0.3), (-0.22, 0.0, 0.88), (half - 0.14, 0.0, 0.85)
    parts = [box((-0.24, 0, 0.92), (0.25, 0.14, 0.06), DARK)]
    for one, other in ((crank, seat), (crank, fork), (seat, fork), ((-half, 0.0, radius), crank),
                       ((-half, 0.0, radius), seat), ((half, 0.0, radius), (half - 0.16, 0.0, 1.0))):
        parts.append(rod(one, other, 0.018, paint))
    parts += _spoked(-half, radius) + _spoked(half, radius)
    parts.append(rod((half - 0.18, -0.28, 1.02), (half - 0.18, 0.28, 1.02), 0.014, METAL))
    if random.random() < 0.3:
        parts.append(box((half, 0, 0.85), (0.3, 0.35, 0.25), Surface((0.35, 0.25, 0.15), 0.8, 0.1, 0.4)))
    return parts


def rider(random: Generator, seat: tuple[float, float], grip: tuple[float, float], pedal: float) -> list[Part]:
    """A person who sits at seat (x, z) with hands at grip (x, z) and feet about pedal (z) above the ground."""
    top, bottom = cloth(random), cloth(random)
    skin = Surface(any_colour(random, _SKINS, 0.0), 0.15, 0.04)
    hip = point(seat[0], 0.0, seat[1] + 0.1)
    shoulder = hip + point(random.uniform(0.08, 0.32), 0.0, random.uniform(0.42, 0.52))
    middle = 0.5 * (hip + shoulder)
    tilt = math.atan2(shoulder[0] - hip[0], shoulder[2] - hip[2])
    parts = [tilted_box(middle, (0.2, 0.32, 0.42), top, (0.0, tilt, 0.0)),
             ellipsoid(shoulder - point(0.02, 0.0, 0.03), (0.13, 0.21, 0.14), top),
             ellipsoid(hip, (0.16, 0.18, 0.13), bottom)]
    turn = random.uniform(0.0, 2.0 * math.pi)
    for sign in (-1.0, 1.0):
        foot = point(0.08 + sign * 0.16 * math.cos(turn), sign * 0.14, pedal + sign * 0.16 * math.sin(turn))
        knee = 0.5 * (hip + foot) + point(0.24, sign * 0.12, 0.08)
        parts += _limb(hip + point(0.0, sign * 0.09, 0.0), knee, foot, 0.075, bottom, bottom)
        parts.append(ellipsoid(foot + point(0.05, 0.0, -0.03), (0.13, 0.05, 0.05), DARK))
        hand = point(grip[0], sign * 0.25, grip[1])
        start = shoulder + point(0.0, sign * 0.2, -0.02)
        parts += _limb(start, 0.5 * (start + hand) + point(0.0, sign * 0.06, -0.09), hand, 0.05, top, top)
    return parts + _head(random, shoulder + point(0.06, 0.0, 0.05), 0.2, skin)


def cyclist(random: Generator) -> list[Part]:
    """A person on a bicycle."""
    return bicycle(random) + rider(random, (-0.22, 0.92), (0.36, 1.04), 0.3)
