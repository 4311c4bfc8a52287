"""What is said of networks that know nothing, and of scenes that nobody should trust."""

import numpy as np
import pytest
import torch
from pointmap_scene import predict, render, unpack

from img2three_ros.pointmap.alignment import align
from img2three_ros.pointmap.checks import ImagesApart, check_perspective, doubts, misfit, perspective_error
from img2three_ros.pointmap.pairs import PairPointmaps
from img2three_ros.pointmap.view_graph import complete_pairs
from img2three_ros.structures import InputError


@pytest.fixture(scope="module")
def truth():
    return render()


def test_perspective_is_measured_in_shares_of_the_image(truth):
    pairs = predict(truth)
    assert perspective_error(pairs) < 0.01 and check_perspective(pairs) == []
    bent = PairPointmaps(pairs.edges, pairs.points1.clone(), pairs.confidence1, pairs.points2, pairs.confidence2)
    chance = torch.Generator().manual_seed(0)
    bent.points1[..., :2] += 0.1 * bent.points1[..., 2:] * torch.randn(bent.points1[..., :2].shape, generator=chance)
    # 0.1 of the depth is 6 pixels of a focal length of 60; the median length of two such normal deviations is 1.18
    # times that, of 80 pixels.
    assert perspective_error(bent) == pytest.approx(1.18 * 6 / 80, rel=0.15)
    (note,) = check_perspective(bent)
    assert "poor perspective" in note and "hardly trained" in note


def test_points_that_are_no_perspective_are_of_no_trained_network(truth):
    pairs = predict(truth)
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(pairs.points1.shape, generator=chance)
    with pytest.raises(InputError, match="looks untrained") as caught:
        check_perspective(PairPointmaps(pairs.edges, noise, pairs.confidence1, noise, pairs.confidence2))
    assert caught.value.reason == "untrained"
    knows_nothing = torch.ones_like(pairs.confidence1)
    silent = PairPointmaps(pairs.edges, noise, knows_nothing, noise, knows_nothing)
    assert perspective_error(silent) == np.inf and check_perspective(silent) == []  # said by the alignment


def test_the_misfit_is_the_share_by_which_pairs_lie_off(truth):
    pairs = predict(truth, noise=0.05, seed=4)
    scene = align(pairs)
    shares = misfit(pairs, scene)
    assert shares.shape == (6,) and np.all((shares > 0.01) & (shares < 0.05))
    usual, notes = doubts(pairs, scene)
    assert usual == pytest.approx(np.median(shares)) and notes == []
    assert misfit(predict(truth), align(predict(truth))).max() < 2e-3


def test_an_absurd_residual_is_said(truth):
    pairs = predict(truth)
    scene = align(pairs)
    clouds, weights = unpack(pairs)
    chance = np.random.default_rng(0)
    for cloud in clouds:
        cloud *= np.exp(chance.normal(0, 0.6, cloud.shape[:3]))[..., None]
    spoiled = PairPointmaps(pairs.edges, *(torch.from_numpy(array.astype(np.float32)) for array in (
        clouds[0], weights[0], clouds[1], weights[1])))
    usual, (note,) = doubts(spoiled, scene)
    assert usual > 0.2 and "residual is absurd" in note and "Do not trust it" in note


def test_groups_that_hang_together_come_with_the_error():
    truth = render(np.repeat(np.eye(4)[None], 4, 0))
    edges = [pair for pair in complete_pairs(4) if {*pair} in ({0, 2}, {1, 3})]
    with pytest.raises(ImagesApart) as caught:
        align(predict(truth, edges))
    assert caught.value.groups == ((0, 2), (1, 3)) and caught.value.reason == "disconnected"
