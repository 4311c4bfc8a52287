"""What each part of the training is worth: short trainings from scratch that differ in one thing, side by side.

    python benchmarks/training_ablations.py depth --output docs/training_ablations_depth.md
    python benchmarks/training_ablations.py scene --output docs/training_ablations_scene.md [--steps 100] [--jobs 2]

All rows see the same samples in the same order and are scored on the same held-out ones; the second row differs from
the first in the seed alone (weights, rays): differences of that size are noise. Rows that are already in --runs
are not trained again; a stopped one goes on. An hour or two on two cores each.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import csv
import math
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from img2three_ros.config import with_overrides
from img2three_ros.data.scene_sample import SceneSample
from img2three_ros.evaluation.ablations import machine
from img2three_ros.evaluation.space_page import table
from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.scene_network import SceneNetwork
from img2three_ros.models.scene_volume import SceneVolumeConfig
from img2three_ros.training.depth_task import DepthTask
from img2three_ros.training.loop import train
from img2three_ros.training.prepared_scene import PreparedScene
from img2three_ros.training.scene_objective import PARTS
from img2three_ros.training.scene_task import SceneTask
from img2three_ros.training.settings import SceneTrainConfig, TrainConfig
from img2three_ros.training.sources import group_sources, scene_sources
from img2three_ros.training.start import starting_network, starting_scene_network
from img2three_ros.training.task import Arithmetic, SampleSource

UNIFORM = ContractedGrid(near=144 * 0.4, z_near=24 * 0.4)
"""As many cells as the contracted grid, all of one size: it ends 57.6 m from the vehicle."""
DEPTH_SCORES = {"abs_rel": "AbsRel", "delta": "δ<1.25", "abs_rel_80": "AbsRel, best 80 %", "delta_80": "δ, best 80 %",
                "abs_rel_60": "AbsRel, best 60 %", "delta_60": "δ, best 60 %", "calibration": "calibration error"}
SCENE_SCORES = {"iou_seen": "IoU seen", "iou_hidden": "IoU hidden", "psnr": "outside views, dB",
                "perceptual": "… perceptual distance", "abs_rel": "AbsRel along rays", "depth_before": "depth",
                "depth_look_2": "… refined"}


@dataclass(frozen=True)
class Row:
    """One training. settings: what differs from the common ones; grid: of the volume; past: with earlier instants."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    grid: ContractedGrid = field(default_factory=ContractedGrid)
    past: bool = True

    @property
    def folder(self) -> str:
        """Its folder in --runs."""
        return self.name.replace(" ", "_").replace(",", "")


DEPTH_ROWS = (Row("as it is"), Row("as it is, another seed", {"seed": 1}),
              Row("without the pretrained encoder", {"pretrained": False}))
SCENE_ROWS = (
    Row("as it is"), Row("as it is, another seed", {"seed": 1}),
    Row("without contraction", grid=UNIFORM),
    Row("without recurrence", past=False),
    Row("without refinement", {"objective.refinement": 0.0, "objective.overlap": 0.0}),
    *(Row(f"without {name}", {f"objective.{name}": 0.0}) for name in (*PARTS, "overlap")))


@dataclass(frozen=True)
class Kept:
    """A source whose samples are kept in a folder, so that all rows see the same without making them again."""

    source: SampleSource[Any]
    folder: Path
    kind: str

    def group(self, index: int, size: tuple[int, int], views: int) -> Any:
        """See ``SampleSource``."""
        path = self.folder / f"{self.kind}_{index}_{size[0]}x{size[1]}_{views}.pt"
        if not path.is_file():
            part = path.with_suffix(f".{os.getpid()}")
            torch.save(self.source.group(index, size, views), part)
            part.replace(path)
        return torch.load(path, weights_only=False)


class WithoutPast(SceneTask):
    """Remembers nothing: the same samples, their newest instant alone."""

    def ready(self, sample: SceneSample, device: torch.device, arithmetic: Arithmetic) -> PreparedScene:
        """See ``SceneTask``."""
        ready = super().ready(sample, device, arithmetic)
        return replace(ready, instants=ready.instants[:1])


def common(kind: str, steps: int) -> dict[str, Any]:
    """Settings of all rows of a kind."""
    shared = {"stages": [f"to {steps} size 192x320 groups 1 views 6"], "threads": 1, "data.workers": 0,
              "validation.every": 0, "validation.size": "192x320", "validation.pictures": 0, "validation.groups": 12,
              "optimizer.warmup": steps // 10, "optimizer.average": 0.95, "log_every": 20, "checkpoint_every": 50,
              "data.simulated.groups_per_world": 2, "data.reuse": 4}
    if kind == "scene":
        shared |= {"instants": 2, "scenes.near_surfaces": 0.15, "objective.occupied_weight": 1.0,
                   "objective.lovasz": 0.5, "data.spread": 8}
    return shared


