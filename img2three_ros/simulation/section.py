"""What a road looks like across: lanes, kerbs, pavements, crossing roads, materials; drawn for a scene from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from numpy.random import Generator

from .settings import SimulationConfig

ROAD_HALF_WIDTH = 5.9
KERB_HEIGHT = 0.12
LANE_CENTRE = -1.85
"""Lateral offset of the vehicle's lane on the plain street: traffic keeps right."""

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Crossings:
    """Roads that cross every ``spacing`` metres from x = ``first`` on, straight across the world's x axis.

    half_width: of the crossing road; skew: tangent of its angle against the y axis; radius: of the kerb in the
    corners; side: 0 = it goes on beyond, +1 / -1 = it ends here and leaves to the left / right only.
    """

    spacing: float
    first: float
    half_width: float
    skew: float = 0.0
    radius: float = 5.0
    side: int = 0


@dataclass(frozen=True)
class Stalls:
    """Parking rows of a car park, along the road from ``start`` metres off its middle: rows of ``length`` metres, two
    back to back between aisles ``aisle`` metres wide. pitch: width of a stall along the road; slant: tangent of its
    angle against the road's normal."""

    start: float
    length: float
    aisle: float
    pitch: float
    slant: float


@dataclass(frozen=True)
class Materials:
    """Look of the ground, linear RGB 0..1. road: albedo of the road; stones: 0 = smooth, else the size of its stones,
    metres; patches: strength of mended patches; line: colour of the markings; worn: their strength 0..1; centre: the
    middle line: 0 none, 1 dashed, 2 solid, 3 double; edge_lines: whether edges are marked; dash: (length, pitch),
    metres; zebra: pitch of zebra crossings, 0 = none; walk: albedo of the pavement; slab: size of its slabs, 0 =
    none; verge: beyond the pavement; field: beyond ``field_from`` metres; furrow: pitch of its rows, metres, 0 =
    none."""

    road: Colour = (0.13, 0.13, 0.13)
    stones: float = 0.0
    patches: float = 0.3
    line: Colour = (0.55, 0.55, 0.55)
    worn: float = 0.8
    centre: int = 1
    edge_lines: bool = False
    dash: tuple[float, float] = (3.4, 8.0)
    zebra: float = 0.0
    walk: Colour = (0.27, 0.27, 0.27)
    slab: float = 0.62
    verge: Colour = (0.10, 0.15, 0.05)
    field: Colour = (0.14, 0.17, 0.06)
    field_from: float = 30.0
    furrow: float = 0.0


@dataclass(frozen=True)
class Section:
    """half_width: of the paved road, metres; kerb: its height; lanes: per direction, 0 = one narrow lane for both;
    lane: width of a lane; median: half width of what lies between the directions; parking: width of the strip of
    parked vehicles along each edge; pavement: width; front: lateral offset from which houses or walls stand;
    ego_lane: number of the vehicle's lane counted from the middle; materials: None = the plain street's."""

    half_width: float = ROAD_HALF_WIDTH
    kerb: float = KERB_HEIGHT
    lanes: int = 1
    lane: float = 3.7
    median: float = 0.0
    parking: float = 2.25
    pavement: float = 3.7
    front: float = 9.6
    ego_lane: int = 0
    crossings: Crossings | None = None
    stalls: Stalls | None = None
    materials: Materials | None = None

    def lane_centre(self, lane: int) -> float:
        """Lateral offset (metres, negative = right) of a lane in the vehicle's direction, counted from the middle."""
        return -(self.median + (lane + 0.5) * self.lane) if self.lanes else 0.0

    @property
    def ego(self) -> float:
        """Lateral offset of the vehicle, metres."""
        return LANE_CENTRE if self.materials is None else self.lane_centre(self.ego_lane)


def make_section(random: Generator, config: SimulationConfig) -> Section:
    """The section of a scene's road."""
    if config.plain:
        return Section()
    makers = {"street": _street, "junction": _junction, "highway": _highway, "car_park": _car_park, "narrow": _narrow,
              "country": _country}
    return makers[config.scene](random, config)


