"""Geometry of the sweep, source choice, aggregation and confidence, each against an independent truth."""

import numpy as np
import torch
from sweep_scene import GROUND, camera_pose, frame, pinhole, view, wall

from img2three_ros.geometry.plane_sweep import (
    PairWarp,
    horizontal_plane_inverse_depth,
    inverse_depth_planes,
    upward_component,
)
from img2three_ros.geometry.transforms import from_xyz_rpy, inverse
from img2three_ros.models.semi_global import Smoothness, semi_global
from img2three_ros.reconstruction.sources import choose_sources
from img2three_ros.reconstruction.sweep_confidence import OtherDepth, agreement
from img2three_ros.reconstruction.sweep_prior import GroundPrior
from img2three_ros.reconstruction.sweep_refinement import inverse_depth_at, sub_plane_minimum, upsample


def test_planes_span_the_range_from_far_to_near():
    planes = inverse_depth_planes(96, 1.5, 100.0)
    depth = 1.0 / planes
    assert torch.all(planes[1:] > planes[:-1])
    assert abs(float(depth[0]) - 100.0) < 0.5 and abs(float(depth[-1]) - 1.5) < 0.01
    assert float((depth[:-1] / depth[1:]).max()) < 1.25


def test_warp_agrees_with_projecting_a_point_by_hand():
    size, source_size = (64, 96), (48, 120)
    K, Ks = pinhole(size, 80.0), pinhole(source_size, 55.0)
    T = from_xyz_rpy([0.4, -0.1, 0.3], [0.02, 0.1, -0.05])
    warp = PairWarp.between(T, torch.from_numpy(K), size, torch.from_numpy(Ks), source_size)
    grid, factor = warp.grid(torch.tensor([0.2]).reshape(1, 1, 1))
    point = 5.0 * np.linalg.inv(K) @ np.array([70.0, 20.0, 1.0])
    moved = T[:3, :3] @ point + T[:3, 3]
    pixel = (Ks @ moved)[:2] / moved[2]
    expected = (2.0 * pixel + 1.0) / np.array([source_size[1], source_size[0]]) - 1.0
    np.testing.assert_allclose(grid[0, 20, 70].numpy(), expected, atol=1e-4)
    assert abs(float(factor[0, 20, 70]) - moved[2] / 5.0) < 1e-5


def test_points_behind_the_source_lie_outside_its_image():
    K = torch.from_numpy(pinhole((32, 32), 30.0))
    ahead = from_xyz_rpy([0.0, 0.0, -10.0])
    grid, factor = PairWarp.between(ahead, K, (32, 32), K, (32, 32)).grid(torch.tensor([0.2]).reshape(1, 1, 1))
    assert (factor <= 0.0).all()
    assert (grid.abs().amax(-1) > 1.0).all()


def test_horizontal_plane_depth_matches_a_rendered_ground():
    image, truth = view([GROUND], "front", camera_pose(), np.eye(4))
    upward = upward_component(image.T_base_camera, image.intrinsics, *image.size)
    ground = horizontal_plane_inverse_depth(upward, 1.5, torch.zeros(1))[0].numpy()
    below = np.isfinite(truth)
    np.testing.assert_allclose(ground[below], 1.0 / truth[below], atol=1e-5)
    assert (ground[~below] == 0.0).all()


def test_sources_need_parallax_and_overlap():
    planes = [GROUND, wall(20.0)]

    def snapshot(stamp, x, **mounts):
        pose = from_xyz_rpy([x, 0.0, 0.0])
        return frame(stamp, [view(planes, name, mount, pose)[0] for name, mount in mounts.items()], pose)

    mounts = {"front": camera_pose(), "back": camera_pose(yaw=np.pi), "left": camera_pose(y=0.4)}
    now, before = snapshot(2, 2.0, **mounts), snapshot(1, 1.0, **mounts)
    chosen = choose_sources(now, now.views[0], [before], 4)
    names = {(source.frame.stamp, source.view.name) for source in chosen}
    assert (2, "left") in names and all(name != "back" for _, name in names)
    point = np.array([3.0, 0.2, 0.1, 1.0])
    moved = next(source for source in chosen if source.frame is before)
    expected = inverse(from_xyz_rpy([1.0, 0.0, 0.0]) @ moved.view.T_base_camera) @ from_xyz_rpy([2.0, 0.0, 0.0]) @ point
    seen = moved.T_source_reference @ inverse(now.views[0].T_base_camera) @ point
    np.testing.assert_allclose(seen, expected, atol=1e-9)
    own = choose_sources(now, now.views[0], [before], 4, False)
    assert [(source.frame.stamp, source.view.name) for source in own] == [(1, "front")]
    twin = snapshot(3, 2.0, front=mounts["front"])
    assert choose_sources(twin, twin.views[0], [frame(2, [now.views[0]], now.T_odom_base)], 4) == []


