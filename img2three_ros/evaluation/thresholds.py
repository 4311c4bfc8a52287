"""Thresholds on metrics, so that an accuracy can fail a build."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import nested_to_paths
from ..fileio.yaml_files import read_yaml
from ..structures import InputError

LIMITS = ("min", "max")


def load_requirements(path: Path) -> dict[str, Any]:
    """Reads a YAML of thresholds: ``depth.front.all.abs_rel: {max: 0.15}``, nested or dotted, with min and max.

    Raises InputError for a missing or unreadable file.
    """
    tree = read_yaml(path, "require", "requirements file")
    if not isinstance(tree, Mapping) or not tree:
        raise InputError("require", f"requirements file {path} holds no thresholds; write for example "
                         "'depth.front.all.abs_rel: {max: 0.15}'")
    return nested_to_paths(tree)


def failures(requirements: Mapping[str, Any], metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence for each threshold that is not met; a metric without a value never meets one.

    requirements: dotted path ending in ``.min`` or ``.max`` -> number; metrics: the tree of ``metrics.json``.
    Raises InputError for a path that names no number in the metrics (naming the nearest), or no limit.
    """
    known = {path: value for path, value in nested_to_paths(metrics).items()
             if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))}
    missed = []
    for path, limit in requirements.items():
        name, _, side = path.rpartition(".")
        if side not in LIMITS or isinstance(limit, bool) or not isinstance(limit, (int, float)):
            raise InputError("require", f"requirement '{path}' = {limit!r} needs a limit as in "
                             f"'{path if side not in LIMITS else name}: {{max: 0.1}}' (min or max, a number)")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise InputError("require", f"requirement '{name}' names no metric of metrics.json; "
                             f"did you mean '{near[0] if near else 'nothing was measured'}'?")
        value = known[name]
        if value is None or not math.isfinite(value):
            missed.append(f"{name} was not measured, required {side} {limit:g}")
        elif (side == "max" and value > limit) or (side == "min" and value < limit):
            missed.append(f"{name} = {value:.4g}, required {side} {limit:g}")
    return tuple(missed)