def _materials(random: Generator) -> Materials:
    """Materials as wild as roads come, and a little wilder."""
    def grey(low: float, high: float, spread: float = 0.1) -> Colour:
        value, warm = random.uniform(low, high), random.uniform(-spread, spread)
        return value * (1.0 + warm), value, value * (1.0 - warm)

    road = grey(0.05, 0.16) if random.random() < 0.75 else grey(0.18, 0.38)
    green = random.uniform(0.4, 1.4)
    verge = (0.10 * green, 0.14 * green, 0.045 * green) if random.random() < 0.7 else grey(0.1, 0.3, 0.3)
    field = random.uniform(0.05, 0.3), random.uniform(0.09, 0.26), random.uniform(0.03, 0.09)
    line = (0.55, 0.55, 0.55) if random.random() < 0.8 else (0.60, 0.42, 0.08)
    pitch = random.uniform(5.0, 16.0)
    return Materials(
        road, random.uniform(0.09, 0.25) if random.random() < 0.15 else 0.0, random.uniform(0.0, 0.5), line,
        random.uniform(0.2, 1.0), int(random.integers(0, 4)), bool(random.random() < 0.5),
        (pitch * random.uniform(0.25, 0.55), pitch), random.uniform(45.0, 120.0) if random.random() < 0.5 else 0.0,
        grey(0.14, 0.42, 0.15), random.choice((0.0, 0.3, 0.62, 1.1)), verge, field, 25.0,
        random.uniform(0.8, 4.0) if random.random() < 0.4 else 0.0)


def _street(random: Generator, config: SimulationConfig) -> Section:
    lanes = 1 if random.random() < 0.75 else 2
    lane, parking = random.uniform(2.8, 3.9), random.choice((0.0, 2.1, 2.3, 2.3))
    pavement, garden = random.uniform(1.5, 6.0), random.choice((0.0, 0.0, random.uniform(1.0, 7.0)))
    half = lanes * lane + parking + random.uniform(0.0, 0.6)
    return Section(half, random.uniform(0.02, 0.18), lanes, lane, 0.0, parking, pavement, half + pavement + garden,
                   int(random.integers(lanes)), None, None, _materials(random))


def _junction(random: Generator, config: SimulationConfig) -> Section:
    base = _street(random, config)
    count = max(1, round(config.length / random.uniform(75.0, 150.0)))
    spacing = config.length / count
    crossings = Crossings(spacing, random.uniform(0.35, 0.65) * spacing, random.uniform(3.2, 8.5),
                          random.uniform(-0.25, 0.25), random.uniform(2.0, 9.0), int(random.choice((0, 0, -1, 1))))
    return replace(base, crossings=crossings)


def _highway(random: Generator, config: SimulationConfig) -> Section:
    lanes, lane, median = int(random.integers(2, 5)), random.uniform(3.4, 3.9), random.uniform(0.5, 4.0)
    half = median + lanes * lane + random.uniform(0.5, 3.5)
    look = replace(_materials(random), stones=0.0, worn=random.uniform(0.6, 1.0), centre=2, edge_lines=True, zebra=0.0,
                   dash=(random.uniform(3.0, 7.0), random.uniform(9.0, 18.0)))
    return Section(half, 0.0, lanes, lane, median, 0.0, 0.0, half + random.uniform(3.0, 25.0),
                   int(random.integers(lanes)), None, None, look)


def _car_park(random: Generator, config: SimulationConfig) -> Section:
    aisle, slant = random.uniform(5.5, 7.5), random.choice((0.0, 0.0, math.tan(0.4), math.tan(0.7)))
    stalls = Stalls(aisle / 2.0, random.uniform(4.6, 5.5), aisle, random.uniform(2.4, 2.9), slant)
    half = stalls.start + 2 * (2.0 * stalls.length + aisle) + random.uniform(0.0, 4.0)
    look = replace(_materials(random), stones=0.0, centre=0, edge_lines=False, zebra=0.0)
    return Section(half, 0.0, 1, aisle / 2.0, 0.0, 0.0, 0.0, half + random.uniform(2.0, 20.0), 0, None, stalls, look)


def _narrow(random: Generator, config: SimulationConfig) -> Section:
    half, kerb = random.uniform(1.5, 2.2), random.choice((0.0, 0.0, random.uniform(0.03, 0.15)))
    pavement = random.uniform(0.2, 1.4) if kerb else random.uniform(0.1, 0.6)
    look = replace(_materials(random), centre=0, zebra=0.0)
    return Section(half, kerb, 0, 2.0 * half, 0.0, 0.0, pavement, half + pavement, 0, None, None, look)


def _country(random: Generator, config: SimulationConfig) -> Section:
    lane = random.uniform(2.5, 3.7)
    half = lane + random.uniform(0.0, 0.8)
    look = replace(_materials(random), zebra=0.0, field_from=half + random.uniform(2.0, 15.0))
    return Section(half, 0.0, 1, lane, 0.0, 0.0, 0.0, half + random.uniform(2.0, 6.0), 0, None, None, look)
