"""What the look of the simulated world can be told: weather and light, and what lenses, sensors and encoders do.

The defaults are a clear day seen by clean, sharp cameras. ``weather.randomised`` draws everything for training.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import setting


@dataclass(frozen=True)
class WeatherConfig:
    """Sky, light and surfaces."""

    overcast: float = setting(0.0, "0 = hard sun, 1 = flat light without cast shadows", low=0.0, high=1.0)
    sun_elevation: float = setting(0.0, "height of the sun; 0 = between 35 and 58 deg, by the seed", unit="deg",
                                   low=0.0, high=90.0)
    night: float = setting(0.0, "1 = night: street lamps, headlights and lit windows; between = dusk", low=0.0,
                           high=1.0)
    haze_depth: float = setting(420.0, "distance at which haze or fog has taken 63 % of the contrast", unit="m",
                                low=8.0, high=20_000.0)
    clouds: float = setting(0.45, "cover of the sky; 0 and less = few clouds, 1 and more = closed", low=-1.0, high=2.0)
    cloud_contrast: float = setting(0.9, "how sharply clouds stand out against the sky", low=0.0, high=5.0)
    cloud_size: float = setting(1.0, "size of the clouds relative to the default", low=0.05, high=20.0)
    glare: float = setting(0.0, "brightness of the sun's disc and halo; 0 = the sun is not seen", low=0.0, high=2.0)
    wet: float = setting(0.0, "0 = dry ground, 1 = puddles that mirror", low=0.0, high=1.0)
    gloss: float = setting(0.0, "how strongly vehicles, panes and what else shines mirror; 0 = all is matt", low=0.0,
                           high=2.0)


@dataclass(frozen=True)
class OpticsConfig:
    """Lenses, sensors and what cameras make of an image; cameras of one rig differ where a spread is given."""

    auto_exposure: float = setting(0.0, "0 = fixed exposure, 1 = every image gets the same mean brightness", low=0.0,
                                   high=1.0)
    exposure: float = setting(1.0, "exposure of all cameras relative to the default", low=0.05, high=20.0)
    white_balance: float = setting(0.0, "cameras differ in the gains of red and blue by up to this share", low=0.0,
                                   high=0.8)
    contrast: float = setting(0.0, "tone curve: > 0 steeper in the middle, < 0 flatter", low=-0.9, high=0.9)
    contrast_spread: float = setting(0.0, "cameras differ in contrast by up to this", low=0.0, high=0.9)
    gamma: float = setting(2.2, "exponent of the tone curve", low=1.0, high=4.0)
    saturation: float = setting(1.0, "0 = grey images", low=0.0, high=3.0)
    vignetting: float = setting(0.0, "loss of light in the corners", low=0.0, high=0.95)
    shot_noise: float = setting(0.0, "standard deviation of the photon noise of a mid-grey pixel at exposure 1, share",
                                low=0.0, high=0.5)
    exposure_time: float = setting(0.0, "time over which the vehicle's motion blurs an image", unit="s", low=0.0,
                                   high=0.1)
    defocus: float = setting(0.0, "blur of the lens, standard deviation; each camera has up to this", unit="px",
                             low=0.0, high=6.0)
    sharpening: float = setting(0.0, "unsharp mask of the camera: edges overshoot by this share", low=0.0, high=2.0)
    bloom: float = setting(0.0, "share of over-exposed light that spreads around its source", low=0.0, high=1.0)
    flare: float = setting(0.0, "strength of veil and ghosts where the sun is in or near the image", low=0.0, high=2.0)
    dirt: float = setting(0.0, "share of the lens with smears and dust", low=0.0, high=1.0)
    drops: float = setting(0.0, "share of the lens with raindrops", low=0.0, high=1.0)
    jpeg: int = setting(0, "quality at which images are compressed and read again; 0 = they are not", low=0, high=100)
