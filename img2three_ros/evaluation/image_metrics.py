"""How alike two pictures are, and the picture that coloured points alone give of a view nobody took.

Pictures are (H, W, 3) float RGB 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ..geometry.transforms import apply, inverse
from ..structures import CameraCalibration, Matrix, PointCloud

Image = NDArray[np.floating]

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_NEAREST = 0.1


@dataclass(frozen=True)
class PictureScores:
    """psnr: dB. psnr_fitted: after one factor on each channel, the best there is (another exposure costs nothing).
    ssim: see ``ssim``."""

    psnr: float
    psnr_fitted: float
    ssim: float


def picture_scores(picture: Image, truth: Image) -> PictureScores:
    """All scores of a picture."""
    return PictureScores(psnr(picture, truth), psnr(fitted(picture, truth), truth), ssim(picture, truth))


def mean_picture_scores(scores: list[PictureScores]) -> PictureScores:
    """Mean over pictures, score by score; NaN without any."""
    if not scores:
        return PictureScores(math.nan, math.nan, math.nan)
    return PictureScores(*(float(np.mean(values)) for values in zip(*(
        (one.psnr, one.psnr_fitted, one.ssim) for one in scores), strict=True)))


def psnr(picture: Image, truth: Image) -> float:
    """Peak signal-to-noise ratio, dB; inf for equal pictures."""
    error = float(np.square(np.asarray(picture, dtype=np.float64) - truth).mean())
    return -10.0 * math.log10(error) if error > 0.0 else math.inf


def fitted(picture: Image, truth: Image) -> Image:
    """The picture with each channel times the factor that brings it nearest to ``truth``."""
    own = np.asarray(picture, dtype=np.float64)
    power = np.square(own).sum(axis=(0, 1))
    factor = (own * truth).sum(axis=(0, 1)) / np.where(power > 0.0, power, 1.0)
    return np.asarray(np.clip(own * factor, 0.0, 1.0))


def ssim(picture: Image, truth: Image) -> float:
    """Structural similarity (Wang et al., Image Quality Assessment, 2004): mean over channels and all places where the
    Gaussian window of 11 pixels, sigma 1.5, lies wholly in the picture.

    Raises ValueError for pictures smaller than the window or of different sizes.
    """
    if picture.shape != truth.shape or min(truth.shape[:2]) < _WINDOW:
        raise ValueError(f"pictures of {picture.shape} and {truth.shape}: SSIM wants two of one size, at least "
                         f"{_WINDOW} x {_WINDOW} pixels")
    one, other = (np.asarray(image, dtype=np.float64) for image in (picture, truth))
    mean_one, mean_other = _windowed(one), _windowed(other)
    variance_one = _windowed(one * one) - mean_one**2
    variance_other = _windowed(other * other) - mean_other**2
    covariance = _windowed(one * other) - mean_one * mean_other
    luminance = (2.0 * mean_one * mean_other + _K1**2) / (mean_one**2 + mean_other**2 + _K1**2)
    structure = (2.0 * covariance + _K2**2) / (variance_one + variance_other + _K2**2)
    return float((luminance * structure).mean())


def _windowed(values: Image) -> Image:
    """Gaussian means (H - 10, W - 10, 3) of windows that lie in the picture."""
    weights = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_64F)
    border = _WINDOW // 2
    means: Image = np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, weights, weights), dtype=np.float64)
    return means[border:-border, border:-border]


def reprojected(cloud: PointCloud, calibration: CameraCalibration, T_base_camera: Matrix) -> Image:
    """What a pinhole camera at ``T_base_camera`` (4, 4) shows of coloured points; NaN where there is none.

    Each point covers the four pixels around it, the nearest one stays before the others.
    """
    points = apply(inverse(T_base_camera), cloud.points.astype(np.float64))
    ahead = points[:, 2] > _NEAREST
    points, colours = points[ahead], cloud.colours[ahead] / 255.0
    pixels = points @ calibration.intrinsics.T
    corner = np.floor(pixels[:, :2] / pixels[:, 2:])
    image = np.full((calibration.height * calibration.width, 3), np.nan)
    places = np.concatenate([corner + np.array((u, v)) for v in (0, 1) for u in (0, 1)])
    owner = np.tile(np.arange(len(points)), 4)
    inside = ((places >= 0) & (places < (calibration.width, calibration.height))).all(axis=1)
    places, owner = places[inside].astype(np.intp), owner[inside]
    order = np.argsort(-points[owner, 2], kind="stable")  # of equal places, the last one written stays
    image[places[order, 1] * calibration.width + places[order, 0]] = colours[owner[order]]
    return image.reshape(calibration.height, calibration.width, 3)


def filled_with_mean(picture: Image) -> Image:
    """The picture with the mean of its known pixels where it is NaN; grey without any."""
    known = np.isfinite(picture[..., 0])
    mean = picture[known].mean(axis=0) if known.any() else np.full(3, 0.5)
    return np.where(known[..., None], picture, mean)


def filled_with_nearest(picture: Image) -> Image:
    """The picture with the nearest known pixel where it is NaN; grey without any."""
    known = np.isfinite(picture[..., 0])
    if not known.any():
        return np.full_like(picture, 0.5)
    row, column = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(picture[row, column])
