"""Camera models of CameraInfo (REP-104): plumb_bob, rational_polynomial and equidistant.

The functions that change pixels change the intrinsics with them. Resizing by s maps u -> s (u + 0.5) - 0.5.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import CameraCalibration, InputError, Matrix

SAMPLED_WHOLE = 1.6
"""Up to this shrinking, bilinear sampling still counts every pixel (it looks at two in a row): averaging over areas
costs five times as much and shows the same."""
DISTORTION_LENGTHS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}


def scale_intrinsics(intrinsics: Matrix, scale_x: float, scale_y: float) -> Matrix:
    """Intrinsics (3, 3) of an image resized by ``scale_x``, ``scale_y`` (half-pixel convention)."""
    scaled = intrinsics.astype(np.float64).copy()
    scaled[0, :2] *= scale_x
    scaled[1, :2] *= scale_y
    scaled[0, 2] = scale_x * (intrinsics[0, 2] + 0.5) - 0.5
    scaled[1, 2] = scale_y * (intrinsics[1, 2] + 0.5) - 0.5
    return scaled


def crop(image: NDArray[np.uint8], calibration: CameraCalibration, left: int, top: int, width: int,
         height: int) -> tuple[NDArray[np.uint8], CameraCalibration]:
    """The part of an image (H, W, 3) that starts at pixel (left, top), with its calibration."""
    inside = left >= 0 and top >= 0 and left + width <= calibration.width and top + height <= calibration.height
    if not inside or width < 1 or height < 1:
        raise ValueError(f"crop {width}x{height} at ({left}, {top}) is not inside {calibration.width}x"
                         f"{calibration.height}")
    intrinsics = calibration.intrinsics.copy()
    intrinsics[:2, 2] -= (left, top)
    return (image[top:top + height, left:left + width],
            replace(calibration, width=width, height=height, intrinsics=intrinsics))


def resize(image: NDArray[np.uint8], calibration: CameraCalibration, width: int,
           height: int) -> tuple[NDArray[np.uint8], CameraCalibration]:
    """Resize an image (H, W, 3) and its calibration; area-averaged when it shrinks, so that nothing aliases."""
    shrinks = width * height < calibration.width * calibration.height
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    intrinsics = scale_intrinsics(calibration.intrinsics, width / calibration.width, height / calibration.height)
    return np.asarray(resized, dtype=np.uint8), replace(calibration, width=width, height=height,
                                                        intrinsics=intrinsics)


def is_distorted(calibration: CameraCalibration) -> bool:
    """Whether any pixel moves when the image is undistorted."""
    return calibration.distortion_model == "equidistant" or bool(np.any(calibration.distortion))


def distort(rays: NDArray[np.float64], calibration: CameraCalibration) -> NDArray[np.float64]:
    """Normalised pinhole coordinates (N, 2) (x/z, y/z) -> pixels (N, 2) of the distorted image.

    Formulas as OpenCV documents them: Brown-Conrady with 5 or 8 coefficients; equidistant (Kannala-Brandt) with 4.
    """
    model, coefficients = calibration.distortion_model, np.asarray(calibration.distortion, dtype=np.float64)
    if model == "equidistant":
        moved = _distort_equidistant(rays, coefficients)
    elif model in ("plumb_bob", "rational_polynomial"):
        moved = _distort_rational(rays, np.pad(coefficients, (0, max(0, 8 - len(coefficients))))[:8])
    else:
        raise InputError("distortion_model", f"distortion model '{model}' is not one of "
                         f"{', '.join(DISTORTION_LENGTHS)}")
    return moved @ calibration.intrinsics[:2, :2].T + calibration.intrinsics[:2, 2]


def _distort_rational(rays: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.float64]:
    if not d.any():
        return rays
    x, y = rays[:, 0], rays[:, 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (d[0] + r2 * (d[1] + r2 * d[4]))) / (1 + r2 * (d[5] + r2 * (d[6] + r2 * d[7])))
    return np.stack((x * radial + 2 * d[2] * x * y + d[3] * (r2 + 2 * x * x),
                     y * radial + d[2] * (r2 + 2 * y * y) + 2 * d[3] * x * y), axis=1)


def _distort_equidistant(rays: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.float64]:
    radius = np.linalg.norm(rays, axis=1)
    theta = np.arctan(radius)
    t2 = theta * theta
    bent = theta * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3]))))
    return rays * np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)[:, None]


@dataclass(frozen=True, eq=False)
class UndistortionMap:
    """How a camera's image becomes a pinhole image of another size.

    calibration: pinhole (no distortion) of the new image.
    map_x, map_y: (h, w) float32 source pixel of every new pixel, in the source resized to ``source_size`` (w, h);
        None when the source only needs resizing.
    inside: (h, w) bool, whether the new pixel shows a part of the source.
    """

    calibration: CameraCalibration
    source_size: tuple[int, int]
    map_x: NDArray[np.float32] | None
    map_y: NDArray[np.float32] | None
    inside: NDArray[np.bool_]


def undistortion_map(calibration: CameraCalibration, width: int, height: int,
                     max_half_angle: float = 60.0) -> UndistortionMap:
    """The map from a camera's image to a pinhole image of ``width`` x ``height``.

    A fisheye keeps at most ``max_half_angle`` degrees from the axis on each side, whatever fits a pinhole.
    """
    scaled = scale_intrinsics(calibration.intrinsics, width / calibration.width, height / calibration.height)
    if not is_distorted(calibration):
        pinhole = CameraCalibration(width, height, scaled)
        return UndistortionMap(pinhole, (width, height), None, None, np.ones((height, width), dtype=bool))
    if calibration.distortion_model == "equidistant":
        scaled = _fisheye_pinhole(calibration, width, height, max_half_angle)
    source_size = averaged_size(calibration, width, height)
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    rays = np.stack(((u.ravel() - scaled[0, 2]) / scaled[0, 0], (v.ravel() - scaled[1, 2]) / scaled[1, 1]), axis=1)
    pixels = distort(rays, calibration)
    inside = ((pixels > -0.5) & (pixels < (calibration.width - 0.5, calibration.height - 0.5))).all(axis=1)
    inside &= _monotonic(rays, calibration)
    ratio = np.array((source_size[0] / calibration.width, source_size[1] / calibration.height))
    source = (ratio * (pixels + 0.5) - 0.5).astype(np.float32).reshape(height, width, 2)
    return UndistortionMap(CameraCalibration(width, height, scaled), source_size,
                           np.ascontiguousarray(source[..., 0]), np.ascontiguousarray(source[..., 1]),
                           inside.reshape(height, width))


def averaged_size(calibration: CameraCalibration, width: int, height: int) -> tuple[int, int]:
    """(width, height) the source is averaged down to before it is undistorted to ``width`` x ``height``: about the new
    resolution, as sampling alone would alias."""
    ratio = max(width / calibration.width, height / calibration.height)
    if ratio * SAMPLED_WHOLE >= 1.0:
        return calibration.width, calibration.height
    shrink = min(1.0, ratio * 1.25)
    return round(calibration.width * shrink), round(calibration.height * shrink)


def _fisheye_pinhole(calibration: CameraCalibration, width: int, height: int, max_half_angle: float) -> Matrix:
    half_angle = min(0.5 * calibration.width / calibration.intrinsics[0, 0], math.radians(max_half_angle))
    focal = 0.5 * width / math.tan(half_angle)
    aspect = (height / calibration.height) / (width / calibration.width)
    return np.array(((focal, 0, (width - 1) / 2), (0, focal * aspect, (height - 1) / 2), (0, 0, 1)))


def _monotonic(rays: NDArray[np.float64], calibration: CameraCalibration) -> NDArray[np.bool_]:
    """Beyond some radius a distortion polynomial turns back and shows the same source pixel twice: not inside."""
    radii = np.linalg.norm(rays, axis=1)
    samples = np.linspace(0.0, max(float(radii.max()), 1e-3), 256)
    pinhole = replace(calibration, intrinsics=np.eye(3))
    profile = distort(np.stack((samples, np.zeros_like(samples)), axis=1), pinhole)[:, 0]
    turns = np.flatnonzero(np.diff(profile) <= 0)
    limit = samples[turns[0]] if len(turns) else np.inf
    return np.asarray(radii <= limit)


class Undistorter:
    """Undistorts and resizes images; maps are cached per calibration (bounded)."""

    def __init__(self, max_half_angle: float = 60.0, cache_size: int = 32) -> None:
        self._max_half_angle, self._cache_size = max_half_angle, cache_size
        self._maps: OrderedDict[tuple[object, ...], UndistortionMap] = OrderedDict()

    def map_of(self, calibration: CameraCalibration, width: int, height: int) -> UndistortionMap:
        """The cached map of a calibration to a new size."""
        key = (*calibration.key(), width, height)
        if key not in self._maps:
            self._maps[key] = undistortion_map(calibration, width, height, self._max_half_angle)
            if len(self._maps) > self._cache_size:
                self._maps.popitem(last=False)
        self._maps.move_to_end(key)
        return self._maps[key]

    def __call__(self, image: NDArray[np.uint8], mapping: UndistortionMap) -> NDArray[np.uint8]:
        """Image (H, W, C) -> (h, w, C) as ``mapping`` says."""
        height, width = image.shape[:2]
        if mapping.source_size != (width, height):
            wide, high = width / mapping.source_size[0], height / mapping.source_size[1]
            how = cv2.INTER_LINEAR if max(wide, high) <= SAMPLED_WHOLE else cv2.INTER_AREA
            image = np.asarray(cv2.resize(image, mapping.source_size, interpolation=how), dtype=np.uint8)
        if mapping.map_x is None or mapping.map_y is None:
            return image
        return np.asarray(cv2.remap(image, mapping.map_x, mapping.map_y, cv2.INTER_LINEAR), dtype=np.uint8)
