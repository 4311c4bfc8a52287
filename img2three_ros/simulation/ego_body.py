"""The part of the vehicle's own body that a camera sees: a bonnet or roof edge at the lower border, a panel or mirror
at one side. Fixed in the image, glossy, so that what it shows moves against it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..structures import CameraCalibration, Matrix
from .ray_casting import TILE, RayTiles
from .reflections import RayTable, fresnel, mirrored, reflected
from .sky import Light
from .textures import SolidNoise


@dataclass(frozen=True, eq=False)
class EgoBody:
    """cover: (T * R,) share 0..1 of each ray's pixel; chosen: (N,) places of rays with any cover; normal: (3, N) unit,
    optical frame; paint: (3,) albedo; shine: share mirrored at normal incidence."""

    cover: Tensor
    chosen: Tensor
    normal: Tensor
    paint: Tensor
    shine: float


def make_ego_body(rays: RayTiles, calibration: CameraCalibration, T_base_camera: Matrix,
                  entropy: tuple[int, ...]) -> EgoBody:
    """The body as one camera sees it, with an outline drawn by ``entropy``."""
    random = np.random.default_rng(entropy)
    width, height = calibration.width, calibration.height
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    a, b = u / width, 1.0 - v / height  # from the left, from below, 0..1
    inside = _bonnet(random, a, b) if random.random() < 0.7 else _side(random, a, b)
    soft = random.uniform(1.0, 5.0) / height  # out of focus: it is near
    cover = np.clip(inside / soft + 0.5, 0.0, 1.0)
    # Rounded: at the outline the surface turns away from the camera.
    curve, roll = random.uniform(0.1, 0.5), random.uniform(-0.8, 0.8)
    edge = np.exp(-np.maximum(inside, 0.0) * random.uniform(4.0, 25.0))
    base = np.stack((-0.15 + curve * edge + 0.0 * a, roll * (a - 0.5) + 0.1 * np.sin(9.0 * a), np.ones_like(a)), -1)
    heading = math.atan2(T_base_camera[1, 2], T_base_camera[0, 2])
    turn = np.array([[math.cos(heading), -math.sin(heading), 0], [math.sin(heading), math.cos(heading), 0], [0, 0, 1]])
    normal = (base / np.linalg.norm(base, axis=-1, keepdims=True)) @ turn.T @ T_base_camera[:3, :3]
    tone = random.choice((0.02, 0.05, 0.3, 0.7))
    paint = np.clip(tone * (1.0 + random.choice((0.0, 0.1, 0.6)) * random.uniform(-1.0, 1.0, 3)), 0.01, 0.85)
    device = rays.directions.device
    tiled = torch.tensor(_in_tiles(np.concatenate((cover[None], normal.transpose(2, 0, 1)))), dtype=torch.float32,
                         device=device)
    chosen = (tiled[0] > 0.0).nonzero().squeeze(1)
    return EgoBody(tiled[0], chosen, tiled[1:, chosen],
                   torch.tensor(paint, dtype=torch.float32, device=device), float(random.uniform(0.04, 0.35)))


def _in_tiles(image: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (C, T * R) in the order of RayTiles."""
    channels, height, width = image.shape
    padded = np.pad(image, ((0, 0), (0, -height % TILE), (0, -width % TILE)), mode="edge")
    down, across = padded.shape[1] // TILE, padded.shape[2] // TILE
    return padded.reshape(channels, down, TILE, across, TILE).transpose(0, 1, 3, 2, 4).reshape(channels, -1)


def _bonnet(random: np.random.Generator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Height (share of the image) below the outline of a bonnet, negative above it."""
    top, middle = random.uniform(0.04, 0.3), random.uniform(0.2, 0.8)
    bend, power = random.uniform(0.0, 0.6), random.uniform(2.0, 4.0)
    slope, bulge = random.uniform(-0.15, 0.15), random.uniform(0.0, 0.02)
    line = top - bend * np.abs(a - middle) ** power + slope * (a - 0.5)
    ridge = bulge * np.cos(random.uniform(6.0, 25.0) * (a - middle))
    return line + ridge - b


def _side(random: np.random.Generator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Width (share of the image) inside a body panel at one side, or of a mirror on an arm; negative outside."""
    a = a if random.random() < 0.5 else 1.0 - a
    lean, bend = random.uniform(-0.15, 0.15), random.uniform(0.0, 0.1)
    edge = random.uniform(0.03, 0.22) + lean * (b - 0.5) + bend * (b - 0.4) ** 2
    panel = np.minimum(edge - a, random.uniform(0.5, 1.3) - b)
    if random.random() < 0.4:
        x, y = (a - random.uniform(-0.05, 0.06)) / random.uniform(0.07, 0.16), (b - random.uniform(0.2, 0.5)) / 0.12
        return np.asarray(0.1 * (1.0 - (np.abs(x) ** 3 + np.abs(y) ** 3)))
    return np.asarray(panel)


def draw_ego_body(body: EgoBody, radiance: Tensor, depth: Tensor, rays: RayTiles, table: RayTable, rotation: Matrix,
                  noise: SolidNoise, light: Light) -> None:
    """The body into radiance (3, T * R), in place; depth: (T * R,) of what is behind it (inf = sky).

    rotation: (3, 3) optical frame into world.
    """
    if len(body.chosen) == 0:
        return
    direction = rays.directions.reshape(3, -1)[:, body.chosen]
    direction = direction * torch.rsqrt((direction * direction).sum(0))
    seen = torch.where(body.cover > 0.0, torch.nan, depth)
    mirror = reflected(torch.zeros_like(direction), mirrored(direction, body.normal), radiance, seen, table, rotation,
                       noise, light)
    up = torch.tensor(rotation[2], dtype=torch.float32, device=direction.device)
    towards = torch.tensor(rotation.T @ light.towards_sun, dtype=torch.float32, device=direction.device)
    facing = (body.normal * towards[:, None]).sum(0).clamp(min=0.0)
    level = 0.6 + 0.4 * (body.normal * up[:, None]).sum(0)
    share = fresnel((-direction * body.normal).sum(0), body.shine)
    for c in range(3):
        own = body.paint[c] * (light.sun[c] * facing + light.skylight[c] * level)
        colour = own * (1.0 - share) + mirror[c] * share
        radiance[c, body.chosen] += body.cover[body.chosen] * (colour - radiance[c, body.chosen])
