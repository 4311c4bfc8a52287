"""Files that appear whole or not at all, and a lock between processes that dies with its holder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..structures import InputError

Say = Callable[[str], None]

_POLL_S = 0.1
_REMIND_S = 30.0


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one: temporary file beside it, fsync, rename, fsync
    of the folder. Nothing stays behind when writing fails (OSError); a killed process leaves ``temporaries(path)``."""
    handle, name = tempfile.mkstemp(prefix=_temporary_prefix(path), suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            os.fchmod(handle, 0o644)  # mkstemp's files are for their owner alone; a cache may serve several users
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def temporaries(path: Path) -> list[Path]:
    """Files of ``write_whole(path)`` that were never finished. Whoever holds the lock of the path may remove them."""
    return sorted(path.parent.glob(f"{_temporary_prefix(path)}*.tmp"))


def _temporary_prefix(path: Path) -> str:
    return f".{path.name}."


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync folders
            raise
    finally:
        os.close(handle)


@contextmanager
def exclusive(path: Path, wait_s: float, say: Say) -> Iterator[None]:
    """Hold the lock file of a path alone among all processes. The kernel frees it when its holder ends, however it
    ends: there are no stale locks. Not for threads of one process that share the file descriptor.

    Raises InputError('engine_cache') when another process still holds it after ``wait_s`` seconds; OSError when the
    lock file cannot be made or the file system has no locks.
    """
    handle = _wait_for(path, wait_s, say)
    try:
        yield
    finally:
        os.close(handle)


def lock_if_free(path: Path) -> int | None:
    """A file descriptor that holds the lock until it is closed; None when another process holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
        if _is_same_file(handle, path):
            os.ftruncate(handle, 0)
            with suppress(OSError):  # only for the message of those who wait; a full disk must not hinder the lock
                os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
            return handle
        os.close(handle)  # removed by ``prune`` between open and flock: this one locks nothing any more


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(handle)
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)


def _wait_for(path: Path, wait_s: float, say: Say) -> int:
    start = time.monotonic()
    said = None
    while (handle := lock_if_free(path)) is None:
        waited = time.monotonic() - start
        if waited >= wait_s:
            raise InputError("engine_cache", f"{_holder(path)} has held '{path}' for more than {wait_s:.0f} s; "
                             "end it or wait longer")
        if said is None or waited - said >= _REMIND_S:
            said = waited
            say(f"{_holder(path)} is building this engine; waiting for it ({waited:.0f} of at most {wait_s:.0f} s)")
        time.sleep(min(_POLL_S, wait_s - waited))
    return handle


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes()[:1000])
        return f"process {int(holder['pid'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
