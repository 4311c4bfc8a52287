"""What lens, sensor and encoder make of the light: linear radiance in, grey levels out.

Order as in a camera: bloom and flare, drops and dirt, blur of focus and motion, vignetting, exposure, white balance,
noise, tone curve, sharpening, JPEG. Everything a camera keeps from image to image lies in its ``CameraLook``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..structures import CameraCalibration
from .appearance import OpticsConfig

_MEAN = 0.26  # linear brightness that automatic exposure aims at
_MOTION_TAPS = 6
_SHARE = 0.11  # of the light goes to each neighbouring pixel, even in focus
_FOCUS = math.sqrt(2.0 * _SHARE)  # px, the standard deviation of the blur that this makes
_BRIGHTEST = 2.35  # where the shoulder of the tone curve is flat


@dataclass(frozen=True, eq=False)
class CameraLook:
    """gains: (3,) red, green, blue; contrast; defocus: px; falloff: (H, W) vignetting, or None; dirt, drops: (H, W)
    cover 0..1, or None; lens: the drops' shift of what is seen through them, px, (2, H, W), or None."""

    gains: tuple[float, float, float]
    contrast: float
    defocus: float
    falloff: Tensor | None
    dirt: Tensor | None
    drops: Tensor | None
    lens: Tensor | None


