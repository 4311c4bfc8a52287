"""What stands in the scenes: houses, rows of things along the road, parked vehicles. ``traffic`` moves the rest."""

from __future__ import annotations

import math

from . import street_objects as build
from .civil import bridge, noise_wall
from .placement import CrossingArm, LinearBuilder, Site, crossing_arms, free_of_crossings
from .primitives import Part

_ARM = 75.0  # houses along crossing roads end here, metres from the middle


def furnish(site: Site) -> None:
    """Everything that stands in the scene of ``site.config``."""
    {"street": _street, "junction": _junction, "highway": _highway, "car_park": _car_park, "narrow": _narrow,
     "country": _country}[site.config.scene](site)


def some_vehicle(site: Site, heavy: float = 0.12) -> list[Part]:
    """Any vehicle; heavy: share of trucks and buses."""
    random, draw = site.random, site.random.random()
    if draw < heavy:
        return build.truck(random) if random.random() < 0.6 else build.bus(random)
    return build.van(random, site.variety) if draw < heavy + 0.15 else build.car(random, site.variety)


def _street(site: Site) -> None:
    _house_rows(site)
    _pavement(site)
    _parked(site)
    _backdrops(site, 42.0, 90.0)


def _junction(site: Site) -> None:
    _street(site)
    random, section, crossings = site.random, site.section, site.section.crossings
    assert crossings is not None
    lights = random.random() < 0.7
    for arm in crossing_arms(site.road):
        edge, corner = crossings.half_width, section.half_width + crossings.radius
        for side in (-1, 1):
            _arm_houses(site, arm, side, edge + section.pavement)
            for _ in range(4):
                along, left = random.uniform(corner + 1.0, _ARM), side * (edge + 0.35 * section.pavement)
                category, parts = _small_thing(site, side)
                site.add(category, parts, arm.at(site.road, along, left, lift=section.kerb))
            if random.random() < 0.7 and edge > 6.4:
                along = random.uniform(corner + 6.0, 45.0)
                pose = arm.at(site.road, along, side * (edge - 1.1), 0.0 if side < 0 else math.pi, tilted=True)
                site.add("vehicle", some_vehicle(site, 0.05), pose)
        if lights:
            pose = arm.at(site.road, corner + 0.5, -edge - 0.5, math.pi, section.kerb)
            site.add("pole", build.traffic_light(random, 1), pose)
            x = arm.origin[0] - edge - crossings.radius - 0.5
            site.put("pole", build.traffic_light(random, -1), x, -section.half_width - 0.5, math.pi)


def _arm_houses(site: Site, arm: CrossingArm, side: int, setback: float) -> None:
    random = site.random
    along = site.section.front + 14.0
    while along < _ARM:
        width, depth = random.uniform(8.0, 18.0), random.uniform(8.0, 13.0)
        pose = arm.at(site.road, along + width / 2, side * (setback + random.uniform(0.3, 2.0)))
        pose[2, 3] -= 0.8 * (not site.road.terrain.flat)
        site.add("building", build.building(random, width, depth, side, site.variety), pose)
        along += width + (random.uniform(2.0, 12.0) if random.random() < 0.3 else 0.1)


def _house_rows(site: Site) -> None:
    """Rows of houses with gaps that fences, walls and hedges close; long free stretches in some streets."""
    random, section = site.random, site.section
    for side in (-1, 1):
        gaps, widest = random.uniform(0.0, 0.8), random.uniform(4.0, 30.0)
        ragged = random.choice((0.0, 1.5, 6.0))
        x = 0.0
        while x < site.road.length - 4.0:
            width, depth = random.uniform(6.0, 22.0), random.uniform(7.0, 14.0)
            lateral = side * (section.front + 0.2 + random.uniform(0.0, ragged))
            middle = x + width / 2
            if x + width <= site.road.length and free_of_crossings(site.road, middle, lateral, width / 2,
                                                                   section.pavement):
                sink = site.sinking(middle, lateral, width, depth)
                site.put("building", build.building(random, width, depth, side, site.variety), middle, lateral,
                         sink=sink)
                x += width
            else:
                x += 2.0
                continue
            if random.random() < gaps:
                gap = random.uniform(2.0, widest)
                if free_of_crossings(site.road, x + gap / 2, lateral, gap / 2, 1.0) and x + gap < site.road.length:
                    if random.random() < 0.6:
                        site.line("structure", _boundary(site), side * (section.front + 0.3), x, x + gap, 5.0)
                    for _ in range(int(random.integers(0, 3))):
                        place = x + random.uniform(0.0, gap)
                        site.put("tree", build.tree(random, site.variety), place,
                                 side * (section.front + random.uniform(2.0, 9.0)))
                x += gap
            else:
                x += 0.1


