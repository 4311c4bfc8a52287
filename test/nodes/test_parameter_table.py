"""The README's parameter table is the dataclasses'."""

from pathlib import Path

import pytest

from img2three_ros.nodes.parameter_table import parameter_table, with_table

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_shows_the_current_parameters():
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text, "run: python -m img2three_ros.nodes.parameter_table README.md"


def test_every_row_has_its_columns():
    assert {line.count("|") for line in parameter_table().splitlines()} == {6}


def test_a_text_without_markers_is_refused():
    with pytest.raises(ValueError, match="markers"):
        with_table("# nothing")
