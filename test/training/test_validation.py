"""Scores of held-out groups, by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import SIZE, TinyGroups, TinyNetwork
from torch import Tensor

from img2three_ros.models.depth_network import DepthPrediction
from img2three_ros.training.batches import Batch
from img2three_ros.training.depth_task import DepthTask
from img2three_ros.training.objective import ObjectiveConfig
from img2three_ros.training.settings import ValidationConfig
from img2three_ros.training.validation import (
    SCORES,
    ViewErrors,
    calibration_error,
    held_out_samples,
    picture,
    scores,
    validate,
    view_errors,
)

CPU = torch.device("cpu")
TASK = DepthTask(ObjectiveConfig())


def errors(relative: list[float], confidence: list[float], moving: list[float] | None = None,
           has_sources: bool = True) -> ViewErrors:
    found = torch.tensor(relative)
    return ViewErrors(found, (found < 0.25).float(), torch.tensor(confidence),
                      torch.tensor(moving) if moving else torch.zeros(len(relative)), has_sources)


def test_scores_by_hand():
    first = errors([0.1, 0.5, 0.2, 0.3, 0.0], [0.9, 0.1, 0.8, 0.2, 0.7], moving=[0.0, 1.0, 0.0, 1.0, 0.0])
    second = errors([0.4], [0.5], has_sources=False)
    found = scores([first, second, errors([], [])])
    assert found["abs_rel"] == pytest.approx((0.22 + 0.4) / 2)
    assert found["delta"] == pytest.approx((0.6 + 0.0) / 2)
    assert found["abs_rel_80"] == pytest.approx((0.6 / 4 + 0.4) / 2)
    assert found["abs_rel_60"] == pytest.approx((0.3 / 3 + 0.4) / 2)
    assert found["delta_60"] == pytest.approx((1.0 + 0.0) / 2)
    assert found["abs_rel_alone"] == pytest.approx(0.4)
    assert found["abs_rel_moving"] == pytest.approx(0.4)
    assert set(found) == set(SCORES)
    assert all(math.isnan(value) for value in scores([]).values())


def test_calibration_error_by_hand():
    # Two bins: 0.2 and 0.4 of which one is right; 0.9 which is wrong
    found = [errors([0.0, 0.9, 0.9], [0.2, 0.4, 0.9])]
    assert calibration_error(found, bins=2) == pytest.approx((2 * abs(0.3 - 0.5) + abs(0.9 - 0.0)) / 3)
    assert calibration_error([errors([0.0, 0.9], [1.0, 0.0])]) == pytest.approx(0.0)


def test_errors_of_a_prediction_that_is_10_percent_too_far():
    group = TinyGroups().group(0, SIZE, 2)

    def too_far(batch: Batch) -> DepthPrediction:
        depth = (1.1 * batch.depth).log()
        logits = torch.zeros(2, 4, 4, 8)
        return DepthPrediction(logits, logits, (depth,), torch.zeros_like(depth), torch.full_like(depth, 3.0))

    found, views = validate(too_far, [group], CPU)
    counted: Tensor = (group.depth >= 3.0) & (group.depth <= 60.0)
    assert sum(len(view.relative) for view in views) == int(counted.sum())
    assert found["abs_rel"] == pytest.approx(0.1, abs=1e-5) and found["delta"] == 1.0
    assert found["calibration"] == pytest.approx(1.0 - torch.tensor(3.0).sigmoid().item(), abs=1e-6)
    group.mask[0] = False
    assert len(next(view_errors(too_far(Batch(group.images, None, group.depth)), group)).relative) == 0  # type: ignore[arg-type]


def test_held_out_groups_are_made_once(tmp_path):
    config = ValidationConfig(groups=2, size="32x64", views=2)
    cache = tmp_path / "validation.pt"
    made = held_out_samples(TASK, TinyGroups(), config, cache, "here")
    kept = held_out_samples(TASK, None, config, cache, "here")  # type: ignore[arg-type]
    assert len(kept) == 2 and all(torch.equal(one.images, two.images) for one, two in zip(made, kept, strict=True))
    assert len(held_out_samples(TASK, TinyGroups(), replace(config, groups=3), cache, "here")) == 3
    with pytest.raises(AttributeError):
        held_out_samples(TASK, None, config, cache, "elsewhere")  # type: ignore[arg-type]


def test_picture_shows_image_estimate_confidence_and_truth():
    group = TinyGroups().group(0, SIZE, 1)
    network = TinyNetwork()
    shown = picture(lambda batch: network(batch.images, batch.geometry), group, CPU)
    assert shown.shape == (2 * SIZE[0], 2 * SIZE[1], 3)
    assert (shown[:SIZE[0], :SIZE[1]] == group.images[0].permute(1, 2, 0).numpy()).all()
    assert len({tuple(pixel) for pixel in shown[SIZE[0] + 10, SIZE[1]:]}) > 10


def test_held_out_groups_are_read_without_running_code(tmp_path):
    config = ValidationConfig(groups=1, size="32x64", views=2)
    cache, ran = tmp_path / "validation.pt", tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return Path.touch, (ran,)

    torch.save({"made_with": Trap(), "groups": []}, cache)
    assert len(held_out_samples(TASK, TinyGroups(), config, cache, "here")) == 1
    assert not ran.exists()
    assert len(held_out_samples(TASK, None, config, cache, "here")) == 1  # type: ignore[arg-type]
