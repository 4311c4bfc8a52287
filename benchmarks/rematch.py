"""What matching once more along the found surfaces is worth, look by look, and the weights of its clues.

    python benchmarks/rematch.py [--drives 16] [--held-out] [--threads 2]

Simulated drives like the held-out ones, from other worlds (seeds that training may draw too); the last of three
instants, every pixel at 3-60 m with a true depth. Prints accuracy before and after each look, and the weights that
``reconstruction/scene_rematch.py`` holds, fitted here. --held-out: the held-out drives, and nothing is fitted.
Takes five minutes on two cores.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional

from img2three_ros.config import Config, with_overrides
from img2three_ros.evaluation.drives import Drive
from img2three_ros.evaluation.held_out import HeldOut, held_out, rendered_drive
from img2three_ros.evaluation.space_page import table
from img2three_ros.reconstruction import scene_rematch
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.reconstruction.scene_engine import SceneEngine
from img2three_ros.reconstruction.scene_refinement import Estimate
from img2three_ros.reconstruction.scene_rematch import Match, confidence_clues, match, scale_clues
from img2three_ros.reconstruction.sweep_cost import Level
from img2three_ros.structures import Matrix

FIRST_SEED = 1000
NEAREST, FARTHEST, RIGHT = 3.0, 60.0, math.log(1.25)
EVERY = 11
"""One pixel in so many is fitted to."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a view is rematched with."""

    estimate: Estimate
    reference: Level
    sources: Sequence[tuple[Level, Matrix]]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Of one view, (N,) each: log of the true depth, and after each look (the first: before all) of the found one;
    matches after the last look: its clues, (7, N) and (8, N); and the logit of confidence before."""

    truth: Tensor
    looks: tuple[Tensor, ...]
    about_scale: Tensor
    about_confidence: Tensor
    logit: Tensor


def asked(drive: Drive, config: Config) -> dict[str, Asked]:
    """The views of the last frame of a drive, by camera."""
    pipeline = ReconstructionPipeline(config)
    found: dict[str, Asked] = {}

    def watch(estimate: Estimate, reference: Level, sources: Sequence[tuple[Level, Matrix]]) -> Estimate:
        found[estimate.view.name] = Asked(estimate, reference, sources)
        return estimate

    assert isinstance(pipeline.engine, SceneEngine)
    with mock.patch("img2three_ros.reconstruction.scene_engine.rematched", watch):
        for frame in drive.frames:
            pipeline.process(frame)
    return found


def pixels_of(view: Asked, depth: Tensor) -> Pixels:
    """depth: (H, W) true metres of the image that the view was made of, of any size."""
    estimate, size = view.estimate, view.reference.size
    block = estimate.view.size[0] // size[0]

    def shrunk(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values[None, None].float(), block)[0, 0]

    log_depth, log_scale, logit = map(shrunk, (estimate.log_depth, estimate.log_scale, estimate.confidence))
    truth = functional.interpolate(depth[None, None], size=size, mode="nearest-exact")[0, 0]
    counts = (truth > NEAREST) & (truth < FARTHEST) & (shrunk(estimate.mask) > 0.99)
    looks, found = [log_depth], Match(*[torch.zeros_like(log_depth)] * 6)
    for number in range(1, len(scene_rematch.LOOKS) + 1):
        with mock.patch.object(scene_rematch, "LOOKS", scene_rematch.LOOKS[:number]):
            found = match(log_depth, log_scale, view.reference, view.sources)
        looks.append(log_depth + found.shift)
    return Pixels(truth[counts].log(), tuple(values[counts] for values in looks),
                  scale_clues(found, log_scale)[:, counts], confidence_clues(found, logit)[:, counts], logit[counts])


def accuracy(log_depth: Tensor, logit: Tensor, truth: Tensor) -> list[tuple[float, float]]:
    """AbsRel and δ<1.25 of all pixels, and of the most confident 80 % and 60 %."""
    error = (log_depth.exp() / truth.exp() - 1.0).abs()
    right = ((log_depth - truth).abs() < RIGHT).float()
    order = logit.argsort(descending=True)
    kept = [order[:max(1, round(share * len(order)))] for share in (1.0, 0.8, 0.6)]
    return [(float(error[part].mean()), float(right[part].mean())) for part in kept]


def fitted(start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Weights where the loss is least."""
    weights = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(weights) + 1e-4 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)
    return weights.detach()


