"""A JPEG decoded at reduced size shows the same place in the same pixel as the whole one, resized."""

import cv2
import numpy as np
import pytest
import torch

from img2three_ros.config import PrepareConfig
from img2three_ros.fileio.messages import camera_info_message, compressed_image_message
from img2three_ros.geometry.cameras import distort
from img2three_ros.geometry.image_size import enough_for, network_size, reduced
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.ingest import jpeg
from img2three_ros.ingest.camera_rig import CameraRig, RigCamera
from img2three_ros.ingest.frame_assembler import FrameAssembler, whole_blocks
from img2three_ros.ingest.images import decode_reduced
from img2three_ros.reconstruction.prepare import FramePreparer
from img2three_ros.structures import CameraCalibration, InputError

STAMP = 1_700_000_000_000_000_000
SIZES = ((640, 480), (641, 475), (647, 481))
SPOT = 6.0
"""Standard deviation of a spot, pixels of the whole image."""


def calibration(width, height, distortion=(0, 0, 0, 0, 0)):
    K = np.array(((0.7 * width, 0, 0.49 * width), (0, 0.7 * width, 0.52 * height), (0, 0, 1)))
    return CameraCalibration(width, height, K, "plumb_bob", np.array(distortion, float))


def rays():
    """(N, 2) x/z, y/z of what the spots show, well apart."""
    x, y = np.meshgrid((-0.5, -0.2, 0.15, 0.45), (-0.3, 0.02, 0.28))
    return np.stack((x.ravel(), y.ravel()), axis=1)


def spots(camera):
    """(H, W, 3) uint8: a bright Gaussian spot where each ray falls, on grey."""
    v, u = np.mgrid[:camera.height, :camera.width]
    image = np.full((camera.height, camera.width), 40.0)
    for x, y in distort(rays(), camera):
        image += 200.0 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * SPOT ** 2))
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def encoded(image):
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 97))[1].tobytes()


def found(image, expected, spread):
    """(N, 2) centres of the spots near the expected ones."""
    grey = image.astype(float).mean(axis=2) if image.ndim == 3 else image
    v, u = np.mgrid[:grey.shape[0], :grey.shape[1]]
    centres = []
    for x, y in expected:
        weight = np.where((abs(u - x) < 4 * spread) & (abs(v - y) < 4 * spread), (grey - 42.0).clip(0), 0.0)
        centres.append(((u * weight).sum() / weight.sum(), (v * weight).sum() / weight.sum()))
    return np.array(centres)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_pixels_are_where_their_calibration_says(size, reduction):
    camera = calibration(*size)
    decoded = decode_reduced(compressed_image_message(STAMP, "front", encoded(spots(camera))), "/front", reduction)
    smaller = reduced(camera, reduction)
    assert decoded.size == size and decoded.reduction == reduction
    assert decoded.pixels.shape == (smaller.height, smaller.width, 3)
    expected = distort(rays(), smaller)
    assert np.abs(found(decoded.pixels, expected, SPOT / reduction) - expected).max() < 0.02


@pytest.mark.parametrize("size", SIZES)
def test_both_decoders_give_the_same_pixels(monkeypatch, size):
    data = np.frombuffer(encoded(spots(calibration(*size))), np.uint8)
    pytest.importorskip("simplejpeg")
    fast = [jpeg.decode_jpeg(data, reduction) for reduction in (1, 2, 4, 8)]
    monkeypatch.setattr(jpeg, "_simplejpeg", lambda: None)
    for reduction, pixels in zip((1, 2, 4, 8), fast, strict=True):
        assert np.array_equal(jpeg.decode_jpeg(data, reduction), pixels)