def _boundary(site: Site) -> LinearBuilder:
    """Something that closes a plot."""
    choices: tuple[LinearBuilder, ...] = (build.fence, build.wall, build.hedge, build.fence)
    return choices[int(site.random.integers(len(choices)))]


def _small_thing(site: Site, side: int) -> tuple[str, list[Part]]:
    """One thing of the pavement."""
    random, variety, draw = site.random, site.variety, site.random.random()
    if draw < 0.22:
        return "tree", build.tree(random, variety)
    if draw < 0.42:
        return "pole", build.lamp_post(random, side, variety)
    if draw < 0.58:
        return "pole", build.sign(random, variety)
    if draw < 0.66:
        return "furniture", build.bin(random)
    if draw < 0.71:
        return "furniture", build.billboard(random, side)
    if draw < 0.75:
        return "furniture", build.bus_shelter(random, side)
    if draw < 0.82:
        return "tree", build.bush(random)
    if draw < 0.88:
        return "vehicle", build.bicycle(random)
    return "furniture", build.furniture(random, variety)


def _pavement(site: Site) -> None:
    """Things along both kerbs, wires overhead, railings."""
    random, section = site.random, site.section
    every = random.uniform(3.5, 14.0)
    for side in (-1, 1):
        x = random.uniform(0.0, 8.0)
        while x < site.road.length:
            lateral = side * (section.half_width + min(random.uniform(0.45, 1.0), 0.45 * section.pavement))
            if free_of_crossings(site.road, x, lateral, 1.0, 1.0):
                site.put(*_small_thing(site, side), x, lateral)
            x += every * random.uniform(0.4, 1.8)
        if random.random() < 0.3:
            builders = (build.barrier, build.bollards, build.fence)
            _along_free(site, "structure", builders[int(random.integers(3))],
                        side * (section.half_width + 0.3), random.uniform(0.0, 0.6))
    if random.random() < 0.5:
        _wires(site, random.choice((-1, 1)) * (section.half_width + 0.5))


def _wires(site: Site, lateral: float) -> None:
    span = site.road.length / max(1, round(site.road.length / site.random.uniform(25.0, 45.0)))
    seed_line = site.random.uniform(0.0, span)
    count = round(site.road.length / span)
    site.line("pole", build.wire_span, lateral, seed_line, seed_line + count * span, span)


def _along_free(site: Site, category: str, builder: LinearBuilder, lateral: float, share: float,
                stretch: float = 20.0) -> None:
    """What runs along the road, on a share of its stretches, off the crossings."""
    count = max(1, round(site.road.length / stretch))
    for number in range(count):
        start = number * site.road.length / count
        end = start + site.road.length / count
        if site.random.random() < share and free_of_crossings(site.road, (start + end) / 2, lateral,
                                                              (end - start) / 2, 1.0):
            site.line(category, builder, lateral, start, end)


def _parked(site: Site) -> None:
    """Vehicles along both kerbs, where there is a strip for them."""
    random, section = site.random, site.section
    if not section.parking:
        return
    for side in (-1, 1):
        x = random.uniform(0.0, 6.0)
        while x < site.road.length - 3.0:
            lateral = side * (section.half_width - 0.5 * section.parking - 0.1 + random.uniform(-0.1, 0.15))
            taken = random.random() < site.config.parked
            if taken and free_of_crossings(site.road, x, lateral, 6.0, section.crossings.radius
                                           if section.crossings else 0.0):
                turn = (0.0 if side < 0 else math.pi) + random.normal(0.0, 0.03)
                draw = random.random()
                parts = (build.motorcycle(random) if draw < 0.06 else build.trailer(random) if draw < 0.1
                         else some_vehicle(site, 0.04))
                site.put("vehicle", parts, x, lateral, turn, tilted=True)
            x += random.uniform(5.8, 7.5)


def _backdrops(site: Site, nearest: float, farthest: float, density: float = 1.0) -> None:
    """Large buildings behind, that close the horizon."""
    random = site.random
    for side in (-1, 1):
        x = random.uniform(0.0, 20.0)
        while x < site.road.length:
            width, lateral = random.uniform(14.0, 40.0), side * random.uniform(nearest, farthest)
            if free_of_crossings(site.road, x, lateral, width / 2, 12.0):
                sink = site.sinking(x, lateral, width, 16.0) + 1.0 * (not site.road.terrain.flat)
                site.put("building", build.backdrop(random, width, site.variety), x, lateral,
                         random.uniform(-0.3, 0.3), sink=sink)
            x += width + random.uniform(4.0, 40.0) / density


