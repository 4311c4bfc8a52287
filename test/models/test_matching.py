"""Where hypotheses lie in other views, and what the matcher makes of it: against projection by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from img2three_ros.models.matching import (
    HypothesisMatcher,
    MatchGeometry,
    masked_features,
    pair_warps,
    rays_in_base,
)

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
HEIGHT, WIDTH = 64, 96
INTRINSICS = torch.tensor([[80.0, 0.0, 47.0], [0.0, 82.0, 30.5], [0.0, 0.0, 1.0]])


def geometry_of(T_source_reference: np.ndarray, sources: list[int] | None = None) -> MatchGeometry:
    """One reference; sources of the same camera at the given pose (repeated for every slot)."""
    slots = [0] if sources is None else sources
    pose = torch.from_numpy(T_source_reference).float().expand(1, len(slots), 4, 4)
    T_base_camera = torch.tensor([[[0.0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]])
    mask = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    views = max(2, len(slots))
    return MatchGeometry(INTRINSICS[None], INTRINSICS.expand(views, 3, 3), torch.tensor([slots]), pose, T_base_camera,
                         mask, mask.expand(views, -1, -1))


def moved(x: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    T[:3, 3] = x, 0.0, z
    return T


@pytest.mark.parametrize(("stride", "source_stride"), [(4, 4), (8, 8), (8, 4)])
def test_warp_agrees_with_projection_by_hand(stride: int, source_stride: int) -> None:
    T = moved(0.4, -0.3, 0.1)
    warps = pair_warps(geometry_of(T), stride, source_stride)
    row, column, depth = 3, 5, 7.0
    pixels, front = warps.pixels(0, torch.full((1, 1, 1, 1), 1.0 / depth))
    centre = np.array([column * stride + (stride - 1) / 2, row * stride + (stride - 1) / 2, 1.0])
    intrinsics = INTRINSICS.double().numpy()
    point = depth * np.linalg.inv(intrinsics) @ centre
    seen = intrinsics @ (T[:3, :3] @ point + T[:3, 3])
    full = seen[:2] / seen[2]
    expected = (full - (source_stride - 1) / 2) / source_stride
    assert bool(front[0, 0, row, column])
    np.testing.assert_allclose(pixels[0, 0, row, column].numpy(), expected, atol=1e-4)


def test_what_lies_behind_the_source_is_not_seen() -> None:
    _, front = pair_warps(geometry_of(moved(z=-5.0)), 8, 8).pixels(0, torch.tensor([0.5, 0.1]).reshape(1, 2, 1, 1))
    assert not bool(front[0, 0].any()) and bool(front[0, 1].all())  # 2 m ahead is behind a camera 5 m farther on


def test_rays_meet_the_ground_where_they_should() -> None:
    """Flat ground seen from 1.5 m: depth * ray + height is 0 at the depth of the ground."""
    rays = rays_in_base(geometry_of(np.eye(4)), 8)
    row = 6
    v = row * 8 + 3.5
    depth = 1.5 * 82.0 / (v - 30.5)
    assert float(1.5 + depth * rays[0, 2, row, 4]) == pytest.approx(0.0, abs=1e-4)


def test_descriptors_under_the_ego_vehicle_are_zero_and_say_so() -> None:
    mask = torch.ones(1, 16, 16, dtype=torch.bool)
    mask[:, 8:] = False
    joined = masked_features(torch.ones(1, 3, 2, 2), mask)
    assert joined[0, :, 0].eq(1.0).all() and joined[0, :, 1].eq(0.0).all()


def plain_matcher() -> HypothesisMatcher:
    """A matcher that trusts all sources alike and says nothing but the correlation."""
    matcher = HypothesisMatcher(groups=2, out=2)
    with torch.no_grad():
        for parameter in (*matcher.judge.parameters(), *matcher.merge.parameters()):
            parameter.zero_()
        matcher.sharpness.fill_(1.0)
    return matcher


def textured(height: int, width: int) -> Tensor:
    features = torch.randn(1, 8, height, width, generator=torch.Generator().manual_seed(1))
    return features / features.norm(dim=1, keepdim=True)


def test_correlation_is_highest_at_the_true_depth() -> None:
    """A fronto-parallel wall at 5 m seen from 0.5 m aside: shifted by f b / d = 80 * 0.5 / 5 = 8 px = one feature."""
    reference = textured(8, 12)
    source = torch.roll(reference, 1, dims=3)
    geometry = geometry_of(moved(x=0.5))
    depths = torch.tensor([2.5, 5.0, 10.0]).reshape(1, 3, 1, 1)
    score = plain_matcher()(reference, masked_features(source, geometry.source_mask[:1]), pair_warps(geometry, 8, 8),
                            1.0 / depths, torch.zeros(1, 3, 8, 12))
    inner = score[0, 0, :, :, 2:8].detach()
    assert bool((inner.argmax(0) == 1).all())
    torch.testing.assert_close(inner[1], torch.ones_like(inner[1]), rtol=0.01, atol=0.01)


def test_missing_sources_count_for_nothing_and_order_does_not_matter() -> None:
    torch.manual_seed(0)
    matcher, reference = HypothesisMatcher(groups=2, out=2), textured(8, 12)
    sources = masked_features(torch.cat((textured(8, 12).roll(1, 3), textured(8, 12).roll(2, 2))),
                              torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool))

    def scores(slots: list[int]) -> Tensor:
        geometry = geometry_of(moved(x=0.5), slots)
        depth = torch.tensor([2.0, 4.0, 8.0]).reshape(1, 3, 1, 1)
        with torch.no_grad():
            return matcher(reference, sources, pair_warps(geometry, 8, 8), 1.0 / depth, torch.zeros(1, 3, 8, 12))

    torch.testing.assert_close(scores([0, 1]), scores([1, -1, 0]), rtol=1e-5, atol=1e-6)
    assert float((scores([0, 1]) - scores([0])).abs().max()) > 1e-4
    nothing = scores([-1, -1])
    assert bool(torch.isfinite(nothing).all())
    torch.testing.assert_close(nothing, nothing[..., :1, :1].expand_as(nothing))  # says the same everywhere
