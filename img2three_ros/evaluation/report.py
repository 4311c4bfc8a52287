"""``report.html``: one self-contained page with the figures and the pictures behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import radians
from pathlib import Path

from ..reconstruction.scene_space import SceneSpace
from ..structures import DepthImage
from ..visualization.birds_eye import birds_eye
from ..visualization.drawing import data_uri
from ..visualization.orbit import view_from_outside
from ..visualization.pictures import confidence_picture, depth_picture, error_picture, picture_of
from .curve import reliability_svg, risk_coverage_svg
from .depth_metrics import lidar_hits
from .lidar import FrameScan
from .results import MEAN, CameraScores, EvaluationResult
from .tables import abs_rel_delta, all_pixels, percent, short, surface_rows

OUTSIDE = {"behind": 0.0, "the right, ahead": 135.0}
"""Places from where the scene is shown, as degrees of the orbit."""
OUTSIDE_SIZE = (288, 480)

STYLE = """
:root{color-scheme:light dark;--ink:#1c2026;--faint:#667;--line:#dde;--page:#fff;--panel:#f5f6f9;--bad:#c2233f}
@media(prefers-color-scheme:dark){:root{--ink:#e2e5eb;--faint:#929aa8;--line:#333842;--page:#0f1115;--panel:#1a1d23;
--bad:#ff6b81}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1280px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0}.faint,figcaption,caption{color:var(--faint);font-size:.87rem}
table{border-collapse:collapse;margin:.4rem 0;font-variant-numeric:tabular-nums}caption{text-align:left}
th,td{padding:.22rem .8rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}th{font-weight:600}tr.mean td{font-weight:600}
td.wrap{white-space:normal;text-align:left;overflow-wrap:anywhere}
.scroll{overflow-x:auto}.side{display:flex;gap:2rem;flex-wrap:wrap;align-items:flex-start}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:.6rem}
figure{margin:0}img{width:100%;height:auto;border-radius:4px;display:block}
.tile{background:var(--panel);border-radius:6px;padding:.6rem .9rem}.tile b{display:block;font-size:1.35rem}
.tiles{display:flex;gap:.7rem;flex-wrap:wrap;margin:1rem 0}.bad{color:var(--bad)}details{margin:.5rem 0}
code{font-size:.87em;overflow-wrap:anywhere}
"""

METHOD = (
    "Every figure compares with LiDAR points moved to the frame's instant by the ego motion. A pixel counts if a "
    "point at 3–60 m hits it; of several points the nearest one. The LiDAR sees past edges that hide things from a "
    "camera, and such points are <em>not</em> filtered: they are part of the error.",
    "<b>all</b>: pixels where a depth was given. <b>best 80 %</b>, <b>best 60 %</b>: the most confident that share of "
    "all hit pixels; a missing depth counts as least confident, and where a share reaches into missing ones these "
    "count as AbsRel 1 and a miss of δ &lt; 1.25. SILog is 100·√(mean g² − (mean g)²), g = ln d − ln t.",
    "Confidence is meant to be the probability that a depth is within 25 % of the truth. Expected calibration error: "
    "|share of right depths − mean confidence| over ten bins of confidence, weighted by their pixels (Guo et al. "
    "2017), where a depth was given; over all pixels of all cameras in the row <em>all</em>.",
    "Free-space violation: share of LiDAR returns with 0.3 &lt; z &lt; 3 m within 40 m, inside the grid, in voxels "
    "called free. Occupied truth: voxels with a return more than half a voxel off the ground surface; free truth: "
    "voxels a ray passed before its return and no return lies in. An unknown voxel is no claim: it costs recall, "
    "not precision.",
    "Points are compared within 40 m; LiDAR is sparse, so a correct point between two scan lines is still some "
    "distance from the nearest return: precision is a bound from below.",
)


def report_html(result: EvaluationResult) -> str:
    """The whole page as text."""
    shown, scan = result.shown.reconstruction, result.shown.scan
    title = f"{Path(result.run.bag).name} · {result.run.engine}"
    overview = picture_of(shown, lidar=scan.points, title=title)
    sections = [
        _header(title, result), _tiles(result), _messages(result),
        _figure(data_uri(overview), "Last scored instant: cameras with their depth, and the grid from above with "
                "LiDAR returns of 0.3 < z < 3 m (white; red in voxels called free)"),
        _outside_section(result.shown.space), _depth_section(result.depth), _confidence_section(result.depth),
        _surface_section(result),
        "<h2>Cameras</h2>", *(_camera_section(image, result.depth[image.name], scan)
                              for image in shown.depth_images),
        "<h2>How it is measured</h2>", *(f"<p>{line}</p>" for line in METHOD), _provenance(result),
    ]
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
            f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
            + "\n".join(sections) + "\n</body></html>\n")


def _header(title: str, result: EvaluationResult) -> str:
    frames = result.frames
    return (f"<h1>{escape(title)}</h1><p class=\"faint\">{escape(result.run.date)} · {frames.processed} frames "
            f"processed, {frames.scored} scored ({escape(result.run.frames)}), {frames.without_lidar} without LiDAR, "
            f"{frames.rejected} rejected · <code>{escape(result.run.command)}</code></p>")


def _tiles(result: EvaluationResult) -> str:
    overall = result.depth[MEAN].overall
    tiles = [("AbsRel/δ all", abs_rel_delta(overall.all)), ("best 80 %", abs_rel_delta(overall.best_80)),
             ("best 60 %", abs_rel_delta(overall.best_60)),
             ("calibration error", short(result.depth[MEAN].reliability.calibration_error)),
             ("free-space violation", percent(result.occupancy.free_space_violation, 2)),
             ("occupied IoU", percent(result.occupancy.iou)),
             ("per frame (median)", f"{result.latency_ms['total'].median:,.0f} ms"),
             ("peak memory", f"{result.peak_rss_mb:,.0f} MiB")]
    cells = "".join(f"<div class=\"tile\"><span class=\"faint\">{name}</span><b>{value}</b></div>"
                    for name, value in tiles)
    return f"<div class=\"tiles\">{cells}</div>"


def _messages(result: EvaluationResult) -> str:
    failed = [f"<p class=\"bad\">Not met: {escape(failure)}</p>" for failure in result.failures]
    return "".join([*failed, *(f"<p class=\"faint\">Note: {escape(note)}</p>" for note in result.notes)])


def _outside_section(space: SceneSpace | None) -> str:
    """The scene from where no camera was; nothing for an engine without one."""
    if space is None:
        return ""
    figures = "".join(_figure(data_uri(view_from_outside(space, radians(angle), OUTSIDE_SIZE)),
                              f"Seen from {side}: colours above depth (red near, blue far); the box is the vehicle")
                      for side, angle in OUTSIDE.items())
    return ("<h2>From outside</h2><p class=\"faint\">Rendered from the scene that the engine holds, hidden space "
            "included: what no camera saw has smooth, guessed colours. <code>img2three render BAG --orbit</code> makes "
            f"a video of it.</p><div class=\"pictures\">{figures}</div>")


def _depth_section(depth: Mapping[str, CameraScores]) -> str:
    rows = []
    for name, camera in depth.items():
        own = camera.overall
        rows.append((name, abs_rel_delta(own.all), abs_rel_delta(own.best_80), abs_rel_delta(own.best_60),
                     percent(own.all.coverage), f"{own.all.rmse:.2f}", f"{own.all.silog:.1f}", f"{camera.hits:,}"))
    head = ("camera", "all", "best 80 %", "best 60 %", "coverage", "RMSE m", "SILog", "hit pixels")
    names = [band.replace("_", "–") + " m" for band in depth[MEAN].bands]
    bands = [(name, *(f"{abs_rel_delta(band.all)} ({percent(band.all.coverage, 0)})"
                      for band in camera.bands.values())) for name, camera in depth.items()]
    return ("<h2>Depth</h2><div class=\"side\"><div class=\"scroll\">"
            + _table(head, rows, "AbsRel/δ&lt;1.25 on LiDAR points at 3–60 m")
            + _table(("camera", *names), bands, "by range, where a depth was given: AbsRel/δ&lt;1.25 (coverage)")
            + "</div>" + risk_coverage_svg({name: camera.curve for name, camera in depth.items()}) + "</div>")


def _confidence_section(depth: Mapping[str, CameraScores]) -> str:
    errors = [(all_pixels(name), short(camera.reliability.calibration_error), short(camera.reliability.overconfidence))
              for name, camera in depth.items()]
    total = max(1, sum(part.count for part in depth[MEAN].reliability.bins))
    bins = [(f"{part.low:.1f} – {part.high:.1f}", short(part.confidence), short(part.right),
             percent(part.count / total), f"{part.count:,}") for part in depth[MEAN].reliability.bins]
    head = ("confidence", "mean", "right", "of pixels", "pixels")
    return ("<h2>Confidence</h2><div class=\"side\">"
            + _table(("camera", "calibration error", "too high by"), errors, "expected calibration error")
            + _table(head, bins, "all cameras: share of depths within 25 % by the confidence given")
            + reliability_svg({name: camera.reliability for name, camera in depth.items()}) + "</div>")


def _surface_section(result: EvaluationResult) -> str:
    above = birds_eye(result.shown.reconstruction.occupancy, size=760, lidar=result.shown.scan.points)
    latency = [(stage, f"{value.median:.0f}", f"{value.p95:.0f}") for stage, value in result.latency_ms.items()]
    return ("<h2>Occupancy and points</h2><div class=\"side\"><div style=\"max-width:620px\">"
            + _figure(data_uri(above, ".png"), "Occupied (orange, paler = higher), free (blue-green), unknown (grey), "
                      "LiDAR returns with 0.3 < z < 3 m (white; red in free voxels); rings every 10 m, forward is up")
            + "</div><div>" + _table(("", ""), surface_rows(result), "")
            + _table(("stage", "median", "95 %"), latency, "latency, ms") + "</div></div>")


def _camera_section(image: DepthImage, scores: CameraScores, scan: FrameScan) -> str:
    hits = lidar_hits(image, scan.points)
    pictures = ((image.image, "image"), (depth_picture(image), "depth (red near, blue far)"),
                (confidence_picture(image), "confidence (violet 0, yellow 1)"),
                (error_picture(image, hits.row, hits.column, hits.depth),
                 "error at LiDAR points: green 0, yellow 15 %, red ≥ 50 %, white = no depth"))
    figures = "".join(_figure(data_uri(picture), caption) for picture, caption in pictures)
    own = scores.overall
    line = (f"{abs_rel_delta(own.all)} all, {abs_rel_delta(own.best_80)} best 80 %, "
            f"{abs_rel_delta(own.best_60)} best 60 %, coverage {percent(own.all.coverage)}")
    return f"<h3>{escape(image.name)}</h3><p class=\"faint\">{line}</p><div class=\"pictures\">{figures}</div>"


def _provenance(result: EvaluationResult) -> str:
    run = result.run
    rows = [("bag", run.bag), ("command", run.command), ("date (UTC)", run.date), ("device", run.device),
            *((f"sha256 {name}", digest) for name, digest in (*run.bag_sha256.items(), *run.weights_sha256.items())),
            *((f"version of {name}", text) for name, text in run.versions.items())]
    config = [(name, str(value)) for name, value in run.config.items()]
    return ("<h2>Where it comes from</h2>" + _table(("", ""), rows, "", wrap=True)
            + "<details><summary>configuration</summary>" + _table(("parameter", "value"), config, "", wrap=True)
            + "</details>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, wrap: bool = False) -> str:
    """caption is HTML; head and rows are text. A row named ``mean`` is emphasised."""
    heading = "".join(f"<th>{escape(cell)}</th>" for cell in head) if any(head) else ""
    kind = " class=\"wrap\"" if wrap else ""
    body = "".join(f"<tr{' class=' + chr(34) + MEAN + chr(34) if row[0] == MEAN else ''}>"
                   f"<td>{escape(row[0])}</td>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell in row[1:])
                   + "</tr>" for row in rows)
    return (f"<table><caption>{caption}</caption>" + (f"<thead><tr>{heading}</tr></thead>" if heading else "")
            + f"<tbody>{body}</tbody></table>")


def _figure(uri: str, caption: str) -> str:
    return (f"<figure><img src=\"{uri}\" alt=\"{escape(caption)}\"><figcaption>{escape(caption)}</figcaption>"
            "</figure>")
