"""The parameter table of the README, made from the dataclasses so that it cannot go stale.

``python -m img2three_ros.nodes.parameter_table README.md`` rewrites the part between the two markers.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..config import Setting, settings
from .parameters import NodeConfig

BEGIN, END = "<!-- parameters: made by python -m img2three_ros.nodes.parameter_table -->", "<!-- end of parameters -->"


def parameter_table() -> str:
    """Markdown table of every parameter of the node: name, default, unit and range, whether dynamic, description."""
    rows = ["| parameter | default | range | live | what it is |", "|---|---|---|---|---|"]
    rows += [f"| `{leaf.path}` | {_default(leaf)} | {_range(leaf)} | {'yes' if leaf.dynamic else ''} | {leaf.doc} |"
             for leaf in settings(NodeConfig())]
    return "\n".join(rows)


def with_table(text: str) -> str:
    """``text`` with the table between its markers. Raises ValueError if it has no markers."""
    head, found, rest = text.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the text must hold the markers {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{parameter_table()}\n{END}{tail}"


def _default(leaf: Setting) -> str:
    if leaf.value in ("", ()):
        return "empty"
    return f"`{str(leaf.value).lower() if isinstance(leaf.value, bool) else leaf.value}`"


def _range(leaf: Setting) -> str:
    if leaf.choices:
        return ", ".join(f"`{choice}`" for choice in leaf.choices)
    low, high = (None if limit is None else f"{limit:g}" for limit in (leaf.low, leaf.high))
    limits = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""
    return f"{limits} {leaf.unit}".strip()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
