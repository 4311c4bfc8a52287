"""The page: complete, self-contained, well-formed."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from evaluation_scene import reconstruction, scan
from rich.console import Console

from img2three_ros.config import Config, with_overrides
from img2three_ros.evaluation import report
from img2three_ros.evaluation.cloud_metrics import cloud_distances, cloud_scores
from img2three_ros.evaluation.curve import risk_coverage_svg
from img2three_ros.evaluation.depth_metrics import RiskPoint, hit_pixels, lidar_hits
from img2three_ros.evaluation.occupancy_metrics import occupancy_counts, occupancy_scores
from img2three_ros.evaluation.provenance import run_info
from img2three_ros.evaluation.report import report_html
from img2three_ros.evaluation.results import (
    MEAN,
    EvaluationResult,
    FrameCounts,
    ScoredInstant,
    camera_scores,
    latencies,
    mean_camera_scores,
)
from img2three_ros.evaluation.tables import abs_rel_delta, print_result, short
from img2three_ros.models.scene_render import Picture

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that every tag is closed in order; collects images and outside addresses."""

    def __init__(self):
        super().__init__()
        self.open, self.images, self.outside, self.svg = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.images.append(given["src"])
        self.svg += tag == "svg"
        self.outside += [value for value in given.values() if value and value.startswith(("http", "//"))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


@pytest.fixture
def result(tmp_path):
    bag = tmp_path / "drive.mcap"
    bag.write_bytes(b"abc")
    shown, lidar = reconstruction(("front", "left")), scan()
    cameras = {image.name: camera_scores(hit_pixels(image, lidar_hits(image, lidar.points)))
               for image in shown.depth_images}
    return EvaluationResult(
        run=run_info(bag, Config(), "cpu", "last", "img2three evaluate 'a & b' <bag>"),
        frames=FrameCounts(3, 1, 1, 1), depth={**cameras, MEAN: mean_camera_scores(list(cameras.values()))},
        cloud=cloud_scores(cloud_distances(shown.cloud.points, lidar.points, lidar.points)),
        occupancy=occupancy_scores(occupancy_counts(shown.occupancy, lidar.points, lidar.origin)),
        latency_ms=latencies([shown.timings_ms]), peak_rss_mb=512.0, notes=("x < y",),
        shown=ScoredInstant(shown, lidar), failures=("too bad",))


def test_page_parses_and_holds_every_picture(result):
    html = report_html(result)
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == [] and page.outside == [] and page.svg == 2
    assert len(page.images) == 2 + 4 * 2
    for address in page.images:
        kind, data = re.fullmatch(r"data:image/(jpeg|png);base64,(.+)", address).groups()
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and picture.std() > 5, kind


def test_a_scene_is_shown_from_outside(result, monkeypatch):
    monkeypatch.setattr(report, "OUTSIDE_SIZE", (24, 32))
    seen = []

    def render(intrinsics, T_base_camera, size):
        seen.append(tuple(T_base_camera[:2, 3].tolist()))
        return Picture(torch.full((*size, 3), 0.6), torch.full(size, 9.0), torch.zeros(size, dtype=torch.bool))

    space = SimpleNamespace(render=render)
    html = report_html(dataclasses.replace(result, shown=dataclasses.replace(result.shown, space=space)))
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == [] and len(page.images) == 2 + 4 * 2 + 2
    assert "From outside" in html and "From outside" not in report_html(result)
    (behind_x, behind_y), (ahead_x, right_y) = seen
    assert behind_x < -8.0 and behind_y == pytest.approx(0.0) and ahead_x > 8.0 and right_y < -7.0
    assert "space" not in result.metrics()


def test_page_says_where_it_comes_from(result):
    html = report_html(result)
    for text in ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "drive.mcap", "sweep.planes",
                 "img2three evaluate &#x27;a &amp; b&#x27; &lt;bag&gt;", "x &lt; y", "Not met: too bad", "numpy"):
        assert text in html


def test_weights_are_named_by_their_digest(tmp_path):
    (tmp_path / "drive.mcap").write_bytes(b"")
    (tmp_path / "w.safetensors").write_bytes(b"abc")
    (tmp_path / "s.safetensors").write_bytes(b"")
    config = with_overrides(Config(), {"engine": "scene", "scene.weights": str(tmp_path / "w.safetensors"),
                                       "scene.space_weights": str(tmp_path / "s.safetensors")})
    depth = {"w.safetensors": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    space = {"s.safetensors": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    for values, expected in (({}, {**depth, **space}), ({"scene.space": False}, depth)):
        info = run_info(tmp_path / "drive.mcap", with_overrides(config, values), "cpu", "last", "evaluate")
        assert info.weights_sha256 == expected
    assert run_info(tmp_path / "drive.mcap", with_overrides(config, {"engine": "sweep"}), "cpu", "last",
                    "evaluate").weights_sha256 == {}


def test_metrics_have_the_paths_that_requirements_name(result):
    tree = result.metrics()
    assert tree["depth"]["front"]["all"]["abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert tree["depth"]["mean"]["best_80"]["delta"] is not None
    assert set(tree["depth"]["front"]["bands"]) == {"3_10", "10_20", "20_40", "40_60"}
    assert tree["depth"]["front"]["bands"]["40_60"]["all"]["abs_rel"] is None
    assert tree["occupancy"]["free_space_violation"] == 0.0
    # All of the wall ahead is right; confidence is uniform over 0..1: one half too low on average.
    assert tree["depth"]["front"]["reliability"]["calibration_error"] == pytest.approx(0.5, abs=0.02)
    assert tree["depth"]["front"]["reliability"]["bins"][3]["right"] == 1.0
    assert tree["latency_ms"]["total"]["median"] == pytest.approx(12.0)
    assert tree["cloud"]["at"]["0_2"]["f_score"] == pytest.approx(1.0)


def test_tables_fit_eighty_columns_without_cutting_figures(result):
    scores = dataclasses.replace(result.depth["front"], hits=123456)
    result = dataclasses.replace(result, depth={**result.depth, "back_right": scores}, notes=("a [b] c",))
    console = Console(width=80, record=True, file=io.StringIO())
    print_result(result, console)
    text = console.export_text()
    assert "… of returns in known voxels" in text and text.count("…") == 2
    assert "Calibration error of the confidence" in text and " ECE " in text
    assert ".000/1.000 100 %" in text and "SILog" in text and "back_right" in text
    assert "note: a [b] c" in text and "not met: too bad" in text and "free-space violation" in text


@pytest.mark.parametrize(("value", "text"), [(0.0581, ".058"), (1.06, "1.060"), (float("nan"), "–"), (0.9999, "1.000"),
                                             (-0.0581, "-.058")])
def test_figures_are_printed_as_in_the_literature(value, text):
    assert short(value) == text


def test_a_camera_without_hits_shows_dashes(result):
    assert abs_rel_delta(result.depth["front"].bands["40_60"].all) == "–/–"


def test_latencies_are_over_frames_and_stages():
    found = latencies([{"prepare": 1.0, "fuse": 3.0}, {"prepare": 2.0, "fuse": 5.0}, {"prepare": 9.0}])
    assert (found["prepare"].median, found["fuse"].median, found["total"].median) == (2.0, 4.0, 7.0)
    assert found["prepare"].p95 == pytest.approx(2 + 0.9 * 7)


def test_curve_of_nothing_is_still_a_picture():
    assert risk_coverage_svg({"front": [RiskPoint(0.1, float("nan"), float("nan"))]}).endswith("</svg>")