def train_row(kind: str, row: Row, steps: int, runs: Path) -> dict[str, float]:
    """The scores after the last step. Samples are those of seed 0, whatever the row's seed."""
    torch.set_num_threads(1)
    output = runs / kind / row.folder
    done = last_scores(output / "metrics.csv", steps)
    if done:
        return done
    values = {**common(kind, steps), **row.settings}
    samples = runs / f"{kind}_samples"
    samples.mkdir(parents=True, exist_ok=True)
    report = partial(_said, row.name)
    if kind == "depth":
        config: TrainConfig = with_overrides(TrainConfig(), values)
        training, held_out = group_sources(config, output)
        train(DepthTask(config.objective), starting_network(config), Kept(training, samples, "training"),
              Kept(held_out, samples, "held_out"), output, config, report)
    else:
        chosen: SceneTrainConfig = with_overrides(SceneTrainConfig(), values)
        depth, _ = starting_scene_network(chosen)
        torch.manual_seed(chosen.seed)
        network = SceneNetwork(SceneVolumeConfig(grid=row.grid, context=depth.config.context[0]))
        sources = scene_sources(chosen)
        kept = [Kept(source, samples, name) for name, source in zip(("training", "held_out"), sources, strict=True)]
        task = (SceneTask if row.past else WithoutPast)(depth, network.config, chosen.objective, chosen.faults)
        train(task, network, *kept, output, chosen, report)
    return last_scores(output / "metrics.csv", steps)


def last_scores(path: Path, steps: int) -> dict[str, float]:
    """The validation after the last step; empty before it."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) == steps]
    return next(({name[4:]: float(value) for name, value in row.items() if name.startswith("val_") and value}
                 for row in rows if row.get("val_abs_rel")), {})


def _said(name: str, text: str) -> None:
    print(f"{name}: {text}", file=sys.stderr, flush=True)


def page(kind: str, rows: Sequence[Row], found: Sequence[Mapping[str, float]], steps: int, command: str) -> str:
    """Markdown."""
    names = DEPTH_SCORES if kind == "depth" else SCENE_SCORES
    lines = [(row.name, *(_text(scores.get(name, math.nan)) for name in names))
             for row, scores in zip(rows, found, strict=True)]
    return "\n\n".join([
        f"# What each part of the training is worth: {kind}",
        f"{steps} steps from scratch, one sample of 6 views of 320 x 192 a step, the same samples for every row; "
        "scores of 12 held-out samples. The second row differs from the first in its seed alone: differences of that "
        "size are noise. The shipped weights saw many times as much: this says what a part does early, not what it is "
        "worth in the end.", *NOTES[kind], f"Made by `{command}` on {machine()}.",
        table(("", *names.values()), lines)]) + "\n"


NOTES = {
    "depth": (),
    "scene": (f"* **without contraction**: as many cells, all of {UNIFORM.cell:g} m: the grid ends "
              f"{UNIFORM.reach:.0f} m from the vehicle in place of {ContractedGrid().reach:.0f} m.\n"
              "* **without recurrence**: one instant.\n"
              "* **without refinement**: the depth stays as the depth network found it.\n"
              "* Other rows leave out one term of the loss (`img2three_ros/training/scene_objective.py` says what each "
              "is).",)}


def _text(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if value >= 10.0 else f"{value:.3f}"


def main() -> None:
    """Train what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("depth", "scene"))
    parser.add_argument("--steps", type=int, default=0, help="of each row; default 300 (depth), 100 (scene)")
    parser.add_argument("--runs", type=Path, default=Path("training_ablations"), help="folder for trainings")
    parser.add_argument("--rows", help="only rows whose name has this text")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--output", type=Path, help="Markdown file to write as well")
    options = parser.parse_args()
    steps = options.steps or (300 if options.kind == "depth" else 100)
    rows = [row for row in (DEPTH_ROWS if options.kind == "depth" else SCENE_ROWS)
            if not options.rows or options.rows in row.name]
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(partial(_job, options.kind, steps, options.runs), rows))
    command = f"python benchmarks/training_ablations.py {options.kind} --steps {steps}"
    text = page(options.kind, rows, found, steps, command)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def _job(kind: str, steps: int, runs: Path, row: Row) -> dict[str, float]:
    return train_row(kind, row, steps, runs)


if __name__ == "__main__":
    main()
