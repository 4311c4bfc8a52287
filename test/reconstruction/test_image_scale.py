"""How long a metre is in a scene of images: what is too weak to say it is not taken for the metre."""

import numpy as np
import pytest
from single_thread import one_thread
from street_photos import predict, render

from img2three_ros.geometry.transforms import apply, inverse
from img2three_ros.pointmap.alignment import align
from img2three_ros.pointmap.known import Known
from img2three_ros.reconstruction.aligned_parts import AlignedPart
from img2three_ros.reconstruction.image_scale import Metres, scaled

from pointmap_scene import THREE, camera  # isort: skip  (street_photos puts it on the path)

__all__ = ["one_thread"]


def part_with(cameras, given=None, noise=0.0, turned=0.0):
    """Aligned onto poses as they are given (None: as they are); and what was known."""
    truth = render(np.stack(cameras))
    known = None if given is None else Known(intrinsics=list(truth.intrinsics), poses=list(given))
    pairs = predict(truth, noise=noise, rotation=turned, seed=2)
    return AlignedPart(tuple(range(len(cameras))), align(pairs, known), pairs), known


def test_known_poses_that_pairs_bear_out_give_metres():
    part, known = part_with(THREE, THREE, noise=0.02)
    found = scaled(part, Metres(rig=list(THREE)), 3.0, known)
    assert found.scene.metric and found.unit.startswith("metres, from the known poses (uncertain by ")
    assert "residual" not in found.unit and not any("doubt" in note for note in found.notes)


def test_a_short_baseline_that_is_wrong_is_doubted():
    """The second camera is 13 cm off the first and said to be 4 cm elsewhere; the network turns it by a degree."""
    true = [camera(), camera(x=0.13)]
    part, known = part_with(true, [camera(), camera(x=0.13, z=0.04)], noise=0.02, turned=0.5)
    found = scaled(part, Metres(rig=known.poses), 3.0, known)
    assert part.scene.metric  # the alignment alone says nothing of it
    assert any("the metre is in doubt by" in note for note in found.notes) or not found.scene.metric


def test_known_distances_that_pairs_do_not_show_give_no_metre():
    """Cameras on one spot that are said to be 8 cm from their middle."""
    part, known = part_with([camera(), camera(yaw=10)], [camera(x=-0.08), camera(x=0.08, yaw=10)], turned=1.0)
    found = scaled(part, Metres(rig=known.poses, centre=known.centre), 3.0, known)
    assert part.scene.metric and not found.scene.metric and not found.scales
    assert found.unit.startswith("arbitrary (not metric") and any("not metric" in note for note in found.notes)


def test_poses_that_most_images_contradict_give_no_metre():
    wrong = [camera(), camera(x=3.0, yaw=25), camera(x=-2.0, z=3.0, yaw=-20)]
    part, known = part_with(THREE, wrong)
    found = scaled(part, Metres(rig=wrong), 3.0, known)
    assert not found.scene.metric and "contradict" in found.unit
    depth = np.concatenate([one[np.isfinite(one)] for one in found.scene.depth])
    assert 5.0 < np.median(depth) < 20.0


def scans(said):
    """LiDAR points as a camera gets them that is said to be somewhere (None: not at all)."""
    truth = render(np.stack(THREE))
    world = apply(THREE[0], truth.points(0)[::4, ::4][~truth.sky[0][::4, ::4]])
    return truth, [None if pose is None else apply(inverse(pose), world) for pose in said]


def test_lidar_gives_the_metre_where_poses_say_none():
    part, known = part_with(THREE)
    truth, points = scans([THREE[0], None, None])
    found = scaled(part, Metres(lidar=points), 3.0, known)
    assert found.scene.metric and [scale.source for scale in found.scales] == ["LiDAR"]
    assert found.unit.startswith("metres, from LiDAR (residual ")
    near = (truth.depth[0] < 30.0) & np.isfinite(found.scene.depth[0])
    assert np.median(found.scene.depth[0][near] / truth.depth[0][near]) == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize("wrong", [
    [camera(), camera(x=3.0, yaw=25), camera(x=-2.0, z=3.0, yaw=-20)],
    [pose @ camera(yaw=turn) for pose, turn in zip(THREE, (0, -20, 15), strict=True)]])
def test_lidar_seen_through_contradicted_poses_gives_no_wrong_metre(wrong):
    part, known = part_with(THREE, wrong)
    truth, points = scans(wrong)
    found = scaled(part, Metres(rig=wrong, lidar=points), 3.0, known)
    assert "contradict" in " ".join((found.unit, *found.notes))
    near = (truth.depth[0] < 30.0) & np.isfinite(found.scene.depth[0])
    ratio = np.median(found.scene.depth[0][near] / truth.depth[0][near])
    assert not found.scene.metric or ratio == pytest.approx(1.0, abs=0.1)


def test_a_cloud_that_is_no_lidar_of_this_place_is_not_believed():
    part, known = part_with(THREE)
    chance = np.random.default_rng(0)
    cloud = chance.uniform((-20, -2, 1), (20, 1, 60), (4000, 3))
    found = scaled(part, Metres(lidar=[cloud, None, None]), 3.0, known)
    assert not found.scene.metric and any("LiDAR is not used for the scale" in note for note in found.notes)


def test_lidar_that_agrees_or_not_is_told_beside_known_poses():
    part, known = part_with(THREE, THREE, noise=0.02)
    truth = render(np.stack(THREE))
    points = [truth.points(image)[~truth.sky[image]] for image in range(3)]
    said = {}
    for stretch in (1.0, 1.5):
        found = scaled(part, Metres(rig=list(THREE), lidar=[stretch * one for one in points]), 3.0, known)
        assert found.scene.metric and "known poses" in found.unit
        said[stretch] = next(scale.metres for scale in found.scales if scale.source == "LiDAR")
    assert said[1.0] == pytest.approx(1.0, abs=0.01) and said[1.5] == pytest.approx(1.5, rel=0.01)
    few = scaled(part, Metres(rig=list(THREE), lidar=[points[0][:5], None, None]), 3.0, known)
    assert "LiDAR" not in few.unit


def test_a_given_baseline_is_doubted_by_what_pairs_differ():
    part, _ = part_with(THREE, noise=0.02, turned=1.0)
    long = np.linalg.norm(THREE[0][:3, 3] - THREE[1][:3, 3])
    sure = scaled(part_with(THREE)[0], Metres(baseline=(0, 1, float(long))), 3.0)
    assert sure.scene.metric and "uncertain by 0.0 % or more" in sure.unit
    found = scaled(part, Metres(baseline=(0, 1, float(long))), 3.0)
    percent = float(found.unit.partition("uncertain by ")[2].partition(" %")[0])
    assert found.scene.metric and percent > 1.0


@pytest.mark.parametrize("unit", [1.0, 7.0])
def test_the_doubt_of_a_baseline_does_not_hang_on_the_unit(unit):
    part, _ = part_with(THREE, noise=0.02, turned=1.0)
    other = AlignedPart(part.images, part.scene.rescaled(unit, metric=False), part.pairs)
    assert scaled(other, Metres(baseline=(0, 1, 1.0)), 3.0).unit == scaled(part, Metres(baseline=(0, 1, 1.0)), 3.0).unit
