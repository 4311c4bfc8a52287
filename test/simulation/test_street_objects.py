"""Objects of the simulated world: they stand, stay small enough to render, and look the same from every side."""

import math

import numpy as np
import pytest
import torch

from img2three_ros.simulation import street_objects as build
from img2three_ros.simulation.leaves import INNER, dappled, first_leaf, in_leaf
from img2three_ros.simulation.patterns import Tiles
from img2three_ros.simulation.primitives import (
    CYLINDER,
    LEAVES,
    SPHERE,
    Pattern,
    Surface,
    box,
    gather,
    leaning_box,
    placed,
    rod,
    spindle,  # fmt: skip
)
from img2three_ros.simulation.textures import SolidNoise

GREY = Surface((0.5, 0.5, 0.5))
PLAIN = ("bench", "bicycle", "bin", "bus", "bush", "cone", "cyclist", "grass_tuft", "motorcycle", "trailer", "truck",
         "warning_board")  # fmt: skip
LONG = ("barrier", "bollards", "fence", "gantry", "hedge", "steps", "wall", "wire_span")
SIDED = ("billboard", "bus_shelter", "traffic_light")
VARIED = ("car", "furniture", "person", "sign", "tree", "van")
MOST_PARTS = {"tree": 40, "truck": 60, "building": 80}


def parts_of(name: str, seed: int):
    random, builder = np.random.default_rng(seed), getattr(build, name)
    if name in LONG:
        return builder(random, 10.0)
    if name in SIDED:
        return builder(random, 1)
    if name == "building":
        return builder(random, 14.0, 10.0, -1, 1.0)
    if name == "lamp_post":
        return builder(random, 1, 1.0)
    return builder(random, 1.0) if name in VARIED else builder(random)


def bounds(parts) -> tuple[np.ndarray, np.ndarray]:
    centre = np.array([part.T_object_unit[:3, 3] for part in parts])
    axes = np.array([part.T_object_unit[:3, :3] for part in parts])
    round_ones = np.array([part.kind in (SPHERE, LEAVES) for part in parts])[:, None]
    reach = np.where(round_ones, np.sqrt(np.square(axes).sum(2)), np.abs(axes).sum(2))
    return (centre - reach).min(0), (centre + reach).max(0)


@pytest.mark.parametrize("name", [*PLAIN, *LONG, *SIDED, *VARIED, "building", "lamp_post"])
def test_objects_stand_upright_and_are_bounded(name: str):
    seen = set()
    for seed in range(25):
        parts = parts_of(name, seed)
        assert 1 <= len(parts) <= MOST_PARTS.get(name, 50)
        low, high = bounds(parts)
        assert low[2] > -0.35 and high[2] > 0.15, seed  # a leaf may hang a little below the ground, nothing more
        axes = parts[0].T_object_unit[:3, :3] / np.linalg.norm(parts[0].T_object_unit[:3, :3], axis=0)
        assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-6) and abs(axes[2, 2]) == pytest.approx(1.0)
        seen.add((len(parts), *np.round(high - low, 3), parts[-1].surface))
        again = parts_of(name, seed)
        assert all(np.array_equal(a.T_object_unit, b.T_object_unit) for a, b in zip(parts, again, strict=True))
    assert len(seen) > 5


@pytest.mark.parametrize("name", ["car", "van", "bus", "truck", "motorcycle"])
def test_wheels_touch_the_road(name: str):
    for seed in range(20):
        low, high = bounds([part for part in parts_of(name, seed) if part.kind == CYLINDER])
        assert abs(low[2]) < 0.03
        assert high[0] - low[0] > 0.9


def test_variety_of_zero_builds_the_plain_street_and_draws_nothing_more():
    for builder in (build.car, build.van, build.person, build.tree, build.sign, build.furniture):
        first, second = np.random.default_rng(3), np.random.default_rng(3)
        assert len(builder(first)) == len(builder(second, 0.0))
        assert first.random() == second.random()
    plain, varied = build.car(np.random.default_rng(1)), build.car(np.random.default_rng(1), 1.0)
    assert len(plain) != len(varied)


def test_rods_spindles_and_leaning_boxes_reach_where_they_should():
    start, end = np.array((1.0, 2.0, 0.5)), np.array((3.0, -1.0, 4.0))
    for part in (rod(start, end, 0.2, GREY), spindle(start, end, 0.3, 0.1, GREY)):
        ends = part.T_object_unit @ np.array(((0, 0, -1.0, 1.0), (0, 0, 1.0, 1.0))).T
        assert pytest.approx(np.stack((start, end))) == ends[:3].T
        axes = part.T_object_unit[:3, :3]
        assert np.allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-9)
    upright = rod((0, 0, 0), (0, 0, 2.0), 0.1, GREY).T_object_unit
    assert upright[:3, 3] == pytest.approx((0, 0, 1.0)) and np.isfinite(upright).all()
    leaning = leaning_box((0, 0, 1.0), (2.0, 2.0, 2.0), GREY, (-0.6, 0.0)).T_object_unit
    assert (leaning @ (1, 0, 1, 1))[:3] == pytest.approx((0.7, 0.0, 2.0))
    assert (leaning @ (1, 0, -1, 1))[:3] == pytest.approx((1.3, 0.0, 0.0))
    moved = placed([box((1, 0, 0), (1, 1, 1), GREY)], x=5.0, yaw=math.pi / 2)[0]
    assert moved.T_object_unit[:3, 3] == pytest.approx((5.0, 1.0, 0.0))


