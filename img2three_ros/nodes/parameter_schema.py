"""The JSON schema of parameter files, made from the dataclasses so that editors and CI find mistakes before a start.

``python -m img2three_ros.nodes.parameter_schema > config/params.schema.json`` writes it.
"""

from __future__ import annotations

import json
from typing import Any

from ..config import Setting, settings
from .parameters import NodeConfig

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_OF_ROS = {"use_sim_time": {"type": "boolean", "description": "take the time from /clock"},
           "start_type_description_service": {"type": "boolean"},
           "qos_overrides": {"type": "object", "description": "QoS of single topics"}}


def parameter_schema() -> dict[str, Any]:
    """JSON schema (draft-07) of a ROS parameter file: sections ``/**`` and ``.../img2three`` are ours and hold only
    known settings, nested or dotted, of the right type and range; sections of other nodes are left alone."""
    parameters: dict[str, Any] = {"type": "object", "properties": dict(_OF_ROS), "additionalProperties": False}
    for leaf in settings(NodeConfig()):
        node = parameters
        *groups, name = leaf.path.split(".")
        for group in groups:
            node = node["properties"].setdefault(
                group, {"type": "object", "properties": {}, "additionalProperties": False})
        node["properties"][name] = _leaf(leaf)
        if groups:
            parameters["properties"][leaf.path] = _leaf(leaf)
    ours = {"type": "object", "properties": {"ros__parameters": {"$ref": "#/definitions/parameters"}},
            "required": ["ros__parameters"], "additionalProperties": False}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Parameters of the node img2three",
            "type": "object", "patternProperties": {r"^(/\*\*|/?(.*/)?img2three)$": ours},
            "definitions": {"parameters": parameters}}


def _leaf(leaf: Setting) -> dict[str, Any]:
    described = leaf.doc + (f" ({leaf.unit})" if leaf.unit else "") + ("" if leaf.dynamic else " [read-only]")
    if isinstance(leaf.value, tuple):
        return {"type": "array", "items": {"type": "string"}, "default": list(leaf.value), "description": described}
    found: dict[str, Any] = {"type": _TYPES[type(leaf.value)], "default": leaf.value, "description": described}
    if leaf.choices:
        found["enum"] = list(leaf.choices)
    if leaf.low is not None:
        found["minimum"] = leaf.low
    if leaf.high is not None:
        found["maximum"] = leaf.high
    return found


def schema_text() -> str:
    """The schema as it is kept in the repository."""
    return json.dumps(parameter_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
