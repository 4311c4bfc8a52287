"""How the ground looks: road, markings, pavement, verge and fields; once as the plain street has them, once in general.

Every function takes points of the ground: x (from the start of a lap), lateral = offset from the middle of the road
(metres, positive left), beside = metres outside the paved road (negative on it), footprint = size of a pixel there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .section import ROAD_HALF_WIDTH, Colour, Crossings, Materials, Section, Stalls
from .textures import SolidNoise, band, tile_coordinate


def plain_albedo(noise: SolidNoise, length: float, x: Tensor, y: Tensor, z: Tensor, lateral: Tensor,
                 footprint: Tensor) -> Tensor:
    """(3, N) linear albedo of the plain street of this length."""
    beside = lateral.abs()
    detail, colour = noise.octaves(x, y, 1.3 * z, footprint)
    # Points on the upright face of the kerb lie on the edge itself, give or take rounding.
    on_road = beside < ROAD_HALF_WIDTH - 0.004
    kerb = ~on_road & (beside < ROAD_HALF_WIDTH + 0.28)
    paved = torch.where(kerb, _kerb_stones(noise, x, footprint), _slabs(noise, x, lateral, footprint))
    grey = torch.where(on_road, _asphalt(noise, x, lateral, footprint), paved)
    grey = grey * torch.exp(torch.where(on_road, 0.75, 0.6) * detail)
    paint = _plain_paint(length, x, lateral, footprint) * (0.75 + 0.5 * detail).clamp(0.25, 1.0) * on_road
    grey = grey + paint * (0.55 * (1.0 + 0.2 * detail) - grey)
    yard = (beside > 13.0).to(grey.dtype) * 0.5
    return torch.stack((grey * (1.02 + 0.10 * colour - 0.3 * yard), grey * (1.0 + 0.03 * colour + 0.1 * yard),
                        grey * (0.97 - 0.10 * colour - 0.8 * yard)))


def _asphalt(noise: SolidNoise, x: Tensor, lateral: Tensor, footprint: Tensor) -> Tensor:
    """Asphalt with mended patches, darker wheel tracks and manhole covers."""
    along, _ = tile_coordinate(x, 5.3)
    across, _ = tile_coordinate(lateral, 1.7)
    patch = noise.cell(along, across, 1)
    grey = 0.13 * (1.0 + 0.30 * patch * (patch.abs() > 0.55))
    track = (((lateral.abs() - 1.85).abs() - 0.75).abs() < 0.3).to(grey.dtype)
    grey = grey * (1.0 - 0.12 * track)
    number, offset = tile_coordinate(x, 17.0)
    side = 2.6 * noise.cell(number, number, 2)
    distance = torch.sqrt((offset + 5.0 * noise.cell(number, number, 3)) ** 2 + (lateral - side) ** 2)
    cover = band(distance, 0.33, footprint)
    rim = band(distance - 0.30, 0.03, footprint)
    return grey * (1.0 - 0.45 * cover) + 0.12 * rim


def _slabs(noise: SolidNoise, x: Tensor, lateral: Tensor, footprint: Tensor) -> Tensor:
    """Paving slabs of different tones with joints."""
    row, across = tile_coordinate(lateral, 0.62)
    column, along = tile_coordinate(x + 0.31 * torch.remainder(row, 2.0), 0.93)
    sharp = (0.31 / footprint - 0.5).clamp(0.0, 1.0)
    tone = 1.0 + 0.22 * sharp * noise.cell(column, row, 4)
    joint = torch.maximum(band(across.abs() - 0.31, 0.012, footprint), band(along.abs() - 0.465, 0.012, footprint))
    return 0.27 * tone * (1.0 - 0.5 * sharp * joint)


def _kerb_stones(noise: SolidNoise, x: Tensor, footprint: Tensor) -> Tensor:
    """Kerb stones of a metre with joints."""
    number, along = tile_coordinate(x, 1.0)
    sharp = (0.5 / footprint - 0.5).clamp(0.0, 1.0)
    tone = 1.0 + 0.2 * sharp * noise.cell(number, number, 6)
    return 0.36 * tone * (1.0 - 0.5 * band(along.abs() - 0.5, 0.012, footprint))


def _plain_paint(length: float, x: Tensor, lateral: Tensor, footprint: Tensor) -> Tensor:
    """Cover 0..1 of road markings: dashed middle line, parking places, zebra crossings."""
    dash = length / max(1, round(length / 8.0))
    _, along = tile_coordinate(x, dash)
    cover = band(lateral, 0.07, footprint) * band(along, 1.7, footprint)
    place = length / int(length // 6.6)
    _, along = tile_coordinate(x + 0.5 * place, place)
    edge = lateral.abs() - (ROAD_HALF_WIDTH - 2.25)
    cover = torch.maximum(cover, band(edge, 0.06, footprint) * band(along, 0.8, footprint))
    cover = torch.maximum(cover, band(along, 0.05, footprint) * (edge > 0.0))
    crossing = length / max(1, round(length / 65.0))
    _, along = tile_coordinate(x, crossing)
    _, across = tile_coordinate(lateral, 1.1)
    zebra = band(along, 1.6, footprint) * band(across, 0.28, footprint) * (edge < -0.2)
    return torch.maximum(cover, zebra)


def section_albedo(noise: SolidNoise, section: Section, look: Materials, x: Tensor, y: Tensor, z: Tensor,
                   lateral: Tensor, outside: Tensor, footprint: Tensor) -> Tensor:
    """(3, N) linear albedo of a section's ground. outside: metres outside the paved road, crossing roads included."""
    detail, colour = noise.octaves(x, y, 1.3 * z, footprint)
    albedo = torch.empty(3, len(x), dtype=x.dtype, device=x.device)
    # Points on the upright face of a kerb lie on the edge itself, give or take rounding.
    road = outside < -0.004
    for chosen, painter in ((road, _road), (~road, _land)):
        index = chosen.nonzero().squeeze(1)
        if len(index):
            at = [values[index] for values in (x, y, lateral, outside, footprint, detail, colour)]
            albedo[:, index] = painter(noise, section, look, *at)
    return albedo


