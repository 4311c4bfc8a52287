"""Groups become batches: sources stay in their group, mirroring keeps geometry, light keeps truth."""

from dataclasses import fields, replace

import pytest
import torch
from tiny_training import SIZE, TinyGroups

from img2three_ros.data.view_group import ViewGroup
from img2three_ros.training.batches import as_arrays, batch_of, from_arrays, mirrored, relit_images


def turned_group() -> ViewGroup:
    """Two views whose poses and intrinsics have nothing symmetric about them."""
    group = TinyGroups().group(5, SIZE, 2)
    pose = group.T_base_camera.clone()
    for view, angles in enumerate(((0.1, -0.2, 0.3), (-0.3, 0.15, 0.05))):
        skew = torch.zeros(3, 3, dtype=torch.float64)
        x, y, z = angles
        skew[0, 1], skew[0, 2], skew[1, 0], skew[1, 2], skew[2, 0], skew[2, 1] = -z, y, z, -x, -y, x
        pose[view, :3, :3] = torch.linalg.matrix_exp(skew)
        pose[view, :3, 3] = torch.tensor([0.4 * view, 0.7, 1.3 - view])
    intrinsics = group.intrinsics.clone()
    intrinsics[:, 0, 2] += 3.0
    return replace(group, T_base_camera=pose, intrinsics=intrinsics)


def seen_by_other(group: ViewGroup, u: float, v: float, depth: float) -> torch.Tensor:
    """(2,) pixel of view 1 that shows what view 0 shows at (u, v)."""
    ray = torch.linalg.inv(group.intrinsics[0].double()) @ torch.tensor([u, v, 1.0], dtype=torch.float64)
    point = group.T_base_camera[0] @ torch.cat((ray * depth, torch.ones(1, dtype=torch.float64)))
    moved = (torch.linalg.inv(group.T_base_camera[1]) @ point)[:3]
    projected = group.intrinsics[1].double() @ moved
    return projected[:2] / projected[2]


def test_mirrored_group_shows_mirrored_pixels_in_every_view():
    group = turned_group()
    other = mirrored(group)
    width = SIZE[1]
    for u, v, depth in ((10.0, 7.0, 5.0), (40.5, 20.0, 17.0)):
        plain, flipped = seen_by_other(group, u, v, depth), seen_by_other(other, width - 1 - u, v, depth)
        assert flipped.tolist() == pytest.approx([width - 1 - plain[0].item(), plain[1].item()], abs=1e-4)
    assert torch.equal(other.images[..., 3], group.images[..., width - 4])
    assert torch.equal(other.depth[..., 0].isnan(), group.depth[..., -1].isnan())
    assert torch.linalg.det(other.T_base_camera[:, :3, :3]).tolist() == pytest.approx([1.0, 1.0])
    assert other.T_base_camera[:, 2, 3].tolist() == group.T_base_camera[:, 2, 3].tolist()  # heights stay


def test_mirrored_twice_is_the_same_group():
    group = turned_group()
    again = mirrored(mirrored(group))
    for field in fields(ViewGroup):
        assert torch.allclose(getattr(again, field.name).double(), getattr(group, field.name).double(),
                              equal_nan=True), field.name


def test_sources_point_into_their_own_group():
    first, second = TinyGroups().group(0, SIZE, 2), TinyGroups().group(1, SIZE, 3)
    second = replace(second, sources=torch.tensor([[2], [-1], [0]]))
    batch = batch_of([first, second])
    assert batch.geometry.sources.tolist() == [[1, -1], [0, -1], [4, -1], [-1, -1], [2, -1]]
    assert batch.images.shape == (5, 3, *SIZE) and batch.images.dtype == torch.float32
    assert batch.images.max() <= 1.0
    assert torch.equal(batch.images[2:], second.images.float() / 255.0)


def test_light_changes_each_view_on_its_own_and_is_repeatable():
    images = torch.arange(0, 240, 10, dtype=torch.uint8).reshape(1, 1, 4, 6).expand(3, 3, 4, 6).contiguous()

    def lit(seed: int, strength: float = 1.0) -> torch.Tensor:
        return relit_images(images, seed, strength)

    assert torch.equal(lit(1), lit(1)) and not torch.equal(lit(1), lit(2))
    assert torch.equal(lit(1, 0.0), images)
    result = lit(1)
    assert result.dtype == torch.uint8 and not torch.equal(result[0], result[1])
    change = (result.float().mean((1, 2, 3)) / images.float().mean((1, 2, 3))).log().abs()
    assert 0.0 < change.max() < 1.2


def test_groups_survive_the_way_between_processes():
    group = TinyGroups().group(3, SIZE, 2)
    again = from_arrays(as_arrays(group))
    for field in fields(ViewGroup):
        before, after = getattr(group, field.name), getattr(again, field.name)
        assert before.dtype == after.dtype and torch.equal(before.nan_to_num(), after.nan_to_num()), field.name
