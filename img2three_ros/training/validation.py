"""The moving average of the weights on fixed groups it never trains on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.view_group import ViewGroup
from ..models.depth_network import DepthPrediction
from ..visualization.colours import confidence_colours, depth_colours
from .batches import Batch, batch_of, on_device
from .settings import ValidationConfig, image_size
from .task import Sample, SampleSource, Task

MIN_DEPTH, MAX_DEPTH = 3.0, 60.0
_BINS = 15
SCORES = ("abs_rel", "delta", "abs_rel_80", "delta_80", "abs_rel_60", "delta_60", "calibration", "abs_rel_alone",
          "abs_rel_moving")

Estimate = Callable[[Batch], DepthPrediction]


@dataclass(frozen=True, eq=False)
class ViewErrors:
    """Pixels of one view with a true depth of 3 to 60 m, each (N,) float32. relative: |d - t| / t; right: 1 where
    within 25 %; confidence: 0..1; moving: 1 where the pixel shows something that moves."""

    relative: Tensor
    right: Tensor
    confidence: Tensor
    moving: Tensor
    has_sources: bool


def held_out_samples(task: Task[Sample, Any], source: SampleSource[Sample], config: ValidationConfig, cache: Path,
                     origin: str) -> list[Sample]:
    """The validation samples, made once and kept in ``cache`` for the next start. origin: says where they are from."""
    size = image_size(config.size)
    wanted = [config.groups, *size, config.views, origin]
    if cache.is_file():
        with contextlib.suppress(UnpicklingError, KeyError, TypeError):  # of an earlier version: made anew
            content = torch.load(cache, weights_only=True)
            if content["made_with"] == wanted:
                return [task.from_arrays({name: value.numpy() for name, value in tensors.items()})
                        for tensors in content["groups"]]
    samples = [source.group(index, size, config.views) for index in range(config.groups)]
    tensors = [{name: torch.as_tensor(array) for name, array in task.to_arrays(sample).items()} for sample in samples]
    torch.save({"made_with": wanted, "groups": tensors}, cache)
    return samples


@torch.no_grad()
def validate(estimate: Estimate, groups: Sequence[ViewGroup], device: torch.device,
             ) -> tuple[dict[str, float], list[ViewErrors]]:
    """Scores by name (``SCORES``; NaN where nothing counts) and the errors of each view."""
    errors: list[ViewErrors] = []
    for group in groups:
        errors.extend(view_errors(estimate(batch_of([on_device(group, device)])), group))
    return scores(errors), errors


def view_errors(prediction: DepthPrediction, group: ViewGroup) -> Iterator[ViewErrors]:
    """The errors of each view of a group."""
    depth, confidence = prediction.log_depth.float().exp().cpu(), prediction.confidence.float().sigmoid().cpu()
    for view, truth in enumerate(group.depth):
        counts = group.mask[view] & (truth >= MIN_DEPTH) & (truth <= MAX_DEPTH)
        true, found = truth[counts], depth[view][counts]
        yield ViewErrors((found - true).abs() / true, (torch.maximum(found / true, true / found) < 1.25).float(),
                         confidence[view][counts], group.moving[view][counts].float(),
                         bool((group.sources[view] >= 0).any()))


def scores(errors: Sequence[ViewErrors]) -> dict[str, float]:
    """Means over views: AbsRel and share within 25 % of all pixels, and of the most confident 80 % and 60 %; the
    calibration error of the confidence; AbsRel of views without any source, and of moving pixels."""
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    for view in errors:
        count = len(view.relative)
        if not count:
            continue
        order = view.confidence.argsort(descending=True, stable=True)
        for name, share in (("", 1.0), ("_80", 0.8), ("_60", 0.6)):
            kept = order[:max(1, round(share * count))]
            found["abs_rel" + name].append(float(view.relative[kept].mean()))
            found["delta" + name].append(float(view.right[kept].mean()))
        if not view.has_sources:
            found["abs_rel_alone"].append(float(view.relative.mean()))
        if view.moving.any():
            found["abs_rel_moving"].append(float((view.relative * view.moving).sum() / view.moving.sum()))
    result = {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}
    return {**result, "calibration": calibration_error(errors)}


def calibration_error(errors: Sequence[ViewErrors], bins: int = _BINS) -> float:
    """Expected calibration error (Guo et al. 2017): over bins of equal width, |mean confidence - share within 25 %|
    weighted with the share of all pixels in the bin."""
    if not errors or not sum(len(view.confidence) for view in errors):
        return float("nan")
    confidence = torch.cat([view.confidence for view in errors]).double()
    right = torch.cat([view.right for view in errors]).double()
    index = (confidence * bins).long().clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).scatter_add_(0, index, confidence - right)
    return float(gap.abs().sum() / len(confidence))


@torch.no_grad()
def picture(estimate: Estimate, group: ViewGroup, device: torch.device) -> NDArray[np.uint8]:
    """(2 H, 2 W, 3) RGB of the first view of a group: image, estimated depth / confidence, true depth."""
    prediction = estimate(batch_of([on_device(group, device)]))
    image = group.images[0].permute(1, 2, 0).numpy()
    depth = prediction.log_depth[0].float().exp().cpu().numpy()
    truth = group.depth[0].numpy()
    confidence = prediction.confidence[0].float().sigmoid().cpu().numpy()
    left = np.concatenate((image, confidence_colours(confidence)))
    right = np.concatenate((depth_colours(depth), depth_colours(np.where(np.isfinite(truth), truth, np.nan))))
    return np.concatenate((left, right), axis=1)
