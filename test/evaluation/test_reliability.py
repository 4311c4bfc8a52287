"""Calibration of confidence against hand-computed values."""

import math

import numpy as np
import pytest

from img2three_ros.evaluation.curve import reliability_svg
from img2three_ros.evaluation.depth_metrics import hits_from_arrays
from img2three_ros.evaluation.reliability import pooled, reliability
from img2three_ros.evaluation.results import camera_scores, json_ready, mean_camera_scores


def hits(confidence, right, given=None):
    """Pixels of 10 m: right ones 10 % off, others 50 %; missing where ``given`` is False."""
    confidence = np.asarray(confidence, float)
    prediction = np.where(np.asarray(right), 11.0, 15.0)
    if given is not None:
        prediction = np.where(np.asarray(given), prediction, np.nan)
    return hits_from_arrays(np.full(len(confidence), 10.0), prediction, confidence)


def test_two_bins_by_hand():
    # Six pixels at .9, three right: 40 % too sure. Four at .25, two right: 25 % too modest.
    found = reliability(hits([0.9] * 6 + [0.25] * 4, [True] * 3 + [False] * 3 + [True] * 2 + [False] * 2))
    assert [part.count for part in found.bins] == [0, 0, 4, 0, 0, 0, 0, 0, 0, 6]
    assert found.bins[9].confidence == pytest.approx(0.9) and found.bins[9].right == pytest.approx(0.5)
    assert found.bins[2].confidence == pytest.approx(0.25) and found.bins[2].right == pytest.approx(0.5)
    assert math.isnan(found.bins[0].right)
    assert found.calibration_error == pytest.approx(0.6 * 0.4 + 0.4 * 0.25)
    assert found.overconfidence == pytest.approx(0.6 * 0.4 - 0.4 * 0.25)


def test_right_is_as_in_the_confidence_of_engines():
    # 10 m of truth: 12.4 m and 8.1 m are within a factor of 1.25, 12.6 m and 7.9 m are not.
    found = reliability(hits_from_arrays(np.full(4, 10.0), np.array([12.4, 8.1, 12.6, 7.9]), np.full(4, 0.55)))
    assert found.bins[5].right == pytest.approx(0.5)


def test_missing_depths_are_no_claim():
    found = reliability(hits([0.9, 0.9, 0.9], [True, True, False], [True, True, False]))
    assert sum(part.count for part in found.bins) == 2
    assert found.calibration_error == pytest.approx(0.1)


def test_honest_confidence_has_nearly_no_error_and_a_shifted_one_its_shift():
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.05, 0.95, 50_000)
    right = rng.uniform(size=confidence.size) < confidence
    assert reliability(hits(confidence, right)).calibration_error < 0.01
    shifted = reliability(hits(confidence * 0.8 + 0.2, right))
    assert shifted.calibration_error == pytest.approx(0.2 * (1.0 - confidence.mean()), abs=0.01)
    assert shifted.overconfidence == pytest.approx(shifted.calibration_error, abs=0.01)


def test_the_ends_of_the_range_are_in_the_outer_bins():
    found = reliability(hits([0.0, 1.0], [True, True]))
    assert [part.count for part in found.bins] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_cameras_are_pooled_by_pixels_not_averaged():
    many, few = hits([0.9] * 30, [True] * 30), hits([0.9] * 10, [False] * 10)
    together = pooled([reliability(many), reliability(few)])
    assert together.bins[9].right == pytest.approx(0.75) and together.bins[9].count == 40
    assert together.calibration_error == pytest.approx(0.15)
    mean = mean_camera_scores([camera_scores(many), camera_scores(few)])
    assert json_ready(mean.reliability) == json_ready(together)


def test_nothing_given_has_no_value():
    found = reliability(hits([0.5], [True], [False]))
    assert math.isnan(found.calibration_error)
    assert math.isnan(pooled([]).calibration_error) and len(pooled([]).bins) == 10
    assert json_ready(found)["calibration_error"] is None
    assert reliability_svg({"mean": found, "front": pooled([])}).endswith("</svg>")


def test_the_diagram_has_its_points_where_they_belong():
    found = reliability(hits([0.75] * 4, [True, True, True, False]))
    assert found.bins[7].right == found.bins[7].confidence == pytest.approx(0.75)
    picture = reliability_svg({"front": found})
    points = picture.split('points="')[1].split('"')[0]
    x, y = (float(number) for number in points.split(","))
    line = picture.split("stroke-dasharray")[0].rsplit("<line", 1)[1]
    x1, y1, x2, y2 = (float(line.split(f'{name}="')[1].split('"')[0]) for name in ("x1", "y1", "x2", "y2"))
    # A camera as sure as it is right lies on the dashed line, three quarters of the way up.
    assert (x - x1) / (x2 - x1) == pytest.approx(0.75, abs=1e-3)
    assert (y - y1) / (y2 - y1) == pytest.approx(0.75, abs=1e-3)