def shell_rays(count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    target = 0.8 * (2.0 * torch.rand(3, count, generator=generator) - 1.0) / math.sqrt(3.0)
    origin = torch.randn(3, count, generator=generator)
    origin = 4.0 * origin / origin.norm(dim=0)
    return origin, (target - origin) / (target - origin).norm(dim=0)


def test_leaves_are_met_where_the_skin_is_leaf_and_holes_let_rays_pass():
    origin, direction = shell_rays()
    length = first_leaf(list(origin), list(direction))
    met = torch.isfinite(length)
    assert 0.7 < met.float().mean() < 0.95  # most rays meet one of two skins that are leaf to 58 %
    points = origin + (length + 0.005) * direction
    assert in_leaf(points[:, met]).float().mean() > 0.97  # the rest graze the edge of a leaf
    assert not in_leaf((origin + (length - 0.005) * direction)[:, met]).float().mean() > 0.03
    radius = points[:, met].norm(dim=0)
    assert ((radius - 1.0).abs() < 0.01).float().mean() > 0.4  # front
    assert ((radius - INNER).abs() < 0.01).float().mean() > 0.1  # seen through holes, from within
    # A march finds a leaf where the rays do, except for the sides of leaves, which rays pass.
    steps = torch.arange(2.5, 5.5, 0.01)
    marched = torch.stack([in_leaf(origin + s * direction) for s in steps]).any(0)
    assert not (met & ~marched).float().mean() > 0.01


def test_leaves_close_where_they_are_finer_than_pixels():
    origin, direction = shell_rays(500)
    away = origin * 1000.0
    towards = 0.05 * origin - away
    assert torch.isfinite(first_leaf(list(away), list(towards / towards.norm(dim=0)))).all()
    assert not torch.isfinite(first_leaf(list(origin), list(direction))).all()
    missing = first_leaf(list(origin), list(-direction))
    assert not (missing > 0.05).logical_and(torch.isfinite(missing)).any()


def coloured(pattern: Pattern, points: np.ndarray, footprint: float, size=(4.0, 4.0, 4.0)) -> np.ndarray:
    """(N, 3) colours of points of a box at the origin."""
    surface = Surface((0.2, 0.3, 0.4), 0.0, 0.0, pattern=pattern)
    tiles = Tiles(gather([box((0, 0, 0), size, surface)], [1], 0), "cpu")
    count = len(points)
    plain = torch.tensor((0.2, 0.3, 0.4))[:, None].expand(3, count)
    found = tiles.colour(SolidNoise(1), plain, torch.tensor(points.T, dtype=torch.float32),
                         torch.zeros(count, dtype=torch.int64), torch.full((count,), footprint))
    return found.T.numpy()


def test_stripes_alternate_and_blend_where_they_are_finer_than_a_pixel():
    stripes = Pattern((0.5, 1000.0), other=(0.8, 0.7, 0.6))
    face = np.array([(-2.0, y, z) for y in (0.25, 0.75, 1.25) for z in (-1.0, 1.0)])  # the face x = -2
    near = coloured(stripes, face, 0.01)
    assert near[[0, 1, 4, 5]] == pytest.approx(np.tile(near[0], (4, 1))) and near[2] == pytest.approx(near[3])
    assert sorted((near[0][0], near[2][0])) == pytest.approx([0.2, 0.8])
    assert coloured(stripes, face, 50.0) == pytest.approx(np.tile((0.5, 0.5, 0.5), (6, 1)), abs=0.01)


def test_joints_are_dark_and_tiles_differ_until_they_are_too_fine():
    bricks = Pattern((0.5, 0.25), stagger=0.5, joint=0.01, joint_tone=0.5, spread=0.5)
    # Rows of 0.25 m are centred on z = 0; their joints lie at z = 0.125 + n 0.25 on every face.
    joint = coloured(bricks, np.array([(0.3, -2.0, 0.125), (1.1, -2.0, 0.375)]), 0.002)
    assert joint[:, 0] == pytest.approx(0.1, rel=0.05)
    grid = np.array([(x, -2.0, z) for x in np.arange(-1.6, 1.6, 0.5) for z in np.arange(-1.5, 1.6, 0.25)])
    assert np.std(coloured(bricks, grid, 0.005)[:, 0]) > 0.02
    assert np.std(coloured(bricks, grid, 2.0)[:, 0]) < 1e-4


def test_crowns_cast_dappled_shadows_ahead_only():
    across = torch.linspace(-1.4, 1.4, 60)
    x, y = torch.meshgrid(across, across, indexing="ij")
    below = [x.reshape(-1), y.reshape(-1), torch.full((3600,), -5.0)]
    up = [torch.zeros(3600), torch.zeros(3600), torch.ones(3600)]
    dark, within = dappled(below, up), torch.hypot(below[0], below[1]) < 1.0
    assert 0.6 < dark[within].float().mean() < 0.95
    assert not dark[~within].any()
    assert not dappled([below[0], below[1], -below[2]], up).any()  # the sun does not shine through the ground
