"""What a rig loses when something is missing or wrong: engine ``scene`` on the same drives under other conditions."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from ..config import Config, with_overrides
from ..fileio.checkpoints import read_checkpoint
from ..models.depth_weights import load_depth_network
from ..reconstruction.scene_engine import weights_file
from ..structures import Frame, InputError
from .depth_metrics import SelectionScores
from .drives import Drive, Pool, measured
from .perturbations import with_calibration_error, with_odometry_error, without_camera
from .provenance import file_digests
from .tables import abs_rel_delta, percent, short

Progress = Callable[[int, int], None]
Change = Callable[[Sequence[Frame]], Sequence[Frame]]
HEAD = ("", "all", "best 80 %", "best 60 %", "calibration error", "free-space violation")

ABOUT = """\
What your rig gives up when something is missing or wrong: engine `scene`, the same weights, the same instants, under
other conditions. AbsRel / δ<1.25 as in `img2three evaluate`: *all* hit pixels with a depth, and the most confident 80 %
and 60 % of all of them; the mean over cameras. *Calibration error*: of the confidence, over all pixels.

* **without keyframes**: every instant stands alone. **Without other cameras**: each camera is matched with its own
  keyframes only. **Neither**: all depth comes from context.
* **one camera missing**: each in turn; means over the cameras that are left.
* **calibration error**: every camera is turned about a random axis by that angle against what it is told.
  **Odometry error**: distances and turns are that much too long or too short, and the heading drifts (at 2 % by
  0.057° a metre). Means over several draws. Depth is compared where the cameras truly are; occupancy is as it comes.
* **without matching once more**: depth as the network gives it (`scene.rematch: false`).
* **without the pretrained encoder**: weights trained in the same way from a random encoder; two short trainings side by
  side: `python benchmarks/training_ablations.py depth`.

