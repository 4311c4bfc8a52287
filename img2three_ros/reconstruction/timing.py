"""Milliseconds of each stage of a frame, and of the parts of a stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageTimer:
    """Times named stages on the steady clock; waits for the device so that its work counts where it belongs.

    milliseconds: of the stages, one after the other: their sum is the time of all. parts: of stages inside a stage,
    by name; what is left of the stage around them has none.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._depth = 0
        self.milliseconds: dict[str, float] = {}
        self.parts: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body under ``name``; what was timed under that name before is added to. Inside another stage it is
        a part of that one."""
        counted = self.parts if self._depth else self.milliseconds
        self._depth += 1
        start = time.perf_counter()
        try:
            yield
            if self._cuda:
                torch.cuda.synchronize()
        finally:
            self._depth -= 1
            counted[name] = counted.get(name, 0.0) + (time.perf_counter() - start) * 1000.0
