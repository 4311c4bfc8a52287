"""Groups from the simulated world: reproducible, true where they claim to be, wrong only where they are told to be."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from img2three_ros.data.simulated import SimulatedGroups, SimulatedGroupSettings
from img2three_ros.data.view_group import ViewGroup
from img2three_ros.geometry.overlap import Frustum, best_sources
from img2three_ros.structures import InputError

SIZE = (48, 80)
EXACT = SimulatedGroupSettings(noisy_geometry=0.0, moved_base=0.0, no_sources=0.0, one_source=0.0, wrong_source=0.0)


def groups(count: int, settings: SimulatedGroupSettings = EXACT, first: int = 0) -> list[ViewGroup]:
    source = SimulatedGroups(settings)
    return [source.group(index, SIZE, 6) for index in range(first, first + count)]


@pytest.fixture(scope="module")
def exact() -> list[ViewGroup]:
    return groups(6)


def test_a_group_follows_from_its_index_alone():
    forward, backward = SimulatedGroups(), SimulatedGroups()
    first = forward.group(7, SIZE, 4)
    backward.group(15, SIZE, 4)
    again = backward.group(7, SIZE, 4)
    for item in fields(ViewGroup):
        assert torch.equal(torch.nan_to_num(getattr(first, item.name)), torch.nan_to_num(getattr(again, item.name)))
    others = [forward.group(8, SIZE, 4), SimulatedGroups(SimulatedGroupSettings(seed=1)).group(7, SIZE, 4)]
    assert all(not torch.equal(first.images, other.images) for other in others)


def test_shapes_and_types(exact):
    for group in exact:
        assert group.images.shape == (6, 3, *SIZE) and group.images.dtype == torch.uint8
        assert group.depth.shape == group.mask.shape == group.moving.shape == (6, *SIZE)
        assert group.depth.dtype == torch.float32 and group.mask.dtype == group.moving.dtype == torch.bool
        assert group.intrinsics.shape == (6, 3, 3) and group.intrinsics.dtype == torch.float32
        assert group.T_base_camera.shape == (6, 4, 4) and group.T_base_camera.dtype == torch.float64
        assert group.sources.shape == (6, 3) and group.sources.dtype == torch.int64
        assert group.instant.shape == group.camera.shape == (6,)


def test_depth_is_unknown_exactly_on_the_vehicle_itself(exact):
    assert all(torch.equal(torch.isnan(group.depth), ~group.mask) for group in exact)
    assert any((~group.mask).any() for group in exact)
    assert any(torch.isinf(group.depth).any() for group in exact)  # sky
    assert all((group.depth[group.mask] > 0.0).all() for group in exact)


def agreement(group: ViewGroup, view: int, source: int) -> tuple[int, int]:
    """Static pixels of a view that its depth and the poses bring to a place of the source that has the same depth,
    and how many come into the source at all."""
    still = (torch.isfinite(group.depth[view]) & ~group.moving[view] & (group.depth[view] < 60.0)).numpy()
    v, u = np.nonzero(still)
    depth = group.depth[view].numpy()[still].astype(np.float64)
    rays = np.linalg.inv(group.intrinsics[view].double().numpy()) @ np.stack((u, v, np.ones_like(u)))
    points = np.linalg.inv(group.T_base_camera[source].numpy()) @ group.T_base_camera[view].numpy()
    moved = points[:3, :3] @ (rays * depth) + points[:3, 3:]
    pixel = group.intrinsics[source].double().numpy() @ moved
    ahead = pixel[2] > 0.2
    column, row = np.round(pixel[:2, ahead] / pixel[2, ahead]).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < SIZE[1]) & (row < SIZE[0])
    seen = group.depth[source].numpy()[row[inside], column[inside]]
    expected = moved[2, ahead][inside]
    # Nearer in the source = hidden there: no contradiction. Slanted surfaces change within a pixel.
    return int((seen < 1.06 * expected).sum() - (seen < 0.94 * expected).sum()), int(inside.sum())


def test_depth_and_poses_of_matched_views_agree(exact):
    fits, total = np.sum([agreement(group, view, int(source)) for group in exact for view in range(6)
                          for source in group.sources[view] if source >= 0], axis=0)
    assert total > 10_000
    assert fits > 0.85 * total


def test_the_same_images_come_with_wrong_geometry_where_asked(exact):
    noisy = groups(6, replace(EXACT, noisy_geometry=1.0, moved_base=1.0))
    turned, moved = [], []
    for true, told in zip(exact, noisy, strict=True):
        assert torch.equal(true.images, told.images) and torch.equal(true.depth.nan_to_num(), told.depth.nan_to_num())
        relative = torch.linalg.inv(true.T_base_camera) @ told.T_base_camera
        moved.append(relative[0, :3, 3].norm())
        for one, other in ((0, 5), (1, 4)):
            error = (torch.linalg.inv(true.T_base_camera[one]) @ true.T_base_camera[other]).inverse() @ (
                torch.linalg.inv(told.T_base_camera[one]) @ told.T_base_camera[other])
            if true.instant[one] == true.instant[other] == 0 and true.camera[one] != true.camera[other]:
                turned.append(float(error[:3, :3].diagonal().sum().sub(1.0).div(2.0).clamp(-1, 1).arccos()))
        assert not torch.equal(true.intrinsics, told.intrinsics)
        assert (told.intrinsics[:, 0, 0] / true.intrinsics[:, 0, 0] - 1.0).abs().max() < 0.02
    assert 0.02 < float(torch.stack(moved).median()) < 0.9
    assert turned and max(turned) < np.radians(6.0)


def test_without_errors_base_link_stands_on_the_ground(exact):
    # Mounts are 0.8-3 m above the road; the optical frame's origin is where the camera sits.
    heights = torch.cat([group.T_base_camera[group.instant == 0, 2, 3] for group in exact])
    assert (heights > 0.75).all() and (heights < 3.1).all()


def test_sources_are_those_of_run_time(exact):
    chosen = 0
    for group in exact:
        for view in range(6):
            found = [int(source) for source in group.sources[view] if source >= 0]
            assert view not in found and len(set(found)) == len(found)
            assert (group.sources[view][len(found):] == -1).all()
            if not found:
                continue
            T = group.T_base_camera.numpy()
            frusta = [Frustum(k.double().numpy(), SIZE) for k in group.intrinsics]
            poses = [np.linalg.inv(T[source]) @ T[view] for source in found]
            best = best_sources(frusta[view], [frusta[source] for source in found], poses, 3)
            assert [found[index] for index, _ in best] == found
            chosen += len(found)
    assert chosen > 20


def test_sources_are_dropped_reduced_and_replaced_as_asked(exact):
    none = groups(1, replace(EXACT, no_sources=1.0))
    assert all((group.sources == -1).all() for group in none)
    one = groups(2, replace(EXACT, one_source=1.0))
    assert all((group.sources[:, 1:] == -1).all() for group in one)
    assert any((group.sources[:, 0] >= 0).any() for group in one)
    wrong = groups(4, replace(EXACT, wrong_source=1.0))
    changed = [not torch.equal(group.sources[view], true.sources[view])
               for group, true in zip(wrong, exact, strict=False) for view in range(6)]
    assert np.mean(changed) > 0.3


@pytest.mark.parametrize("views", [1, 2, 5])
def test_any_number_of_views(views):
    group = SimulatedGroups().group(3, (32, 48), views)
    assert group.images.shape == (views, 3, 32, 48)
    assert (group.sources < views).all()


def test_a_group_needs_a_view():
    with pytest.raises(InputError, match="at least one view"):
        SimulatedGroups().group(0, SIZE, 0)