def make_look(optics: OpticsConfig, gain: float, calibration: CameraCalibration, entropy: tuple[int, ...],
              device: torch.device | str) -> CameraLook:
    """The look of one camera, drawn by ``entropy``; gain: its exposure relative to the others."""
    random = np.random.default_rng(entropy)
    red, blue = 1.0 + optics.white_balance * random.uniform(-1.0, 1.0, 2)
    contrast = optics.contrast + optics.contrast_spread * random.uniform(-1.0, 1.0)
    defocus = optics.defocus * random.uniform(0.0, 1.0)
    height, width = calibration.height, calibration.width
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)

    def tensor(values: NDArray[np.float64]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    falloff = dirt = drops = lens = None
    if optics.vignetting > 0.0:
        square = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (0.25 * (width**2 + height**2))
        falloff = tensor(1.0 - optics.vignetting * random.uniform(0.6, 1.0) * square)
    if optics.dirt > 0.0:
        cover, _ = _blobs(random, optics.dirt * random.uniform(0.0, 1.0), height, width, (0.01, 0.2), (0.1, 0.6))
        dirt = tensor(cover)
    if optics.drops > 0.0:
        cover, shift = _blobs(random, optics.drops * random.uniform(0.2, 1.0), height, width, (0.008, 0.06), (0.5, 1.0))
        drops, lens = tensor(cover), tensor(shift)
    return CameraLook((gain * red, gain, gain * blue), float(np.clip(contrast, -0.9, 0.9)), float(defocus), falloff,
                      dirt, drops, lens)


def _blobs(random: np.random.Generator, share: float, height: int, width: int, size: tuple[float, float],
           opacity: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Soft blobs that together cover about ``share`` of a third of the image: cover (H, W), and the shift (2, H, W)
    towards the other side of their middle, px; size: of radii, in heights of the image."""
    cover, shift = np.zeros((height, width)), np.zeros((2, height, width))
    wanted = share * 0.33 * height * width
    for _ in range(200):
        if wanted <= 0.0:
            break
        radius = height * math.exp(random.uniform(math.log(size[0]), math.log(size[1])))
        u, v, stretch = random.uniform(0, width), random.uniform(0, height), random.uniform(0.7, 1.5)
        rows = slice(max(int(v - 2 * radius), 0), max(int(v + 2 * radius) + 1, 0))
        columns = slice(max(int(u - 2 * radius), 0), max(int(u + 2 * radius) + 1, 0))
        y, x = np.mgrid[rows.start:min(rows.stop, height), columns.start:min(columns.stop, width)]
        offset = np.stack(((x - u), (y - v)))
        distance = np.hypot(offset[0] * stretch, offset[1]) / radius
        blob = random.uniform(*opacity) * np.clip((1.0 - distance) * random.uniform(1.5, 6.0), 0.0, 1.0)
        stronger = blob > cover[rows, columns]
        cover[rows, columns] = np.where(stronger, blob, cover[rows, columns])
        shift[:, rows, columns] = np.where(stronger, -2.5 * offset, shift[:, rows, columns])
        wanted -= math.pi * radius * radius / stretch
    return cover, shift


def camera_response(radiance: Tensor, look: CameraLook, optics: OpticsConfig, noise_level: float, seed: int,
                    motion: Tensor | None = None) -> NDArray[np.uint8]:
    """Radiance (3, H, W) -> (H, W, 3) uint8.

    noise_level: standard deviation in grey levels; motion: (2, H, W) px by which things move during the exposure.
    The noise depends on the seed and on the kind of device.
    """
    linear = _spread_light(radiance, look, optics)
    if motion is not None:
        linear = motion_blurred(linear, motion)
    if look.defocus > 0.25:
        linear = gaussian_blurred(linear, math.hypot(look.defocus, _FOCUS))
    else:
        linear = _blurred(_blurred(linear, 1), 2)
    if look.falloff is not None:
        linear = linear * look.falloff
    metered = _metered(linear, optics)
    gains = torch.tensor(look.gains, device=linear.device)[:, None, None]
    exposed = (optics.exposure * gains * metered * linear).clamp(min=0.0)
    noise = None
    if noise_level > 0.0 or optics.shot_noise > 0.0:
        generator = torch.Generator(linear.device).manual_seed(seed)
        noise = torch.randn(exposed.shape, generator=generator, device=linear.device)
    if optics.shot_noise > 0.0 and noise is not None:
        # Photons: the variance grows with the light on the sensor; amplified light brings few of them.
        deviation = optics.shot_noise * torch.sqrt(0.18 * metered * optics.exposure * (exposed + 0.004 * metered))
        exposed = (exposed + deviation * noise.flip(2)).clamp(min=0.0)
    grey = _tone_curve(exposed, look, optics)
    if optics.sharpening > 0.0:
        grey = grey + optics.sharpening * (grey - _blurred(_blurred(grey, 1, 0.25), 2, 0.25))
    if noise is not None:
        grey = grey + noise_level * noise
    image = grey.round().clamp(0.0, 255.0).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return compressed(image, optics.jpeg) if optics.jpeg else image


def compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB after JPEG compression."""
    _, code = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(read[..., ::-1])


def _metered(linear: Tensor, optics: OpticsConfig) -> Tensor:
    """() gain of the automatic exposure; 1 where there is none."""
    mean = linear[:, ::4, ::4].clamp(max=1.5).mean()
    return ((_MEAN / (mean + 2e-4)) ** optics.auto_exposure).clamp(0.2, 60.0)


def _tone_curve(exposed: Tensor, look: CameraLook, optics: OpticsConfig) -> Tensor:
    """Linear (3, H, W) -> grey levels 0..255, not rounded."""
    exposed = exposed.clamp(max=_BRIGHTEST)
    shouldered = exposed / (1.0 + 0.18 * exposed * exposed)  # a soft shoulder instead of clipping
    value = shouldered.clamp(0.0, 1.0) ** (1.0 / optics.gamma)
    if look.contrast != 0.0:
        value = value + look.contrast * (value * value * (3.0 - 2.0 * value) - value)
    if optics.saturation != 1.0:
        grey = (0.3 * value[0] + 0.59 * value[1] + 0.11 * value[2])[None]
        value = (grey + optics.saturation * (value - grey)).clamp(0.0, 1.0)
    return 255.0 * value


def _spread_light(radiance: Tensor, look: CameraLook, optics: OpticsConfig) -> Tensor:
    """Light that leaves its place in the lens: bloom around what is over-exposed, dirt and drops."""
    if optics.bloom == 0.0 and look.dirt is None and look.drops is None:
        return radiance
    size = (radiance.shape[1], radiance.shape[2])

    def wide(image: Tensor, cell: int) -> Tensor:
        small = functional.avg_pool2d(image[None], cell, ceil_mode=True)
        small = gaussian_blurred(small[0], 1.5)[None]
        return functional.interpolate(small, size, mode="bilinear", align_corners=False)[0]

    if optics.bloom > 0.0:
        bright = (radiance - 0.9).clamp(0.0, 12.0)
        radiance = radiance + optics.bloom * wide(bright, 8)
    if look.drops is not None and look.lens is not None:
        through = wide(_shifted(radiance, look.lens), 4)
        radiance = radiance + look.drops * (through - radiance)
    if look.dirt is not None:
        radiance = radiance + look.dirt * (0.75 * wide(radiance, 16) + 0.02 - radiance)
    return radiance


def _shifted(image: Tensor, shift: Tensor) -> Tensor:
    """(3, H, W): at every pixel what the image (3, H, W) shows ``shift`` (2, H, W) px away; borders repeat."""
    _, height, width = image.shape
    column = torch.arange(width, device=image.device)[None, :] + shift[0]
    row = torch.arange(height, device=image.device)[:, None] + shift[1]
    row, column = (row + 0.5).floor().clamp(0, height - 1), (column + 0.5).floor().clamp(0, width - 1)
    place = row * width + column
    return image.reshape(3, -1).index_select(1, place.reshape(-1).to(torch.int64)).reshape(image.shape)


def motion_blurred(image: Tensor, motion: Tensor) -> Tensor:
    """Mean of the image (3, H, W) along the motion (2, H, W), px, that ends and begins half of it away."""
    total = torch.zeros_like(image)
    for tap in range(_MOTION_TAPS):
        total += _shifted(image, motion * ((tap + 0.5) / _MOTION_TAPS - 0.5))
    return total / _MOTION_TAPS


def gaussian_blurred(image: Tensor, sigma: float) -> Tensor:
    """Image (C, H, W) blurred with a Gaussian of this standard deviation, px; borders repeat."""
    reach = max(1, math.ceil(2.5 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / sigma) ** 2)
    taps = taps / taps.sum()
    flat = functional.pad(image[:, None], (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(flat, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]


def add_flare(radiance: Tensor, depth: Tensor, sun: tuple[float, float], colour: tuple[float, float, float],
              strength: float, reach: float) -> Tensor:
    """Veil and ghosts of the sun at pixel ``sun`` (u, v), which may lie outside the image.

    radiance: (3, H, W); depth: (H, W), sky = inf; reach: px over which the veil fades. Hidden suns make none.
    """
    height, width = depth.shape
    u, v = sun
    device = depth.device
    if 0 <= u < width and 0 <= v < height:
        patch = depth[max(int(v) - 4, 0):int(v) + 5, max(int(u) - 4, 0):int(u) + 5]
        seen = torch.isinf(patch).float().mean()
    else:
        seen = torch.isinf(depth[: height // 4]).float().mean()
    y = torch.arange(height, device=device)[:, None]
    x = torch.arange(width, device=device)[None, :]
    distance = torch.sqrt((x - u) ** 2 + (y - v) ** 2)
    veil = 0.3 * torch.exp(-distance / reach)
    tints = ((0.7, 1.0, 0.8), (1.0, 0.7, 0.5), (0.6, 0.7, 1.0))
    light = veil[None] * torch.tensor(colour, device=device)[:, None, None]
    for tint, along, size in zip(tints, (0.6, 1.3, 1.8), (0.05, 0.03, 0.09), strict=True):
        cu, cv = u + along * (width / 2 - u), v + along * (height / 2 - v)
        ghost = 0.1 * ((size * width - torch.sqrt((x - cu) ** 2 + (y - cv) ** 2)) / (0.02 * width)).clamp(0.0, 1.0)
        light = light + ghost[None] * torch.tensor(tint, device=device)[:, None, None]
    return radiance + strength * seen * light


def _blurred(image: Tensor, axis: int, share: float = _SHARE) -> Tensor:
    """Three-tap blur along an axis; borders repeat."""
    size = image.shape[axis]
    before = torch.cat((image.narrow(axis, 0, 1), image.narrow(axis, 0, size - 1)), axis)
    after = torch.cat((image.narrow(axis, 1, size - 1), image.narrow(axis, size - 1, 1)), axis)
    return (1.0 - 2.0 * share) * image + share * (before + after)
