"""Folders for results."""

from __future__ import annotations

from pathlib import Path

from ..structures import InputError


def make_folder(folder: Path) -> None:
    """Make a folder and its parents. Raises InputError('output') where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("output", f"folder '{folder}' cannot be made: {error}; choose another output") from error
