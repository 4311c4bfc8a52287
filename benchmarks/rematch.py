"""What matching once more, with the networks' depth as the expectation, is worth, and the weights of its clues.

    python benchmarks/rematch.py [--drives 16] [--held-out] [--threads 2]

Simulated drives like the held-out ones, from other worlds (seeds that training may draw too), told a calibration that
is 0 to 0.3 degrees wrong and odometry that is 1 % wrong; the last of three instants, and the last alone, every pixel at
3-60 m with a true depth. Prints accuracy before and after, and the weights that
``reconstruction/scene_rematch.py`` holds, fitted here. --held-out: the held-out drives, and nothing is fitted.
Takes ten minutes on two cores.
"""

from __future__ import annotations

from img2three_ros.config import set_thread_waiting

set_thread_waiting()  # before torch is imported

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from img2three_ros.config import Config, with_overrides
from img2three_ros.evaluation.drives import Drive
from img2three_ros.evaluation.held_out import HeldOut, held_out, rendered_drive
from img2three_ros.evaluation.perturbations import with_calibration_error, with_odometry_error
from img2three_ros.evaluation.space_page import table
from img2three_ros.reconstruction import scene_rematch
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.reconstruction.scene_engine import SceneEngine
from img2three_ros.reconstruction.scene_refinement import Estimate
from img2three_ros.reconstruction.scene_rematch import Rematcher, confidence_clues, consistency, scale_clues
from img2three_ros.reconstruction.scene_sweep import Asked, Match
from img2three_ros.structures import Frame

FIRST_SEED = 1000
NEAREST, FARTHEST, RIGHT = 3.0, 60.0, math.log(1.25)
EVERY = 11
"""One pixel in so many is fitted to."""
ODOMETRY_ERROR, CALIBRATION_ERRORS = 0.01, (0.0, 0.3, 0.1, 0.2, 0.0)
"""Share of the way, and degrees; one of the latter for each drive."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Of one view, (N,) each: log of the true depth, of the networks' depth and of the matched one; clues, (7, N) each;
    and the logit of confidence by the networks."""

    truth: Tensor
    before: Tensor
    after: Tensor
    about_scale: Tensor
    about_confidence: Tensor
    logit: Tensor


class Watching(Rematcher):
    """Remembers what it was asked last, and what it found."""

    asked: Sequence[Asked] = ()

    def __call__(self, views: Sequence[Asked]) -> dict[str, Estimate]:
        self.asked = views
        return super().__call__(views)


def views_of(drive: Drive, frames: Sequence[Frame], config: Config) -> Iterator[Pixels]:
    """The views that have sources of the last of some frames of a drive."""
    pipeline = ReconstructionPipeline(config)
    assert isinstance(pipeline.engine, SceneEngine)
    watching = pipeline.engine.rematch = Watching(pipeline.engine.device)
    for frame in frames:
        pipeline.process(frame)
    matches = Rematcher(pipeline.engine.device).matches(watching.asked)
    estimates = {asked.estimate.view.name: asked.estimate for asked in watching.asked}
    for asked in watching.asked:
        name = asked.estimate.view.name
        if name in matches:
            agreed = consistency(asked, matches, estimates)
            yield pixels_of(asked, matches[name], agreed, torch.from_numpy(drive.truth[name]).float())


def pixels_of(asked: Asked, match: Match, agreed: tuple[Tensor, Tensor], depth: Tensor) -> Pixels:
    """depth: (H, W) true metres of the image that the view was made of, of any size."""
    log_depth, log_scale, logit = (asked.shrunk(values) for values in (
        asked.estimate.log_depth, asked.estimate.log_scale, asked.estimate.confidence))
    truth = functional.interpolate(depth[None, None], size=asked.level.size, mode="nearest-exact")[0, 0]
    counts = (truth > NEAREST) & (truth < FARTHEST) & (asked.shrunk(asked.estimate.mask.float()) > 0.99)
    return Pixels(truth[counts].log(), log_depth[counts], match.log_depth[counts],
                  scale_clues(asked, match, log_scale)[:, counts],
                  confidence_clues(match, logit, *agreed)[:, counts], logit[counts])


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

    error = joined(lambda view: (view.after - view.truth).abs())
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
    """Accuracy before and after, means over views; weights: of the clues of confidence."""
    rows = [("before", *_cells([(view.before, view.logit, view.truth) for view in views])),
            ("after", *_cells([(view.after, view.logit, view.truth) for view in views])),
            ("… with its confidence", *_cells([(view.after, weights @ view.about_confidence, view.truth)
                                               for view in views]))]
    return table((f"{len(views)} views", "AbsRel/δ<1.25, all", "best 80 %", "best 60 %", "median error"), rows)


def _cells(views: Sequence[tuple[Tensor, Tensor, Tensor]]) -> list[str]:
    means = torch.tensor([accuracy(*view) for view in views]).mean(0).tolist()
    median = torch.cat([(log_depth - truth).abs() for log_depth, _, truth in views]).median()
    return [*(f"{error:.4f}/{right:.4f}" for error, right in means), f"{100.0 * float(median):.2f} %"]


def told(drive: Drive, number: int) -> list[Frame]:
    """The frames of a drive with the mistakes that vehicles make."""
    return with_calibration_error(with_odometry_error(drive.frames, ODOMETRY_ERROR, number),
                                  CALIBRATION_ERRORS[number % len(CALIBRATION_ERRORS)], number)


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
    for number, chosen in enumerate(drives(options.drives, options.held_out)):
        drive = rendered_drive(chosen, 3)
        frames = drive.frames if options.held_out else told(drive, number)
        for seen in (frames,) if options.held_out else (frames, frames[-1:]):
            views += [view for view in views_of(drive, seen, config) if len(view.truth) > 500]
        print(f"{chosen.name}: {len(views)} views", flush=True)
    weights = {} if options.held_out else fit(views)
    for name, found in weights.items():
        print(f"{name} = ({', '.join(f'{value:.4f}' for value in found.tolist())})")
    of_confidence = weights.get("CONFIDENCE_WEIGHTS", torch.tensor(scene_rematch.CONFIDENCE_WEIGHTS))
    print(page(views, of_confidence))


if __name__ == "__main__":
    main()