def _tinted(rgb: Colour, value: Tensor, colour: Tensor) -> Tensor:
    """(3, N): a colour times value (N,), its hue swayed by colour (N,)."""
    return torch.stack([rgb[c] * value * (1.0 + sway * colour) for c, sway in enumerate((0.12, 0.03, -0.12))])


def _road(noise: SolidNoise, section: Section, look: Materials, x: Tensor, y: Tensor, lateral: Tensor,
          outside: Tensor, footprint: Tensor, detail: Tensor, colour: Tensor) -> Tensor:
    tone = torch.exp(0.7 * detail)
    if look.stones:
        tone = tone * _cobbles(noise, x, y, look.stones, footprint)
    else:
        along, _ = tile_coordinate(x, 5.3)
        across, _ = tile_coordinate(lateral, 1.7)
        patch = noise.cell(along, across, 1)
        tone = tone * (1.0 + look.patches * patch * (patch.abs() > 0.55))
        seam = (colour.abs() < 0.012 + 0.2 * footprint) & (patch < 0.3)
        tone = tone * (1.0 - 0.45 * seam * (0.06 / footprint).clamp(0.0, 1.0))
        number, offset = tile_coordinate(x, 17.0)
        side = 2.6 * noise.cell(number, number, 2)
        distance = torch.sqrt((offset + 5.0 * noise.cell(number, number, 3)) ** 2 + (lateral - side) ** 2)
        tone = tone * (1.0 - 0.45 * band(distance, 0.33, footprint)) + 0.9 * band(distance - 0.3, 0.03, footprint)
    albedo = _tinted(look.road, tone, colour)
    paint = _markings(section, look, x, lateral, outside, footprint)
    paint = paint * look.worn * (0.75 + 0.6 * detail).clamp(0.1, 1.0)
    line = torch.tensor(look.line, dtype=x.dtype, device=x.device)[:, None] * (1.0 + 0.2 * detail)
    return albedo + paint * (line - albedo)