def test_aggregation_carries_a_strip_of_evidence_over_a_flat_region_and_stops_at_an_edge():
    cost = torch.full((1, 16, 20, 40), 0.9)
    cost[:, 5, :, :4] = 0.0
    cost[:, 12, :, 36:] = 0.0
    guide = torch.zeros(1, 20, 40)
    guide[:, :, 20:] = 0.5
    number = sub_plane_minimum(semi_global(cost, guide, Smoothness()))[0]
    assert ((number[:, :18] - 5.0).abs() < 0.75).float().mean() > 0.9
    assert ((number[:, 22:] - 12.0).abs() < 0.75).float().mean() > 0.9


def test_aggregation_of_one_row_equals_a_brute_force_path():
    torch.manual_seed(0)
    smoothness = Smoothness(step=0.05, jump=0.4, edge=0.4)
    cost = torch.rand(1, 7, 1, 9)
    result = semi_global(cost, torch.zeros(1, 1, 9), smoothness)[0, :, 0]

    def path(values):
        out = [values[0]]
        for here in values[1:]:
            last = out[-1]
            best = np.empty_like(here)
            for plane in range(len(here)):
                jumps = [last[other] + (0.05 * abs(other - plane) if abs(other - plane) <= 2 else 0.4)
                         for other in range(len(here))]
                best[plane] = here[plane] + min(jumps) - last.min()
            out.append(best)
        return np.array(out)

    values = cost[0, :, 0].T.numpy()
    # Six of the eight directions have no neighbour within one row: they are the cost itself.
    expected = (path(values) + path(values[::-1])[::-1] + 6.0 * values) / 8.0
    np.testing.assert_allclose(result.T.numpy(), expected, atol=1e-5)


def test_sub_plane_minimum_of_a_parabola_is_exact():
    cost = (torch.arange(9.0) - 4.3).square().reshape(1, 9, 1, 1)
    assert abs(float(sub_plane_minimum(cost)) - 4.3) < 1e-5
    planes = inverse_depth_planes(9, 2.0, 50.0)
    assert abs(float(inverse_depth_at(torch.tensor(4.5), planes)) - float(planes[4] + planes[5]) / 2) < 1e-6


def test_upsampling_never_mixes_two_surfaces():
    number = torch.full((8, 8), 10.0)
    number[:, 4:] = 60.0
    guide = (number > 30.0).float()
    fine_guide = guide.repeat_interleave(2, 0).repeat_interleave(2, 1)
    for offset in (0.0, 0.5):
        fine = upsample(number[None], number, guide, fine_guide, offset)[0]
        assert ((fine - 10.0).abs() < 1e-3).logical_or((fine - 60.0).abs() < 1e-3).all()
        assert (fine[:, :7] < 30.0).all() and (fine[:, 9:] > 30.0).all()


def test_agreement_supports_contradicts_and_ignores_what_is_hidden():
    K = torch.from_numpy(pinhole((16, 16), 20.0))
    same = PairWarp.between(np.eye(4), K, (16, 16), K, (16, 16))
    ones = torch.ones(16, 16)
    other = OtherDepth(ones / 10.0, ones, same)
    for depth, expected in ((10.0, (1.0, 0.0)), (5.0, (0.0, 1.0)), (20.0, (0.0, 0.0))):
        support, conflict = agreement(ones / depth, [other])
        assert abs(float(support[8, 8]) - expected[0]) < 0.01
        assert abs(float(conflict[8, 8]) - expected[1]) < 0.01


def test_hypotheses_below_the_ground_are_excluded():
    image, truth = view([GROUND], "front", camera_pose(), np.eye(4))
    planes = inverse_depth_planes(96, 1.5, 100.0)
    cost = GroundPrior(image, image.intrinsics, planes, (64, 96)).add_to(torch.full((96, 64, 96), 0.5))
    best = sub_plane_minimum(cost[None])[0]
    near = (truth[::2, ::2] < 20.0)
    assert near.any()
    ratio = (1.0 / inverse_depth_at(best, planes)).numpy()[near] / truth[::2, ::2][near]
    assert np.abs(ratio - 1.0).max() < 0.1
    # Where the ground is 10 m away, 25 m is 2.25 m below it: more than any slope allows for.
    depth, ground = 1.0 / planes[:, None, None], torch.from_numpy(truth[::2, ::2])[None]
    assert (cost[(depth > 2.5 * ground) & (ground < 10.0) & (depth < 30.0)] >= 1.0).all()
