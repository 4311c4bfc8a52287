"""The scene around the vehicle, frame by frame: tables that follow the calibration, memory, and what it answers."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_decoder import PlainDecoder
from sweep_scene import camera_pose, frame, pinhole
from torch import nn

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.geometry.transforms import apply, from_xyz_rpy, inverse
from img2three_ros.models.lifting import LiftedView
from img2three_ros.models.scene_network import STRIDE, SceneNetwork
from img2three_ros.models.scene_render import SeenImage
from img2three_ros.models.scene_volume import SceneState, SceneVolumeConfig
from img2three_ros.reconstruction.scene_space import SceneSpace, SpaceBuilder, SpaceView
from img2three_ros.reconstruction.views import DepthView, View

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
GRID = ContractedGrid(near=6.0, growth=4.0, side=24, levels=8, z_near=3.2)
SMALL = SceneVolumeConfig(GRID, context=8, lift=4, widths=(16, 16, 24), features=4)
SIZE = (48, 64)
SECOND = 1_000_000_000
FRONT, BACK = camera_pose(z=1.2), camera_pose(z=1.2, yaw=np.pi)


class Builder(SpaceBuilder):
    """With the same random weights every time; writes down the tables it makes and the motions it tells."""

    def __init__(self) -> None:
        torch.manual_seed(5)
        network = SceneNetwork(SMALL).eval()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
        super().__init__(network, CPU, nullcontext)
        self.tables, self.motions = 0, []
        table, forward = network.volume.table, network.volume.forward

        def counted(*arguments):
            self.tables += 1
            return table(*arguments)

        def listened(views, tables, past, motion):
            self.motions.append(motion)
            return forward(views, tables, past, motion)

        network.volume.table, network.volume.forward = counted, listened

    def at(self, stamp: float, x: float | None, *views: SpaceView) -> SceneSpace:
        """The space ``stamp`` seconds in, x metres ahead (None = no ego pose)."""
        return self.build(frame(round(stamp * SECOND), [view.depth.view for view in views],
                                None if x is None else pose(x)), views)


def pose(x: float) -> np.ndarray:
    return from_xyz_rpy([x, 0.2 * x, 0.0], [0.0, 0.0, 0.1 * x])


def seen(name: str = "front", T_base_camera: np.ndarray = FRONT, size: tuple[int, int] = SIZE, focal: float = 40.0,
         seed: int = 1) -> SpaceView:
    """A view of noise with surfaces a few metres away."""
    random = torch.Generator().manual_seed(seed)
    small = (size[0] // STRIDE, size[1] // STRIDE)
    lifted = LiftedView(torch.randn(8, *small, generator=random), torch.rand(3, *small, generator=random),
                        torch.rand(small, generator=random) + 1.0, torch.full(small, -3.0),
                        torch.full(small, 0.9), torch.ones(small, dtype=torch.bool))
    view = View(name, 0, torch.rand(3, *size, generator=random), torch.from_numpy(pinhole(size, focal)).float(),
                torch.ones(size, dtype=torch.bool), T_base_camera)
    depth = DepthView(view, torch.full(size, 4.0), torch.full(size, 0.9), torch.full(size, 0.05),
                      torch.ones(size, dtype=torch.bool))
    return SpaceView(depth, lifted, size)


def turned(radians: float) -> np.ndarray:
    return from_xyz_rpy([0.0, 0.0, 0.0], [0.0, radians, 0.0]) @ FRONT


def same(one: SceneSpace, other: SceneSpace) -> bool:
    return bool(torch.equal(one.state.volume, other.state.volume)
                and torch.equal(one.state.evidence, other.state.evidence)
                and torch.equal(one.state.plane, other.state.plane) and torch.equal(one.occluded, other.occluded))


@pytest.mark.parametrize("changed", [
    seen(focal=42.0), seen(size=(48, 80)), seen(T_base_camera=camera_pose(x=0.2, z=1.2)),
    seen(T_base_camera=camera_pose(z=1.4)), seen(T_base_camera=turned(0.005))],
    ids=["focal length", "size", "place", "height", "direction"])
def test_tables_follow_the_calibration(changed: SpaceView) -> None:
    builder = Builder()
    for stamp in range(3):
        before = builder.at(stamp, None, seen())
    assert builder.tables == 1
    after = builder.at(3, None, changed)
    assert builder.tables == 2 and same(after, Builder().at(0, None, changed)) and not same(after, before)
    assert same(builder.at(4, None, seen()), before) and builder.tables == 3


@pytest.mark.parametrize("shaken", [camera_pose(x=0.1, z=1.2), turned(0.002)], ids=["place", "direction"])
def test_a_shaking_camera_keeps_its_tables(shaken: np.ndarray) -> None:
    builder = Builder()
    before = builder.at(0, None, seen())
    assert same(builder.at(1, None, seen(T_base_camera=shaken)), before) and builder.tables == 1


def test_a_camera_that_creeps_away_gets_new_tables() -> None:
    builder = Builder()
    made = []
    for step in range(5):
        builder.at(step, None, seen(T_base_camera=camera_pose(x=0.1 * step, z=1.2)))
        made.append(builder.tables)
    assert made == [1, 1, 2, 2, 3]


def test_tables_outlive_a_reset() -> None:
    builder = Builder()
    builder.at(0, 0.0, seen())
    builder.reset()
    builder.at(1, 0.0, seen())
    assert builder.tables == 1


def test_cameras_of_different_sizes_each_watch_their_side() -> None:
    large, small = seen("front", FRONT, (64, 96)), seen("back", BACK, (32, 48), focal=30.0)
    both, ahead, behind = (Builder().at(0, None, *views) for views in ((large, small), (large,), (small,)))
    assert both.state.volume.shape == (4, *GRID.shape) and bool(both.state.volume.isfinite().all())
    assert bool(ahead.occluded.any()) and bool(behind.occluded.any())
    assert not bool((ahead.occluded & behind.occluded).any())
    assert torch.equal(both.occluded, ahead.occluded | behind.occluded)
    assert torch.equal(both.state.evidence, ahead.state.evidence + behind.state.evidence)


def test_a_camera_that_is_missing_says_nothing_and_comes_back() -> None:
    front, back = seen(), seen("back", BACK, seed=2)
    builder = Builder()
    whole = builder.at(0, None, front, back)
    without = builder.at(1, None, front)
    assert same(without, Builder().at(0, None, front))
    behind = GRID.centres()[..., 0] < 0.0
    assert not bool(without.occluded[behind].any()) and bool(whole.occluded[behind].any())
    assert same(builder.at(2, None, front, back), whole) and builder.tables == 3  # no table of a lost camera is kept


def test_without_any_image_nothing_is_occluded() -> None:
    space = Builder().at(0, None)
    assert not bool(space.occluded.any()) and space.images == () and space.light.tolist() == [0.5] * 3
    assert bool(space.state.volume.isfinite().all())


def test_the_past_speaks() -> None:
    builder = Builder()
    builder.at(10, 0.0, seen(seed=1))
    remembered = builder.at(10.5, 1.0, seen(seed=2))
    alone = Builder().at(10.5, 1.0, seen(seed=2))
    assert not same(remembered, alone)
    assert torch.equal(remembered.state.evidence, alone.state.evidence)  # what is seen now is of now
    assert float((remembered.state.volume - alone.state.volume).abs().max()) > 0.01


def test_the_motion_since_is_that_of_the_vehicle() -> None:
    builder = Builder()
    builder.at(0, 3.0, seen())
    builder.at(1, 4.5, seen())
    first, motion = builder.motions
    assert first is None
    landmark = np.array([[9.0, -2.0, 1.0]])
    was, now = (apply(inverse(pose(x)), landmark) for x in (3.0, 4.5))
    np.testing.assert_allclose(apply(motion.numpy(), now), was, atol=1e-9)


@pytest.mark.parametrize(("stamp", "x", "remembers"), [
    (11.5, 1.0, True), (11.51, 1.0, False), (9.9, 1.0, False), (10.0, 0.0, True), (10.5, None, False)],
    ids=["a second and a half", "longer", "older", "the same instant", "no ego pose"])
def test_what_counts_as_the_past(stamp: float, x: float | None, remembers: bool) -> None:
    builder = Builder()
    builder.at(10, 0.0, seen(seed=1))
    assert same(builder.at(stamp, x, seen(seed=2)), Builder().at(stamp, x, seen(seed=2))) is not remembers


def test_a_frame_without_ego_pose_is_no_past_either() -> None:
    builder = Builder()
    builder.at(10, 0.0, seen(seed=1))
    builder.at(10.1, None, seen(seed=2))
    assert same(builder.at(10.2, 0.2, seen(seed=3)), Builder().at(10.2, 0.2, seen(seed=3)))


def test_reset_forgets() -> None:
    builder = Builder()
    builder.at(10, 0.0, seen(seed=1))
    builder.reset()
    assert same(builder.at(10.1, 0.1, seen(seed=2)), Builder().at(10.1, 0.1, seen(seed=2)))


def test_after_a_time_jump_memory_starts_again() -> None:
    builder, fresh = Builder(), Builder()
    builder.at(10, 0.0, seen(seed=1))
    for each in (builder, fresh):
        each.at(5, 3.0, seen(seed=2))
    assert same(builder.at(5.1, 3.1, seen(seed=3)), fresh.at(5.1, 3.1, seen(seed=3)))


def test_numbers_that_are_none_are_not_remembered() -> None:
    builder = Builder()
    good = seen(seed=1)
    broken = good._replace(lifted=replace(good.lifted, log_depth=torch.full_like(good.lifted.log_depth, torch.nan)))
    builder.at(10, 0.0, broken)
    assert same(builder.at(10.1, 0.1, seen(seed=2)), Builder().at(10.1, 0.1, seen(seed=2)))


def test_an_earlier_space_stays_as_it_was() -> None:
    builder = Builder()
    first = builder.at(10, 0.0, seen(seed=1))
    kept = first.state.volume.clone(), first.occluded.clone()
    builder.at(10.1, 0.5, seen("back", BACK, seed=2))
    assert torch.equal(first.state.volume, kept[0]) and torch.equal(first.occluded, kept[1])


def test_out_of_sight_is_what_lies_behind_a_surface() -> None:
    """The centre of a point's cell, projected by hand; a wall is 4 m away, the lower part of the picture shows the ego
    vehicle, depth of the left part is unsure."""
    one = seen(T_base_camera=camera_pose(x=0.5, y=-0.3, z=1.2, yaw=0.4), focal=36.0)
    mask, confidence = one.lifted.mask.clone(), torch.full((12, 16), 0.9)
    mask[9:] = False  # of 12 rows: pixels from 36 on
    confidence[:, :4] = 0.4  # of 16 columns: pixels up to 15
    wall = replace(one.lifted, mask=mask, confidence=confidence, log_depth=torch.full((12, 16), float(np.log(4.0))))
    space = Builder().at(0, None, one._replace(lifted=wall))
    generator = np.random.default_rng(4)
    points = generator.uniform((-11, -11, -1.7), (11, 11, 1.3), (8000, 3)).astype(np.float32)
    cells = GRID.cells(torch.from_numpy(points)).floor()
    centres = GRID.points(cells + 0.5).double().numpy()
    edges = (GRID.points(cells + 1.0) - GRID.points(cells)).double().numpy()
    pose = one.depth.view.T_base_camera
    x, y, z = apply(inverse(pose), centres).T
    u, v = 36.0 * x / z + 31.5, 36.0 * y / z + 23.5
    near = z - 0.5 * edges @ np.abs(pose[:3, 2])
    shown = (z > 0.1) & (u > 15.5) & (u < 63.5) & (v > -0.5) & (v < 35.5)
    limit = 4.0 * np.exp(2.0 * np.exp(-3.0))
    expected = shown & (near > limit)
    doubtful = (np.abs(np.stack((u - 15.5, u - 63.5, v + 0.5, v - 35.5, near - limit))) < 0.01).any(0)
    found = space.hides(torch.from_numpy(points)).numpy()
    assert expected.sum() > 100 and (shown & ~expected).sum() > 50 and doubtful.mean() < 0.02
    np.testing.assert_array_equal(found[~doubtful], expected[~doubtful])


def test_what_another_camera_sees_is_not_out_of_sight() -> None:
    """A wall 2 m before one camera; another, to the left, sees 8 m along it."""
    def at(name: str, y: float, depth: float) -> SpaceView:
        one = seen(name, camera_pose(y=y, z=1.2))
        return one._replace(lifted=replace(one.lifted, log_depth=torch.full((12, 16), float(np.log(depth)))))

    places = torch.tensor([[5.0, 0.0, 1.2], [9.9, 0.0, 1.2]])
    assert Builder().at(0, None, at("one", 0.0, 2.0)).hides(places).tolist() == [True, True]
    both = Builder().at(0, None, at("one", 0.0, 2.0), at("two", 1.0, 8.0))
    assert both.hides(places).tolist() == [False, True]


def test_nothing_is_occluded_beyond_the_grid() -> None:
    space = Builder().at(0, None, seen())
    points = torch.tensor([[9.0, 0.0, 1.2], [500.0, 0.0, 1.2], [9.0, 0.0, 80.0], [9.0, 0.0, -9.0], [torch.nan, 0, 0]])
    assert space.hides(points).tolist() == [True, False, False, False, False]
    assert space.hides(points.double()).tolist() == [True, False, False, False, False]
    assert space.hides(points[:0]).shape == (0,)


def test_images_to_look_up_show_no_colour_without_valid_depth() -> None:
    one = seen()
    valid, mask = (torch.ones(SIZE, dtype=torch.bool) for _ in range(2))
    valid[:, :10], mask[40:] = False, False
    view = replace(one.depth.view, mask=mask)
    image = Builder().at(0, None, one._replace(depth=replace(one.depth, view=view, valid=valid))).images[0]
    assert torch.equal(image.depth.isnan(), ~(valid & mask)) and float(image.depth[0, 20]) == 4.0
    assert torch.equal(image.colours, view.image) and torch.equal(image.intrinsics, view.intrinsics)
    np.testing.assert_array_equal(image.T_base_camera.numpy(), view.T_base_camera)


def test_light_is_the_colour_of_the_upper_fifths() -> None:
    def lit(value: float) -> SpaceView:
        colours = torch.zeros(3, 12, 16)
        colours[:, :2] = value
        return seen(str(value))._replace(lifted=replace(seen().lifted, colours=colours))

    torch.testing.assert_close(Builder().at(0, None, lit(0.4), lit(0.8)).light, torch.full((3,), 0.6))


def wall_ahead(*images: SeenImage) -> SceneSpace:
    """Solid from 4 m ahead on, for a metre."""
    volume = torch.zeros(4, *GRID.shape)
    x = GRID.centres()[..., 0]
    volume[0] = torch.where((x > 4.0) & (x < 5.0), 1.0, -1.0)
    state = SceneState(volume, torch.zeros(2, *GRID.shape), torch.zeros(1, 16, 24, 24))
    everywhere, grey = torch.ones(GRID.shape, dtype=torch.bool), torch.full((3,), 0.5)
    return SceneSpace(PlainDecoder(GRID), state, everywhere, grey, images)


def test_a_view_shows_what_a_query_says() -> None:
    """Where each ray first meets what the query calls solid, there is its depth."""
    space, size = wall_ahead(), (12, 16)
    intrinsics = torch.from_numpy(pinhole(size, 14.0)).float()
    T_base_camera = torch.from_numpy(camera_pose(x=0.6, y=0.8, z=0.1, yaw=0.2)).float()
    picture = space.render(intrinsics, T_base_camera, size)
    assert picture.colours.shape == (12, 16, 3) and picture.depth.shape == picture.looked_up.shape == (12, 16)
    assert not bool(picture.looked_up.any())
    for row, column in ((3, 2), (6, 8), (8, 13)):
        direction = torch.tensor([(column - 7.5) / 14.0, (row - 5.5) / 14.0, 1.0])
        depth = torch.arange(0.5, 6.0, 0.02)[:, None]
        answer = space.query(depth * direction @ T_base_camera[:3, :3].T + T_base_camera[:3, 3])
        assert answer.occupancy.shape == (275,) and answer.label_logits.shape == (275, 6)
        met = int((answer.occupancy > 0.0).nonzero()[0])
        assert float(picture.depth[row, column]) == pytest.approx(float(depth[met]), abs=0.4)
        torch.testing.assert_close(picture.colours[row, column], answer.colour[met + 10], atol=0.1, rtol=0.0)


def test_a_view_takes_its_colours_from_the_images() -> None:
    green = torch.zeros(3, *SIZE)
    green[1] = 1.0
    image = SeenImage(green, torch.full(SIZE, 4.2), torch.from_numpy(pinhole(SIZE, 40.0)).float(),
                      torch.from_numpy(FRONT))
    picture = wall_ahead(image).render(torch.from_numpy(pinhole((48, 64), 56.0)).float(),
                                       torch.from_numpy(camera_pose(y=0.3, z=1.2)), (48, 64))
    assert bool(picture.looked_up[22:26, 30:34].all())
    torch.testing.assert_close(picture.colours[24, 32], torch.tensor([0.0, 1.0, 0.0]), atol=0.05, rtol=0.0)


def test_queries_take_points_of_any_kind() -> None:
    space = wall_ahead()
    answer = space.query(torch.tensor([[4.6, 0.0, 0.5], [2.0, 0.0, 0.5], [900.0, 0.0, 0.5]], dtype=torch.float64))
    assert answer.occupancy[0] > 5.0 > -5.0 > answer.occupancy[1]
    assert answer.inside.tolist() == [True, True, False] and not answer.occupancy.requires_grad
