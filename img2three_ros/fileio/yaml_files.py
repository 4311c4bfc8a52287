"""YAML that anyone may have written: whatever is wrong with it is one InputError, and what it unfolds to is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..structures import InputError

_MOST_VALUES, _DEEPEST, _BITS = 100_000, 32, 64


def read_yaml(path: Path, reason: str, called: str) -> Any:
    """Content of a file. called: what it is, for messages. Raises InputError(reason)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(reason, f"{called} '{path}' cannot be read: {error}") from error
    return parse_yaml(text, reason, f"{called} '{path}'")


def parse_yaml(text: str, reason: str, called: str) -> Any:
    """Plain values, lists and mappings of a text; aliases may repeat parts of it within reason.

    Raises InputError(reason).
    """
    try:
        tree = yaml.safe_load(text)
    except Exception as error:  # of dates, tags and deep nesting PyYAML lets ValueError, IndexError and others through
        raise InputError(reason, f"{called} cannot be read: {error or type(error).__name__}") from error
    waiting, seen = [(tree, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise InputError(reason, f"{called} holds more than {_MOST_VALUES} values, or more than {_DEEPEST} levels")
        if isinstance(node, int) and node.bit_length() >= _BITS:
            raise InputError(reason, f"{called} holds a whole number of {node.bit_length()} bits; 63 are the most")
        if isinstance(node, Mapping):
            waiting += [(item, depth + 1) for pair in node.items() for item in pair]
        elif isinstance(node, (list, tuple, set)):
            waiting += [(item, depth + 1) for item in node]
    return tree
