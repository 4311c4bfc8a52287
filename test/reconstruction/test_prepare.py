"""Images become views: size, intrinsics, masks and poses stay together."""

import numpy as np
import pytest
import torch

from img2three_ros.config import PrepareConfig
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.reconstruction.prepare import FramePreparer, network_size
from img2three_ros.structures import CameraCalibration, CameraImage, Frame, InputError

K = np.array(((300.0, 0, 159.5), (0, 300.0, 95.5), (0, 0, 1)))


def image_of(name="front", stamp=0, T_odom_base=None, mask=None, calibration=None):
    calibration = calibration or CameraCalibration(320, 192, K)
    pixels = np.full((192, 320, 3), (255, 0, 51), np.uint8)
    return CameraImage(name, stamp, pixels, calibration, from_xyz_rpy((1, 0, 1.5)), T_odom_base, mask)


def prepared(*images, T_odom_base=None, **config):
    frame = Frame(1000, images, ("front", "back"), T_odom_base)
    return FramePreparer(PrepareConfig(**config), torch.device("cpu"))(frame)


@pytest.mark.parametrize(("native", "expected"), [
    ((1936, 1216), (640, 400)), ((1600, 900), (672, 384)), ((1242, 375), (928, 272)), ((320, 192), (320, 192)),
])
def test_every_aspect_ratio_costs_about_the_same(native, expected):
    assert network_size(CameraCalibration(*native, K), 256_000) == expected


def test_view_holds_rgb_in_unit_range_and_scaled_intrinsics():
    view = prepared(image_of(), pixels=15_360).views[0]
    assert view.size == (96, 160)
    torch.testing.assert_close(view.image[:, 50, 80], torch.tensor((1.0, 0.0, 0.2)))
    assert view.intrinsics[0, 0] == 150.0 and view.intrinsics[0, 2] == 79.5


def test_missing_cameras_are_told():
    assert prepared(image_of()).missing == ("back",)


def test_a_later_exposure_is_placed_where_the_vehicle_was_then():
    # The vehicle moved 0.5 m ahead between the reference stamp and the exposure.
    frame = prepared(image_of(T_odom_base=from_xyz_rpy((10.5, 0, 0))), T_odom_base=from_xyz_rpy((10, 0, 0)))
    np.testing.assert_allclose(frame.views[0].T_base_camera[:3, 3], (1.5, 0, 1.5))


def test_without_ego_motion_the_extrinsics_stand():
    frame = prepared(image_of(), T_odom_base=from_xyz_rpy((10, 0, 0)))
    np.testing.assert_allclose(frame.views[0].T_base_camera[:3, 3], (1, 0, 1.5))


def test_a_pixel_that_shows_any_ego_vehicle_is_masked():
    mask = np.ones((192, 320), bool)
    mask[101:, :] = False
    view = prepared(image_of(mask=mask), pixels=15_360).views[0]
    assert view.mask[:50].all() and not view.mask[50:].any()


def test_rectified_images_ignore_their_distortion():
    bent = CameraCalibration(320, 192, K, "plumb_bob", np.array((-0.4, 0.1, 0, 0, 0)))
    assert prepared(image_of(calibration=bent), rectified=True).views[0].mask.all()


def test_errors():
    with pytest.raises(InputError, match="no usable image"):
        prepared()
    with pytest.raises(ValueError, match="image is 320x192, calibration says 640x480"):
        prepared(image_of(calibration=CameraCalibration(640, 480, K)))
