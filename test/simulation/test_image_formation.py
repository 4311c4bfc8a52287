"""Light, weather and cameras against hand-computed values and laws of optics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from img2three_ros.config import settings, with_overrides
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.simulation import lens
from img2three_ros.simulation.appearance import OpticsConfig, WeatherConfig
from img2three_ros.simulation.lamps import Lamps, draw_lamps, lamp_light, street_lamps
from img2three_ros.simulation.ray_casting import ray_tiles
from img2three_ros.simulation.reflections import fresnel, mirrored, ray_table, reflected
from img2three_ros.simulation.rig import camera_directions, mounts
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.sky import make_light, sky, transmission
from img2three_ros.simulation.textures import SolidNoise
from img2three_ros.simulation.vehicle import SimulatedVehicle
from img2three_ros.simulation.weather import randomised

SMALL = SimulationConfig(seed=4, width=160, height=96, view_range=90.0, noise=0.0)
CALIBRATION = mounts("nuscenes")[0].calibration(SMALL)
SUN = np.array([0.6, 0.0, 0.8])


def response(radiance: torch.Tensor, optics: OpticsConfig, gain: float = 1.0, noise: float = 0.0, seed: int = 1,
             motion: torch.Tensor | None = None) -> np.ndarray:
    look = lens.make_look(optics, gain, CALIBRATION, (1, 2), "cpu")
    return lens.camera_response(radiance, look, optics, noise, seed, motion)


def flat(value: float) -> torch.Tensor:
    return torch.full((3, 96, 160), value)


def test_a_grey_wall_has_the_grey_level_of_the_tone_curve():
    assert (response(flat(0.5), OpticsConfig()) == round(255 * (0.5 / 1.045) ** (1 / 2.2))).all()
    assert (response(flat(0.25), OpticsConfig(), gain=2.0) == response(flat(0.5), OpticsConfig())).all()
    assert (response(flat(50.0), OpticsConfig()) == 255).all()  # over-exposed is white
    steep, plain = response(flat(0.6), OpticsConfig(contrast=0.5)), response(flat(0.6), OpticsConfig())
    assert (steep > plain).all()


def test_automatic_exposure_gives_dark_and_bright_scenes_one_mean():
    optics = OpticsConfig(auto_exposure=1.0)
    assert abs(int(response(flat(0.01), optics)[0, 0, 0]) - int(response(flat(0.9), optics)[0, 0, 0])) <= 3
    assert response(flat(0.01), OpticsConfig()).mean() < 40


def test_cameras_differ_in_white_balance():
    optics = OpticsConfig(white_balance=0.3)
    looks = [lens.make_look(optics, 1.0, CALIBRATION, (1, number), "cpu") for number in range(6)]
    assert len({look.gains for look in looks}) == 6
    assert all(look.gains[1] == 1.0 and 0.7 <= look.gains[0] <= 1.3 for look in looks)
    again = lens.make_look(optics, 1.0, CALIBRATION, (1, 3), "cpu")
    assert again.gains == looks[3].gains


def test_vignetting_darkens_corners_only():
    image = response(flat(0.5), OpticsConfig(vignetting=0.6)).astype(int)
    assert abs(image[48, 80, 0] - response(flat(0.5), OpticsConfig())[48, 80, 0]) <= 1
    assert image[0, 0, 0] < 0.9 * image[48, 80, 0]


def test_motion_smears_along_the_motion_and_keeps_the_light():
    image = torch.zeros(3, 96, 160)
    image[:, :, 80] = 1.0
    motion = torch.zeros(2, 96, 160)
    motion[0, :48] = 6.0
    blurred = lens.motion_blurred(image, motion)
    assert torch.equal(blurred[:, 50:], image[:, 50:])  # what does not move stays sharp
    row = blurred[0, 10]
    assert row.sum() == pytest.approx(1.0, abs=1e-5)
    assert (row > 0).nonzero().flatten().tolist() == list(range(77, 83))


def test_defocus_is_a_gaussian_of_the_given_width():
    image = torch.zeros(1, 41, 41)
    image[0, 20, 20] = 1.0
    blurred = lens.gaussian_blurred(image, 1.5)[0]
    offset = torch.arange(41) - 20.0
    variance = (blurred.sum(0) * offset**2).sum()
    assert blurred.sum() == pytest.approx(1.0, abs=1e-5)
    assert math.sqrt(float(variance)) == pytest.approx(1.5, rel=0.05)


def test_photon_noise_grows_with_the_root_of_the_light():
    optics = OpticsConfig(shot_noise=0.1, gamma=1.0)
    dark, bright = (response(flat(value), optics).astype(float).std() for value in (0.02, 0.32))
    assert bright / dark == pytest.approx(4.0, rel=0.2)
    assert bright == pytest.approx(255 * 0.1 * math.sqrt(0.18 * 0.32), rel=0.15)
    assert np.array_equal(response(flat(0.3), optics, seed=5), response(flat(0.3), optics, seed=5))
    assert not np.array_equal(response(flat(0.3), optics, seed=5), response(flat(0.3), optics, seed=6))


def test_jpeg_loses_more_at_lower_quality():
    random = np.random.default_rng(0)
    image = np.repeat(np.repeat(random.integers(0, 255, (12, 20, 3), dtype=np.uint8), 8, 0), 8, 1)
    errors = [np.abs(lens.compressed(image, quality).astype(int) - image).mean() for quality in (95, 30)]
    assert 0.0 < errors[0] < errors[1] < 40.0  # the channels keep their order: an exchange would cost more


def test_dirt_and_drops_belong_to_the_lens():
    optics = OpticsConfig(dirt=1.0, drops=1.0)
    first, second = (lens.make_look(optics, 1.0, CALIBRATION, (1, number), "cpu") for number in (0, 1))
    assert torch.equal(lens.make_look(optics, 1.0, CALIBRATION, (1, 0), "cpu").drops, first.drops)
    assert not torch.equal(first.drops, second.drops)
    assert 0.02 < float((first.drops > 0).float().mean()) < 0.6
    # Seen through a drop, a fine grid is blurred; beside it, it is not.
    grid = (torch.arange(160) % 4 < 2).float().expand(3, 96, 160).contiguous()
    image = lens.camera_response(grid, replace(first, dirt=None), optics, 0.0, 1).astype(float)
    through, beside = first.drops.numpy() > 0.8, first.drops.numpy() == 0.0
    assert image[through].std() < 0.4 * image[beside].std()


def test_flare_needs_a_sun_that_is_seen():
    depth, light = torch.full((96, 160), torch.inf), (1.0, 1.0, 1.0)
    seen = lens.add_flare(flat(0.2), depth, (40.0, 20.0), light, 1.0, 60.0)
    assert seen[0, 20, 40] > 0.45 and seen[0, 20, 40] > seen[0, 90, 150] > 0.2
    depth[10:30, 30:50] = 12.0
    assert torch.equal(lens.add_flare(flat(0.2), depth, (40.0, 20.0), light, 1.0, 60.0), flat(0.2))


def test_light_of_the_weathers():
    clear = make_light(WeatherConfig(), SUN, True)
    assert clear.casts and not make_light(WeatherConfig(), SUN, False).casts
    grey = make_light(WeatherConfig(overcast=1.0), SUN, True)
    assert not grey.casts and max(grey.sun) == 0.0 and min(grey.skylight) > max(clear.skylight)
    night = make_light(WeatherConfig(night=1.0), SUN, True)
    assert max(night.sun) == 0.0 and max(night.skylight) < 0.05
    low = make_light(WeatherConfig(sun_elevation=6.0), np.array([math.cos(0.105), 0.0, math.sin(0.105)]), True)
    assert low.sun[0] / low.sun[2] > 2.0 * clear.sun[0] / clear.sun[2]  # red
    distance = torch.tensor([0.0, 50.0])
    assert torch.allclose(transmission(distance, WeatherConfig(haze_depth=50.0)), torch.tensor([1.0, math.exp(-1.0)]))


def test_the_sun_stands_where_it_shines_from():
    angle = torch.linspace(0.0, math.pi, 181)
    direction = torch.stack((torch.cos(angle), torch.zeros(181), torch.sin(angle)))
    light = make_light(WeatherConfig(glare=1.0, clouds=-1.0), SUN, True)
    radiance = sky(direction, torch.tensor([0.0, 0.0, 1.0]), np.eye(3), SolidNoise(1), 0.01, light)
    brightest = math.degrees(float(angle[radiance.sum(0).argmax()]))
    assert brightest == pytest.approx(math.degrees(math.atan2(0.8, 0.6)), abs=1.0)


def test_the_ray_table_finds_every_ray():
    for distortion in (0.0, -0.25):
        calibration = mounts("nuscenes")[3].calibration(replace(SMALL, distortion=distortion))
        rays = ray_tiles(camera_directions(calibration), "cpu")
        place = rays.to_image(ray_table(rays, calibration).find(rays.directions.reshape(3, -1)).reshape(
            rays.directions.shape[1:]))
        wanted = rays.to_image(torch.arange(rays.directions[0].numel()).reshape(rays.directions.shape[1:]))
        pixel = torch.zeros(rays.directions[0].numel(), 2)
        pixel[wanted.reshape(-1)] = torch.stack(torch.meshgrid(torch.arange(96.0), torch.arange(160.0), indexing="ij"),
                                                -1).reshape(-1, 2)
        inner = place[2:-2, 2:-2]
        assert (inner >= 0).all()
        assert (pixel[inner] - pixel[wanted[2:-2, 2:-2]]).abs().max() <= 1.0
    table = ray_table(rays, calibration)
    assert table.find(torch.tensor([[0.0, 9.0], [0.0, 0.0], [-1.0, 1.0]])).tolist() == [-1, -1]


def test_a_mirror_on_the_ground_shows_the_wall_ahead():
    """A wall at z = 10 whose colour is x; the ground 1.5 m below the camera mirrors it."""
    rays = ray_tiles(camera_directions(CALIBRATION), "cpu")
    directions = rays.directions.reshape(3, -1)
    radiance, depth = (directions * 10.0)[[0, 0, 0]], torch.full((directions.shape[1],), 10.0)
    origin = torch.tensor([[-1.0, 0.0, 1.0], [1.5, 1.5, 1.5], [6.0, 6.0, 6.0]])
    towards = origin / origin.norm(dim=0)
    outward = mirrored(towards, torch.tensor([[0.0], [-1.0], [0.0]]))
    assert torch.allclose(outward[1], -towards[1]) and torch.allclose(outward[::2], towards[::2])
    light = make_light(WeatherConfig(), SUN, True)
    found = reflected(origin, outward, radiance, depth, ray_table(rays, CALIBRATION), T_BASE_OPTICAL[:3, :3],
                      SolidNoise(1), light)
    expected = origin[0] * 10.0 / 6.0  # the mirrored ray goes on to z = 10
    assert (found[0] - expected).abs().max() < 0.9  # steps along the ray are coarse
    assert found[0, 0] < -0.8 < 0.8 < found[0, 2]
    assert fresnel(torch.tensor([1.0, 0.0]), 0.04).tolist() == pytest.approx([0.04, 1.0])


def test_wetness_changes_the_ground_alone():
    dry, wet = (SimulatedVehicle(replace(SMALL, weather=WeatherConfig(wet=share))) for share in (0.0, 1.0))
    first, second = (one.render("front", one.stamp(5)) for one in (dry, wet))
    change = np.abs(first.image.astype(int) - second.image).max(-1)
    ground = first.identity == 0
    edge = np.zeros_like(ground)  # the lens blurs by a pixel
    for shift in (-1, 1):
        edge |= np.roll(ground, shift, 0) | np.roll(ground, shift, 1)
        edge |= np.roll(np.roll(ground, shift, 0), shift, 1) | np.roll(np.roll(ground, shift, 0), -shift, 1)
    assert change[~ground & ~edge].max() == 0
    assert np.mean(change[ground] > 5) > 0.7


def test_fog_takes_the_contrast_of_what_is_far():
    views = [SimulatedVehicle(replace(SMALL, weather=WeatherConfig(haze_depth=depth))) for depth in (420.0, 40.0)]
    clear, foggy = (one.render("front", one.stamp(5)) for one in views)
    contrast = [np.abs(np.diff(view.image.astype(float), axis=1)).mean(-1) for view in (clear, foggy)]
    far, near = (clear.depth[:, 1:] > 60.0), (clear.depth[:, 1:] < 10.0)
    assert contrast[1][far].mean() < 0.4 * contrast[0][far].mean()
    assert contrast[1][near].mean() > 0.6 * contrast[0][near].mean()


def test_lamps_follow_the_inverse_square_law():
    T_camera = from_xyz_rpy((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)) @ T_BASE_OPTICAL
    lamps = Lamps(np.array([[10.0, 0.0, 6.0]]), np.array([[36.0, 18.0, 9.0]]))
    base = from_xyz_rpy((500.0, 0.0, 0.0), (0.0, 0.0, 0.0))  # the own lamps are far away
    # Optical frame: x right, y down, z forward; the camera lies in the origin of the world.
    below = torch.tensor([[0.0, 0.0], [0.0, -3.0], [10.0, 10.0]])
    up, down = torch.tensor([[0.0], [-1.0], [0.0]]).expand(3, 2), torch.tensor([[0.0], [1.0], [0.0]]).expand(3, 2)
    light = lamp_light(below, up, lamps, T_camera, base, 1.0)
    assert light[:, 0].tolist() == pytest.approx([1.0, 0.5, 0.25], rel=0.02)
    assert light[:, 1].tolist() == pytest.approx([4.0, 2.0, 1.0], rel=0.02)
    assert lamp_light(below, down, lamps, T_camera, base, 1.0).abs().max() < 1e-3
    own = lamp_light(torch.tensor([[0.0, 0.0], [0.3, 0.3], [12.0, -8.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0],
                     [-1.0, 1.0]]), Lamps(np.zeros((0, 3)), np.zeros((0, 3))), T_camera, np.eye(4), 1.0)
    assert own[2, 0] > 1.0 and own[0, 1] > 4.0 * own[2, 1]  # white ahead, red behind
    near, again = street_lamps(3, np.array([5.0, 2.0, 1.5])), street_lamps(3, np.array([5.2, 2.0, 1.5]))
    assert np.allclose(near.place[0], again.place[0])


def test_lamp_heads_are_hidden_by_what_stands_before_them():
    lamps = Lamps(np.zeros((1, 3)), np.array([[30.0, 30.0, 30.0]]))
    for depth, bright in ((np.inf, True), (8.0, False)):
        radiance = flat(0.0)
        draw_lamps(radiance, torch.full((96, 160), depth), np.array([[80.0, 40.0]]), np.array([20.0]), lamps, 400.0,
                   1.0)
        assert (float(radiance[0, 40, 80]) > 5.0) == bright
        assert radiance[0, 0, 0] == 0.0


def test_random_looks_are_valid_varied_and_repeatable():
    base = SimulationConfig(seed=3, width=64, height=48)
    drawn = [randomised(base, np.random.default_rng(number)) for number in range(400)]
    for one in drawn:
        with_overrides(base, {leaf.path: leaf.value for leaf in settings(one)})  # refuses what is out of range
        assert (one.seed, one.width, one.rig, one.speed) == (base.seed, base.width, base.rig, base.speed)
        assert (1 + one.exposure_spread) / (1 - one.exposure_spread) <= 1.6
        assert one.optics.jpeg == 0 or 30 <= one.optics.jpeg <= 95
    shares = [np.mean([test(one) for one in drawn]) for test in (
        lambda one: one.weather.night == 1.0, lambda one: one.weather.overcast >= 0.6, lambda one: one.weather.wet > 0,
        lambda one: one.weather.haze_depth < 150.0)]
    assert shares == pytest.approx([0.2, 0.2, 0.15, 0.1], abs=0.06)
    assert drawn[5] == randomised(base, np.random.default_rng(5))
    first = [SimulatedVehicle(replace(drawn[3], device="cpu")) for _ in range(2)]
    images = [one.render("back", one.stamp(2)).image for one in first]
    assert np.array_equal(images[0], images[1])
