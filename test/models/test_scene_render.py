"""Pictures of a scene made by hand: a wall ahead, seen from where no camera stood."""

import math

import pytest
import torch
from plain_decoder import PlainDecoder
from torch import nn

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.scene_decoder import SceneDecoder
from img2three_ros.models.scene_render import SceneRenderer, SeenImage, _places
from img2three_ros.models.scene_volume import SceneState

pytestmark = pytest.mark.usefixtures("limited_torch_threads")
GRID = ContractedGrid(near=12.0, growth=6.0, side=40, levels=12, z_near=4.8)
WALL = 6.0
INTRINSICS = torch.tensor([[24.0, 0.0, 15.5], [0.0, 24.0, 11.5], [0.0, 0.0, 1.0]])
GREY = torch.tensor([0.5, 0.5, 0.5])


def camera(y: float = 0.0, z: float = 0.6, back: bool = False) -> torch.Tensor:
    pose = torch.eye(4)
    ahead = -1.0 if back else 1.0
    pose[:3, :3] = torch.tensor([[0.0, 0.0, ahead], [-ahead, 0.0, 0.0], [0.0, -1.0, 0.0]])
    pose[:3, 3] = torch.tensor([0.0, y, z])
    return pose


def state() -> SceneState:
    volume = torch.zeros(4, *GRID.shape)
    centres = GRID.centres()
    volume[0] = torch.where((centres[..., 0] > WALL) & (centres[..., 0] < WALL + 1.0), 1.0, -1.0)
    return SceneState(volume, torch.zeros(2, *GRID.shape), torch.zeros(1, 4, 40, 40))


def seen(depth: float = WALL + 0.2) -> SeenImage:
    """A camera at the vehicle saw the wall: green on its left half, blue on its right."""
    colours = torch.zeros(3, 24, 32)
    colours[1, :, :16], colours[2, :, 16:] = 1.0, 1.0
    return SeenImage(colours, torch.full((24, 32), depth), INTRINSICS, camera())


def test_a_wall_from_a_new_place() -> None:
    picture = SceneRenderer(PlainDecoder(GRID), state(), GREY).picture(INTRINSICS, camera(y=1.0), (24, 32))
    assert picture.colours.shape == (24, 32, 3) and not bool(picture.looked_up.any())
    middle = picture.depth[8:16]
    assert float((middle - WALL).abs().max()) < 0.5  # along the optical axis: the same in every column
    assert float(picture.colours[10, 10, 0]) > 0.9 and float(picture.colours[10, 10, 1]) < 0.1


def test_behind_the_vehicle_is_sky() -> None:
    decoder = PlainDecoder(GRID)
    picture = SceneRenderer(decoder, state(), GREY).picture(INTRINSICS, camera(back=True), (24, 32))
    assert bool(picture.depth.isinf().all())
    u, v = (3 - 15.5) / 24.0, (5 - 11.5) / 24.0
    direction = nn.functional.normalize(torch.tensor([[-1.0, u, -v]]), dim=1)
    torch.testing.assert_close(picture.colours[5, 3], decoder.sky_colour(direction, GREY)[0].detach())


def test_colours_are_looked_up_where_an_image_shows_the_surface() -> None:
    picture = SceneRenderer(PlainDecoder(GRID), state(), GREY, [seen()]).picture(INTRINSICS, camera(y=0.5), (24, 32))
    assert bool(picture.looked_up[12, 8:24].all())
    # Half a metre to the left, what was ahead of the vehicle lies 24 * 0.5 / 6.2 = 1.9 pixels to the right.
    row = picture.colours[12]
    assert 6 + int((row[6:, 2] > row[6:, 1]).int().argmax()) == pytest.approx(18, abs=1)
    assert float(row[5, 1]) > 0.9 and float(row[28, 2]) > 0.9


def test_an_image_that_shows_something_else_there_is_not_asked() -> None:
    renderer = SceneRenderer(PlainDecoder(GRID), state(), GREY, [seen(depth=3.0)])
    picture = renderer.picture(INTRINSICS, camera(y=0.5), (24, 32))
    assert not bool(picture.looked_up.any()) and float(picture.colours[12, 16, 0]) > 0.9


def test_the_image_that_looks_most_alike_decides() -> None:
    other = SeenImage(torch.ones(3, 24, 32), torch.full((24, 32), WALL + 0.2), INTRINSICS, camera(y=5.0))
    renderer = SceneRenderer(PlainDecoder(GRID), state(), GREY, [other, seen()])
    near = renderer.picture(INTRINSICS, camera(y=0.2), (24, 32)).colours[12, 12]
    assert float(near[1]) > 0.7 and float(near[0]) < 0.35


def test_samples_lie_where_the_weight_is() -> None:
    edges = torch.tensor([1.0, 2.0, 4.0, 8.0])
    places, widths = _places(edges, torch.tensor([[0.0, 0.5, 0.0], [0.3, 0.0, 0.3]]))
    assert bool(((places[0] > 2.0) & (places[0] < 4.0)).all()) and bool((places.diff(dim=1) > 0).all())
    assert int((places[1] < 2.0).sum()) == int((places[1] > 4.0).sum()) == places.shape[1] // 2
    torch.testing.assert_close(widths.sum(1), torch.tensor([2.0, 1.0 + 4.0]))  # the gap from 2 to 4 counts for nobody


def test_a_veil_before_a_gap_stays_a_veil() -> None:
    """Some light passes a thin layer at 3 m and meets the wall: the gap between them makes the layer no thicker."""
    scene = state()
    centres = GRID.centres()
    scene.volume[0] = torch.where((centres[..., 0] > 2.8) & (centres[..., 0] < 3.2), -0.25, scene.volume[0])
    decoder = PlainDecoder(GRID)
    decoder.answer.bias.data[1] = -30.0 + 0.8  # density of the layer about 1 / m, of the wall some 10 / m
    decoder.layers[0].bias.data[0] = 10.0
    picture = SceneRenderer(decoder, scene, GREY).picture(INTRINSICS, camera(), (24, 32))
    assert 3.6 < float(picture.depth[12, 16]) < 6.2


def test_all_cells_at_once_are_what_points_say() -> None:
    torch.manual_seed(0)
    decoder = SceneDecoder(GRID, features=4)
    scene = SceneState(torch.randn(4, *GRID.shape), torch.rand(2, *GRID.shape), torch.zeros(1, 4, 40, 40))
    with torch.no_grad():
        everything = decoder.at_cells(scene, torch.arange(scene.evidence[0].numel()))
        chosen = torch.randperm(math.prod(GRID.shape))[:200]
        points = GRID.centres().reshape(-1, 3)[chosen]
        torch.testing.assert_close(decoder.query(scene, points).occupancy, everything.occupancy[chosen], atol=1e-3,
                                   rtol=1e-3)
