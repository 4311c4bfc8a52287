"""Matching once more with expectations: textured planes with exact depth, seen by two cameras side by side."""

import math

import numpy as np
import pytest
import torch
from sweep_scene import GROUND, Plane, camera_pose, view, wall

from img2three_ros.config import SceneConfig
from img2three_ros.models.lifting import LiftedView
from img2three_ros.reconstruction.scene_memory import RememberedView
from img2three_ros.reconstruction.scene_refinement import Estimate
from img2three_ros.reconstruction.scene_rematch import Rematcher, consistency
from img2three_ros.reconstruction.scene_sweep import Asked, MatchSource
from img2three_ros.reconstruction.views import DepthView, PreparedFrame, View, relative_pose

PLANES = [GROUND, wall(9.0)]
SIZE = (96, 144)
pytestmark = pytest.mark.usefixtures("one_thread")


def cameras(planes=PLANES) -> tuple[View, View, torch.Tensor]:
    """The reference, a source 1.8 m to its right, and the reference's log depth (H, W)."""
    left, depth = view(planes, "left", camera_pose(), np.eye(4), size=SIZE, focal=120.0)
    right, _ = view(planes, "right", camera_pose(y=-1.8), np.eye(4), size=SIZE, focal=120.0, gain=0.8, offset=0.1)
    return left, right, torch.from_numpy(np.log(depth)).float()


def asked(before: Estimate, *others: View, camera: str = "") -> Asked:
    frame = PreparedFrame(0, (before.view, *others), (), None)
    sources = [MatchSource(RememberedView.of(other), relative_pose(frame, before.view, frame, other), camera)
               for other in others]
    return Asked(before, RememberedView.of(before.view), sources)


def rematched(before: Estimate, *others: View) -> Estimate:
    return Rematcher(torch.device("cpu"))([asked(before, *others)])[before.view.name]


