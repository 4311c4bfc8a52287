"""The parts of the model card that are read from files: what the weights say of their training, and their metrics.

    python -m img2three_ros.evaluation.model_card [--weights FILE] [--metrics metrics.json ... | --page FILE] [CARD]
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import set_thread_waiting
from ..fileio.checkpoints import read_checkpoint
from ..structures import InputError
from .results import MEAN
from .tables import percent, short

CARD = Path(__file__).resolve().parents[1] / "weights" / "README.md"
_HEAD = ("recording, camera", "all", "best 80 %", "best 60 %", "coverage", "calibration error", "free-space violation")


def facts(weights: Path) -> str:
    """Markdown: file, digest, parameters and training of weights, from the file alone.

    Raises InputError('checkpoint') for a file without a training in its metadata.
    """
    checkpoint = read_checkpoint(weights)
    about = checkpoint.metadata
    missing = sorted({"steps", "hours", "groups", "training", "commit", "hardware"} - about.keys())
    if missing:
        raise InputError("checkpoint", f"'{weights}' does not say how it was trained: its metadata has no "
                         f"'{missing[0]}'; export it with img2three train")
    count = sum(value.numel() for value in checkpoint.tensors.values())
    training = json.loads(about["training"])
    encoder = float(training.get("optimizer.encoder", 1.0))
    start = (f"weights of `{Path(training['init']).name}`" if training.get("init") else
             "ImageNet encoder, the rest random" if training.get("pretrained") else "random")
    lines = [
        ("file", f"`{weights.name}`, {weights.stat().st_size / 1e6:.1f} MB"), ("sha256", f"`{digest(weights)}`"),
        ("parameters", f"{count:,}"), ("steps", about["steps"]), ("hours", about["hours"]),
        ("hardware", about["hardware"]), ("groups of views seen", about["groups"]), ("start", start),
        *([("encoder's backbone", "frozen" if encoder == 0.0 else f"learning rate x {encoder:g}")]
          if "pretrained" in training else []),
        ("data", _data(training)), ("stages", "; ".join(training.get("stages", ()))),
        ("commit", f"`{about['commit']}`"), ("held-out scores of the training", _scores(about.get("held_out", "")))]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in lines)])


def metrics_table(metrics: Sequence[Mapping[str, Any]], weights_digest: str) -> str:
    """Markdown: the rows of ``metrics.json`` trees, mean over cameras first.

    Raises InputError('metrics') for one that was made with other weights, with more (the scene network corrects
    depth: ``scene.space`` must be false), or with none.
    """
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    for tree in metrics:
        run = tree["run"]
        if list(run["weights_sha256"].values()) != [weights_digest]:
            raise InputError("metrics", f"the metrics of '{run['bag']}' are of engine '{run['engine']}' with weights "
                             f"{', '.join(run['weights_sha256'].values()) or 'none'}, not of {weights_digest} alone "
                             "(--set scene.space=false)")
        names = [MEAN, *(name for name in tree["depth"] if name != MEAN)]
        for name in names:
            lines.append(_row(Path(run["bag"]).name if name == MEAN else f"… {name}", tree["depth"][name],
                              tree["occupancy"] if name == MEAN else None))
    return "\n".join([*lines, "", f"Weights `{weights_digest[:16]}`."])


def filled(text: str, weights: Path, metrics: Sequence[Mapping[str, Any]] = (), page: str = "") -> str:
    """The text of a card with its blocks *facts* and *metrics* made anew, the latter from metrics.json trees or as the
    page that a benchmark wrote with these weights. Without either the old ones stay if they are of these weights."""
    text = _with_block(text, "facts", facts(weights))
    mark = digest(weights)
    if page:
        return _with_block(text, "metrics", f"{page.strip()}\n\nWeights `{mark[:16]}`.")
    if metrics:
        return _with_block(text, "metrics", metrics_table(metrics, mark))
    return text if f"`{mark[:16]}`." in _block(text, "metrics") else _with_block(
        text, "metrics", "Not measured with these weights yet.")


def digest(weights: Path) -> str:
    """SHA-256 of a file of weights."""
    from .provenance import file_digests

    return next(iter(file_digests(weights).values()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the card."""
    from ..reconstruction.scene_engine import weights_file

    parser = argparse.ArgumentParser(description="Fill the model card from the weights and from metrics.json files.")
    parser.add_argument("card", type=Path, nargs="?", default=CARD)
    parser.add_argument("--weights", default="", help="safetensors file; default: the shipped weights")
    parser.add_argument("--metrics", type=Path, nargs="+", default=(), help="metrics.json of img2three evaluate")
    parser.add_argument("--page", type=Path, help="Markdown that a benchmark wrote with these weights, instead")
    options = parser.parse_args(arguments)
    trees = [json.loads(path.read_text(encoding="utf-8")) for path in options.metrics]
    page = options.page.read_text(encoding="utf-8") if options.page else ""
    text = filled(options.card.read_text(encoding="utf-8"), weights_file(options.weights), trees, page)
    options.card.write_text(text, encoding="utf-8")


def _data(training: Mapping[str, Any]) -> str:
    if training.get("data.kind") == "simulated":
        return f"simulated world, seed {training.get('data.simulated.seed', '?')}; no recordings"
    return "recordings: " + ", ".join(Path(bag).name for bag in training.get("data.bags", ()))


def _scores(text: str) -> str:
    found = json.loads(text) if text else {}
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items()) or "none"


def _row(name: str, camera: Mapping[str, Any], occupancy: Mapping[str, Any] | None) -> str:
    parts = [camera["all"], camera["best_80"], camera["best_60"]]
    cells = [f"{short(_number(part['abs_rel']))}/{short(_number(part['delta']))}" for part in parts]
    cells += [percent(_number(camera["all"]["coverage"])),
              short(_number(camera["reliability"]["calibration_error"])),
              percent(_number(occupancy["free_space_violation"]), 2) if occupancy else ""]
    return "| " + " | ".join([name, *cells]) + " |"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:.*?-->\n)(.*?)(\n?<!-- end of {name} -->)", re.DOTALL)


def _block(text: str, name: str) -> str:
    match = _pattern(name).search(text)
    if match is None:
        raise InputError("model_card", f"the model card has no block '<!-- {name}: ... --> ... <!-- end of {name} -->'")
    return match[2]


def _with_block(text: str, name: str, content: str) -> str:
    _block(text, name)
    return _pattern(name).sub(lambda match: f"{match[1]}{content}\n<!-- end of {name} -->", text)


if __name__ == "__main__":
    set_thread_waiting()
    try:
        main()
    except InputError as error:
        sys.exit(f"error ({error.reason}): {error}")