def _cobbles(noise: SolidNoise, x: Tensor, y: Tensor, size: float, footprint: Tensor) -> Tensor:
    """(N,) tone of rows of stones with joints."""
    row, across = tile_coordinate(x, size)
    column, along = tile_coordinate(y + 0.5 * size * torch.remainder(row, 2.0), 1.3 * size)
    sharp = (0.5 * size / footprint - 0.5).clamp(0.0, 1.0)
    edge = torch.maximum(band(across.abs() - 0.5 * size, 0.07 * size, footprint),
                         band(along.abs() - 0.65 * size, 0.07 * size, footprint))
    return (1.0 + 0.35 * sharp * noise.cell(column, row, 4)) * (1.0 - 0.55 * sharp * edge)


def _markings(section: Section, look: Materials, x: Tensor, lateral: Tensor, outside: Tensor,
              footprint: Tensor) -> Tensor:
    """Cover 0..1 of road markings."""
    cover = torch.zeros_like(x)
    _, along = tile_coordinate(x, look.dash[1])
    dashed = band(along, 0.5 * look.dash[0], footprint)
    if section.stalls is not None:
        return _stall_lines(section.stalls, x, lateral, footprint)
    if section.lanes:
        inward = lateral.abs() - section.median
        number = torch.round(inward / section.lane).clamp(0.0, float(section.lanes))
        offset = inward - number * section.lane
        between = (number > 0.0) & (number < section.lanes)
        middle, edge = number == 0.0, number == section.lanes
        line = band(offset, 0.07, footprint)
        cover = line * dashed * between
        if section.median or look.centre == 2:
            cover = cover + line * middle
        elif look.centre == 1:
            cover = cover + line * dashed * middle
        elif look.centre == 3:
            cover = cover + band(offset - 0.14, 0.06, footprint) * middle
        if look.edge_lines and not section.parking:
            cover = cover + line * edge
    if section.parking:
        kerbside = lateral.abs() - (section.half_width - section.parking)
        _, along = tile_coordinate(x, 6.6)
        cover = cover + band(along, 0.05, footprint) * (kerbside > 0.0)
        cover = torch.maximum(cover, band(kerbside, 0.06, footprint) * band(along, 0.8, footprint))
    if look.zebra:
        _, along = tile_coordinate(x, look.zebra)
        _, across = tile_coordinate(lateral, 1.1)
        free = lateral.abs() < section.half_width - section.parking
        cover = torch.maximum(cover, band(along, 1.6, footprint) * band(across, 0.28, footprint) * free)
    if section.crossings is not None:
        cover = _at_crossings(section, section.crossings, cover, x, lateral, footprint)
    return cover


def crossing_offset(crossings: Crossings, x: Tensor, lateral: Tensor) -> Tensor:
    """(N,) metres from the middle of the nearest crossing road, across it; 1000 where a road that ends is missing."""
    shifted = x - crossings.first - crossings.skew * lateral + 0.5 * crossings.spacing
    offset = torch.remainder(shifted, crossings.spacing) - 0.5 * crossings.spacing
    offset = offset / (1.0 + crossings.skew**2) ** 0.5
    if crossings.side:
        offset = torch.where(crossings.side * lateral > 0.0, offset, 1000.0)
    return offset


