"""Weather, light and cameras drawn at random, far beyond reality, for training."""

from __future__ import annotations

import math
from dataclasses import replace

from numpy.random import Generator

from .appearance import OpticsConfig, WeatherConfig
from .settings import SimulationConfig


def randomised(config: SimulationConfig, random: Generator) -> SimulationConfig:
    """The configuration with weather, light, optics, noise and ego body drawn anew; all else stays as it is."""
    weather = _random_weather(random)
    optics = _random_optics(random, weather)
    night = weather.night > 0.5
    noise = float(min(random.exponential(6.0 if night else 2.5), 20.0))
    return replace(config, weather=weather, optics=optics, noise=noise, shadows=True,
                   exposure_spread=float(random.uniform(0.0, 0.23)),  # up to x 1.6 between two cameras
                   ego_body=float(random.choice((0.0, 0.3, 0.8))))


def _random_weather(random: Generator) -> WeatherConfig:
    draw = random.random()
    night = 1.0 if draw < 0.2 else float(random.uniform(0.1, 0.8)) if draw < 0.25 else 0.0
    overcast = float(random.uniform(0.6, 1.0)) if random.random() < 0.2 else float(random.uniform(0.0, 0.4))
    foggy, wet = random.random() < 0.1, random.random() < 0.15
    haze = _between(random, 15.0, 120.0) if foggy else _between(random, 200.0, 4000.0)
    elevation = random.uniform(4.0, 20.0) if random.random() < 0.25 else random.uniform(20.0, 75.0)
    return WeatherConfig(
        overcast=overcast, sun_elevation=float(elevation), night=night, haze_depth=haze,
        clouds=float(random.uniform(-0.5, 1.2)), cloud_contrast=float(random.uniform(0.4, 2.5)),
        cloud_size=_between(random, 0.3, 3.0), glare=float(random.uniform(0.0, 1.2)),
        wet=float(random.uniform(0.3, 1.0)) if wet else 0.0,
        gloss=float(random.uniform(0.2, 1.3)) if random.random() < 0.8 else 0.0)


def _random_optics(random: Generator, weather: WeatherConfig) -> OpticsConfig:
    def sometimes(chance: float, low: float, high: float) -> float:
        return float(random.uniform(low, high)) if random.random() < chance else 0.0

    dark = max(weather.night, 0.3 * weather.overcast)
    rain = weather.wet > 0.0
    return OpticsConfig(
        auto_exposure=float(random.uniform(0.5, 1.0)), exposure=_between(random, 0.7, 1.6),
        white_balance=float(random.uniform(0.0, 0.22)), contrast=float(random.uniform(-0.3, 0.6)),
        contrast_spread=float(random.uniform(0.0, 0.2)), gamma=float(random.uniform(1.8, 2.6)),
        saturation=0.0 if random.random() < 0.08 else float(random.uniform(0.5, 1.6)),
        vignetting=sometimes(0.5, 0.05, 0.6), shot_noise=float(random.uniform(0.0, 0.03 + 0.06 * dark)),
        exposure_time=sometimes(0.6, 0.001, 0.008 + 0.02 * dark), defocus=sometimes(0.35, 0.3, 1.8),
        sharpening=sometimes(0.4, 0.1, 1.0), bloom=sometimes(0.5, 0.02, 0.3), flare=sometimes(0.5, 0.1, 1.0),
        dirt=sometimes(0.25, 0.1, 0.6), drops=sometimes(0.6 if rain else 0.04, 0.1, 0.7),
        jpeg=int(random.integers(30, 96)) if random.random() < 0.75 else 0)


def _between(random: Generator, low: float, high: float) -> float:
    """Uniform in the logarithm."""
    return float(math.exp(random.uniform(math.log(low), math.log(high))))
