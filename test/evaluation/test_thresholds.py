"""Thresholds on metrics."""

import pytest

from img2three_ros.evaluation.thresholds import failures, load_requirements
from img2three_ros.structures import InputError

METRICS = {"depth": {"front": {"all": {"abs_rel": 0.12, "delta": 0.91}, "best_60": {"abs_rel": None}}},
           "occupancy": {"free_space_violation": 0.015}, "notes": ["text"], "run": {"engine": "sweep"}}


def write(tmp_path, text):
    path = tmp_path / "require.yaml"
    path.write_text(text)
    return path


def test_dotted_and_nested_requirements_mean_the_same(tmp_path):
    dotted = load_requirements(write(tmp_path, "depth.front.all.abs_rel: {max: 0.15}"))
    nested = load_requirements(write(tmp_path, "depth: {front: {all: {abs_rel: {max: 0.15}}}}"))
    assert dotted == nested == {"depth.front.all.abs_rel.max": 0.15}


@pytest.mark.parametrize(("limit", "met"), [({"max": 0.12}, True), ({"max": 0.1199}, False), ({"min": 0.12}, True),
                                            ({"min": 0.13}, False), ({"min": 0.1, "max": 0.13}, True)])
def test_limits_include_their_value(limit, met):
    wanted = {f"depth.front.all.abs_rel.{side}": value for side, value in limit.items()}
    assert (failures(wanted, METRICS) == ()) is met


def test_a_failure_names_metric_value_and_limit():
    (text,) = failures({"occupancy.free_space_violation.max": 0.01}, METRICS)
    assert text == "occupancy.free_space_violation = 0.015, required max 0.01"


def test_a_metric_without_a_value_is_not_met():
    (text,) = failures({"depth.front.best_60.abs_rel.max": 9.0}, METRICS)
    assert "was not measured" in text


@pytest.mark.parametrize(("path", "expected"), [
    ("depth.frnt.all.abs_rel.max", "did you mean 'depth.front.all.abs_rel'"),
    ("occupancy.free_space_violations.max", "did you mean 'occupancy.free_space_violation'"),
    ("run.engine.max", "names no metric"),
    ("depth.front.all.max", "names no metric"),
    ("depth.front.all.abs_rel", "{max: 0.1}"),
])
def test_a_wrong_path_is_an_error_with_its_remedy(path, expected):
    with pytest.raises(InputError, match="requirement") as error:
        failures({path: 0.1}, METRICS)
    assert expected in str(error.value)


@pytest.mark.parametrize("limit", ["0.1", True, None])
def test_a_limit_must_be_a_number(limit):
    with pytest.raises(InputError, match="a number"):
        failures({"depth.front.all.abs_rel.max": limit}, METRICS)


@pytest.mark.parametrize(("text", "expected"), [("", "holds no thresholds"), ("- 1", "holds no thresholds"),
                                                ("a: [", "cannot be read")])
def test_a_file_without_thresholds_is_an_error(tmp_path, text, expected):
    with pytest.raises(InputError, match=expected):
        load_requirements(write(tmp_path, text))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml' cannot be read"):
        load_requirements(tmp_path / "none.yaml")