def _highway(site: Site) -> None:
    random, section, road = site.random, site.section, site.road
    if section.median > 0.4 and random.random() < 0.85:
        site.line("structure", build.barrier, 0.0, 0.0, road.length, 8.0)
    for side in (-1, 1):
        edge = section.half_width + random.uniform(0.4, 1.5)
        draw = random.random()
        if draw < 0.75:
            _along_free(site, "structure", build.barrier, side * edge, random.uniform(0.4, 1.0), 40.0)
        if random.random() < 0.4:
            _along_free(site, "structure", noise_wall, side * (edge + random.uniform(1.0, 5.0)),
                        random.uniform(0.3, 1.0), 40.0)
        _scatter(site, side, edge + 4.0, 60.0, 9.0)
    _overhead(site)
    x = random.uniform(0.0, 30.0)
    while x < road.length:
        lateral = random.choice((-1, 1)) * (section.half_width + 1.2)
        site.put("pole", build.sign(random, site.variety), x, lateral)
        x += random.uniform(15.0, 60.0)
    if random.random() < 0.5:
        pitch = road.length / max(1, round(road.length / random.uniform(30.0, 50.0)))
        for number in range(round(road.length / pitch)):
            site.put("pole", build.lamp_post(random, -1, site.variety), number * pitch, -section.half_width - 1.0)
    if random.random() < 0.6:
        _backdrops(site, section.front + 40.0, section.front + 130.0, 0.5)


def _overhead(site: Site) -> None:
    """Gantries and bridges."""
    random, section, road = site.random, site.section, site.road
    x = random.uniform(10.0, 80.0)
    while x < road.length - 10.0:
        if random.random() < 0.6:
            site.put("pole", build.gantry(random, 2.0 * section.half_width + 2.0), x, 0.0, math.pi)
        else:
            site.put("structure", bridge(random, 2.0 * section.half_width + 30.0, section.half_width + 2.0), x,
                     0.0, random.uniform(-0.2, 0.2), sink=0.5)
        x += random.uniform(60.0, 220.0)


def _scatter(site: Site, side: int, nearest: float, farthest: float, every: float) -> None:
    """Trees and bushes, denser near the road."""
    random = site.random
    x = random.uniform(0.0, every)
    while x < site.road.length:
        lateral = side * (nearest + (farthest - nearest) * random.random() ** 2)
        parts = build.tree(random, site.variety) if random.random() < 0.6 else build.bush(random)
        site.put("tree", parts, x, lateral, random.uniform(0.0, 6.28), sink=0.15)
        x += random.uniform(0.2, 1.8) * every


def _car_park(site: Site) -> None:
    random, stalls = site.random, site.section.stalls
    assert stalls is not None
    slant = math.atan(stalls.slant)
    period = 2.0 * stalls.length + stalls.aisle
    for side in (-1, 1):
        for block in range(2):
            for row in (0, 1):
                across = stalls.start + block * period + (row + 0.5) * stalls.length
                share = site.config.parked * random.uniform(0.4, 1.2) * (0.7 if block else 1.0)
                for number in range(int(site.road.length / stalls.pitch)):
                    if random.random() > share:
                        continue
                    # The middles of the stalls lie between the lines, which lean away from the spine of a row.
                    x = number * stalls.pitch + stalls.slant * 0.5 * stalls.length + random.normal(0.0, 0.1)
                    towards = (1.0 if row else -1.0) * side  # of the aisle, along y
                    turn = towards * (0.5 * math.pi - slant * 1.0) + random.normal(0.0, 0.02)
                    turn += math.pi * (random.random() < 0.7)
                    site.put("vehicle", some_vehicle(site, 0.01), x, side * (across + random.normal(0.0, 0.15)), turn,
                             tilted=True)
            spine = side * (stalls.start + block * period + stalls.length)
            x = random.uniform(0.0, 30.0)
            while x < site.road.length:
                draw, place = random.random(), (x, spine)
                if draw < 0.5:
                    site.put("pole", build.lamp_post(random, side, site.variety), *place)
                elif draw < 0.8:
                    site.put("tree", build.tree(random, site.variety), *place)
                else:
                    site.put("furniture", build.furniture(random, site.variety), *place)
                x += random.uniform(12.0, 40.0)
        if random.random() < 0.6:
            _along_free(site, "structure", _boundary(site), side * (site.section.half_width + 0.5), 0.8)
        _scatter(site, side, site.section.half_width + 2.0, 70.0, 14.0)
    _backdrops(site, site.section.front + 12.0, site.section.front + 60.0)


