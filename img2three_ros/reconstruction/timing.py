"""Milliseconds of each stage of a frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageTimer:
    """Times named stages on the steady clock; waits for the device so that its work counts where it belongs."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body under ``name``."""
        start = time.perf_counter()
        yield
        if self._cuda:
            torch.cuda.synchronize()
        self.milliseconds[name] = (time.perf_counter() - start) * 1000.0
