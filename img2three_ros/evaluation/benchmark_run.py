"""One measurement of the whole way from messages to messages, in a process of its own."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..config import Config, with_overrides
from ..ingest.bag_frames import recorded_sets
from ..ingest.frame_assembler import FrameAssembler
from ..ingest.synchronizer import ImageSet
from ..reconstruction.pipeline import ReconstructionPipeline
from ..structures import Reconstruction

Publish = Callable[[Reconstruction], dict[str, float]]
"""Publishes a result; gives the milliseconds of ``build_messages`` and ``publish``."""

LEAD_IN = 2
"""Frames after the start of the recording that are not counted: they have no keyframes yet."""
RATE = 10.0
NAMES = {"undistort": "undistort_resize", "complete": "decode_grid"}
"""Stages that others know by another name than the pipeline."""
PREPARED = {"undistort", "copy"}
"""Parts of stage ``prepare``; all others are parts of ``reconstruct``."""
NETWORK = ("encode", "match", "lift", "refine", "rematch", "decode_grid")
ORDER = ("decode", "undistort_resize", "copy", "ego_mask", "align", "encode", "match", "refine", "rematch", "lift",
         "reconstruct", "points", "fuse", "decode_grid", "build_messages", "publish", "other")


@dataclass(frozen=True)
class Request:
    """What to measure. cameras: of ``bag``; overrides: of the configuration; frames: counted ones; publisher: a
    function of a module, called once in the process that measures, gives what publishes; None = not measured."""

    bag: Path
    cameras: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 8
    publisher: Callable[[], Publish] | None = None


class Spread(NamedTuple):
    """Milliseconds."""

    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Measured:
    """Of one set of cameras.

    image_size, network_size: (width, height). stages: parts of ``total``, ``other`` is what is left. network: the
    learned parts, or the whole engine where it does not tell them; rest: total without network. throughput_hz: frames
    one after the other. at_10_hz: age of the newest frame, from the moment it is complete, when its result is out;
    replaced: share of frames that are never processed then. cpu: processor seconds per second, of all threads; cpu_ms:
    processor time of a frame. memory_mb: peak resident set. gpu_memory_mb: None on a CPU. points: in the last cloud.
    """

    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    network_size: tuple[int, int]
    frames: int
    backend: str
    stages: dict[str, Spread]
    network: Spread
    rest: Spread
    total: Spread
    throughput_hz: float
    at_10_hz: Spread
    replaced: float
    cpu: float
    cpu_ms: float
    memory_mb: float
    gpu_memory_mb: float | None
    points: int


def measure(request: Request) -> Measured:
    """Run all phases; call it in a new process, so that memory and threads are its own."""
    config: Config = with_overrides(Config(), request.overrides)
    assembler, sets = recorded_sets(request.bag, config, request.cameras)
    pipeline = ReconstructionPipeline(config)
    publish = request.publisher() if request.publisher is not None else None
    loop = _Loop(pipeline, assembler, sets, publish)
    rows = [loop.next() for _ in range(LEAD_IN + request.frames)][LEAD_IN:]
    latencies, replaced = _at_fixed_rate(loop, max(3, request.frames // 2))
    network = [_network(row) for row in rows]
    totals = [row["total"] for row in rows]
    wall, cpu = sum(totals), sum(row["cpu"] for row in rows)
    names = [name for name in ORDER if any(name in row for row in rows)]
    cuda = pipeline.device.type == "cuda"
    last = loop.last
    height, width = last.depth_images[0].image.shape[:2]
    return Measured(
        request.cameras, loop.whole_size, (width, height), len(rows), _backend(pipeline),
        {name: spread([row.get(name, 0.0) for row in rows]) for name in names}, spread(network),
        spread([total - part for total, part in zip(totals, network, strict=True)]), spread(totals),
        1000.0 * len(rows) / wall, spread(latencies), replaced, cpu / wall, cpu / len(rows),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0 ** 2),
        torch.cuda.max_memory_allocated() / 1024.0 ** 2 if cuda else None, len(last.cloud))


class _Loop:
    """The recording again and again. The past is forgotten when it starts anew, and led in without being counted."""

    def __init__(self, pipeline: ReconstructionPipeline, assembler: FrameAssembler, sets: Sequence[ImageSet[Any]],
                 publish: Publish | None) -> None:
        self._pipeline, self._assembler, self._publish = pipeline, assembler, publish
        self._sets, self._set = list(sets), sets[0]
        self._order = self._indices()
        decoded = assembler.assemble(self._sets[0]).images[0]
        payload = self._sets[0].images[0].payload
        self.whole_size = _size_of(payload) or (decoded.calibration.width, decoded.calibration.height)
        self.last: Reconstruction

    def next(self) -> dict[str, float]:
        """Milliseconds of the stages of the next frame, ``total``, and processor time ``cpu``."""
        self.advance()
        return self.work()

    def advance(self) -> None:
        """Go on to the next frame; at a new start this takes as long as the lead-in."""
        self._set = self._sets[next(self._order)]

    def _indices(self) -> Iterator[int]:
        lead_in = min(LEAD_IN, len(self._sets) - 1)
        for turn in count():
            for index in range(len(self._sets)):
                if turn and index < lead_in:
                    if index == 0:
                        self._pipeline.reset()
                    self._pipeline.process(self._assembler.assemble(self._sets[index]))
                    continue
                yield index

    def work(self) -> dict[str, float]:
        """See ``next``; of the frame that ``advance`` went to."""
        began, began_cpu = time.perf_counter(), time.process_time()
        frame = self._assembler.assemble(self._set)
        row = {"decode": 1000.0 * (time.perf_counter() - began)}
        result = self.last = self._pipeline.process(frame)
        told = set(result.parts_ms)
        whole = {"prepare"} | ({"reconstruct"} if told - PREPARED else set())
        for name, milliseconds in {**result.timings_ms, **result.parts_ms}.items():
            if name not in whole:  # its parts are shown
                row[NAMES.get(name, name.replace(" ", "_"))] = milliseconds
        if self._publish is not None:
            row.update(self._publish(result))
        cpu = 1000.0 * (time.process_time() - began_cpu)
        total = 1000.0 * (time.perf_counter() - began)
        return {**row, "other": total - sum(row.values()), "total": total, "cpu": cpu}


def _at_fixed_rate(loop: _Loop, results: int) -> tuple[list[float], float]:
    """Latencies in ms of ``results`` frames, and the share of replaced ones, where a frame is complete every 100 ms and
    the newest is always taken (as the node's mailbox does)."""
    period, began = 1.0 / RATE, time.perf_counter()
    latencies, newest, taken = [], -1, 0
    for _ in range(results):
        paused = time.perf_counter()
        loop.advance()
        began += time.perf_counter() - paused
        newest = max(int((time.perf_counter() - began) / period), newest + 1)
        time.sleep(max(0.0, began + newest * period - time.perf_counter()))
        loop.work()
        taken += 1
        latencies.append(1000.0 * (time.perf_counter() - began - newest * period))
    return latencies, 1.0 - taken / (newest + 1)


def _network(row: Mapping[str, float]) -> float:
    return sum(row.get(name, 0.0) for name in (*NETWORK, "reconstruct"))


def _backend(pipeline: ReconstructionPipeline) -> str:
    return str(getattr(pipeline.engine, "backend", "torch"))


def _size_of(message: Any) -> tuple[int, int] | None:
    from ..ingest.jpeg import jpeg_size

    if hasattr(message, "width"):
        return int(message.width), int(message.height)
    return jpeg_size(np.frombuffer(message.data, np.uint8))


def spread(milliseconds: Sequence[float]) -> Spread:
    """Median and 95th percentile."""
    return Spread(float(statistics.median(milliseconds)), float(np.percentile(milliseconds, 95)))
