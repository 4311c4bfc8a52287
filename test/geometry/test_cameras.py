"""Camera models against OpenCV (independent), resizing against the pixels themselves."""

import cv2
import numpy as np
import pytest

from img2three_ros.geometry.cameras import Undistorter, crop, distort, resize, scale_intrinsics, undistortion_map
from img2three_ros.structures import CameraCalibration, InputError

K = np.array(((500.0, 0, 319.5), (0, 480.0, 199.5), (0, 0, 1)))
MODELS = {
    "plumb_bob": (-0.3, 0.1, 0.001, -0.002, -0.02),
    "rational_polynomial": (0.4, -0.2, 0.001, 0.0005, 0.01, 0.7, -0.1, 0.03),
    "equidistant": (0.05, -0.01, 0.003, -0.001),
}


def calibration(model="plumb_bob", coefficients=(0, 0, 0, 0, 0), width=640, height=400):
    return CameraCalibration(width, height, K, model, np.array(coefficients, dtype=float))


@pytest.mark.parametrize("model", MODELS)
def test_distortion_equals_opencv(model):
    rays = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 2))
    ours = distort(rays, calibration(model, MODELS[model]))
    if model == "equidistant":
        theirs = cv2.fisheye.distortPoints(rays[:, None], K, np.array(MODELS[model]))[:, 0]
    else:
        points = np.column_stack((rays, np.ones(len(rays))))
        theirs = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(MODELS[model]))[0][:, 0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_unknown_model_is_named():
    with pytest.raises(InputError, match="'double_sphere' is not one of plumb_bob"):
        distort(np.zeros((1, 2)), calibration("double_sphere"))


def test_half_resolution_keeps_the_ray_of_every_pixel():
    # The centre of new pixel u covers old pixels 2u and 2u + 1: its ray goes through old coordinate 2u + 0.5.
    half = scale_intrinsics(K, 0.5, 0.5)
    for u in (0, 7, 319):
        assert (u - half[0, 2]) / half[0, 0] == pytest.approx((2 * u + 0.5 - K[0, 2]) / K[0, 0])


def test_resized_edge_stays_on_its_ray():
    image = np.zeros((400, 640, 3), np.uint8)
    image[:, 320:] = 255
    small, new = resize(image, calibration(), 213, 133)
    edge = np.interp(127.5, small[60, 100:113, 0], np.arange(100, 113))
    assert (edge - new.intrinsics[0, 2]) / new.intrinsics[0, 0] == pytest.approx((319.5 - K[0, 2]) / K[0, 0], abs=5e-4)


def test_crop_moves_the_principal_point():
    image = np.arange(400 * 640 * 3, dtype=np.uint32).astype(np.uint8).reshape(400, 640, 3)
    part, new = crop(image, calibration(), 100, 50, 200, 100)
    assert part.shape == (100, 200, 3) and (part[0, 0] == image[50, 100]).all()
    assert new.intrinsics[0, 2] == K[0, 2] - 100 and new.intrinsics[1, 2] == K[1, 2] - 50
    with pytest.raises(ValueError, match="not inside"):
        crop(image, calibration(), 600, 0, 100, 10)


@pytest.mark.parametrize("model", MODELS)
def test_undistorted_image_shows_straight_lines_where_a_pinhole_sees_them(model):
    """Dots at known rays are drawn where the distorted camera sees them and must return to their pinhole pixels."""
    camera = calibration(model, MODELS[model])
    mapping = undistortion_map(camera, 640, 400)
    wanted = np.array(((120, 80), (320, 200), (500, 300)), dtype=float)
    pinhole = mapping.calibration.intrinsics
    rays = (wanted - pinhole[:2, 2]) / (pinhole[0, 0], pinhole[1, 1])
    image = np.zeros((400, 640, 3), np.uint8)
    for u, v in distort(rays, camera):
        cv2.circle(image, (round(u * 16), round(v * 16)), 4 * 16, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
    result = Undistorter()(image, mapping)
    for u, v in wanted.astype(int):
        patch = result[v - 12:v + 13, u - 12:u + 13, 0].astype(float)
        grid_v, grid_u = np.mgrid[-12:13, -12:13]
        assert abs((patch * grid_u).sum() / patch.sum()) < 0.3
        assert abs((patch * grid_v).sum() / patch.sum()) < 0.3


def test_wide_fisheye_marks_what_the_source_does_not_show():
    camera = CameraCalibration(640, 400, np.array(((200.0, 0, 319.5), (0, 200.0, 199.5), (0, 0, 1))), "equidistant",
                               np.zeros(4))
    mapping = undistortion_map(camera, 320, 208, max_half_angle=60.0)
    assert mapping.inside[104, 160] and mapping.inside.mean() > 0.5
    edge_ray = (0 - mapping.calibration.intrinsics[0, 2] - 0.5) / mapping.calibration.intrinsics[0, 0]
    assert np.degrees(np.arctan(-edge_ray)) == pytest.approx(60.0, abs=0.01)


def test_polynomial_that_turns_back_is_not_followed():
    camera = calibration("plumb_bob", (-0.5, 0, 0, 0, 0))
    wide = CameraCalibration(640, 400, np.array(((200.0, 0, 319.5), (0, 200.0, 199.5), (0, 0, 1))), "plumb_bob",
                             camera.distortion)
    mapping = undistortion_map(wide, 640, 400)
    # x (1 - 0.5 x^2) has its maximum at x = sqrt(2/3): beyond that radius nothing is shown.
    u = np.arange(640)
    limit = np.abs((u - 319.5) / 200.0) < np.sqrt(2 / 3)
    np.testing.assert_array_equal(mapping.inside[200, 160:480] | ~limit[160:480], True)
    assert not mapping.inside[200, :100].any()


def test_maps_are_cached_per_calibration_and_bounded():
    undistorter = Undistorter(cache_size=2)
    first = undistorter.map_of(calibration("plumb_bob", MODELS["plumb_bob"]), 320, 208)
    assert undistorter.map_of(calibration("plumb_bob", MODELS["plumb_bob"]), 320, 208) is first
    undistorter.map_of(calibration(), 320, 208)
    undistorter.map_of(calibration(), 160, 96)
    assert undistorter.map_of(calibration("plumb_bob", MODELS["plumb_bob"]), 320, 208) is not first
