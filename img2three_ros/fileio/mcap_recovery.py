"""Messages of an MCAP file without footer or index: the records are walked from the start until they break off.

Layout of the records: https://mcap.dev/spec
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lz4.frame import decompress as lz4_decompress

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x03, 0x04, 0x05, 0x06
_LARGEST_RECORD = 2**32


def recover_mcap(path: Path) -> Iterator[tuple[str, int, str, bytes]]:
    """(topic, log time in ns, message type, CDR bytes) of every whole message; ends silently at the damage.

    Yields nothing if the file does not start as an MCAP file.
    """
    schemas: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return
        for code, record in _records(file):
            inner = _chunk_records(record) if code == _CHUNK else iter(((code, record),))
            try:
                yield from _messages(inner, schemas, channels)
            except (struct.error, IndexError, UnicodeDecodeError, KeyError):
                return


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    while True:
        head = file.read(9)
        if len(head) < 9:
            return
        code, size = struct.unpack("<BQ", head)
        if size > _LARGEST_RECORD:
            return
        body = file.read(size)
        # A chunk that breaks off still holds whole messages if it is not compressed; others do not.
        if len(body) < size and code != _CHUNK:
            return
        yield code, body


def _chunk_records(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Records inside a chunk; stops where the data do."""
    compression, at = _text(chunk, 28)
    data = chunk[at + 8:]
    try:
        if compression == "lz4":
            data = lz4_decompress(data)
        elif compression == "zstd":
            data = zstd.decompress(data)
    except (RuntimeError, zstd.ZstdError):
        return
    at = 0
    while at + 9 <= len(data):
        code, size = struct.unpack_from("<BQ", data, at)
        if at + 9 + size > len(data):
            return
        yield code, data[at + 9:at + 9 + size]
        at += 9 + size


def _messages(records: Iterator[tuple[int, bytes]], schemas: dict[int, str],
              channels: dict[int, tuple[str, str]]) -> Iterator[tuple[str, int, str, bytes]]:
    for code, record in records:
        if code == _SCHEMA:
            schemas[struct.unpack_from("<H", record)[0]] = _text(record, 2)[0]
        elif code == _CHANNEL:
            number, schema = struct.unpack_from("<HH", record)
            channels[number] = (_text(record, 4)[0], schemas[schema])
        elif code == _MESSAGE:
            number, _, time, _ = struct.unpack_from("<HIQQ", record)
            topic, message_type = channels[number]
            yield topic, time, message_type, record[22:]


def _text(record: bytes, at: int) -> tuple[str, int]:
    """Length-prefixed string at an offset, and the offset behind it."""
    size = struct.unpack_from("<I", record, at)[0]
    return record[at + 4:at + 4 + size].decode(), at + 4 + size