All rows: `scene.space: false`, without what the scene corrects or adds.
"""


@dataclass(frozen=True)
class Trial:
    """One way a drive is told and reconstructed. settings: dotted path -> value."""

    change: Change | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Condition:
    """A row of the table. trials: ways to try it on a drive; none where it makes no difference to the drive.
    otherwise: what the row says then."""

    name: str
    trials: Callable[[Drive], Sequence[Trial]]
    otherwise: str = "makes no difference here"


@dataclass(frozen=True)
class Recording:
    """A table: one or more drives measured together."""

    name: str
    drives: Sequence[Drive]


@dataclass(frozen=True)
class Row:
    """What was measured under a condition; scores None where there was nothing to measure, ``note`` says why."""

    name: str
    scores: SelectionScores | None = None
    calibration_error: float = float("nan")
    free_space_violation: float = float("nan")
    note: str = ""


def conditions(seeds: int = 2, without_pretrained: Path | None = None) -> list[Condition]:
    """All rows, the undisturbed one first. seeds: draws of every random error. without_pretrained: weights trained
    without ImageNet."""

    def calibration(degrees: float) -> Condition:
        return Condition(f"calibration error {degrees:g}°", lambda _: [
            Trial(partial(with_calibration_error, degrees=degrees, seed=seed)) for seed in range(seeds)])

    def odometry(share: float) -> Condition:
        return Condition(f"odometry error {100 * share:g} %", lambda drive: [
            Trial(partial(with_odometry_error, share=share, seed=seed))
            for seed in range(seeds)] if drive.moves else [])

    alone, own = {"keyframes.count": 0}, {"scene.neighbours": False}
    other = [Trial(settings={"scene.weights": str(without_pretrained)})] if without_pretrained else []
    return [
        Condition("as it is", lambda _: [Trial()]),
        Condition("without keyframes", lambda drive: [Trial(settings=alone)] if drive.moves else []),
        Condition("without other cameras", lambda drive: [Trial(settings=own)] if len(drive.cameras) > 1 else []),
        Condition("neither: one image at a time", lambda _: [Trial(settings={**alone, **own})]),
        Condition("one camera missing", lambda drive: [
            Trial(partial(without_camera, name=name))
            for name in drive.cameras] if len(drive.cameras) > 1 else []),
        calibration(0.2), calibration(0.5), odometry(0.02), odometry(0.05),
        Condition("without matching once more", lambda _: [Trial(settings={"scene.rematch": False})]),
        Condition("without the pretrained encoder", lambda _: other, "not trained"),
    ]


def ablate(recording: Recording, rows: Sequence[Condition], config: Config,
           progress: Progress | None = None) -> list[Row]:
    """Measure every condition on a recording, without what the scene corrects or adds.
    progress: called with trials done and in all."""
    plan = [(row, [(drive, trial) for drive in recording.drives for trial in row.trials(drive)]) for row in rows]
    total, done = sum(len(trials) for _, trials in plan), 0
    found = []
    for row, trials in plan:
        pool = Pool()
        for drive, trial in trials:
            frames = trial.change(drive.frames) if trial.change else drive.frames
            pool.add(measured(drive, with_overrides(config, {"scene.space": False, **trial.settings}), frames))
            done += 1
            if progress:
                progress(done, total)
        depth = pool.depth()
        found.append(Row(row.name, depth.overall, depth.reliability.calibration_error,
                         pool.occupancy().free_space_violation) if trials else Row(row.name, note=row.otherwise))
    return found


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    for row in rows:
        if row.scores is None:
            lines.append(_line([row.name, row.note, *[""] * (len(HEAD) - 2)]))
            continue
        parts = (row.scores.all, row.scores.best_80, row.scores.best_60)
        lines.append(_line([row.name, *map(abs_rel_delta, parts), short(row.calibration_error),
                            percent(row.free_space_violation, 2)]))
    return "\n".join(lines)


def header(config: Config, command: str, without_pretrained: Path | None = None) -> str:
    """Title, what the rows mean, and where the figures come from."""
    lines = ["# Ablations", "", ABOUT, f"Made on {datetime.now(timezone.utc):%Y-%m-%d} by `{command}` on {machine()}.",
             f"Weights: {weights_line(weights_file(config.scene.weights))}."]
    if without_pretrained:
        lines.append(f"Without the pretrained encoder: {weights_line(without_pretrained)}.")
    return "\n".join(lines)


def weights_line(path: Path) -> str:
    """Name, digest and training of a file of weights."""
    about = read_checkpoint(path).metadata
    digest = next(iter(file_digests(path).values()))
    return (f"`{path.name}`, sha256 `{digest[:16]}`, {about.get('steps', '?')} steps in {about.get('hours', '?')} h "
            f"on {about.get('hardware', 'unknown hardware')}")


def machine() -> str:
    """The processor this runs on."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines()
             if line.startswith("model name")] if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def check_weights(config: Config, without_pretrained: Path | None = None) -> None:
    """Raises InputError if the engine is not ``scene`` or a file of weights cannot be used: asked before hours of work.
    """
    if config.engine != "scene":
        raise InputError("parameter", f"ablations are of engine 'scene', not '{config.engine}'")
    for path in (weights_file(config.scene.weights), without_pretrained):
        if path is not None:
            load_depth_network(path)


def run_ablations(recordings: Sequence[Recording], output: Path, config: Config, command: str, *, seeds: int = 2,
                  without_pretrained: Path | None = None, progress: Progress | None = None) -> str:
    """All tables as one Markdown page, written to ``output`` after every table; returns the page.

    Raises InputError, see ``check_weights``.
    """
    check_weights(config, without_pretrained)
    rows = conditions(seeds, without_pretrained)
    page = header(config, command, without_pretrained) + "\n"
    for recording in recordings:
        drives = "".join(f"\n* {drive.name}" for drive in recording.drives) if len(recording.drives) > 1 else ""
        page += (f"\n## {recording.name}\n{drives}\n" if drives else f"\n## {recording.name}\n")
        page += "\n" + table(ablate(recording, rows, config, progress)) + "\n"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
    return page


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
