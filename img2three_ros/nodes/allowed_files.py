"""Files that parameters name: confined to folders the operator declares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import settings
from ..ingest.rig import CameraRig
from ..structures import InputError

_NAMES_A_FILE = re.compile(r"(file|weights|checkpoint|folder|path|cache|model)$")
PACKAGE = Path(__file__).resolve().parents[1]


def files_of(config: Any) -> Iterator[tuple[str, str]]:
    """(parameter, path) of every setting in use that names a file or folder, by how its name ends; empty ones do not.
    """
    for leaf in settings(config):
        of_another_engine = leaf.path.partition(".")[0] in set(_engines(config)) - {config.engine}
        if isinstance(leaf.value, str) and leaf.value and not leaf.choices and not of_another_engine \
                and _NAMES_A_FILE.search(leaf.path):
            yield leaf.path, leaf.value


def check_files(config: Any, folders: tuple[str, ...], rig: CameraRig | None = None) -> None:
    """Raises InputError('parameter') for a file outside ``folders`` (links followed, also those inside a folder that a
    parameter names); the package's own are allowed.

    No folders = no confinement: who starts the node names its files, and none of them may change while it runs.
    rig: its masks are held to the same.
    """
    if not folders:
        return
    allowed = [PACKAGE, *(_resolved("allowed_folders", folder) for folder in folders)]
    masks = [] if rig is None else [(f"mask of camera '{camera.name}' in rig_file", str(camera.mask_file))
                                    for camera in rig.cameras if camera.mask_file is not None]
    for name, path in (*files_of(config), *_default_cache(config), *masks):
        for found in _with_links(name, path):
            if not any(found.is_relative_to(folder) for folder in allowed):
                raise InputError("parameter", f"{name} = '{path}' is outside the folders that allowed_folders names "
                                 f"({', '.join(folders)})"
                                 + (f": '{found}'" if found != _resolved(name, path) else ""))


def _default_cache(config: Any) -> list[tuple[str, str]]:
    """Networks and engines are read from the cache folder, also where no parameter names it."""
    if config.runtime.cache_folder or config.runtime.backend == "torch":
        return []
    from ..runtime.choose_backend import cache_folder

    return [("runtime.cache_folder", str(cache_folder(config.runtime)))]


def _with_links(name: str, path: str) -> Iterator[Path]:
    """Where ``path`` is, then what each link inside it points at if it is a folder."""
    found = _resolved(name, path)
    yield found  # refused before it is looked into
    if found.is_dir() and found != PACKAGE:
        yield from (_resolved(name, str(entry)) for entry in found.rglob("*") if entry.is_symlink())


def _engines(config: Any) -> tuple[str, ...]:
    return next(leaf.choices for leaf in settings(config) if leaf.path == "engine")


def _resolved(name: str, path: str) -> Path:
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, an unknown home, a null byte
        raise InputError("parameter", f"{name} = {path!r} is no usable path: {error}") from error
