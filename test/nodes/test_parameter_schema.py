"""The JSON schema of parameter files: made of the dataclasses, and as strict as the node."""

from pathlib import Path

import pytest
import yaml

from img2three_ros.nodes.parameter_schema import parameter_schema, schema_text

jsonschema = pytest.importorskip("jsonschema")
CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_schema_is_current():
    assert (CONFIG / "params.schema.json").read_text() == schema_text(), \
        "run: python -m img2three_ros.nodes.parameter_schema > config/params.schema.json"


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft7Validator.check_schema(parameter_schema())
    return jsonschema.Draft7Validator(parameter_schema())


def test_the_shipped_parameters_fit(validator):
    validator.validate(yaml.safe_load((CONFIG / "params.yaml").read_text()))


@pytest.mark.parametrize("parameters", [
    {"cameras": ["front"], "occupancy": {"voxel_size": 0.2}, "use_sim_time": True},
    {"occupancy.voxel_size": 1, "qos_overrides": {"/tf": {"subscription": {"depth": 5}}}},
    {"cameras": [""]},
])
def test_what_the_node_takes_fits(validator, parameters):
    for section in ("/**", "img2three", "/fleet/one/img2three"):
        assert validator.is_valid({section: {"ros__parameters": parameters}, "another_node": {"anything": 1}})


@pytest.mark.parametrize("parameters", [
    {"occupancy": {"voxel_sise": 0.2}}, {"occupancy": {"voxel_size": 99.0}}, {"occupancy.decay": -0.1},
    {"engine": "magic"}, {"cameras": "front"}, {"autostart": "yes"}, {"sync": {"queue": 2.5}},
])
def test_what_the_node_refuses_does_not(validator, parameters):
    assert not validator.is_valid({"/**": {"ros__parameters": parameters}})
