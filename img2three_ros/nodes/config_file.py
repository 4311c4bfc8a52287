"""The configuration of a command: defaults, then a YAML file (plain or of ROS parameters), then single settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import Config, nested_to_paths, settings, with_overrides
from ..fileio.yaml_files import parse_yaml, read_yaml
from ..structures import InputError
from .parameters import NodeConfig


def configured(engine: str | None, path: Path | None, overrides: Sequence[str] | None) -> Config:
    """Defaults, then the file, then ``engine``, then ``overrides``, each PATH=VALUE. Raises InputError('parameter')."""
    config = Config()
    if path is not None:
        config = with_overrides(config, core_settings(path))
    if engine is not None:
        config = with_overrides(config, {"engine": engine})
    return with_overrides(config, dict(_pair(text) for text in overrides or ()))  # type: ignore[no-any-return]


def core_settings(path: Path) -> dict[str, Any]:
    """Settings of a YAML file: plain, or a ROS parameter file, whose node-only parameters are left to the node."""
    tree = read_yaml(path, "parameter", "config file") or {}
    if not isinstance(tree, dict) or any("ros__parameters" in node and not isinstance(node["ros__parameters"], dict)
                                         for node in tree.values() if isinstance(node, dict)):
        raise InputError("parameter", f"config file '{path}' must hold a mapping of settings")
    ros = [node["ros__parameters"] for node in tree.values() if isinstance(node, dict) and "ros__parameters" in node]
    values = nested_to_paths(ros[0] if ros else tree)
    core = {leaf.path for leaf in settings(Config())}
    node_only = {leaf.path for leaf in settings(NodeConfig())} - core if ros else set()
    return {key: value for key, value in values.items() if key not in node_only}


def _pair(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals:
        raise InputError("parameter", f"--set {text!r} must be PATH=VALUE, for example occupancy.voxel_size=0.2")
    return path.strip(), parse_yaml(value, "parameter", f"--set {text!r}")
