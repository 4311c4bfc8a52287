"""As many images as hang together: groups side by side in their own metres, and one blind image costs only itself."""

import numpy as np
from single_thread import one_thread
from street_photos import predict, render

from img2three_ros.pointmap.known import Known
from img2three_ros.pointmap.pairs import PairPointmaps
from img2three_ros.reconstruction.aligned_parts import align_largest, align_parts

from pointmap_scene import THREE, camera, pack, unpack  # isort: skip  (street_photos puts it on the path)

__all__ = ["one_thread"]
AHEAD, BEHIND = (0, 2), (1, 3)


def two_groups(stretch):
    """Cameras ahead and behind that share nothing; the poses of those behind say a metre that is too long."""
    truth = render(np.stack([THREE[0], camera(z=0.0, yaw=180.0), THREE[1], camera(x=0.8, z=-1.0, yaw=180.0)]))
    given = truth.cameras.copy()
    given[BEHIND[1], :3, 3] = given[BEHIND[0], :3, 3] + stretch * (given[BEHIND[1], :3, 3] - given[BEHIND[0], :3, 3])
    return truth, Known(intrinsics=list(truth.intrinsics), poses=list(given))


def depth_over_truth(scene, truth, images):
    return [np.nanmedian((scene.depth[image] / truth.depth[image])[~truth.sky[image]]) for image in images]


def test_groups_do_not_pull_at_each_others_scale():
    truth, known = two_groups(1.3)
    pairs = predict(truth, [(0, 2), (2, 0), (1, 3), (3, 1)])
    part = align_largest(pairs, known)
    assert part.images == (0, 1, 2, 3) and part.pairs.edges == pairs.edges and part.scene.metric
    np.testing.assert_allclose(depth_over_truth(part.scene, truth, AHEAD), 1.0, atol=0.003)
    np.testing.assert_allclose(depth_over_truth(part.scene, truth, BEHIND), 1.3, atol=0.02)
    np.testing.assert_allclose(part.scene.cameras[[0, 2]], truth.cameras[[0, 2]], atol=0.01)
    assert set(part.scene.pose_deviation) == {0, 1, 2, 3}
    assert any("only their known poses place" in note for note in part.scene.notes)
    for edge, (i, _) in enumerate(pairs.edges):  # the points of every pair lie where its scene does
        world = pairs.points1[edge].numpy() @ part.scene.pair_similarity[edge][:3, :3].T \
            + part.scene.pair_similarity[edge][:3, 3]
        off = np.linalg.norm(world - part.scene.points(i), axis=-1)[~truth.sky[i]]
        assert np.median(off) < 0.05


def test_a_pair_that_is_not_usable_joins_nothing():
    truth, known = two_groups(1.3)
    exact = predict(truth, [(0, 2), (2, 0), (1, 3), (3, 1), (0, 1)])
    clouds, weights = unpack(exact)
    chance = np.random.default_rng(0)
    for slot in (0, 1):
        clouds[slot][4] *= np.exp(chance.normal(0, 1.5, (*clouds[slot][4].shape[:2], 1)))
    part = align_largest(pack(exact.edges, clouds, weights), known)
    assert part.images == (0, 1, 2, 3) and len(part.pairs.edges) == 4
    np.testing.assert_allclose(depth_over_truth(part.scene, truth, AHEAD), 1.0, atol=0.003)


def blind(pairs, image) -> PairPointmaps:
    clouds, weights = unpack(pairs)
    for edge, members in enumerate(pairs.edges):
        for slot, held in enumerate(members):
            if held == image:
                weights[slot][edge] = 1.0
    return pack(pairs.edges, clouds, weights)


def test_an_image_without_confidence_costs_only_itself():
    truth = render(THREE)
    pairs = blind(predict(truth), 1)
    largest = align_largest(pairs)
    assert largest.images == (0, 2) and [part.images for part in align_parts(pairs)] == [(0, 2)]
    assert np.isfinite(largest.scene.depth[1]).any()