def _at_crossings(section: Section, crossings: Crossings, cover: Tensor, x: Tensor, lateral: Tensor,
                  footprint: Tensor) -> Tensor:
    """Markings of the road end before a crossing road, with stop lines and zebras; its own begin behind them."""
    offset = crossing_offset(crossings, x, lateral)
    if crossings.side:
        both = Crossings(crossings.spacing, crossings.first, crossings.half_width, crossings.skew)
        on_road = crossing_offset(both, x, lateral).abs()
    else:
        on_road = offset.abs()
    inner = crossings.half_width + crossings.radius
    cover = cover * (on_road > inner)
    width = section.half_width - section.parking
    stop = band(on_road - (inner + 4.4), 0.2, footprint) * (lateral.abs() < width)
    _, across = tile_coordinate(lateral, 1.0)
    zebra = band(on_road - (inner + 2.0), 1.5, footprint) * band(across, 0.25, footprint)
    zebra = zebra * (lateral.abs() < section.half_width)
    cover = torch.maximum(cover * (on_road > inner + 4.4), torch.maximum(zebra, stop))
    beyond = lateral.abs() - section.half_width
    _, along = tile_coordinate(beyond, 8.0)
    own = band(offset, 0.06, footprint) * band(along, 1.7, footprint) * (beyond > crossings.radius + 1.0)
    _, across = tile_coordinate(offset, 1.0)
    own_zebra = band(beyond - crossings.radius - 2.0, 1.5, footprint) * band(across, 0.25, footprint)
    return torch.maximum(cover, torch.maximum(own, own_zebra * (offset.abs() < crossings.half_width)))


def _stall_lines(stalls: Stalls, x: Tensor, lateral: Tensor, footprint: Tensor) -> Tensor:
    """Lines between the stalls of a car park and along the middle of its double rows."""
    period = 2.0 * stalls.length + stalls.aisle
    within = torch.remainder(lateral.abs() - stalls.start, period)
    in_row = (lateral.abs() > stalls.start) & (within < 2.0 * stalls.length)
    from_spine = within - stalls.length
    _, along = tile_coordinate(x - stalls.slant * from_spine.abs(), stalls.pitch)
    lines = band(along.abs() - 0.5 * stalls.pitch, 0.05, footprint)
    return torch.maximum(lines, band(from_spine, 0.05, footprint)) * in_row


def _land(noise: SolidNoise, section: Section, look: Materials, x: Tensor, y: Tensor, lateral: Tensor,
          outside: Tensor, footprint: Tensor, detail: Tensor, colour: Tensor) -> Tensor:
    """Kerb stones, pavement, verge and fields."""
    walk = torch.exp(0.6 * detail)
    if look.slab:
        walk = walk * _cobbles(noise, x, lateral, look.slab, footprint)
    paved = _tinted(look.walk, walk, colour)
    rough = torch.exp(1.25 * detail + 0.25 * colour)
    verge = _tinted(look.verge, rough, 2.0 * colour)
    furrows = torch.ones_like(x)
    if look.furrow:
        _, across = tile_coordinate(lateral, look.furrow)
        sharp = (0.5 * look.furrow / footprint - 0.5).clamp(0.0, 1.0)
        furrows = 1.0 - 0.4 * sharp * (across.abs() < 0.25 * look.furrow)
    field = _tinted(look.field, rough * furrows, 2.0 * colour)
    beside = lateral.abs() + 0.5 * colour  # edges of vegetation are not straight
    albedo = torch.where(beside > look.field_from, field, verge)
    # Along crossing roads the pavement follows their edges, which lie nearer than the road's own.
    albedo = torch.where(outside < section.pavement, paved, albedo)
    if section.kerb:
        number, along = tile_coordinate(x + y, 1.0)
        sharp = (0.5 / footprint - 0.5).clamp(0.0, 1.0)
        stone = (1.0 + 0.2 * sharp * noise.cell(number, number, 6)) * (
            1.0 - 0.5 * band(along.abs() - 0.5, 0.012, footprint))
        kerb = _tinted((0.36, 0.36, 0.36), stone * torch.exp(0.6 * detail), colour)
        albedo = torch.where(outside < 0.2, kerb, albedo)
    return albedo
