"""A folder of built engines that can be trusted: an engine is used only if all that it was made from is unchanged.

One engine is two files: ``NETWORK-PRECISION-KEY.engine``, as the builder made it, and the record ``….json`` beside it
(``EngineRecord``), written last. The record's modification time is when the engine was last used. Reading needs no
lock; building and removing do, one lock file per engine.

A folder that cannot be written, or a full disk, never stops anybody: the engine is then kept in memory, and this is
said. No torch here, and no TensorRT: the builder is a function.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ..structures import InputError
from .engine_files import Say, exclusive, lock_if_free, temporaries, write_whole
from .engine_folder import ENGINE, KERNELS, LOCK, NAME, RECORD, prune, read_record, remove_engine
from .engine_key import EngineKey, EngineRecord, TensorRow

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class BuiltEngine:
    """What a builder returns. plan: the engine, serialised."""

    plan: bytes
    tensors: tuple[TensorRow, ...]


@dataclass(frozen=True)
class CachedEngine:
    """plan: the engine, serialised. path: its file; None if it could not be stored. built: just now, by this call."""

    plan: bytes
    record: EngineRecord
    path: Path | None
    built: bool


@dataclass(frozen=True)
class EngineCache:
    """folder: made when first needed. say: takes what a user must know, a sentence at a time. wait_s: longest wait for
    another process that builds the same engine. limit_bytes: engines longest unused are removed beyond it."""

    folder: Path
    say: Say
    wait_s: float = 1800.0
    limit_bytes: int = 4_000_000_000

    def find(self, key: EngineKey) -> CachedEngine | None:
        """The stored engine, complete and unchanged, or None. Says why when there is one that cannot be used."""
        path, record_path = self._path(key, ENGINE), self._path(key, RECORD)
        try:
            record = read_record(record_path)
            if record is None:
                return None
            if record.key != key:
                raise ValueError("its record describes another engine")
            plan = _read_plan(path, record)
        except (OSError, ValueError) as problem:
            self.say(f"engine '{path}' cannot be used and will be built again: {problem}")
            return None
        with suppress(OSError):  # a folder that is only readable cannot remember
            os.utime(record_path)
        return CachedEngine(plan, record, path, built=False)

    def get_or_build(self, key: EngineKey, build: Callable[[], BuiltEngine]) -> CachedEngine:
        """The stored engine, or the one ``build`` makes, stored. Of several processes that ask at once, one builds.

        Raises InputError('engine_cache') if another process builds for longer than ``wait_s``, and what ``build``
        raises.
        """
        found = self.find(key)
        if found is not None:
            return found
        with ExitStack() as held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive(self._path(key, LOCK), self.wait_s, self.say))
            except OSError as problem:
                self.say(f"the engine cache '{self.folder}' cannot be written ({_reason(problem)}): the engine is "
                         "built in memory, and again at the next start")
                return _in_memory(key, *_timed(build))
            found = self.find(key)  # built while this process waited
            if found is not None:
                return found
            self._remove_leftovers(key)
            made = _in_memory(key, *_timed(build))
            stored = self._store(made)
        if stored.path is not None:
            self._make_room(stored.path.stem)
        return stored

    def discard(self, key: EngineKey, reason: str) -> None:
        """Remove an engine that the runtime refused.

        Not for one that fails its self-test: built anew of the same network, for minutes at every start, it would most
        likely fail again.
        """
        self.say(f"engine '{self._path(key, ENGINE)}' is removed: {reason}")
        try:
            handle = lock_if_free(self._path(key, LOCK))
            if handle is None:
                return  # being built anew
            try:
                remove_engine(self.folder, key.stem())
            finally:
                os.close(handle)
        except OSError as problem:
            self.say(f"it cannot be removed: {_reason(problem)}")

    def _store(self, made: CachedEngine) -> CachedEngine:
        key = made.record.key
        path, record_path = self._path(key, ENGINE), self._path(key, RECORD)
        try:
            remove_engine(self.folder, key.stem())  # an old record must never stand beside a new engine
            write_whole(path, made.plan)
            write_whole(record_path, made.record.to_json())
        except OSError as problem:
            with suppress(OSError):
                remove_engine(self.folder, key.stem())
            room = ""
            if problem.errno in _FULL:
                room = (f"; {len(made.plan) / 1e6:.1f} MB are needed, {_free(self.folder)} free; see 'img2three "
                        "engines prune'")
            self.say(f"the engine cannot be stored in '{self.folder}' ({_reason(problem)}{room}): it stays in memory "
                     "and is built again at the next start")
            return made
        return CachedEngine(made.plan, made.record, path, built=True)

    def _remove_leftovers(self, key: EngineKey) -> None:
        """What killed builds of this engine left. Only under its lock: then nobody is writing it."""
        left = [path for suffix in (ENGINE, RECORD) for path in temporaries(self._path(key, suffix))]
        if self._path(key, ENGINE).exists() and not self._path(key, RECORD).exists():
            left.append(self._path(key, ENGINE))
        for path in left:
            self.say(f"'{path.name}' is removed: a build that was killed left it, without a record")
            with suppress(OSError):
                path.unlink()

    def _make_room(self, kept: str) -> None:
        try:
            removed = prune(self.folder, max_bytes=self.limit_bytes, keep=kept, checksums=False).removed
        except OSError:
            return
        for name in removed:
            self.say(f"engine '{name}' is removed: longest unused or damaged, and the cache holds at most "
                     f"{self.limit_bytes / 1e6:.0f} MB")

    def kernels(self, key: EngineKey) -> Path:
        """Where TensorRT-RTX may keep what it compiled for the GPU."""
        return self._path(key, KERNELS)

    def _path(self, key: EngineKey, suffix: str) -> Path:
        stem = key.stem()
        if not NAME.fullmatch(stem):
            raise InputError("engine_cache", f"'{stem}' cannot name an engine: a network's name has a-z, 0-9 and -, "
                             "and precision is fp32, fp16 or int8")
        return self.folder / (stem + suffix)


def _read_plan(path: Path, record: EngineRecord) -> bytes:
    if not path.is_file():
        raise ValueError("the engine file beside the record is missing")
    size = path.stat().st_size
    if size != record.plan_bytes:
        raise ValueError(f"it has {size} bytes, {record.plan_bytes} were written")
    plan = path.read_bytes()
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise ValueError("its checksum is wrong: the file is damaged")
    return plan


def _timed(build: Callable[[], BuiltEngine]) -> tuple[BuiltEngine, float]:
    start = time.monotonic()
    return build(), time.monotonic() - start


def _in_memory(key: EngineKey, engine: BuiltEngine, seconds: float) -> CachedEngine:
    record = EngineRecord(key, hashlib.sha256(engine.plan).hexdigest(), len(engine.plan), engine.tensors, time.time(),
                          seconds)
    return CachedEngine(engine.plan, record, None, built=True)


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB"
    except OSError:
        return "? MB"