def _narrow(site: Site) -> None:
    """Stretches of walls, hedges, fences, houses and parked vehicles close to the lane."""
    random, section = site.random, site.section
    for side in (-1, 1):
        x = 0.0
        while x < site.road.length - 3.0:
            end = min(x + random.uniform(8.0, 40.0), site.road.length)
            draw, edge = random.random(), section.front + random.uniform(0.0, 0.5)
            if draw < 0.3:
                while x < end - 5.0:
                    width, depth = min(random.uniform(6.0, 14.0), end - x), random.uniform(7.0, 11.0)
                    sink = site.sinking(x + width / 2, side * edge, width, depth)
                    # The front of a long house would cut into a bend.
                    bend = 0.5 * 0.04 * (width / 2) ** 2 * site.config.turning
                    site.put("building", build.building(random, width, depth, side, site.variety), x + width / 2,
                             side * (edge + 0.5 + bend), sink=sink)
                    x += width + 0.1
            elif draw < 0.45:
                while x < end:
                    site.put("vehicle", some_vehicle(site, 0.0), x + 2.8, side * (section.half_width + 1.0),
                             0.0 if random.random() < 0.6 else math.pi, tilted=True)
                    x += random.uniform(5.6, 7.0)
                site.line("structure", _boundary(site), side * (section.half_width + 2.4), x - (end - x), end, 4.0)
            else:
                builder = (build.wall, build.hedge, build.fence, build.wall)[int(random.integers(4))]
                site.line("tree" if builder is build.hedge else "structure", builder, side * (edge + 0.25), x, end, 4.0)
            x = end
        _scatter(site, side, section.front + 3.0, 25.0, 9.0)
        x = random.uniform(0.0, 10.0)
        while x < site.road.length:
            post = build.sign(random, site.variety)
            if random.random() < 0.4:
                post = build.lamp_post(random, side, site.variety)
            site.put("pole", post, x, side * (section.front - 0.05))
            x += random.uniform(9.0, 30.0)
    if random.random() < 0.6:
        _wires(site, random.choice((-1, 1)) * section.front)
    _backdrops(site, 30.0, 80.0, 0.7)


def _country(site: Site) -> None:
    random, section, road = site.random, site.section, site.road
    for side in (-1, 1):
        draw, edge = random.random(), section.half_width + random.uniform(1.2, 4.0)
        if draw < 0.6:
            builder = (build.fence, build.hedge, build.barrier, build.wall)[int(random.integers(4))]
            _along_free(site, "tree" if builder is build.hedge else "structure", builder, side * edge,
                        random.uniform(0.2, 0.9), 30.0)
        avenue = random.random() < 0.3
        if avenue:
            pitch = random.uniform(7.0, 15.0)
            for number in range(int(road.length / pitch)):
                site.put("tree", build.tree(random, site.variety), number * pitch + random.normal(0.0, 0.4),
                         side * (section.half_width + 1.6))
        _scatter(site, side, edge + 1.0, random.uniform(25.0, 110.0), random.uniform(5.0, 25.0))
        x = random.uniform(0.0, 60.0)
        while x < road.length - 20.0:
            width, depth, lateral = random.uniform(8.0, 18.0), random.uniform(8.0, 12.0), side * random.uniform(
                section.front + 6.0, 60.0)
            sink = site.sinking(x, lateral, width, depth)
            site.put("building", build.building(random, width, depth, side, site.variety), x, lateral,
                     random.uniform(-0.5, 0.5), sink=sink + 0.3)
            x += random.uniform(25.0, 160.0)
    x = random.uniform(0.0, 20.0)
    while x < road.length:
        site.put("pole", build.sign(random, site.variety), x, random.choice((-1, 1)) * (section.half_width + 1.0))
        x += random.uniform(20.0, 70.0)
    if random.random() < 0.7:
        _wires(site, random.choice((-1, 1)) * (section.half_width + random.uniform(2.0, 15.0)))
    if random.random() < 0.4:
        _backdrops(site, 90.0, 170.0, 0.3)
