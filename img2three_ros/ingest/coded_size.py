"""How large a JPEG or PNG says it is, before anything is decoded: a few bytes can claim gigabytes."""

from __future__ import annotations

from .jpeg import START, Pixels, jpeg_size

LARGEST_PIXELS = 1 << 25
"""Coded images with more pixels (33 million) are refused: decoding takes up to 12 bytes for each."""

_PNG = b"\x89PNG\r\n\x1a\n"


def coded_size(data: Pixels) -> tuple[int, int] | None:
    """(width, height) that the header of a JPEG or PNG gives; None for anything else, and for a PNG that breaks off."""
    head = bytes(data[:24])
    if head[:2] == START:
        return jpeg_size(data)
    if head[:8] != _PNG or not _whole_chunks(data):
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _whole_chunks(data: Pixels) -> bool:
    """Whether a PNG holds as many bytes as its chunks claim: OpenCV 5 asks for their memory first."""
    at = len(_PNG)
    while at + 12 <= len(data):
        size, kind = int.from_bytes(bytes(data[at:at + 4]), "big"), bytes(data[at + 4:at + 8])
        at += 12 + size
        if kind == b"IEND":
            return at <= len(data)
    return False