def estimate(of: View, log_depth: torch.Tensor, scale: float = 0.05, confidence: float = 0.9) -> Estimate:
    flat = torch.full(SIZE, math.log(scale))
    logit = torch.full(SIZE, math.log(confidence / (1.0 - confidence)))
    small = tuple(side // 4 for side in SIZE)
    lifted = LiftedView(torch.zeros(2, *small), torch.zeros(3, *small), log_depth[2::4, 2::4], flat[2::4, 2::4],
                        torch.full(small, confidence), torch.ones(small, dtype=torch.bool))
    return Estimate(of, of.mask, log_depth, flat, logit, lifted, SIZE)


def inner(values: torch.Tensor) -> torch.Tensor:
    return values[12:-12, 40:-12]


@pytest.mark.parametrize("error", [0.3, 0.06, -0.06, 0.02, 0.0])
def test_depth_that_is_off_comes_back_to_the_surface(error) -> None:
    left, right, truth = cameras()
    before = estimate(left, truth + error, scale=max(0.05, abs(error)))
    after = rematched(before, right)
    left_over = inner(after.log_depth - truth).abs()
    assert float(left_over.median()) < 0.012 and float((left_over < 0.03).float().mean()) > 0.75
    moved = (after.lifted.log_depth - before.lifted.log_depth)[6:-6, 13:-6]
    assert float((moved + error).abs().median()) < 0.015  # what the volume is told moves alike


def test_a_wrong_patch_is_put_right_where_two_sources_agree() -> None:
    left, right, truth = cameras()
    third, _ = view(PLANES, "third", camera_pose(y=0.9), np.eye(4), size=SIZE, focal=120.0)
    wrong = truth.clone()
    wrong[30:50, 70:100] -= 0.6
    after = rematched(estimate(left, wrong, scale=0.25), right, third)
    assert float((after.log_depth - truth)[30:50, 70:100].abs().median()) < 0.02


def test_where_it_matches_well_depth_is_said_to_be_more_precise_and_more_likely_right() -> None:
    left, right, truth = cameras()
    before = estimate(left, truth)
    after = rematched(before, right)
    assert after.log_spread is not None
    assert float(inner(after.log_scale).median()) < float(inner(before.log_scale).median()) - 0.2
    assert float(inner(after.log_spread).median()) < float(inner(after.log_scale).median())
    assert float(inner(after.confidence).median()) > float(inner(before.confidence).median())
    config = SceneConfig()
    sigma = inner(after.depth(config).sigma)
    torch.testing.assert_close(sigma, math.sqrt(2.0) * inner(after.log_spread).exp())


def test_where_nothing_matches_depth_stays() -> None:
    left, right, truth = cameras()
    _, elsewhere, _ = cameras([wall(4.0, contrast=1.5)])
    before = estimate(left, truth + 0.05)
    after = rematched(before, elsewhere)
    assert float(inner(after.log_depth - before.log_depth).abs().median()) < 0.02
    assert float(inner(after.confidence).median()) < float(inner(rematched(before, right).confidence).median())


def test_a_wall_without_texture_says_nothing() -> None:
    left, right, truth = cameras([wall(9.0, contrast=0.0)])
    view_asked = asked(estimate(left, truth + 0.05), right)
    match = Rematcher(torch.device("cpu")).matches([view_asked])["left"]
    assert float(match.trust.max()) == 0.0
    torch.testing.assert_close(match.log_depth, view_asked.shrunk(truth + 0.05))


def test_without_sources_the_estimate_stays() -> None:
    left, _, truth = cameras()
    before = estimate(left, truth)
    assert rematched(before) is before


def test_depth_that_is_no_number_spreads_no_farther_than_its_surroundings() -> None:
    left, right, truth = cameras()
    broken = truth.clone()
    broken[40:44, 60:64] = torch.nan
    after = rematched(estimate(left, broken), right)
    wrong = ~after.log_depth.isfinite()
    assert bool(wrong[40:44, 60:64].all()) and int(wrong.sum()) == 16
    assert bool(after.confidence.isfinite().all())
    assert not bool(after.depth(SceneConfig()).valid[40:44, 60:64].any())


def test_a_point_no_source_sees_stays_as_it_was() -> None:
    left, right, truth = cameras()
    before = estimate(left, truth + 0.04)
    after = rematched(before, right)
    # The right camera's picture ends 1.8 m * 120 px / 9 m = 24 pixels of the wall earlier, at the left border.
    assert float((after.log_depth - before.log_depth)[10:20, :12].abs().max()) < 1e-6


def test_what_is_beyond_the_last_plane_is_not_brought_nearer() -> None:
    left, right, _ = cameras([wall(400.0)])
    before = estimate(left, torch.full(SIZE, math.log(400.0)))
    after = rematched(before, right)
    above_horizon = after.log_depth[12:40, 40:-12]
    assert float((above_horizon > math.log(300.0)).float().mean()) > 0.9


def test_depth_that_other_views_contradict_is_less_likely_right() -> None:
    left, right, truth = cameras()
    _, right_truth = view(PLANES, "right", camera_pose(y=-1.8), np.eye(4), size=SIZE, focal=120.0)
    scores = []
    for factor in (1.0, 1.5):
        question = asked(estimate(left, truth), right)
        depth = torch.from_numpy(right_truth).float() * factor
        everywhere = torch.ones(SIZE)
        question.sources[0].seen.keep(DepthView(right, depth, 0.9 * everywhere, 0.05 * everywhere, everywhere > 0.0))
        rematcher = Rematcher(torch.device("cpu"))
        support, conflict = consistency(question, rematcher.matches([question]), {})
        scores.append((float(inner(rematcher([question])["left"].confidence).median()),
                       float(support[8:-8, 30:-8].median()), float(conflict[8:-8, 30:-8].median())))
    (sure, support, conflict), (doubtful, unsupported, contradicted) = scores
    assert support > 0.8 and conflict < 0.1 and unsupported < 0.1 and contradicted > 0.5
    assert sure > doubtful + 1.0


def test_cameras_of_one_instant_are_held_against_each_other_as_they_are_now() -> None:
    left, right, truth = cameras()
    _, right_truth = view(PLANES, "right", camera_pose(y=-1.8), np.eye(4), size=SIZE, focal=120.0)
    both = [asked(estimate(left, truth), right, camera="right"),
            asked(estimate(right, torch.from_numpy(np.log(right_truth)).float()), left, camera="left")]
    rematcher = Rematcher(torch.device("cpu"))
    matches = rematcher.matches(both)
    estimates = {question.estimate.view.name: question.estimate for question in both}
    support, _ = consistency(both[0], matches, estimates)
    assert float(support[8:-8, 30:-8].median()) > 0.8
    assert set(rematcher(both)) == {"left", "right"}


def test_a_road_that_falls_away_more_than_expected_keeps_the_depth_that_networks_and_images_agree_on() -> None:
    left, right, truth = cameras([Plane((0.0, 0.0, 0.0), (0.15, 0.0, 1.0), 7)])
    seen = truth.isfinite() & (truth < math.log(60.0))
    after = rematched(estimate(left, truth.clamp(max=math.log(200.0))), right)
    error = (after.log_depth - truth)[seen].abs()
    assert float((error < 0.2).float().mean()) > 0.93


def test_the_order_of_the_cameras_changes_nothing() -> None:
    left, right, truth = cameras()
    _, right_truth = view(PLANES, "right", camera_pose(y=-1.8), np.eye(4), size=SIZE, focal=120.0)
    both = [asked(estimate(left, truth, confidence=0.5), right, camera="right"),
            asked(estimate(right, torch.from_numpy(np.log(right_truth)).float(), confidence=0.5), left, camera="left")]
    one, other = Rematcher(torch.device("cpu"))(both), Rematcher(torch.device("cpu"))(both[::-1])
    for name in ("left", "right"):
        torch.testing.assert_close(one[name].confidence, other[name].confidence)


def test_what_is_no_number_in_one_camera_is_no_witness_for_another() -> None:
    left, right, truth = cameras()
    _, right_truth = view(PLANES, "right", camera_pose(y=-1.8), np.eye(4), size=SIZE, focal=120.0)
    broken = torch.from_numpy(np.log(right_truth)).float()
    broken[40:44, 60:64] = torch.nan
    both = [asked(estimate(left, truth), right, camera="right"), asked(estimate(right, broken), left, camera="left")]
    rematcher = Rematcher(torch.device("cpu"))
    support, conflict = consistency(both[0], rematcher.matches(both), {question.estimate.view.name: question.estimate
                                                                       for question in both})
    assert bool(support.isfinite().all()) and bool(conflict.isfinite().all())
