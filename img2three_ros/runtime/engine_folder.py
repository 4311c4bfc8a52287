"""The files of an engine cache: their names, what is there, and removing what is old or too much.

Other people's files are never touched: only names that ``NAME`` or ``TIMING`` match.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .engine_files import lock_if_free
from .engine_key import EngineRecord

ENGINE, RECORD, LOCK, KERNELS = ".engine", ".json", ".lock", ".kernels"
"""Suffixes of the files of one engine. The last is what TensorRT-RTX compiled for the GPU when the engine first ran."""
NAME = re.compile(r"[a-z0-9-]+-(fp32|fp16|int8)-[0-9a-f]{20}")
"""Of the files of an engine, without suffix."""
TIMING = re.compile(r"tensorrt[a-z0-9._-]*\.timing")
"""Names of timing caches: what a builder measured on one GPU, shared by its engines."""

_MAX_RECORD_BYTES = 1_000_000


@dataclass(frozen=True)
class Entry:
    """An engine in the folder. size: bytes of all its files. used: seconds since 1970. record: None if damaged, for the
    reason in ``problem``."""

    stem: str
    size: int
    used: float
    record: EngineRecord | None
    problem: str


@dataclass(frozen=True)
class Pruned:
    """removed: names of engines. kept: those that should have gone, and why they stay. freed: bytes."""

    removed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    freed: int


def read_record(path: Path) -> EngineRecord | None:
    """The record in a file; None if there is no file. Raises ValueError when it is something else, and OSError."""
    if not path.is_file():  # also refuses pipes and folders
        if path.exists():
            raise ValueError(f"'{path.name}' is no file")
        return None
    with path.open("rb") as file:
        content = file.read(_MAX_RECORD_BYTES + 1)
    if len(content) > _MAX_RECORD_BYTES:
        raise ValueError(f"'{path.name}' is too large for a record")
    try:
        return EngineRecord.from_json(content)
    except ValueError as error:
        raise ValueError(f"'{path.name}' is no record of this version of img2three ({error})") from error


def remove_engine(folder: Path, stem: str) -> int:
    """Remove all files of an engine but its lock, which the caller holds; the record first. Bytes that became free.
    Raises OSError if one cannot be removed."""
    return sum(_unlink(path) for path in _files(folder, stem))


def entries(folder: Path, *, checksums: bool = True) -> list[Entry]:
    """The engines of a cache, last used first; every engine file is read to compare its checksum, unless told not to.
    Raises OSError if the folder cannot be read; empty if there is none."""
    if not folder.is_dir():
        return []
    stems = {path.stem for path in folder.iterdir() if path.suffix in (ENGINE, RECORD) and NAME.fullmatch(path.stem)}
    return sorted((_entry(folder, stem, checksums) for stem in stems), key=lambda entry: (-entry.used, entry.stem))


def prune(
    folder: Path, *, older_than_s: float | None = None, max_bytes: int | None = None, everything: bool = False,
    keep: str = "", checksums: bool = True,
) -> Pruned:
    """Remove engines not used for ``older_than_s`` seconds, then those longest unused until at most ``max_bytes``
    remain; damaged ones and what killed builds left always; with ``everything`` all that is ours. ``keep``: stem of an
    engine that stays. checksums: as ``entries`` takes it; without, damage shows by size alone. An engine that a process
    has loaded lives on in that process."""
    removed: list[str] = []
    kept: list[tuple[str, str]] = []
    found = entries(folder, checksums=checksums)
    total, freed, now = sum(entry.size for entry in found), 0, time.time()
    for entry in reversed(found):
        too_old = older_than_s is not None and now - entry.used > older_than_s
        too_much = max_bytes is not None and total > max_bytes
        if entry.stem == keep or not (everything or too_old or too_much or entry.problem):
            continue
        try:
            size = _remove_if_free(folder, entry.stem, entry, checksums)
        except OSError as problem:
            kept.append((entry.stem, problem.strerror or str(problem)))
            continue
        if size is None:
            kept.append((entry.stem, "it is being built or used now"))
            continue
        removed.append(entry.stem)
        total, freed = total - size, freed + size
    return Pruned(tuple(removed), tuple(kept), freed + _remove_abandoned(folder, everything))


def _entry(folder: Path, stem: str, checksums: bool) -> Entry:
    record, problem = None, ""
    engine = folder / (stem + ENGINE)
    try:
        record = read_record(folder / (stem + RECORD))
        if record is None:
            problem = "no record: a build that was killed"
        elif record.key.stem() != stem:
            record, problem = None, "its record describes another engine"
        elif not engine.is_file():
            problem = "the engine file is missing"
        elif engine.stat().st_size != record.plan_bytes:
            problem = f"{engine.stat().st_size} bytes, {record.plan_bytes} were written"
        elif checksums and file_sha256(engine) != record.plan_sha256:
            problem = "its checksum is wrong: the file is damaged"
    except (OSError, ValueError) as error:
        problem = str(error)
    files = _files(folder, stem)
    return Entry(stem, sum(map(_size, files)), _modified(files[0]) if files else 0.0, record, problem)


def _remove_if_free(folder: Path, stem: str, seen: Entry | None, checksums: bool = True) -> int | None:
    """Bytes that became free; None if the engine is being built, or has been built or used since it was ``seen``."""
    lock = folder / (stem + LOCK)
    handle = lock_if_free(lock)
    if handle is None:
        return None
    try:
        if seen is not None and _entry(folder, stem, checksums) != seen:
            return None
        if seen is None and (folder / (stem + RECORD)).exists():
            return None
        freed = remove_engine(folder, stem)
        lock.unlink(missing_ok=True)  # while it is held: who waits for it notices and makes another
    finally:
        os.close(handle)
    return freed


def _remove_abandoned(folder: Path, everything: bool) -> int:
    """Bytes of temporary files and locks of engines that are not there, unless they are being built now; with
    ``everything`` timing caches too."""
    if not folder.is_dir():
        return 0
    names = [path.name for path in folder.iterdir()]
    stems = {name.removeprefix(".").split(".")[0] for name in names if name.endswith((".tmp", LOCK, KERNELS))}
    present = {name.removesuffix(RECORD) for name in names if name.endswith(RECORD)}
    freed = 0
    for stem in sorted(stems - present):
        if NAME.fullmatch(stem):
            with suppress(OSError):
                freed += _remove_if_free(folder, stem, None) or 0
    if everything:
        for name in names:
            if TIMING.fullmatch(name):
                with suppress(OSError):
                    freed += _unlink(folder / name)
    return freed


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _files(folder: Path, stem: str) -> list[Path]:
    """The files of an engine that are there, the record first; unfinished ones too, the lock not."""
    known = [path for suffix in (RECORD, ENGINE, KERNELS) if (path := folder / (stem + suffix)).exists()]
    return known + sorted(folder.glob(f".{stem}.*.tmp"))


def _unlink(path: Path) -> int:
    size = _size(path)
    path.unlink(missing_ok=True)
    return size


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
