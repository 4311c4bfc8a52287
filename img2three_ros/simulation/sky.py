"""The light of an instant and the sky it comes from: clouds, sun, haze and fog, from noon to night.

All colours are linear RGB; 1 is about a white wall in the sun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..structures import Matrix
from .appearance import WeatherConfig
from .textures import SolidNoise

Colour = tuple[float, float, float]

_SUN: Colour = (1.30, 1.22, 1.08)
_SKYLIGHT: Colour = (0.42, 0.47, 0.55)
_HAZE: Colour = (0.62, 0.68, 0.76)
_ZENITH: Colour = (0.26, 0.42, 0.72)
_CLOUD: Colour = (0.88, 0.88, 0.88)
_GREY_SKY: Colour = (0.78, 0.80, 0.82)
_NIGHT_TINT: Colour = (0.75, 0.85, 1.25)
_CITY_GLOW: Colour = (0.030, 0.022, 0.014)
_NIGHT_SHARE = 0.012  # of the light of the day
_AIR: Colour = (0.05, 0.10, 0.21)  # extinction of sunlight per thickness of the atmosphere
_FOG_HEIGHT = 40.0
_FLAT_FROM = 0.85  # overcast from which there are no cast shadows
_CLEAR_FROM = 400.0  # haze_depth beyond which the sky overhead is free of haze


@dataclass(frozen=True, eq=False)
class Light:
    """towards_sun: (3,) unit vector, world; sun: irradiance of the sun; skylight: of the sky; haze, zenith, cloud:
    radiance of the sky's parts; casts: whether objects cast shadows; night: 0..1."""

    weather: WeatherConfig
    towards_sun: NDArray[np.float64]
    sun: Colour
    skylight: Colour
    haze: Colour
    zenith: Colour
    cloud: Colour
    casts: bool

    @property
    def night(self) -> float:
        return self.weather.night


def make_light(weather: WeatherConfig, towards_sun: NDArray[np.float64], shadows: bool) -> Light:
    """The light of a weather; towards_sun: (3,) unit vector."""
    grey, day = weather.overcast, _NIGHT_SHARE ** weather.night

    def mixed(clear: Colour, overcast: Colour, glow: float = 0.0) -> Colour:
        red, green, blue = (
            (a + (b - a) * grey) * day * (1.0 + (tint - 1.0) * weather.night) + glow * weather.night * city
            for a, b, tint, city in zip(clear, overcast, _NIGHT_TINT, _CITY_GLOW, strict=True))
        return red, green, blue

    through = 0.0
    if weather.sun_elevation > 0.0:
        through = 1.0 / max(float(towards_sun[2]), 0.05) - 1.4
    share = (1.0 - grey) ** 1.5 * max(1.0 - 2.0 * weather.night, 0.0)
    red, green, blue = (value * share * math.exp(-air * through) for value, air in zip(_SUN, _AIR, strict=True))
    return Light(weather, towards_sun, (red, green, blue), mixed(_SKYLIGHT, _GREY_SKY, 0.5),
                 mixed(_HAZE, _GREY_SKY, 1.0), mixed(_ZENITH, _GREY_SKY, 0.15), mixed(_CLOUD, _GREY_SKY, 0.6),
                 shadows and grey < _FLAT_FROM and share > 0.0)


def transmission(distance: Tensor, weather: WeatherConfig) -> Tensor:
    """Share of light that haze lets through over a distance, metres."""
    return torch.exp(-distance / weather.haze_depth)


def sky(direction: Tensor, up: Tensor, rotation: Matrix, noise: SolidNoise, pixel: float | Tensor,
        light: Light) -> Tensor:
    """(3, N) radiance of the sky in directions (3, N), unit, in a frame that ``rotation`` (3, 3) turns into the
    world and in which ``up`` (3,) points up; pixel: detail finer than this (radians) is left out."""
    weather = light.weather
    elevation = (direction * up[:, None]).sum(0).clamp(min=0.0)
    r = torch.tensor(rotation[:2], dtype=torch.float32, device=direction.device)
    spread = 1.6 / (elevation + 0.22)
    across = [(r[i, 0] * direction[0] + r[i, 1] * direction[1] + r[i, 2] * direction[2]) * spread
              / weather.cloud_size for i in range(2)]
    detail, _ = noise.octaves(across[0], across[1], torch.zeros_like(elevation) + 7.0,
                              4.0 * pixel * spread / weather.cloud_size)
    cloud = (weather.clouds + weather.cloud_contrast * detail).clamp(0.0, 1.0)
    low = torch.exp(-6.0 * elevation)
    bright = 1.0 if weather.overcast == 0.0 else 1.0 + 0.3 * weather.overcast * detail.clamp(-1.0, 1.0)
    parts = [(light.zenith[c] + (light.haze[c] - light.zenith[c]) * low) * (1.0 - 0.75 * cloud)
             + 0.75 * cloud * light.cloud[c] * bright for c in range(3)]
    radiance = torch.stack(parts)
    if weather.glare > 0.0 and max(light.sun) > 0.0:
        radiance = radiance + _sun_glow(direction, rotation, cloud, light)
    if weather.haze_depth < _CLEAR_FROM:
        through = torch.exp(-_FOG_HEIGHT / (weather.haze_depth * (elevation + 0.03)))
        radiance = torch.stack([light.haze[c] + (radiance[c] - light.haze[c]) * through for c in range(3)])
    return radiance


def _sun_glow(direction: Tensor, rotation: Matrix, cloud: Tensor, light: Light) -> Tensor:
    """(3, N) light of the sun's disc and of its halo."""
    towards = rotation.T @ light.towards_sun
    cosine = sum(float(towards[i]) * direction[i] for i in range(3)).clamp(0.0, 1.0)
    near = cosine ** 8
    halo = 0.25 * near + 0.8 * near ** 8 + 4.0 * near ** 64 * near ** 40
    disc = 40.0 * ((cosine - 0.99985) * 2e4).clamp(0.0, 1.0) * (1.0 - 0.9 * cloud)
    return light.weather.glare * (halo + disc) * torch.tensor(light.sun, device=direction.device)[:, None]


def surroundings(direction: Tensor, noise: SolidNoise, light: Light) -> Tensor:
    """(3, N) radiance that a mirror sees in directions (3, N), unit, world, where the image itself does not show it:
    the sky, a jagged skyline below it, and ground."""
    device = direction.device
    up = torch.tensor((0.0, 0.0, 1.0), device=device)
    above = sky(direction, up, np.eye(3), noise, 0.06, light)
    sector = torch.floor(6.0 * torch.atan2(direction[1], direction[0]))
    skyline = 0.22 + 0.16 * noise.cell(sector, sector, 31)
    tone = 0.25 + 0.12 * noise.cell(sector, sector, 32)
    inside = ((skyline - direction[2]) * 40.0).clamp(0.0, 1.0)
    ground = ((-direction[2] - 0.02) * 40.0).clamp(0.0, 1.0)
    lit = torch.tensor([sky_part + 0.35 * sun_part for sky_part, sun_part in
                        zip(light.skylight, light.sun, strict=True)], device=device)[:, None]
    found = above + inside * (tone * lit - above)
    return found + ground * (0.16 * lit - found)
