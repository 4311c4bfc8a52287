"""CameraInfo: models, binning and regions by hand, and what is not a calibration."""

import numpy as np
import pytest
from ingest_samples import info_message

from img2three_ros.ingest.camera_info import calibration_from_camera_info, contents
from img2three_ros.structures import CameraCalibration, InputError

TOPIC = "/camera/front/camera_info"
K = np.array([[100.0, 0, 50.0], [0, 110.0, 40.0], [0, 0, 1]])


def info(distortion=(0.0,) * 5, model="plumb_bob", **changes):
    message = info_message(CameraCalibration(100, 80, K, model, np.asarray(distortion, np.float64)))
    for name, value in changes.items():
        target, _, attribute = name.partition("__")
        object.__setattr__(getattr(message, target) if attribute else message, attribute or target, value)
    return message


def test_plain():
    calibration = calibration_from_camera_info(info((0.1, 0.2, 0.01, 0.02, 0.3)), TOPIC)
    assert (calibration.width, calibration.height, calibration.distortion_model) == (100, 80, "plumb_bob")
    assert np.array_equal(calibration.intrinsics, K)
    assert np.array_equal(calibration.distortion, [0.1, 0.2, 0.01, 0.02, 0.3])


@pytest.mark.parametrize("model,count,expected,size", [
    ("plumb_bob", 4, "plumb_bob", 5), ("rational_polynomial", 8, "rational_polynomial", 8),
    ("equidistant", 4, "equidistant", 4), ("fisheye", 4, "equidistant", 4), ("", 5, "plumb_bob", 5)])
def test_models(model, count, expected, size):
    calibration = calibration_from_camera_info(info(np.full(count, 0.01), model), TOPIC)
    assert calibration.distortion_model == expected and calibration.distortion.shape == (size,)


def test_no_distortion_needs_no_model():
    assert not calibration_from_camera_info(info((), "whatever"), TOPIC).distortion.any()
    assert not calibration_from_camera_info(info((0.0,) * 14, "whatever"), TOPIC).distortion.any()


def test_rectified_images_use_p():
    rectified = np.array([[90.0, 0, 48, 0], [0, 90, 41, 0], [0, 0, 1, 0]])
    calibration = calibration_from_camera_info(info((0.3,) * 5, p=rectified.reshape(12)), TOPIC, rectified=True)
    assert np.array_equal(calibration.intrinsics, rectified[:, :3]) and not calibration.distortion.any()


def test_binning_keeps_pixel_centres():
    """Two pixels become one: the centre between pixels 0 and 1 (u = 0.5) becomes u = 0."""
    calibration = calibration_from_camera_info(info(binning_x=2, binning_y=4), TOPIC)
    assert (calibration.width, calibration.height) == (50, 20)
    assert calibration.intrinsics[0].tolist() == [50.0, 0.0, (50.0 + 0.5) / 2 - 0.5]
    assert calibration.intrinsics[1].tolist() == [0.0, 27.5, (40.0 + 0.5) / 4 - 0.5]


def test_region_of_interest_moves_the_principal_point():
    calibration = calibration_from_camera_info(
        info(roi__x_offset=30, roi__y_offset=20, roi__width=40, roi__height=30), TOPIC)
    assert (calibration.width, calibration.height) == (40, 30)
    assert calibration.intrinsics[:2, 2].tolist() == [20.0, 20.0]


@pytest.mark.parametrize("changes,text", [
    ({"k": np.zeros(9)}, "not calibrated"),
    ({"k": np.full(9, np.nan)}, "finite and positive"),
    ({"k": np.array([-100.0, 0, 50, 0, 100, 40, 0, 0, 1])}, "finite and positive"),
    ({"k": np.array([100.0, 0, 50, 0, 100, 40, 0, 0, 0])}, "not a camera matrix"),
    ({"k": np.array([100.0, 0, 500, 0, 100, 40, 0, 0, 1])}, "principal point"),
    ({"width": 0}, "must be positive"),
    ({"distortion": (0.1,) * 6}, "needs 5 coefficients, d has 6"),
    ({"distortion": (0.1,) * 5, "model": "equidistant"}, "needs 4 coefficients"),
    ({"distortion": (0.1, np.nan, 0, 0, 0)}, "not finite"),
    ({"distortion": (0.1,) * 14, "model": "thin_prism"}, "'thin_prism' is not supported"),
    ({"roi__x_offset": 90, "roi__width": 40}, "outside 100x80"),
])
def test_bad_calibrations_name_topic_and_value(changes, text):
    with pytest.raises(InputError, match=text) as error:
        calibration_from_camera_info(info(**changes), TOPIC)
    assert error.value.reason == "camera_info" and TOPIC in str(error.value)


@pytest.mark.parametrize("change", [
    {"width": 101}, {"height": 81}, {"distortion_model": "equidistant"}, {"d": np.full(5, 0.1)}, {"k": 2.0 * K.ravel()},
    {"p": np.arange(12.0)}, {"binning_x": 2}, {"binning_y": 2},
    *({f"roi__{name}": 8} for name in ("x_offset", "y_offset", "width", "height"))],
    ids=lambda change: next(iter(change)))
def test_contents_tell_every_change_but_none_of_the_header(change):
    assert contents(info(header__stamp="later")) == contents(info())
    assert contents(info(**change)) != contents(info())
