"""What is made of an aligned scene: metres, matches, a clean cloud."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pointmap_scene import THREE, camera, predict, render

from img2three_ros.geometry.transforms import inverse
from img2three_ros.pointmap.alignment import align
from img2three_ros.pointmap.clean import valid_pixels, without_floating
from img2three_ros.pointmap.matches import descriptor_matches, point_matches, scene_matches
from img2three_ros.pointmap.scale import (
    ScaleEstimate,
    combined_scale,
    scale_from_baselines,
    scale_from_lidar,
    scale_from_metric_depth,
    scale_from_metric_pairs,
    scale_from_odometry,
)
from img2three_ros.pointmap.scene import AlignedScene
from img2three_ros.structures import InputError


@pytest.fixture(scope="module")
def truth():
    return render()


@pytest.fixture(scope="module")
def scene(truth):
    """Exact, in a unit of its own."""
    return align(predict(truth))


def metres_per_unit(scene, truth):
    return float(np.median((truth.depth[0] / scene.depth[0])[~truth.sky[0]]))


def test_deviations_from_given_poses_take_the_unit_of_the_scene(scene):
    assert replace(scene, pose_deviation={1: (2.0, 0.3)}).rescaled(5.0).pose_deviation == {1: (2.0, 1.5)}


def test_every_source_gives_the_same_metre(scene, truth):
    real = metres_per_unit(scene, truth)
    lidar = [truth.points(image)[::3, ::5].reshape(-1, 3) for image in range(3)]
    depth = [truth.depth[0], None, np.where(truth.sky[2], np.nan, truth.depth[2])]
    for estimate in (scale_from_baselines(scene, list(THREE)), scale_from_odometry(scene, list(camera(x=90.0) @ THREE)),
                     scale_from_lidar(scene, lidar), scale_from_metric_depth(scene, depth)):
        assert estimate.metres == pytest.approx(real, rel=1e-4), estimate.source
        assert estimate.residual < 1e-3 and estimate.count >= 3
    metric = scene.rescaled(scale_from_baselines(scene, list(THREE)).metres)
    assert metric.metric and metric.loss == scene.loss
    np.testing.assert_allclose(metric.depth[1][~truth.sky[1]], truth.depth[1][~truth.sky[1]], rtol=1e-3)
    T_first = inverse(THREE[0])
    np.testing.assert_allclose(metric.points(2)[~truth.sky[2]],
                               (truth.points(2) @ (T_first @ THREE[2])[:3, :3].T + (T_first @ THREE[2])[:3, 3])
                               [~truth.sky[2]], atol=2e-3)


def test_the_residual_says_how_far_sources_disagree(scene, truth):
    chance = np.random.default_rng(0)
    depth = [truth.depth[0] * np.exp(chance.normal(0, 0.2, truth.depth[0].shape)), None, None]
    estimate = scale_from_metric_depth(scene, depth)
    assert estimate.residual == pytest.approx(0.2, rel=0.15)
    assert estimate.metres == pytest.approx(metres_per_unit(scene, truth), rel=0.03)
    bent = list(THREE.copy())
    bent[2][0, 3] += 0.4
    assert scale_from_baselines(scene, bent).residual > 0.05


def test_a_metric_network_tells_the_metre_by_its_pairs(truth):
    pairs = predict(truth)
    scene = align(pairs)
    units = np.cbrt(np.linalg.det(scene.pair_similarity[:, :3, :3]))
    assert scale_from_metric_pairs(scene).metres == pytest.approx(np.median(1 / units), rel=0.3)
    assert scale_from_metric_pairs(scene).residual > 0.1  # here every pair has a unit of its own


def test_no_scale_from_cameras_on_one_spot_or_too_few_points(scene):
    with pytest.raises(InputError, match="too close together") as caught:
        scale_from_baselines(scene, [camera(yaw=yaw) for yaw in (-20, 0, 20)])
    assert caught.value.reason == "degenerate_baseline"
    with pytest.raises(InputError, match="fewer than two"):
        scale_from_baselines(scene, [THREE[0], None, None])
    with pytest.raises(InputError, match="only 0 pixels"):
        scale_from_lidar(scene, [np.array([[0.0, 0.0, -5.0]]), None, None])


def test_sources_are_combined_by_their_uncertainty_and_the_odd_one_is_named():
    sure, unsure = ScaleEstimate(2.0, 0.01, 0.01, 9, "LiDAR"), ScaleEstimate(2.2, 0.1, 0.1, 3, "camera baselines")
    combined, notes = combined_scale([sure, unsure])
    assert combined.metres == pytest.approx(2.0 * 1.1 ** (1 / 101), rel=1e-6) and notes == ()
    _, notes = combined_scale([sure, ScaleEstimate(4.0, 0.02, 0.02, 5, "odometry")])
    assert any("odometry" in note for note in notes)


def test_points_of_two_images_match_where_they_are_one_point(scene, truth):
    found = scene_matches(scene, 0, 1)
    assert len(found) > 200
    rows, columns = found.first[:, 1], found.first[:, 0]
    world = truth.points(0)[rows, columns] @ (inverse(THREE[1]) @ THREE[0])[:3, :3].T + (
        inverse(THREE[1]) @ THREE[0])[:3, 3]
    K = truth.intrinsics[1]
    pixels = world[:, :2] / world[:, 2:] * K[0, 0] + K[:2, 2]
    assert np.median(np.linalg.norm(pixels - found.second, axis=1)) < 0.8
    assert len({tuple(pixel) for pixel in found.second}) == len(found)


def test_point_matches_are_reciprocal_and_skip_what_is_left_out():
    first = np.array([[[0.0, 0, 1], [1, 0, 1], [np.nan, 0, 1], [5, 0, 1]]])
    second = np.array([[[1.1, 0, 1], [0.1, 0, 1], [1.2, 0, 1], [5, 0, 1]]])
    found = point_matches(first, second, keep_second=np.array([[True, True, True, False]]))
    assert sorted(zip(found.first[:, 0].tolist(), found.second[:, 0].tolist(), strict=True)) == [(0, 1), (1, 0)]
    np.testing.assert_allclose(found.score, -0.1, atol=1e-6)
    assert len(point_matches(first, second, keep_first=np.zeros((1, 4), bool))) == 0


def test_descriptor_matches_agree_with_a_full_search():
    generator = torch.Generator().manual_seed(0)
    first = torch.nn.functional.normalize(torch.randn(12, 16, 8, generator=generator), dim=-1)
    second = torch.roll(first, (2, 3), (0, 1)) + 0.3 * torch.randn(12, 16, 8, generator=generator)
    second = torch.nn.functional.normalize(second, dim=-1)
    product = (first.reshape(-1, 8) @ second.reshape(-1, 8).T).numpy()
    there, back = product.argmax(1), product.argmax(0)
    expected = {(i, int(j)) for i, j in enumerate(there) if back[j] == i}
    dense = descriptor_matches(first, second, stride=1)
    found = indices(dense)
    assert found == expected and len(found) > 50
    sparse = descriptor_matches(first, second, stride=4)
    few = indices(sparse)
    assert few <= expected and 5 < len(few) < len(expected)


def indices(matches, width=16):
    return {(int(u1 + width * v1), int(u2 + width * v2))
            for (u1, v1), (u2, v2) in zip(matches.first, matches.second, strict=True)}


def test_descriptor_confidence_scores_and_filters():
    descriptors = torch.eye(6).reshape(2, 3, 6)
    sure = torch.tensor([[1.0, 4.0, 9.0], [1.0, 4.0, 9.0]])
    found = descriptor_matches(descriptors, descriptors, 1, confidence_first=sure, confidence_second=sure,
                               least_confidence=2.0)
    np.testing.assert_array_equal(found.first, found.second)
    assert sorted(found.score) == [4.0, 4.0, 9.0, 9.0]
    with pytest.raises(InputError, match="one D"):
        descriptor_matches(descriptors, descriptors[..., :3])


def hand_made(depths, confidences, poses):
    """A scene of images of 9 x 9 pixels, focal 9."""
    count = len(depths)
    K = np.array([[9.0, 0, 4], [0, 9, 4], [0, 0, 1]])
    return AlignedScene(np.stack(poses), np.stack([K] * count),
                        tuple(np.full((9, 9), depth, np.float32) for depth in depths),
                        tuple(np.full((9, 9), sure, np.float32) for sure in confidences),
                        np.zeros((1, 4, 4)), np.zeros(1), np.ones(1, bool), 0.0, True, 0, 0.0)


def test_points_before_a_more_confident_surface_are_removed():
    for sure, removed in (((5.0, 9.0), True), ((9.0, 5.0), False)):
        scene = hand_made((4.0, 8.0), sure, (np.eye(4), camera(x=0.1)))
        kept = without_floating(scene, valid_pixels(scene))
        assert kept[0].sum() == (0 if removed else 81)  # image 0 hangs half way before the wall of image 1
        assert kept[1].all()  # what lies behind a surface may be hidden; it stays
    same = hand_made((8.0, 8.05), (5.0, 9.0), (np.eye(4), camera(x=0.1)))
    assert without_floating(same, valid_pixels(same))[0].all()
    opposite = hand_made((4.0, 8.0), (5.0, 9.0), (np.eye(4), camera(yaw=180.0)))
    assert without_floating(opposite, valid_pixels(opposite))[0].all()


def test_sky_is_left_out_by_mask_or_by_low_confidence(truth):
    scene = align(predict(truth))
    kept = valid_pixels(scene)
    np.testing.assert_array_equal(np.stack(kept), ~truth.sky)
    half = np.zeros(truth.depth[0].shape, bool)
    half[:, :40] = True
    masked = valid_pixels(scene, {0: half})
    assert not masked[0][:, 40:].any() and masked[0][:, :40].sum() == (~truth.sky[0][:, :40]).sum()
    np.testing.assert_array_equal(masked[1], kept[1])
