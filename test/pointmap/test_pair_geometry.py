"""Similarities, focals, the view graph and the normal equations, each against an independent truth."""

import numpy as np
import pytest
import torch
from pointmap_scene import THREE, camera, predict, render
from scipy.spatial.transform import Rotation

from img2three_ros.geometry.overlap import Frustum
from img2three_ros.pointmap import solver
from img2three_ros.pointmap.alignment import AlignmentSettings, align
from img2three_ros.pointmap.focal import weiszfeld_focal
from img2three_ros.pointmap.pnp import pose_from_points
from img2three_ros.pointmap.priors import PosePrior
from img2three_ros.pointmap.residuals import Layout, State, evaluate, moved, normal_equations, objective_weights
from img2three_ros.pointmap.samples import take_samples
from img2three_ros.pointmap.similarity import (
    compose,
    decompose,
    inverse,
    robust_similarity,
    rotation_exp,
    rotation_log,
    transform,
    weighted_similarity,
)
from img2three_ros.pointmap.view_graph import (
    complete_pairs,
    components,
    frustum_pairs,
    reference_pairs,
    spanning_forest,
    window_pairs,
)
from img2three_ros.structures import InputError


def some_similarity():
    rotation = torch.tensor(Rotation.from_euler("xyz", (20, -130, 75), degrees=True).as_matrix())
    return compose(torch.tensor(2.5, dtype=torch.float64), rotation, torch.tensor((3.0, -1.0, 7.0)))


def test_similarity_is_recovered_and_weights_switch_points_off():
    chance = torch.Generator().manual_seed(0)
    source = torch.randn(2, 40, 3, dtype=torch.float64, generator=chance)
    truth = some_similarity().expand(2, 4, 4)
    target = transform(truth, source)
    weights = torch.rand(2, 40, dtype=torch.float64, generator=chance)
    target[:, :5] += 10.0
    weights[:, :5] = 0.0
    torch.testing.assert_close(weighted_similarity(source, target, weights), truth)


def test_a_mirrored_cloud_gives_a_rotation_not_a_reflection():
    source = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = weighted_similarity(source, source * torch.tensor((1.0, 1.0, -1.0)), torch.ones(30, dtype=torch.float64))
    assert float(torch.linalg.det(found[:3, :3])) > 0


def test_robust_similarity_ignores_a_third_of_outliers():
    chance = torch.Generator().manual_seed(2)
    source = torch.randn(90, 3, dtype=torch.float64, generator=chance)
    target = transform(some_similarity(), source)
    target[::3] += 5.0 * torch.randn(30, 3, dtype=torch.float64, generator=chance) + 4.0
    weights = torch.ones(90, dtype=torch.float64)
    assert float((weighted_similarity(source, target, weights) - some_similarity()).abs().max()) > 0.5
    torch.testing.assert_close(robust_similarity(source, target, weights, rounds=30), some_similarity(), atol=1e-2,
                               rtol=1e-2)


def test_inverse_and_rotation_vectors():
    similarity = some_similarity()
    torch.testing.assert_close(inverse(similarity) @ similarity, torch.eye(4, dtype=torch.float64))
    assert float(decompose(similarity)[0]) == pytest.approx(2.5)
    vector = torch.tensor((0.3, -1.1, 0.7), dtype=torch.float64)
    np.testing.assert_allclose(rotation_exp(vector), Rotation.from_rotvec(vector.numpy()).as_matrix(), atol=1e-12)
    torch.testing.assert_close(rotation_log(rotation_exp(vector)), vector)


def test_focal_of_a_pointmap_in_any_unit_with_a_quarter_of_outliers():
    chance = np.random.default_rng(0)
    offsets = chance.uniform(-100, 100, (400, 2))
    z = chance.uniform(1, 30, 400)
    points = 0.07 * np.concatenate((offsets / 140.0 * z[:, None], z[:, None]), 1)
    points[:100, :2] *= 2.0
    points[100, 2] = -1.0
    found = weiszfeld_focal(torch.tensor(points), torch.tensor(offsets), torch.ones(400, dtype=torch.float64))
    assert float(found) == pytest.approx(140.0, rel=0.01)


def test_pose_from_points_finds_camera_and_focal():
    chance = np.random.default_rng(0)
    truth = camera(x=1.0, y=-0.5, z=0.3, yaw=30.0, pitch=10.0)
    points = chance.uniform((-4, -2, 4), (4, 2, 12), (200, 3))
    seen = points @ truth[:3, :3].T + truth[:3, 3]
    offsets = 500.0 * seen[:, :2] / seen[:, 2:]
    offsets[:30] += 80.0
    known, found = pose_from_points(points, offsets, 640, 500.0), pose_from_points(points, offsets, 640)
    np.testing.assert_allclose(known.T_camera_points, truth, atol=1e-4)
    assert found.focal == pytest.approx(500.0, rel=0.03)
    assert 0.8 < known.inliers < 0.9
    assert pose_from_points(points[:5], offsets[:5], 640) is None


def test_pairs_of_every_graph():
    assert complete_pairs(3) == [(1, 0), (2, 0), (2, 1), (0, 1), (0, 2), (1, 2)]
    assert len(complete_pairs(6)) == 30
    assert window_pairs(4, 1, both_ways=False) == [(1, 0), (2, 1), (3, 2)]
    assert window_pairs(4, 1, cyclic=True, both_ways=False) == [(1, 0), (2, 1), (3, 0), (3, 2)]
    assert reference_pairs(3, 2) == [(2, 0), (2, 1), (0, 2), (1, 2)]
    with pytest.raises(InputError, match="two are the least"):
        complete_pairs(1)
    with pytest.raises(InputError, match="no image 3"):
        reference_pairs(3, 3)


