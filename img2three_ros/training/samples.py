"""Which groups each step trains on, and processes that render them ahead.

Everything follows from the step: groups have numbers, each is used a few times, the order of uses is a function of
the seed. So training goes on after a stop with exactly the groups it would have seen, and several processes see
together what one would have seen alone.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from .settings import DataConfig, Stage
from .task import Arithmetic, Ready, Sample, SampleSource, Task


class Use(NamedTuple):
    """The ``turn``-th use of group ``number``."""

    number: int
    turn: int


class Request(NamedTuple):
    """A group to be made."""

    number: int
    size: tuple[int, int]
    views: int


@dataclass(frozen=True)
class Lane:
    """One of ``count`` equal parts of every batch, with groups of its own."""

    number: int
    count: int


def uses(seed: int, lane: Lane, reuse: int, spread: int) -> Iterator[Use]:
    """Endless uses of the groups number, number + count, ...: each new group is used at once, again ``reuse`` - 1
    times while the next ``spread`` groups are made. The first turns of groups come in their order."""
    waiting: list[tuple[float, Use]] = []
    made = 0
    while True:
        if not waiting or waiting[0][0] >= made:
            group = lane.number + made * lane.count
            heapq.heappush(waiting, (float(made), Use(group, 0)))
            moments = random.Random(f"{seed} {group}")
            for turn in range(1, reuse):
                heapq.heappush(waiting, (made + 1 + spread * moments.random(), Use(group, turn)))
            made += 1
        yield heapq.heappop(waiting)[1]


class LaneSamples(Generic[Sample, Ready]):
    """Groups of one lane on ``device``, step after step, from ``start`` on; rendered ahead by ``data.workers``
    processes.

    waited: seconds the training waited for groups.
    """

    def __init__(self, task: Task[Sample, Ready], source: SampleSource[Sample], data: DataConfig, seed: int,
                 stages: Sequence[Stage], start: int, lane: Lane = Lane(0, 1),
                 device: torch.device | str = "cpu", arithmetic: Arithmetic = nullcontext) -> None:
        self._task, self._arithmetic = task, arithmetic
        self._source, self._data, self._seed, self._stages, self._lane = source, data, seed, tuple(stages), lane
        self._start, self._device = start, torch.device(device)
        self.waited, self._made = 0.0, 0

    def __iter__(self) -> Iterator[list[Ready]]:
        """The groups of each step, augmented, until the last step."""
        begin = 0
        for number, stage in enumerate(self._stages):
            if self._start < stage.until:
                yield from self._stage(number, stage, begin)
            begin = stage.until

    def take_made(self) -> int:
        """Groups used for the first time since the last call."""
        made, self._made = self._made, 0
        return made

    def _stage(self, number: int, stage: Stage, begin: int) -> Iterator[list[Ready]]:
        per_step = stage.groups // self._lane.count
        skipped = max(self._start - begin, 0) * per_step
        wanted = (stage.until - begin) * per_step
        first = 1_000_000 * number
        endless = uses(self._seed, self._lane, self._data.reuse, self._data.spread)
        ahead = list(itertools.islice(endless, skipped, wanted))
        left = Counter(use.number for use in ahead)
        requests = [Request(first + number, stage.size, stage.views) for number in left]
        rendered = iter(_loader(_Rendering(self._source, requests, self._task.to_arrays), self._data))
        pool: dict[int, Ready] = {}
        step: list[Ready] = []
        for use in ahead:
            if use.number not in pool:
                began = time.perf_counter()
                sample = self._task.from_arrays(next(rendered))
                self.waited += time.perf_counter() - began
                pool[use.number] = self._task.ready(sample, self._device, self._arithmetic)
            step.append(self._augmented(pool[use.number], Use(first + use.number, use.turn)))
            self._made += use.turn == 0
            left[use.number] -= 1
            if not left[use.number]:
                del pool[use.number]
            if len(step) == per_step:
                yield step
                step = []

    def _augmented(self, ready: Ready, use: Use) -> Ready:
        side = random.Random(f"{self._seed} {use.number} side").getrandbits(1)
        light = random.Random(f"{self._seed} {use.number} {use.turn} light").getrandbits(48)
        return self._task.augmented(ready, self._data.mirror and bool((side + use.turn) % 2), light, self._data.light)


ToArrays = Callable[[Any], dict[str, object]]


class _Rendering(Dataset[Any]):
    def __init__(self, source: SampleSource[Any], requests: Sequence[Request], to_arrays: ToArrays) -> None:
        self._source, self._requests, self._to_arrays = source, requests, to_arrays

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, position: int) -> dict[str, object]:
        request = self._requests[position]
        return self._to_arrays(self._source.group(request.number, request.size, request.views))


def _loader(rendering: _Rendering, data: DataConfig) -> Iterator[dict[str, object]]:
    """Rendered groups in the order of requests. Workers are spawned: they inherit no threads and no CUDA."""
    parallel: dict[str, Any] = {}
    if data.workers:
        parallel = {"multiprocessing_context": "spawn", "prefetch_factor": data.ahead,
                    "worker_init_fn": partial(_alone, os.getpid())}
    return iter(DataLoader(rendering, batch_size=None, collate_fn=_same, shuffle=False,
                           num_workers=data.workers, **parallel))


def _same(item: Any) -> Any:
    return item


def _alone(trainer: int, worker: int) -> None:
    """One thread each. Ctrl-C and SIGTERM to the whole process group are left to the trainer, who ends its workers; one
    that was killed or crashed cannot, so they watch it: a worker with groups nobody takes would wait for ever."""
    threading.Thread(target=_end_with, args=(trainer,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


def _end_with(trainer: int) -> None:
    while os.getppid() == trainer:
        time.sleep(1.0)
    os._exit(1)
