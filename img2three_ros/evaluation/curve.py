"""The risk-coverage curve and the reliability diagram as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from .depth_metrics import RiskPoint
from .reliability import Reliability
from .results import MEAN

WIDTH, HEIGHT = 430, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 92, 14, 40
HUES = (4, 34, 160, 205, 265, 320, 90, 60, 230, 290, 185, 120)


def risk_coverage_svg(curves: Mapping[str, Sequence[RiskPoint]]) -> str:
    """AbsRel of the most confident share of pixels against that share, one line for each camera, ``mean`` thick."""
    lines = {name: [(point.coverage, point.abs_rel) for point in curve if math.isfinite(point.abs_rel)]
             for name, curve in curves.items()}
    highest = _nice(max((risk for line in lines.values() for _, risk in line), default=1.0))
    return _chart("risk-coverage curve", "most confident share of hit pixels → AbsRel", lines, highest)


def reliability_svg(found: Mapping[str, Reliability]) -> str:
    """Share of right depths against the confidence given, one line for each camera, ``mean`` (all pixels) thick, its
    dots as large as the bins are full. On the dashed line confidence is what it says it is; below it, too high.
    Bins with less than half a percent of the pixels are left out."""
    lines, dots = {}, []
    for name, camera in found.items():
        total = sum(part.count for part in camera.bins)
        full = [part for part in camera.bins if part.count >= max(1.0, total / 200.0)]
        lines[name] = [(part.confidence, part.right) for part in full]
        if name == MEAN:
            dots = [f"<circle cx=\"{_x(part.confidence):.1f}\" cy=\"{_y(part.right, 1.0):.1f}\" "
                    f"r=\"{2.0 + 12.0 * math.sqrt(part.count / total):.1f}\" fill=\"currentColor\" "
                    f"fill-opacity=\"0.25\"/>" for part in full]
    honest = (f"<line x1=\"{_x(0.0):.1f}\" y1=\"{_y(0.0, 1.0):.1f}\" x2=\"{_x(1.0):.1f}\" y2=\"{_y(1.0, 1.0):.1f}\" "
              "stroke=\"currentColor\" stroke-opacity=\"0.5\" stroke-dasharray=\"4 4\"/>")
    return _chart("reliability diagram", "confidence → share of depths within 25 %", lines, 1.0, [honest, *dots])


def _chart(title: str, below: str, lines: Mapping[str, Sequence[tuple[float, float]]], highest: float,
           extra: Sequence[str] = ()) -> str:
    """Lines over shares 0..1 with values 0..highest; extra: SVG drawn under them."""
    parts = [f"<svg role=\"img\" aria-label=\"{title}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" "
             f"viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui,sans-serif\" font-size=\"11\" "
             "fill=\"currentColor\">"]
    for step in range(5):
        y, value = _y(step / 4.0 * highest, highest), step / 4.0 * highest
        parts.append(f"<line x1=\"{LEFT}\" x2=\"{WIDTH - RIGHT}\" y1=\"{y:.1f}\" y2=\"{y:.1f}\" "
                     "stroke=\"currentColor\" stroke-opacity=\"0.15\"/>"
                     f"<text x=\"{LEFT - 6}\" y=\"{y + 4:.1f}\" text-anchor=\"end\">{value:.3g}</text>")
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f"<text x=\"{_x(share):.1f}\" y=\"{HEIGHT - BOTTOM + 16}\" text-anchor=\"middle\">"
                     f"{100 * share:.0f} %</text>")
    parts.append(f"<text x=\"{_x(0.5):.1f}\" y=\"{HEIGHT - 6}\" text-anchor=\"middle\">{below}</text>")
    parts.extend(extra)
    for number, (name, line) in enumerate(lines.items()):
        parts.append(_line(name, line, highest, HUES[number % len(HUES)], number))
    return "".join([*parts, "</svg>"])


def _line(name: str, line: Sequence[tuple[float, float]], highest: float, hue: int, number: int) -> str:
    colour = "currentColor" if name == MEAN else f"hsl({hue} 70% 52%)"
    points = " ".join(f"{_x(share):.1f},{_y(value, highest):.1f}" for share, value in line)
    label = TOP + 10 + 16 * number
    return (f"<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{2.6 if name == MEAN else 1.5}\" "
            f"points=\"{points}\"/><rect x=\"{WIDTH - RIGHT + 10}\" y=\"{label - 6}\" width=\"12\" height=\"4\" "
            f"fill=\"{colour}\"/><text x=\"{WIDTH - RIGHT + 27}\" y=\"{label}\">{escape(name)}</text>")


def _x(share: float) -> float:
    return LEFT + (WIDTH - RIGHT - LEFT) * share


def _y(value: float, highest: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / highest


def _nice(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten above a value, so that quarters of it are short numbers."""
    if value <= 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((factor * power for factor in (1.0, 2.0, 4.0, 8.0) if factor * power >= value), 10.0 * power)
