"""The exported networks of the cache: ``NETWORK-KEY.onnx`` and the int8 form beside it, ``NETWORK-KEY-int8.onnx``.

A file's modification time is when it was last used. Other people's files are never touched.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .engine_folder import Pruned, file_sha256

_NAME = re.compile(r"([a-z0-9-]+-[0-9a-f]{20})(-int8)?\.onnx")
_UNFINISHED = re.compile(r"\.[a-z0-9-]+-[0-9a-f]{20}(-int8)?\.onnx\..+\.tmp")
_HOUR = 3600.0
"""Nobody writes one file for so long: an unfinished one of that age was left by somebody who was killed."""


@dataclass(frozen=True)
class _Network:
    """A network and its int8 form, which is of no use without it. used: seconds since 1970; size: bytes."""

    stem: str
    files: tuple[Path, ...]
    used: float
    size: int


def mark_used(path: Path) -> None:
    """A network was used now; a folder that is only readable cannot remember."""
    with suppress(OSError):
        os.utime(path)


def prune_networks(
    folder: Path, *, older_than_s: float | None = None, max_bytes: int | None = None, everything: bool = False,
    needed: Iterable[str] = (),
) -> Pruned:
    """Remove networks not used for ``older_than_s`` seconds, then those longest unused until at most ``max_bytes``
    remain, but none of which an engine was made that stays: exported anew it may differ, and the engine would be built
    again. needed: sha256 (hex) of the files of these. With ``everything`` all goes. What killed exports left goes
    always. Raises OSError if the folder cannot be read."""
    removed: list[str] = []
    kept: list[tuple[str, str]] = []
    found, engines_of, now = _networks(folder), frozenset(needed), time.time()
    total = sum(network.size for network in found)
    freed = _remove_unfinished(folder, now)
    for network in found:
        too_old = older_than_s is not None and now - network.used > older_than_s
        too_much = max_bytes is not None and total > max_bytes
        if not (everything or too_old or too_much):
            continue
        try:
            if not everything and engines_of.intersection(map(file_sha256, network.files)):
                kept.append((network.stem, "an engine that stays was made from it"))
                continue
            for file in network.files:
                file.unlink(missing_ok=True)
        except OSError as problem:
            kept.append((network.stem, problem.strerror or str(problem)))
            continue
        removed.append(network.stem)
        total, freed = total - network.size, freed + network.size
    return Pruned(tuple(removed), tuple(kept), freed)


def _networks(folder: Path) -> list[_Network]:
    """Longest unused first."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            files.setdefault(match[1], []).append(path)
    found = []
    for stem, own in files.items():
        with suppress(FileNotFoundError):  # somebody else prunes too
            states = [path.stat() for path in own]
            found.append(_Network(stem, tuple(own), max(state.st_mtime for state in states),
                                  sum(state.st_size for state in states)))
    return sorted(found, key=lambda network: (network.used, network.stem))


def _remove_unfinished(folder: Path, now: float) -> int:
    """Bytes that became free."""
    freed = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        if _UNFINISHED.fullmatch(path.name):
            with suppress(OSError):
                state = path.stat()
                if now - state.st_mtime > _HOUR:
                    path.unlink()
                    freed += state.st_size
    return freed
