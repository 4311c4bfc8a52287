"""Global alignment on a street with known truth: what is recovered, what priors do, what cannot break it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pointmap_scene import BOXES, THREE, camera, errors, pack, predict, render, unpack

from img2three_ros.pointmap import solver
from img2three_ros.pointmap.alignment import AlignmentSettings, align, first_guess
from img2three_ros.pointmap.checks import check_result, limits
from img2three_ros.pointmap.known import Known
from img2three_ros.pointmap.pairs import PairPointmaps
from img2three_ros.pointmap.samples import take_samples
from img2three_ros.pointmap.view_graph import reference_pairs, window_pairs
from img2three_ros.structures import InputError


@pytest.fixture(scope="module")
def truth():
    return render()


def test_perfect_pairs_are_recovered_exactly(truth):
    scene = align(predict(truth))
    found = errors(scene, truth)
    assert found.focal < 1e-5 and found.rotation < 1e-3 and found.centre < 1e-4 and found.depth < 1e-5
    assert scene.loss < 1e-6 and not scene.metric and scene.notes == ()
    np.testing.assert_allclose(scene.cameras[0], np.eye(4), atol=1e-12)


def test_loss_is_the_mean_weighted_distance_in_a_world_of_mean_pair_scale_one_half(truth):
    pairs = predict(truth, noise=0.02, rotation=0.3)
    scene = align(pairs)
    scale = np.cbrt(np.linalg.det(scene.pair_similarity[:, :3, :3]))
    assert np.log(scale).mean() == pytest.approx(np.log(0.5), abs=1e-9)
    total = 0.0
    for edge, (i, j) in enumerate(pairs.edges):
        for image, slot in ((i, 1), (j, 2)):
            points, confidence = (tensor.numpy().astype(float) for tensor in pairs.observation(edge, slot))
            T = scene.pair_similarity[edge]
            distance = np.linalg.norm(scene.points(image) - (points @ T[:3, :3].T + T[:3, 3]), axis=-1)
            total += (np.log(confidence) * distance).mean() / len(pairs.edges)
    assert scene.loss == pytest.approx(total, rel=1e-4)
    assert scene.pair_residual.mean() == pytest.approx(scene.loss, rel=1e-9)


def test_the_loss_does_not_depend_on_the_unit_of_world_or_pairs(truth):
    pairs = predict(truth, noise=0.02, rotation=0.3)
    scene = align(pairs)
    bigger = align(PairPointmaps(pairs.edges, 40 * pairs.points1, pairs.confidence1, 40 * pairs.points2,
                                 pairs.confidence2))
    assert bigger.loss == pytest.approx(40 * scene.loss, rel=1e-3)
    np.testing.assert_allclose(bigger.cameras[:, :3, 3], 40 * scene.cameras[:, :3, 3], rtol=1e-2, atol=1e-2)
    metric = align(pairs, Known(poses=list(truth.cameras)))
    assert metric.metric and metric.loss == pytest.approx(scene.loss, rel=0.01)


def test_noise_gives_errors_of_its_own_size(truth):
    found = errors(align(predict(truth, noise=0.02, rotation=0.3)), truth)
    assert found.focal < 0.005 and found.rotation < 0.4 and found.centre < 0.08 and found.depth < 0.015


def test_known_intrinsics_are_exact_or_pull(truth):
    pairs, wrong = predict(truth, noise=0.02, rotation=0.3), [K.copy() for K in truth.intrinsics]
    for K in wrong:
        K[0, 0] *= 1.03
        K[1, 1] *= 1.03
    free = align(pairs).intrinsics[:, 0, 0] / truth.intrinsics[:, 0, 0]
    exact = align(pairs, Known(wrong)).intrinsics[:, 0, 0] / truth.intrinsics[:, 0, 0]
    weak = align(pairs, Known(wrong, sigma_focal=0.1)).intrinsics[:, 0, 0] / truth.intrinsics[:, 0, 0]
    strong = align(pairs, Known(wrong, sigma_focal=1e-4)).intrinsics[:, 0, 0] / truth.intrinsics[:, 0, 0]
    np.testing.assert_allclose(exact, 1.03, rtol=1e-12)
    np.testing.assert_allclose(weak, free, atol=2e-3)
    assert (strong > 1.025).all()


def test_known_intrinsics_with_unequal_focals_and_shifted_centre():
    truth = render()
    K = truth.intrinsics.copy()
    K[:, 0, 2] += 7.0  # the same rays belong to other pixels: cut 7 columns away from the left of the world's images
    cut = [np.roll(cloud, 7, axis=2) for cloud in unpack(predict(truth))[0]]
    weights = [confidence.copy() for confidence in unpack(predict(truth))[1]]
    for confidence in weights:
        confidence[:, :, :7] = 1.0
    scene = align(pack(predict(truth).edges, cut, weights), Known(list(K)))
    np.testing.assert_allclose(scene.intrinsics, K, rtol=1e-12)
    ratio = scene.depth[1][:, 7:] / truth.depth[1][:, :-7]
    assert np.nanmedian(np.abs(ratio / np.nanmedian(ratio) - 1)) < 1e-5


def test_known_poses_give_frame_and_metres(truth):
    T = camera(x=500_000.0, z=4_000_000.0, yaw=30.0)  # far from the origin, as in UTM
    scene = align(predict(truth), Known(list(truth.intrinsics), poses=list(T @ truth.cameras)))
    assert scene.metric
    np.testing.assert_allclose(scene.cameras, T @ truth.cameras, atol=1e-3)
    assert np.median(np.abs(scene.depth[1] / truth.depth[1] - 1)[~truth.sky[1]]) < 1e-4
    assert max(metres for _, metres in scene.pose_deviation.values()) < 1e-3


def test_known_poses_win_where_pairs_are_weak(truth):
    pairs = predict(truth, noise=0.05, rotation=3.0)
    free, held = errors(align(pairs), truth), errors(align(pairs, Known(poses=list(truth.cameras))), truth)
    assert free.rotation > 1.2 and held.rotation < 0.6 * free.rotation
    assert held.centre < 0.4 * free.centre


def test_pairs_win_where_a_known_pose_is_wrong_by_a_little(truth):
    wrong = list(truth.cameras)
    wrong[2] = truth.cameras[2] @ camera(yaw=0.5)
    scene = align(predict(truth), Known(poses=wrong))
    assert errors(scene, truth).rotation < 0.02
    assert scene.pose_deviation[2][0] > 0.25


def test_a_known_pose_that_is_far_off_is_named_and_ignored(truth):
    wrong = list(truth.cameras)
    wrong[2] = truth.cameras[2] @ camera(yaw=5.0)
    scene = align(predict(truth, noise=0.02, rotation=0.3), Known(poses=wrong))
    assert errors(scene, truth).rotation < 0.5
    assert any("image 2" in note and "contradicted" in note for note in scene.notes)
    assert scene.pose_deviation[2][0] > 4.0


def test_some_known_poses_are_enough_for_metres(truth):
    scene = align(predict(truth), Known(poses=[truth.cameras[0], None, truth.cameras[2]]))
    np.testing.assert_allclose(scene.cameras, truth.cameras, atol=2e-3)
    assert scene.metric and set(scene.pose_deviation) == {0, 2}


def test_outliers_in_a_tenth_of_the_pixels(truth):
    pairs, chance = predict(truth, noise=0.01), np.random.default_rng(1)
    clouds, weights = unpack(pairs)
    for cloud in clouds:
        wild = chance.random(cloud.shape[:3]) < 0.1
        cloud[wild] *= chance.uniform(0.3, 3.0, size=(int(wild.sum()), 1))
    found = errors(align(pack(pairs.edges, clouds, weights)), truth)
    assert found.rotation < 0.15 and found.centre < 0.04 and found.depth < 0.01


def test_a_moving_object_does_not_move_the_cameras():
    """The car in front of the middle camera stands elsewhere in every pair that another camera belongs to."""
    truth = render()
    moved = BOXES.copy()
    moved[2, :, 0] += 1.5
    other = render(boxes=moved)
    pairs, shifted = predict(truth), predict(other)
    clouds, weights = unpack(pairs)
    for edge in (1, 3, 5):
        for slot in range(2):
            clouds[slot][edge] = unpack(shifted)[0][slot][edge]
    found = errors(align(pack(pairs.edges, clouds, weights)), truth)
    assert (np.abs(other.depth - truth.depth) > 0.1).mean() > 0.05
    assert found.rotation < 0.02 and found.centre < 0.01 and found.focal < 1e-3


def test_sky_weighs_nothing_by_its_confidence_or_by_mask(truth):
    pairs, chance = predict(truth), np.random.default_rng(3)
    clouds, weights = unpack(pairs)
    sky = [truth.sky[[edge[slot] for edge in pairs.edges]] for slot in range(2)]
    assert sky[0].mean() > 0.03
    for slot in range(2):
        clouds[slot][sky[slot]] = chance.normal(0, 2.0, size=(int(sky[slot].sum()), 3))
    unsure = errors(align(pack(pairs.edges, clouds, weights)), truth)
    assert unsure.rotation < 1e-3 and unsure.depth < 1e-5
    weights[0][sky[0]] = weights[1][sky[1]] = 30.0
    masks = {image: torch.from_numpy(~truth.sky[image]) for image in range(3)}
    masked = errors(align(pack(pairs.edges, clouds, weights), masks=masks), truth)
    assert masked.rotation < 1e-3 and masked.depth < 1e-5


@pytest.mark.parametrize("kind", ["noise", "wrong shape", "wrong place"])
def test_one_pair_of_garbage_is_left_out_and_said(truth, kind):
    pairs, chance = predict(truth, noise=0.01), np.random.default_rng(1)
    clouds, weights = unpack(pairs)
    if kind == "noise":
        clouds[0][0] = chance.normal(0, 0.3, clouds[0][0].shape)
    if kind in ("noise", "wrong shape"):
        clouds[1][0] = chance.normal(0, 0.3, clouds[1][0].shape)
    else:
        clouds[1][0] = clouds[1][0] @ camera(yaw=40.0)[:3, :3].T
    for slot in range(2):
        weights[slot][0] *= 3  # and it is the one that is surest of itself
    scene = align(pack(pairs.edges, clouds, weights))
    found = errors(scene, truth)
    assert found.rotation < 0.05 and found.centre < 0.02 and found.depth < 0.01
    assert not scene.pair_used[0] and scene.pair_used[1:].all()
    i, j = pairs.edges[0]
    assert any(f"pair {i} -> {j}" in note and "left out" in note for note in scene.notes)


def test_points_that_are_not_finite_count_as_unknown(truth):
    pairs = predict(truth)
    clouds, weights = unpack(pairs)
    for slot in range(2):
        clouds[slot][:, :6, :10] = np.nan
    scene = align(pack(pairs.edges, clouds, weights))
    assert np.isnan(scene.depth[0][:6, :10]).all() and np.isfinite(scene.depth[0][6:]).all()
    assert np.isfinite(scene.loss) and scene.loss < 1e-6


@pytest.mark.parametrize("edges", [reference_pairs(3, 1), [(1, 0), (1, 2)], [(0, 1), (2, 1)]],
                         ids=["reference both ways", "only from the reference", "only towards the reference"])
def test_images_that_begin_no_pair_are_located_by_their_pixels(truth, edges):
    found = errors(align(predict(truth, edges)), truth)
    assert found.focal < 1e-4 and found.rotation < 0.01 and found.centre < 1e-3 and found.depth < 1e-4


def test_two_images_make_a_scene(truth):
    found = errors(align(predict(truth, [(1, 0)])), truth, images=[0, 1])
    assert found.focal < 1e-4 and found.rotation < 0.01 and found.depth < 1e-4


def test_images_of_different_sizes():
    wide, tall = render(THREE[:2]), render(THREE[:2], size=(72, 40), focals=(50.0,))
    edges = ((0, 1), (1, 0))
    truth = {0: (wide, 0), 1: (tall, 1)}
    first, second = [], []
    for i, j in edges:
        for image, clouds in ((i, first), (j, second)):
            scene, index = truth[image]
            T = np.linalg.inv(THREE[i]) @ THREE[image]
            clouds.append(torch.tensor(0.05 * (scene.points(index) @ T[:3, :3].T + T[:3, 3])))
    pairs = PairPointmaps(edges, first, [torch.full(cloud.shape[:2], 8.0) for cloud in first], second,
                          [torch.full(cloud.shape[:2], 8.0) for cloud in second])
    scene = align(pairs)
    assert scene.depth[0].shape == (48, 80) and scene.depth[1].shape == (72, 40)
    np.testing.assert_allclose(scene.intrinsics[:, 0, 0], (60.0, 50.0), rtol=1e-4)


def test_a_window_over_six_images():
    truth = render(np.stack([camera(x=0.3 * (k % 2), z=1.5 * k, yaw=4.0 * k) for k in range(6)]), size=(32, 56))
    found = errors(align(predict(truth, window_pairs(6, 2), noise=0.01)), truth)
    assert found.rotation < 0.2 and found.centre < 0.1 and found.depth < 0.01


def test_two_groups_are_an_error_without_poses_and_joined_by_them():
    truth = render(np.concatenate([THREE[:2], [camera(z=0.0, yaw=180.0), camera(x=0.5, z=-1.0, yaw=180.0)]]))
    pairs = predict(truth, [(0, 1), (1, 0), (2, 3), (3, 2)])
    with pytest.raises(InputError, match="0, 1; 2, 3") as caught:
        align(pairs)
    assert caught.value.reason == "disconnected"
    scene = align(pairs, Known(poses=list(truth.cameras)))
    np.testing.assert_allclose(scene.cameras, truth.cameras, atol=0.01)
    assert any("only their known poses place" in note for note in scene.notes)


def test_pairs_without_confidence_between_groups_are_no_overlap():
    truth = render(np.concatenate([THREE[:2], [camera(yaw=180.0), camera(x=0.5, z=-1.0, yaw=180.0)]]))
    pairs = predict(truth)
    clouds, weights = unpack(pairs)
    for edge, (i, j) in enumerate(pairs.edges):
        if (i < 2) != (j < 2):
            weights[1][edge] = 1.0
    with pytest.raises(InputError, match="do not overlap") as caught:
        align(pack(pairs.edges, clouds, weights))
    assert caught.value.reason == "disconnected"


def test_an_image_without_any_confidence_is_named(truth):
    pairs = predict(truth)
    clouds, weights = unpack(pairs)
    for edge, (i, j) in enumerate(pairs.edges):
        weights[0][edge] = 1.0 if i == 2 else weights[0][edge]
        weights[1][edge] = 1.0 if j == 2 else weights[1][edge]
    with pytest.raises(InputError, match="nothing is known of image 2"):
        align(pack(pairs.edges, clouds, weights))


def test_a_camera_that_only_turns_has_no_scale():
    poses = np.stack([camera(yaw=yaw) for yaw in (-15, 0, 15)])
    truth = render(poses)
    pairs = predict(truth, noise=0.01)
    scene = align(pairs)
    assert any("hardly differ in position" in note for note in scene.notes)
    known = align(pairs, Known(poses=list(poses)))
    assert not known.metric and any("not metric" in note for note in known.notes)
    assert known.pose_deviation[2][0] < 0.2


def test_pointmaps_without_perspective_are_an_error_or_a_note(truth):
    """Flat nonsense in every pair: whatever comes out is not passed off as a scene."""
    pairs, chance = predict(truth), np.random.default_rng(0)
    clouds, weights = unpack(pairs)
    noise = [chance.normal(0, 1.0, cloud.shape) for cloud in clouds]
    with pytest.raises(InputError) as caught:
        align(pack(pairs.edges, noise, weights))
    assert caught.value.reason in ("disconnected", "diverged")


def test_poses_in_the_wrong_convention_are_refused(truth):
    with pytest.raises(InputError, match="look inverted") as caught:
        align(predict(truth, noise=0.02, rotation=0.3), Known(poses=list(np.linalg.inv(truth.cameras))))
    assert caught.value.reason == "poses"


def test_intrinsics_of_another_size_are_doubted(truth):
    K = truth.intrinsics * np.array([1.4, 1.4, 1.0])[:, None]
    K[:, :2, 2] = truth.intrinsics[:, :2, 2]
    scene = align(predict(truth), Known(list(K)))
    assert sum("% off what its pointmaps say" in note for note in scene.notes) == 3


def test_a_scene_that_diverged_is_an_error_and_one_behind_the_camera_a_note(truth):
    scene = align(predict(truth))
    check_result(scene)
    for broken in (replace(scene, loss=float("nan")), replace(scene, cameras=scene.cameras * np.nan),
                   replace(scene, intrinsics=scene.intrinsics * 40.0)):
        with pytest.raises(InputError, match="diverged") as caught:
            check_result(broken)
        assert caught.value.reason == "diverged"
    flat = tuple(np.where(np.arange(depth.shape[1]) < 30, 1e-6, depth) for depth in scene.depth)
    assert limits(scene, converged=True) == []
    notes = limits(replace(scene, depth=flat), converged=False)
    assert any("not settled" in note for note in notes) and any("doubtful" in note for note in notes)


@pytest.mark.parametrize(("known", "message"), [
    (Known(intrinsics=[np.eye(3)] * 2), "2 known intrinsics for 3 images"),
    (Known(intrinsics=[np.diag([50.0, 50.0, 1.0]) + np.array([[0, 0, 400.0], [0, 0, 20], [0, 0, 0]])] * 3), "outside"),
    (Known(poses=[np.diag([2.0, 2.0, 2.0, 1.0])] * 3), "not rigid"),
])
def test_knowledge_that_cannot_belong_to_the_images_is_refused(truth, known, message):
    with pytest.raises(InputError, match=message):
        align(predict(truth), known)


def test_pairs_of_contradicting_shapes_are_refused(truth):
    pairs = predict(truth)
    with pytest.raises(InputError, match="points1 of pair 1"):
        PairPointmaps(pairs.edges, pairs.points1, [pairs.confidence1[0], *pairs.confidence1[1:, 1:]], pairs.points2,
                      pairs.confidence2)
    with pytest.raises(InputError, match="no pair holds image 1"):
        PairPointmaps(((0, 2), (2, 0)), pairs.points1[:2], pairs.confidence1[:2], pairs.points2[:2],
                      pairs.confidence2[:2])


def test_a_solver_whose_steps_are_all_refused_has_not_settled_unless_it_stands_in_the_minimum(truth, monkeypatch):
    settings = AlignmentSettings()
    pairs = predict(truth, noise=0.02, rotation=0.3)
    samples = take_samples(pairs, 1000, None)
    problem, start, _ = first_guess(pairs, samples, Known(), settings)
    settled = solver.solve(problem, start, 50, 1e-6)
    assert settled.converged and settled.iterations > 0
    evaluate = solver.evaluate

    def refused(state, samples, weights, depth_rounds):
        state, found = evaluate(state, samples, weights, depth_rounds)
        # the first evaluation of a run has more rounds: it is that of the start
        return state, found if depth_rounds > solver._DEPTH_ROUNDS else replace(found, loss=10 * found.loss)

    monkeypatch.setattr(solver, "evaluate", refused)
    stuck = solver.solve(problem, start, 50, 1e-4)
    assert stuck.iterations == 0 and not stuck.converged
    there = solver.solve(problem, replace(settled.state, depth=None), 50, 1e-4)
    assert there.iterations == 0 and there.converged