def fit(views: Sequence[Pixels]) -> Mapping[str, Tensor]:
    """The weights that ``scene_rematch`` holds, by name."""
    def joined(of: Callable[[Pixels], Tensor]) -> Tensor:
        return torch.cat([of(view)[..., ::EVERY] for view in views], -1)

    error = joined(lambda view: (view.looks[-1] - view.truth).abs())
    about_scale, about_confidence = joined(lambda view: view.about_scale), joined(lambda view: view.about_confidence)
    right = error < RIGHT

    def laplace(clues: Tensor, errors: Tensor) -> Tensor:
        return fitted(torch.eye(len(clues))[1], lambda weights: (
            errors * torch.exp(-(weights @ clues)) + weights @ clues).mean())

    return {"SCALE_WEIGHTS": laplace(about_scale, error),
            "SPREAD_WEIGHTS": laplace(about_scale[:, right], error[right]),
            "CONFIDENCE_WEIGHTS": fitted(torch.eye(len(about_confidence))[1], lambda weights:
                                         functional.binary_cross_entropy_with_logits(weights @ about_confidence,
                                                                                     right.float()))}


def page(views: Sequence[Pixels], weights: Tensor) -> str:
    """Accuracy of each look, means over views; weights: of the clues of confidence."""
    names = ["before", *(f"after look {number}" for number in range(1, len(views[0].looks)))]
    rows: list[tuple[str, ...]] = []
    for number, name in enumerate(names):
        rows.append((name, *_cells([(view.looks[number], view.logit, view.truth) for view in views])))
    rows.append(("… with its confidence", *_cells([(view.looks[-1], weights @ view.about_confidence, view.truth)
                                                   for view in views])))
    return table((f"{len(views)} views", "AbsRel/δ<1.25, all", "best 80 %", "best 60 %", "median error"), rows)


def _cells(views: Sequence[tuple[Tensor, Tensor, Tensor]]) -> list[str]:
    means = torch.tensor([accuracy(*view) for view in views]).mean(0).tolist()
    median = torch.cat([(log_depth - truth).abs() for log_depth, _, truth in views]).median()
    return [*(f"{error:.4f}/{right:.4f}" for error, right in means), f"{100.0 * float(median):.2f} %"]


def drives(count: int, unseen: bool) -> Iterator[HeldOut]:
    """Drives to be rendered."""
    chosen = held_out()
    if unseen:
        yield from chosen[:count]
        return
    for number in range(count):
        drive = chosen[number % len(chosen)]
        yield replace(drive, config=replace(drive.config, seed=FIRST_SEED + number))


def main() -> None:
    """Render, match, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drives", type=int, default=16)
    parser.add_argument("--held-out", action="store_true", help="of the held-out drives; nothing is fitted")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = all")
    options = parser.parse_args()
    values: dict[str, Any] = {"engine": "scene", "scene.space": False, "threads": options.threads,
                              "prepare.pixels": 640 * 384}
    config = with_overrides(Config(), values)
    views: list[Pixels] = []
    for chosen in drives(options.drives, options.held_out):
        drive = rendered_drive(chosen, 3)
        for name, view in asked(drive, config).items():
            pixels = pixels_of(view, torch.from_numpy(drive.truth[name]).float())
            if len(pixels.truth) > 500:
                views.append(pixels)
        print(f"{chosen.name}: {len(views)} views", flush=True)
    weights = {} if options.held_out else fit(views)
    for name, found in weights.items():
        print(f"{name} = ({', '.join(f'{value:.4f}' for value in found.tolist())})")
    of_confidence = weights.get("CONFIDENCE_WEIGHTS", torch.tensor(scene_rematch.CONFIDENCE_WEIGHTS))
    print(page(views, of_confidence))


if __name__ == "__main__":
    main()
