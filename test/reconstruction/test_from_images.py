"""Photographs without calibration to a scene, against the street that they show."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from single_thread import one_thread
from street_photos import SIDE, StreetNetwork, photo_intrinsics, street, write_photos

from img2three_ros.geometry.transforms import inverse
from img2three_ros.models.pointmap_config import PointmapConfig
from img2three_ros.models.pointmap_network import PointmapNetwork
from img2three_ros.reconstruction.fitted_image import fit_image
from img2three_ros.reconstruction.from_images import ImageSettings, choose_pairs, reconstruct_images
from img2three_ros.structures import InputError

__all__ = ["one_thread"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def truth():
    return street()


@pytest.fixture(scope="module")
def photos(truth, tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), truth)


@contextmanager
def silent(name):
    yield lambda done, total=None: None


def run(paths, network, **settings):
    return reconstruct_images(paths, network, ImageSettings(**{"side": SIDE, **settings}), CPU, silent)


def relative(cameras, image):
    return inverse(cameras[0]) @ cameras[image]


def test_focals_cameras_and_depth_are_those_of_the_street(truth, photos):
    network = StreetNetwork(truth)
    result = run(photos, network)
    assert result.pairs == 6 and sorted(network.asked) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert not result.scene.metric
    np.testing.assert_allclose(result.scene.cameras[0], np.eye(4), atol=1e-9)
    unit = np.linalg.norm(relative(truth.cameras, 2)[:3, 3]) / np.linalg.norm(result.scene.cameras[2][:3, 3])
    for image in range(3):
        np.testing.assert_allclose(result.intrinsics(image), photo_intrinsics(truth.intrinsics[image]), rtol=2e-4)
        expected = relative(truth.cameras, image)
        np.testing.assert_allclose(result.scene.cameras[image][:3, :3], expected[:3, :3], atol=2e-4)
        np.testing.assert_allclose(unit * result.scene.cameras[image][:3, 3], expected[:3, 3], atol=2e-3)
        found = result.depth(image)
        kept = np.isfinite(found)
        assert kept.mean() > 0.6 and not kept[truth.sky[image]].any()
        np.testing.assert_allclose(unit * found[kept], truth.depth[image][kept], rtol=2e-3)
    everything = np.concatenate([result.scene.depth[i][~truth.sky[i]] for i in range(3)])
    assert np.median(everything) == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize("names", [("photo_1.png", "photo_10"), ("0", "2")])
def test_a_baseline_makes_metres(truth, photos, names):
    length = float(np.linalg.norm(relative(truth.cameras, 2)[:3, 3]))
    result = run(photos, StreetNetwork(truth), baseline=(*names, length))
    assert result.scene.metric
    kept = result.kept[1]
    np.testing.assert_allclose(result.depth(1)[kept], truth.depth[1][kept], rtol=2e-3)


def test_the_cloud_lies_on_the_street_in_its_colours(truth, photos):
    length = float(np.linalg.norm(relative(truth.cameras, 2)[:3, 3]))
    result = run(photos, StreetNetwork(truth), baseline=("0", "2", length))
    cloud, image, pixels = result.cloud(500)
    assert 300 < len(cloud) <= 500 and set(image.tolist()) == {0, 1, 2}
    for i in range(3):
        u, v = pixels[image == i].astype(int).T
        world = relative(truth.cameras, i)
        expected = truth.points(i)[v, u] @ world[:3, :3].T + world[:3, 3]
        np.testing.assert_allclose(cloud.points[image == i], expected, rtol=5e-3, atol=5e-3)
        np.testing.assert_array_equal(cloud.colours[image == i], result.images[i].pixels[v, u])
    np.testing.assert_allclose(cloud.confidence, 1 - 1 / 8, rtol=1e-5)


def test_pairs_by_number_of_images():
    auto = ImageSettings(complete_up_to=5, window=2)
    assert len(choose_pairs(5, auto)) == 20
    assert sorted(choose_pairs(6, auto)) == sorted(
        pair for i in range(6) for j in range(max(0, i - 2), i) for pair in ((i, j), (j, i)))
    assert len(choose_pairs(6, ImageSettings(graph="complete", complete_up_to=5))) == 30
    assert len(choose_pairs(4, ImageSettings(graph="window", window=1))) == 6


def test_a_fitted_image_and_the_file_are_the_same_pixels(tmp_path):
    rows, columns = np.mgrid[:300, :500]
    ramp = np.stack((columns // 2, rows // 2, np.zeros_like(rows)), -1).astype(np.uint8)
    small = fit_image(tmp_path / "ramp.png", ramp, 128)
    assert small.resized == (77, 128) and small.pixels.shape == (64, 128, 3) and small.corner == (6, 0)
    whole = small.original_pixels(np.array([[20.0, 10.0], [100.0, 50.0]]))
    np.testing.assert_allclose(whole[:, 0] / 2, small.pixels[[10, 50], [20, 100], 0], atol=1.0)
    np.testing.assert_allclose(whole[:, 1] / 2, small.pixels[[10, 50], [20, 100], 1], atol=1.0)
    np.testing.assert_allclose(whole[0], (20.5 * 500 / 128 - 0.5, 16.5 * 300 / 77 - 0.5))
    K = np.array([[400.0, 0, 251], [0, 410, 148], [0, 0, 1]])
    np.testing.assert_allclose(small.original_intrinsics(small.fitted_intrinsics(K)), K, rtol=1e-12)
    upright = fit_image(tmp_path / "tall.png", ramp.transpose(1, 0, 2), 128)
    assert upright.pixels.shape == (128, 64, 3)


def test_a_network_that_knows_nothing_gives_no_scene(photos):
    """The real network with random weights: its plumbing works, and what it says is not taken for a scene."""
    torch.manual_seed(3)
    config = PointmapConfig(encoder_width=32, encoder_depth=1, encoder_heads=2, decoder_width=16, decoder_depth=1,
                            decoder_heads=1, head="linear")
    with pytest.raises(InputError, match=r"0 = photo_1\.png"):
        run(photos, PointmapNetwork(config).eval().requires_grad_(False))


def test_what_cannot_be_reconstructed_is_said(truth, photos, tmp_path):
    network = StreetNetwork(truth)
    with pytest.raises(InputError, match=r"1 image \(.*photo_1\.png\) given"):
        run(photos[:1], network)
    with pytest.raises(InputError, match="0 images given"):
        run([], network)
    with pytest.raises(InputError, match="no image is called 'photo_7'"):
        run(photos, network, baseline=("photo_7", "1", 1.0))
    with pytest.raises(InputError, match="are one"):
        run(photos, network, baseline=("1", "photo_2", 1.0))
    with pytest.raises(InputError, match=r"highest confidence is 8\.0.*more than 9"):
        run(photos, network, confidence=9.0)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.jpg' is no image that can be read \(8 bytes\)"):
        run([*photos, broken], network)
    with pytest.raises(InputError, match="too narrow"):
        fit_image(broken, np.zeros((20, 2000, 3), np.uint8), 512)


@pytest.mark.parametrize("wrong", [{"side": 100}, {"graph": "ring"}, {"baseline": ("0", "1", 0.0)}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        ImageSettings(**wrong)