def prepared_view(camera, data, enough_pixels, mask=None):
    rig = CameraRig((RigCamera("front", "/front", T_base_camera=from_xyz_rpy((1, 0, 1.5)) @ T_BASE_OPTICAL,
                               mask_file=mask),))
    assembler = FrameAssembler(("front",), rig=rig, enough_pixels=enough_pixels)
    assembler.add_camera_info("front", camera_info_message(STAMP, "front", camera))
    sets = assembler.add_image("front", compressed_image_message(STAMP, "front", data), 0) or assembler.flush()
    frame = assembler.assemble(sets[0])
    return frame.images[0], FramePreparer(PrepareConfig(pixels=12_000), torch.device("cpu"))(frame).views[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("distortion", [(0, 0, 0, 0, 0), (-0.2, 0.05, 0.001, -0.001, 0)])
def test_what_the_engine_gets_is_the_same(size, distortion):
    camera = calibration(*size, distortion)
    data = encoded(spots(camera))
    (image, small), (whole_image, whole) = (prepared_view(camera, data, enough) for enough in (12_000, None))
    assert image.image.shape[1] < whole_image.image.shape[1] == size[0]
    assert small.size == whole.size
    for view in (small, whole):
        homogeneous = np.concatenate((rays(), np.ones((len(rays()), 1))), axis=1)
        expected = (homogeneous @ view.intrinsics.numpy().T.astype(float))[:, :2]
        spread = SPOT * view.size[1] / size[0]
        grey = 255.0 * view.image.numpy().mean(axis=0)
        inside = ((expected > 4 * spread) & (expected < np.array(view.size[::-1]) - 4 * spread)).all(axis=1)
        assert inside.sum() >= 6
        assert np.abs(found(grey, expected[inside], spread) - expected[inside]).max() < 0.05
    if size[0] % 8 == 0 and size[1] % 8 == 0:
        torch.testing.assert_close(small.intrinsics, whole.intrinsics, atol=1e-4, rtol=1e-6)
        assert float((small.image - whole.image).abs().mean()) < 1.0 / 255.0


def test_ego_masks_shrink_with_their_image(tmp_path):
    camera = calibration(640, 480)
    mask = np.full((480, 640), 255, np.uint8)
    mask[401:] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    image, view = prepared_view(camera, encoded(spots(camera)), 12_000, tmp_path / "mask.png")
    _, whole = prepared_view(camera, encoded(spots(camera)), None, tmp_path / "mask.png")
    assert image.mask.shape == image.image.shape[:2]
    rows = torch.nonzero(whole.mask.all(dim=1)).max(), torch.nonzero(view.mask.all(dim=1)).max()
    assert rows[1] <= rows[0] <= rows[1] + 1


def test_a_block_is_usable_only_if_all_of_it_is():
    mask = np.ones((5, 7), bool)
    mask[1, 2] = False
    assert np.array_equal(whole_blocks(mask, 2), [[True, False, True], [True, True, True]])
    assert np.array_equal(whole_blocks(mask, 1), mask)


@pytest.mark.parametrize(("size", "pixels", "reduction"), [
    ((1936, 1216), 256_000, 2), ((1936, 1216), 12_000, 8), ((1600, 900), 256_000, 2), ((1242, 375), 256_000, 1),
    ((640, 480), 8_000_000, 1),
])
def test_images_stay_large_enough(size, pixels, reduction):
    camera = calibration(*size)
    assert enough_for(camera, pixels) == reduction
    smaller = reduced(camera, reduction)
    assert network_size(smaller, pixels) == network_size(camera, pixels)
    assert smaller.width >= network_size(camera, pixels)[0]


def test_a_jpeg_of_another_size_than_its_calibration_is_told_in_whole_pixels():
    camera = calibration(640, 480)
    with pytest.raises(InputError, match="image is 641x480, its CameraInfo says 640x480"):
        prepared_view(camera, encoded(spots(calibration(641, 480))), 12_000)


def test_headers_without_a_size_are_not_trusted():
    data = np.frombuffer(encoded(spots(calibration(640, 480))), np.uint8)
    assert jpeg.jpeg_size(data) == (640, 480)
    for cut in (2, 4, 20, 100):
        assert jpeg.jpeg_size(data[:cut]) is None
    assert jpeg.jpeg_size(np.zeros(64, np.uint8)) is None
