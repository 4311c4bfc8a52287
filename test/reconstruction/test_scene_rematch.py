"""Matching once more along found surfaces: textured planes with exact depth, seen by two cameras side by side."""

import math

import numpy as np
import pytest
import torch
from sweep_scene import GROUND, camera_pose, view, wall

from img2three_ros.config import SceneConfig
from img2three_ros.models.lifting import LiftedView
from img2three_ros.reconstruction.scene_refinement import Estimate
from img2three_ros.reconstruction.scene_rematch import CONFIDENCE_WEIGHTS, match, rematched
from img2three_ros.reconstruction.sweep_cost import build_pyramid
from img2three_ros.reconstruction.views import PreparedFrame, View, relative_pose

PLANES = [GROUND, wall(9.0)]
SIZE = (96, 144)
pytestmark = pytest.mark.usefixtures("one_thread")


def cameras(planes=PLANES) -> tuple[View, View, torch.Tensor]:
    """The reference, a source 1.8 m to its right, and the reference's log depth (H, W)."""
    left, depth = view(planes, "left", camera_pose(), np.eye(4), size=SIZE, focal=120.0)
    right, _ = view(planes, "right", camera_pose(y=-1.8), np.eye(4), size=SIZE, focal=120.0, gain=0.8, offset=0.1)
    return left, right, torch.from_numpy(np.log(depth)).float()


def level(of: View):
    return build_pyramid(of, of.mask).fine


def source(reference: View, other: View):
    frame = PreparedFrame(0, (reference, other), (), None)
    return level(other), relative_pose(frame, reference, frame, other)


def estimate(of: View, log_depth: torch.Tensor, scale: float = 0.05, confidence: float = 0.9) -> Estimate:
    flat = torch.full(SIZE, math.log(scale))
    logit = torch.full(SIZE, math.log(confidence / (1.0 - confidence)))
    small = tuple(side // 4 for side in SIZE)
    lifted = LiftedView(torch.zeros(2, *small), torch.zeros(3, *small), log_depth[2::4, 2::4], flat[2::4, 2::4],
                        torch.full(small, confidence), torch.ones(small, dtype=torch.bool))
    return Estimate(of, of.mask, log_depth, flat, logit, lifted, SIZE)


def inner(values: torch.Tensor) -> torch.Tensor:
    return values[12:-12, 40:-12]


@pytest.mark.parametrize("error", [0.06, -0.06, 0.02, 0.0])
def test_depth_some_percent_off_comes_back_to_the_surface(error) -> None:
    left, right, truth = cameras()
    before = estimate(left, truth + error)
    after = rematched(before, level(left), [source(left, right)])
    left_over = inner(after.log_depth - truth).abs()
    assert float(left_over.median()) < 0.01 and float((left_over < 0.02).float().mean()) > 0.8
    moved = (after.lifted.log_depth - before.lifted.log_depth)[6:-6, 13:-6]
    assert float((moved + error).abs().median()) < 0.008  # what the volume is told moves alike


def test_where_it_matches_well_depth_is_said_to_be_more_precise_and_more_likely_right() -> None:
    left, right, truth = cameras()
    before = estimate(left, truth)
    after = rematched(before, level(left), [source(left, right)])
    assert after.log_spread is not None
    assert float(inner(after.log_scale).median()) < float(inner(before.log_scale).median()) - 0.2
    assert float(inner(after.log_spread).median()) < float(inner(after.log_scale).median())
    assert float(inner(after.confidence).median()) > float(inner(before.confidence).median())
    config = SceneConfig()
    sigma = inner(after.depth(config).sigma)
    torch.testing.assert_close(sigma, math.sqrt(2.0) * inner(after.log_spread).exp())


def test_where_nothing_matches_depth_stays() -> None:
    left, _, truth = cameras()
    _, elsewhere, _ = cameras([wall(4.0, contrast=1.5)])
    before = estimate(left, truth + 0.05)
    after = rematched(before, level(left), [source(left, elsewhere)])
    assert float(inner(after.log_depth - before.log_depth).abs().median()) < 0.003
    matched = rematched(before, level(left), [source(left, cameras()[1])])
    assert float(inner(after.confidence).median()) < float(inner(matched.confidence).median())


def test_a_wall_without_texture_says_nothing() -> None:
    left, right, truth = cameras([wall(9.0, contrast=0.0)])
    found = match(*(values[::2, ::2] for values in (truth + 0.05, torch.full(SIZE, -3.0))), level(left),
                  [source(left, right)])
    assert float(found.shift.abs().max()) == 0.0 and float(found.trust.max()) == 0.0


def test_without_sources_only_how_sure_it_is_is_said_anew() -> None:
    left, _, truth = cameras()
    before = estimate(left, truth)
    after = rematched(before, level(left), [])
    torch.testing.assert_close(after.log_depth, before.log_depth)
    logit = CONFIDENCE_WEIGHTS[0] + CONFIDENCE_WEIGHTS[1] * before.confidence
    torch.testing.assert_close(after.confidence, logit)


def test_depth_that_is_no_number_spreads_no_farther_than_its_surroundings() -> None:
    left, right, truth = cameras()
    broken = truth.clone()
    broken[40:44, 60:64] = torch.nan
    after = rematched(estimate(left, broken), level(left), [source(left, right)])
    wrong = ~after.log_depth.isfinite()
    assert bool(wrong[40:44, 60:64].all()) and int(wrong.sum()) == 16
    assert bool(after.confidence.isfinite().all())
    assert not bool(after.depth(SceneConfig()).valid[40:44, 60:64].any())


def test_a_point_no_source_sees_stays_as_it_was() -> None:
    left, right, truth = cameras()
    before = estimate(left, truth + 0.04)
    after = rematched(before, level(left), [source(left, right)])
    # The right camera's picture ends 1.8 m * 120 px / 9 m = 24 pixels of the wall earlier, at the left border.
    assert float((after.log_depth - before.log_depth)[10:20, :16].abs().max()) < 1e-6