def test_pairs_of_overlapping_frusta():
    """A ring of four cameras that look outward, and the same ring a metre on: only equal directions overlap."""
    frustum = Frustum(np.array([[40.0, 0, 40], [0, 40, 30], [0, 0, 1]]), (60, 80))
    ring = [camera(x=x, z=z, yaw=yaw) for x, z in ((0, 0), (0.7, 0.7)) for yaw in (0, 90, 180, 270)]
    pairs = frustum_pairs([frustum] * 8, ring, neighbours=1)
    assert {tuple(sorted(pair)) for pair in pairs} >= {(0, 4), (1, 5), (2, 6), (3, 7)}
    assert not {(0, 2), (1, 3), (0, 6), (4, 6)} & set(pairs)
    with pytest.raises(InputError, match="no two cameras") as caught:
        frustum_pairs([frustum] * 2, [camera(), camera(z=-1.0, yaw=180.0)])
    assert caught.value.reason == "no_overlap"


def test_components_and_the_best_forest():
    edges = [(0, 1), (1, 2), (2, 0), (3, 4)]
    assert components(6, edges) == [[0, 1, 2], [3, 4], [5]]
    assert spanning_forest(6, edges, np.array([0.1, 0.9, 0.5, 0.3])) == [1, 2, 3]
    assert spanning_forest(6, edges, np.array([0.1, 0.9, 0.5, 0.0])) == [1, 2]


def problem_state(noise=0.03):
    """Samples of a noisy scene, and a state somewhere near its truth."""
    truth = render(size=(24, 40), focals=(30.0, 32.0, 29.0))
    samples = take_samples(predict(truth, noise=noise, rotation=1.0), 200)
    cameras = torch.tensor(truth.cameras)
    generator = torch.Generator().manual_seed(0)
    edges = cameras[torch.tensor([edge[0] for edge in complete_pairs(3)])].clone()
    edges[:, :3, :3] *= 20.0
    intrinsics = torch.tensor([[31.0, 31.0, 20.0, 12.0]] * 3, dtype=torch.float64)
    state = State(cameras, edges, intrinsics, None, torch.zeros((), dtype=torch.float64))
    step = 0.02 * torch.randn(Layout(3, 6).size, dtype=torch.float64, generator=generator)
    return samples, moved(state, step)


def test_the_gradient_is_that_of_the_loss_with_every_depth_at_its_best():
    samples, state = problem_state()
    weights = objective_weights(samples, torch.ones(6, dtype=torch.bool))
    state, found = evaluate(state, samples, weights, depth_rounds=300)
    layout = Layout(3, 6)
    gradient = torch.zeros(layout.size, dtype=torch.float64)
    for block in normal_equations(state, samples, found):
        gradient.index_add_(0, block.index, block.gradient)
    for place in (0, 4, 7, 17, 18, 20, 21, 25, 27, 40, 48):
        step = torch.zeros(layout.size, dtype=torch.float64)
        step[place] = 1e-4
        up, down = (evaluate(moved(state, sign * step), samples, weights, 300)[1].loss for sign in (1, -1))
        assert float(gradient[place]) == pytest.approx(float(up - down) / 2e-4, rel=0.02, abs=2e-5), place


def test_large_systems_are_solved_as_small_ones_are(monkeypatch):
    pairs = predict(render(), noise=0.02, rotation=0.5)
    settings = AlignmentSettings(fine_iterations=0, iterations=4)
    dense = align(pairs, settings=settings)
    monkeypatch.setattr(solver, "DENSE_UNKNOWNS", 0)
    iterative = align(pairs, settings=settings)
    np.testing.assert_allclose(iterative.cameras, dense.cameras, atol=1e-5)
    assert iterative.loss == pytest.approx(dense.loss, rel=1e-5)


def test_a_pose_prior_pulls_against_its_deviation_in_metres():
    prior = PosePrior(torch.tensor([0, 1, 2]), torch.tensor(THREE), sigma_rotation=0.01, sigma_translation=0.1)
    world = torch.tensor(THREE)
    world[:, :3, 3] *= 0.25  # four metres per unit
    world[1, 0, 3] += 0.25 * 0.2
    state = State(world, torch.eye(4, dtype=torch.float64)[None], torch.ones(3, 4, dtype=torch.float64), None,
                  torch.tensor(np.log(0.25)))
    deviation = prior.deviations(state)
    assert float(deviation[1].norm()) == pytest.approx(2.0)  # 0.2 m of 0.1 m
    assert float(deviation[0].norm()) == pytest.approx(0.0, abs=1e-9)
    layout = Layout(3, 1)
    gradient = torch.zeros(layout.size, dtype=torch.float64)
    for block in prior.blocks(state):
        gradient.index_add_(0, block.index, block.gradient)
    for place in (3, 6, 9, 10, 11, layout.size - 1):
        step = torch.zeros(layout.size, dtype=torch.float64)
        step[place] = 1e-5
        change = float(prior.cost(moved(state, step)) - prior.cost(moved(state, -step))) / 2e-5
        assert float(gradient[place]) == pytest.approx(change, rel=1e-3, abs=1e-3)
