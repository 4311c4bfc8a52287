"""The training loop: groups -> prediction -> loss -> step, and everything written on the way."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import settings
from ..runtime.choose_backend import torch_precision
from ..structures import InputError
from .checkpoint import Progress, load_training, save_training
from .device import Processes, processes
from .export import made_by
from .journal import Journal
from .samples import Lane, LaneSamples
from .schedule import learning_rate_factor, make_optimizer, set_learning_rate, update_average
from .settings import TrainingConfig
from .stopping import stop_on_signals
from .task import SampleSource, Task
from .validation import held_out_samples

CHECKPOINT = "training.pt"
BEST, LAST = "best.safetensors", "last.safetensors"

Report = Callable[[str], None]


@dataclass(frozen=True)
class TrainingSummary:
    """steps: done in all. seconds: in all. best: lowest first score of validation (inf without). stopped: why it
    ended before the last step, empty = it did not."""

    steps: int
    seconds: float
    best: float
    stopped: str


def train(task: Task[Any, Any], network: nn.Module, source: SampleSource[Any], held_out: SampleSource[Any],
          output: Path, config: TrainingConfig, report: Report = print) -> TrainingSummary:
    """Train ``network`` (on the CPU) for ``task`` on ``source``, validate on ``held_out``, into the folder
    ``output``; where the folder holds a checkpoint, go on from there, exactly as if it had never stopped.

    Writes training.pt (everything), last.safetensors, best.safetensors (moving average of the weights, float16),
    metrics.csv, pictures, TensorBoard events. Under torchrun each process takes its part of every batch.
    """
    with processes(config) as group, stop_on_signals() as stop:
        trainer = Trainer(task, network, source, held_out, output, config, group, report if group.first else _silent)
        return trainer.run(lambda: stop.asked)


class Trainer:
    """One process of a training. ``run`` does the steps; see ``train``."""

    def __init__(self, task: Task[Any, Any], network: nn.Module, source: SampleSource[Any], held_out: SampleSource[Any],
                 output: Path, config: TrainingConfig, group: Processes, report: Report) -> None:
        self.task = task
        self.config, self.group, self.report, self.output = config, group, report, output
        self.source, self.held_out_source = source, held_out
        self.plan = config.plan
        self.lanes = config.micro_batches or group.count
        self._check_lanes()
        output.mkdir(parents=True, exist_ok=True)
        self.network = network.to(group.device).train()
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = make_optimizer(self.network, config.optimizer)
        self.progress = Progress()
        self.values = {leaf.path: leaf.value for leaf in settings(config)}
        if (output / CHECKPOINT).is_file():
            self._resume()
        self.bfloat16 = torch_precision(config.precision, group.device) == "bf16"
        self.journal = Journal(output, self.progress.step, task.parts, task.scores) if group.first else None
        self.held_out: list[Any] | None = None

    def run(self, stop: Callable[[], str]) -> TrainingSummary:
        """Do the steps that are left; ``stop`` says why to stop early, or an empty text."""
        self._announce()
        lanes = self._my_lanes()
        meter = Meter()
        began = saved = time.monotonic()
        reason = ""
        for parts in zip(*lanes, strict=True):
            tick = time.monotonic()
            row = self._step(list(parts))
            meter.add(row, sum(self.task.images(sample) for part in parts for sample in part),
                      sum(lane.waited for lane in lanes))
            self._count(lanes, meter.elapsed())
            step = self.progress.step
            if step % self.config.log_every == 0 or step == self.config.steps:
                self._log(meter)
            validated = self._validate_if_due(step)
            reason = self._reason(stop, tick - began)
            if reason or validated or step % self.config.checkpoint_every == 0 or self.group.any(
                    time.monotonic() - saved > 60.0 * self.config.checkpoint_minutes):
                self._save()
                saved = time.monotonic()
            if reason:
                break
        return self._finish(reason)

    def _step(self, parts: list[list[Any]]) -> dict[str, float]:
        """One step of the optimizer over this process's parts of the batch."""
        step, optimizer, config = self.progress.step, self.optimizer, self.config.optimizer
        rate = set_learning_rate(optimizer, learning_rate_factor(step, self.config.steps, config))
        optimizer.zero_grad(set_to_none=True)
        names = self.task.parts
        sums = torch.zeros(len(names) + 1, device=self.group.device)
        for number, samples in enumerate(parts):
            lane = self.group.rank + number * self.group.count  # the same draws however lanes are spread
            torch.manual_seed((self.config.seed * 1_000_003 + step) * 1009 + lane)
            total, found = self.task.loss(self.network, samples, self._arithmetic)
            (total / self.lanes).backward()
            sums += torch.stack([total.detach(), *(found[name] for name in names)]).float() / self.lanes
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.group.sum_([*map(gradient_of, parameters), sums])
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        if bool(torch.isfinite(norm)):
            optimizer.step()
            update_average(self.average, self.network, step, config.average)
        else:
            self.report(f"step {step}: the gradient is not finite; this step is left out")
        self.progress.step += 1
        values = dict(zip(("total", *names), sums.tolist(), strict=True))
        return {**values, "gradient_norm": float(norm), "learning_rate": rate}

    def _arithmetic(self) -> AbstractContextManager[object]:
        return torch.autocast(self.group.device.type, dtype=torch.bfloat16) if self.bfloat16 else nullcontext()

    def _validate_if_due(self, step: int) -> bool:
        every = self.config.validation.every
        due = step == self.config.steps or (every > 0 and step % every == 0)
        if not due or not self.config.validation.groups:
            return False
        if self.group.first:
            self._validate(step)
        return True

    def _validate(self, step: int) -> None:
        """Scores of the average; new best weights are kept."""
        if self.held_out is None:
            self.held_out = held_out_samples(self.task, self.held_out_source, self.config.validation,
                                             self.output / "validation.pt", self.config.origin)
        found = self.task.validate(self.average, self.held_out, self.group.device, self._arithmetic)
        assert self.journal is not None
        self.journal.write({"step": step, "seconds": self.progress.seconds,
                            **{f"val_{name}": value for name, value in found.items()}})
        self.report(f"step {step}: {self.task.said(found)}")
        for index, sample in enumerate(self.held_out[:self.config.validation.pictures]):
            shown = self.task.picture(self.average, sample, self.group.device, self._arithmetic)
            self.journal.show(f"validation_{index}", shown, step)
        best = found[self.task.scores[0]]
        if best < self.progress.best:
            self.progress.best = best
            self.task.export(self.output / BEST, self.average, made_by(self.progress, self.values, found))

    def _save(self) -> None:
        if self.group.first:
            save_training(self.output / CHECKPOINT, self.progress, self.network, self.average, self.optimizer,
                          self.values)
            self.task.export(self.output / LAST, self.average, made_by(self.progress, self.values, {}))

    def _finish(self, reason: str) -> TrainingSummary:
        self._save()
        if self.journal is not None:
            self.journal.close()
        done = self.progress
        self.report(f"stopped at step {done.step} of {self.config.steps}: {reason}" if reason else
                    f"done: {done.step} steps in {done.seconds / 3600.0:.2f} h")
        return TrainingSummary(done.step, done.seconds, done.best, reason)

    def _reason(self, stop: Callable[[], str], running: float) -> str:
        asked = stop()
        late = self.config.minutes > 0.0 and running > 60.0 * self.config.minutes
        if not self.group.any(bool(asked) or late):
            return ""
        return asked or (f"{self.config.minutes:g} minutes are over" if late else "another process was asked to stop")

    def _count(self, lanes: list[LaneSamples], seconds: float) -> None:
        self.progress.seconds += seconds
        self.progress.groups += sum(lane.take_made() for lane in lanes) * self.group.count

    def _log(self, meter: Meter) -> None:
        row = meter.take()
        images = row["images_per_second"] * self.group.count
        shares = " ".join(f"{name} {row[name]:.3f}" for name in self.task.parts)
        self.report(f"step {self.progress.step}/{self.config.steps} loss {row['total']:.4f} | {shares} | "
                    f"{images:.2f} img/s, waiting {100.0 * row['waiting']:.0f} %, gradient {row['gradient_norm']:.2f}, "
                    f"rate {row['learning_rate']:.1e}")
        if self.journal is not None:
            self.journal.write({**row, "step": self.progress.step, "seconds": self.progress.seconds,
                                "images_per_second": images})

    def _announce(self) -> None:
        count = sum(parameter.numel() for parameter in self.network.parameters())
        self.report(f"{count / 1e6:.2f} M parameters on {self.group.device} x {self.group.count}, "
                    f"{'bf16' if self.bfloat16 else 'fp32'}, {self.lanes} micro-batches; steps {self.progress.step} "
                    f"to {self.config.steps} into '{self.output}'")

    def _resume(self) -> None:
        path = self.output / CHECKPOINT
        self.progress, before = load_training(path, self.network, self.average, self.optimizer)
        changed = [f"{name} {before.get(name)!r} -> {value!r}" for name, value in self.values.items()
                   if before.get(name) != value]
        self.report(f"going on from '{path}' at step {self.progress.step}"
                    + (f"; settings that changed: {', '.join(changed)}" if changed else ""))

    def _my_lanes(self) -> list[LaneSamples[Any, Any]]:
        """The lanes this process computes; they share its rendering processes."""
        mine = range(self.group.rank, self.lanes, self.group.count)
        workers = self.config.data.workers
        data = replace(self.config.data, workers=max(workers // len(mine), 1) if workers else 0)
        return [LaneSamples(self.task, self.source, data, self.config.seed, self.plan, self.progress.step,
                            Lane(number, self.lanes), self.group.device, self._arithmetic) for number in mine]

    def _check_lanes(self) -> None:
        if self.lanes % self.group.count:
            raise InputError("parameter", f"micro_batches = {self.lanes} must be a multiple of the {self.group.count} "
                             "processes")
        for stage in self.plan:
            if stage.groups % self.lanes:
                raise InputError("parameter", f"a stage has {stage.groups} groups per step: must be a multiple of the "
                                 f"{self.lanes} micro-batches")


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """Its gradient; zeros where the batch did not use it (no view had a source, say): other processes may have."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


class Meter:
    """Means of the rows since the last ``take``, images per second, and the share of time spent waiting for data."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._rows: list[Mapping[str, float]] = []
        self._images, self._waited, self._waited_before = 0, 0.0, 0.0

    def add(self, row: Mapping[str, float], images: int, waited: float) -> None:
        """One step. images: in it; waited: seconds waited since the start of training."""
        self._rows.append(row)
        self._images += images
        self._waited = waited

    def elapsed(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        return passed

    def take(self) -> dict[str, float]:
        """The means, and a new beginning."""
        now = time.monotonic()
        seconds = max(now - self._start, 1e-9)
        row = {name: sum(row[name] for row in self._rows) / len(self._rows) for name in self._rows[0]}
        row["images_per_second"] = self._images / seconds
        row["waiting"] = (self._waited - self._waited_before) / seconds
        self._start, self._rows, self._images, self._waited_before = now, [], 0, self._waited
        return row


def _silent(_: str) -> None:
    """The report of every process but the first."""
