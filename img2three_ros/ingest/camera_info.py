"""sensor_msgs/CameraInfo -> CameraCalibration (REP-104)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..structures import CameraCalibration, InputError

# Coefficients each model may have, and how many OpenCV expects.
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
_EXPECTED = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
_SAME_MODEL = {"": "plumb_bob", "none": "plumb_bob", "fisheye": "equidistant"}


def contents(message: Any) -> tuple[object, ...]:
    """All of a CameraInfo that says something of the camera: equal for messages that differ in their header only."""
    roi = message.roi
    return (message.height, message.width, message.distortion_model, message.binning_x, message.binning_y,
            roi.x_offset, roi.y_offset, roi.height, roi.width,
            *(np.asarray(values, dtype=np.float64).tobytes() for values in (message.d, message.k, message.p)))


def calibration_from_camera_info(message: Any, topic: str, rectified: bool = False) -> CameraCalibration:
    """Validated calibration of the images that belong to this CameraInfo.

    rectified: the images are already undistorted: P's left 3x3 is their camera matrix and D is ignored.
    Binning and region of interest are applied, so that K fits the transmitted pixels.
    Raises InputError with reason ``camera_info``.
    """
    matrix = (np.asarray(message.p, dtype=np.float64).reshape(3, 4)[:, :3] if rectified
              else np.asarray(message.k, dtype=np.float64).reshape(3, 3))
    if rectified and not matrix.any():
        matrix = np.asarray(message.k, dtype=np.float64).reshape(3, 3)
    model, distortion = _distortion(message, topic, rectified)
    _check_intrinsics(matrix, "p" if rectified else "k", topic)
    width, height, matrix = _transmitted(message, matrix, topic)
    if not (-0.5 <= matrix[0, 2] <= width - 0.5 and -0.5 <= matrix[1, 2] <= height - 0.5):
        raise InputError("camera_info", f"topic '{topic}': principal point ({matrix[0, 2]:.1f}, {matrix[1, 2]:.1f}) "
                         f"is outside the {width}x{height} image; calibrate at the size that is published")
    return CameraCalibration(width, height, matrix, model, distortion)


def _distortion(message: Any, topic: str, rectified: bool) -> tuple[str, np.ndarray]:
    given = np.asarray(message.d, dtype=np.float64).reshape(-1)
    if rectified or given.size == 0 or not given.any():
        return "plumb_bob", np.zeros(5)
    model = _SAME_MODEL.get(str(message.distortion_model), str(message.distortion_model))
    if model not in _COEFFICIENTS:
        raise InputError("camera_info", f"topic '{topic}': distortion_model '{message.distortion_model}' is not "
                         f"supported; use {', '.join(_COEFFICIENTS)}, or rectify the images and set "
                         "prepare.rectified")
    if given.size not in _COEFFICIENTS[model]:
        raise InputError("camera_info", f"topic '{topic}': {model} needs {_EXPECTED[model]} coefficients, d has "
                         f"{given.size}")
    if not np.isfinite(given).all():
        raise InputError("camera_info", f"topic '{topic}': d = {given.tolist()} is not finite; calibrate the camera")
    return model, np.pad(given, (0, _EXPECTED[model] - given.size))


def _check_intrinsics(matrix: np.ndarray, name: str, topic: str) -> None:
    fx, fy = matrix[0, 0], matrix[1, 1]
    if not np.isfinite(matrix).all() or not (fx > 0 and fy > 0):
        raise InputError("camera_info", f"topic '{topic}': {name} = {matrix.ravel().tolist()}; focal lengths must be "
                         "finite and positive (all zeros = not calibrated): calibrate the camera")
    if not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], (0, 0, 0, 1)):
        raise InputError("camera_info", f"topic '{topic}': {name} = {matrix.ravel().tolist()} is not a camera matrix "
                         "[fx s cx; 0 fy cy; 0 0 1]")


def _transmitted(message: Any, matrix: np.ndarray, topic: str) -> tuple[int, int, np.ndarray]:
    """Size and K of the published pixels: full resolution -> region of interest -> binning (REP-104)."""
    width, height = int(message.width), int(message.height)
    if width <= 0 or height <= 0:
        raise InputError("camera_info", f"topic '{topic}': image size {width}x{height} must be positive")
    region = message.roi
    left, top = int(region.x_offset), int(region.y_offset)
    crop_width, crop_height = int(region.width) or width, int(region.height) or height
    if left + crop_width > width or top + crop_height > height:
        if int(region.width) or int(region.height):
            raise InputError("camera_info", f"topic '{topic}': roi {crop_width}x{crop_height} at ({left}, {top}) is "
                             f"outside {width}x{height}")
        crop_width, crop_height = width - left, height - top
    bins = np.array((max(int(message.binning_x), 1), max(int(message.binning_y), 1)), dtype=np.float64)
    if crop_width < bins[0] or crop_height < bins[1]:
        raise InputError("camera_info", f"topic '{topic}': binning {bins[0]:g}x{bins[1]:g} leaves no pixel of "
                         f"{crop_width}x{crop_height}")
    changed = matrix.copy()
    changed[:2, 2] = (matrix[:2, 2] - (left, top) + 0.5) / bins - 0.5
    changed[:2, :2] = matrix[:2, :2] / bins[:, None]
    return int(crop_width // bins[0]), int(crop_height // bins[1]), changed
