"""One camera's picture of the street at one instant, and the truth about every pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.cameras import distort
from ..geometry.transforms import apply, inverse
from ..structures import CameraCalibration, Matrix
from .categories import SemanticClass
from .ego_body import EgoBody, draw_ego_body, make_ego_body
from .ground import GroundView
from .lamps import Lamps, draw_lamps, lamp_light, street_lamps
from .lens import CameraLook, add_flare, camera_response, make_look
from .lighting import Shaded, Surroundings, shade
from .primitives import PrimitiveSet
from .ray_casting import RayTiles, nearest_hits, ray_tiles, sensor_scene
from .reflections import RayTable, ray_table
from .rig import camera_directions
from .settings import SimulationConfig
from .shading import PrimitiveTables
from .sky import Light, make_light
from .textures import SolidNoise
from .trajectories import Road

_LAMPS_FROM = 0.35  # of night
_VISIBLE_MOTION = 0.4  # px of blur at 8 m distance below which there is none
_EGO_COVER = 0.05


@dataclass(frozen=True, eq=False)
class RenderedView:
    """One image and the truth about it.

    image: (H, W, 3) uint8 RGB as the camera gives it (distorted if the calibration says so).
    depth: (H, W) float32 metres along the optical axis, NaN = sky or ego.
    identity: (H, W) int32: -2 ego, -1 sky, 0 ground, otherwise the object (``SimulatedVehicle.objects``).
    moving: (H, W) bool: the pixel shows an object that moves relative to the street.
    ego: (H, W) bool: the pixel shows the vehicle's own body, wholly or in part.
    category: (H, W) uint8 ``SemanticClass``; ego is UNKNOWN.
    normals: (H, W, 3) float32 unit normals in the optical frame, NaN = sky or ego.
    velocity: (H, W, 3) float32 m/s relative to the street, in the optical frame; 0 where nothing moves, NaN = sky or
        ego; None unless asked for.
    """

    camera: str
    stamp: int
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    identity: NDArray[np.int32]
    moving: NDArray[np.bool_]
    ego: NDArray[np.bool_]
    category: NDArray[np.uint8]
    normals: NDArray[np.float32] | None = None
    velocity: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class SimulatedCamera:
    """What a camera keeps from image to image. body: the part of the vehicle that it sees, or None."""

    name: str
    calibration: CameraCalibration
    rays: RayTiles
    table: RayTable | None
    look: CameraLook
    body: EgoBody | None


@dataclass(frozen=True, eq=False)
class Instant:
    """The street when a camera exposes. classes: (1 + objects,) SemanticClass and moving: (1 + objects,) bool by
    identity; T_world_base: (4, 4) where the vehicle stands, with its headlights."""

    config: SimulationConfig
    primitives: PrimitiveSet
    road: Road
    light: Light
    noise: SolidNoise
    classes: NDArray[np.uint8]
    moving: NDArray[np.bool_]
    T_world_base: Matrix


def make_camera(config: SimulationConfig, name: str, calibration: CameraCalibration, gain: float, number: int,
                T_base_camera: Matrix | None = None) -> SimulatedCamera:
    """Camera ``number`` of the configuration's rig; without ``T_base_camera`` it is not mounted on the vehicle."""
    rays = ray_tiles(camera_directions(calibration), config.device)
    draw = np.random.default_rng((config.seed, 23, number)).random()
    sees_ego = T_base_camera is not None and draw < config.ego_body
    mirrors = sees_ego or config.weather.gloss > 0.0 or config.weather.wet > 0.0
    table = ray_table(rays, calibration) if mirrors else None
    look = make_look(config.optics, gain, calibration, (config.seed, 24, number), config.device)
    body = None
    if sees_ego and T_base_camera is not None:
        body = make_ego_body(rays, calibration, T_base_camera, (config.seed, 25, number))
    return SimulatedCamera(name, calibration, rays, table, look, body)


def make_instant(config: SimulationConfig, primitives: PrimitiveSet, road: Road, sun: NDArray[np.float64],
                 noise: SolidNoise, classes: NDArray[np.uint8], moving: NDArray[np.bool_],
                 T_world_base: Matrix) -> Instant:
    """The street at an instant under the configuration's weather. sun: (3,) unit vector towards the sun, world."""
    light = make_light(config.weather, sun, config.shadows)
    return Instant(config, primitives, road, light, noise, classes, moving, T_world_base)


def render_view(instant: Instant, camera: SimulatedCamera, T_world_camera: Matrix, stamp: int, seed: int,
                T_end_start: Matrix | None = None, with_normals: bool = False) -> RenderedView:
    """Image and truth (without velocity) of a camera with a pose (4, 4).

    T_end_start: (4, 4) optical frame at the start of the exposure into that at its end, None = it stands still.
    """
    config, rays, light = instant.config, camera.rays, instant.light
    scene = sensor_scene(instant.primitives, T_world_camera, light.towards_sun, config.device)
    tables = PrimitiveTables(instant.primitives, config.device)
    ground = GroundView(instant.road, T_world_camera)
    lamps = lighting = None
    if light.night > _LAMPS_FROM:
        lamps = street_lamps(config.seed, T_world_camera[:3, 3], float(instant.T_world_base[2, 3]))
        lighting = _lamp_lighting(lamps, T_world_camera, instant)
    pixel = 1.0 / float(camera.calibration.intrinsics[0, 0])
    around = Surroundings(light, instant.noise, lighting, camera.table, pixel)
    depth, found = nearest_hits(rays, scene, ground.hits(rays))
    shaded = shade(rays, depth, found, ground, scene, tables, around)
    image = _picture(shaded, camera, instant, T_world_camera, lamps, seed, T_end_start)

    depth = rays.to_image(torch.where(torch.isfinite(shaded.depth), shaded.depth, torch.nan))
    owner = torch.where(found >= 0, tables.owner[found.clamp(min=0)],
                        torch.where(torch.isfinite(shaded.depth), 0, -1))
    identity = rays.to_image(owner).to(torch.int32)
    ego = torch.zeros_like(depth, dtype=torch.bool)
    if camera.body is not None:
        ego = rays.to_image((camera.body.cover > _EGO_COVER).reshape(shaded.depth.shape))
        depth, identity = torch.where(ego, torch.nan, depth), torch.where(ego, -2, identity)
    normals = None
    if with_normals:
        known = torch.isfinite(depth)[..., None]
        normals = torch.where(known, rays.to_image(shaded.normal).permute(1, 2, 0), torch.nan).cpu().numpy()
    number = identity.cpu().numpy()
    places = np.maximum(number, 0)
    category = np.where(number >= 0, instant.classes[places],
                        np.where(number == -1, SemanticClass.SKY, SemanticClass.UNKNOWN)).astype(np.uint8)
    return RenderedView(camera.name, stamp, image, depth.contiguous().cpu().numpy(), number,
                        instant.moving[places] & (number > 0), ego.cpu().numpy(), category, normals)


def _lamp_lighting(lamps: Lamps, T_world_camera: Matrix, instant: Instant) -> Callable[[Tensor, Tensor], Tensor]:
    return partial(lamp_light, lamps=lamps, T_world_camera=T_world_camera, T_world_base=instant.T_world_base,
                   strength=instant.light.night)


def _picture(shaded: Shaded, camera: SimulatedCamera, instant: Instant, T_world_camera: Matrix, lamps: Lamps | None,
             seed: int, T_end_start: Matrix | None) -> NDArray[np.uint8]:
    """(H, W, 3) what the camera makes of the light."""
    config, rays, light, optics = instant.config, camera.rays, instant.light, instant.config.optics
    rotation, focal = T_world_camera[:3, :3], float(camera.calibration.intrinsics[0, 0])
    depth = rays.to_image(shaded.depth)
    radiance = rays.to_image(shaded.radiance)
    if lamps is not None:
        radiance = radiance.clone()
        places = apply(inverse(T_world_camera), lamps.place)
        pixels = distort(places[:, :2] / np.maximum(places[:, 2:], 0.1), camera.calibration)
        draw_lamps(radiance, depth, pixels, places[:, 2], lamps, focal, light.night)
    towards = rotation.T @ light.towards_sun
    if optics.flare > 0.0 and max(light.sun) > 0.0 and towards[2] > 0.2:
        u, v = distort(towards[None, :2] / towards[2], camera.calibration)[0]
        if abs(u - depth.shape[1] / 2) < 1.5 * depth.shape[1] and abs(v - depth.shape[0] / 2) < 2.0 * depth.shape[0]:
            radiance = add_flare(radiance, depth, (float(u), float(v)), light.sun, optics.flare, 0.5 * focal)
    motion = None
    if T_end_start is not None and focal * np.linalg.norm(T_end_start - np.eye(4)) / 8.0 > _VISIBLE_MOTION:
        motion = rays.to_image(_motion(rays, shaded.depth, T_end_start, camera.calibration))
    if camera.body is not None and camera.table is not None:
        radiance, motion = _with_body(radiance, motion, shaded, camera, instant, rotation)
    return camera_response(radiance, camera.look, optics, config.noise, seed, motion)


def _with_body(radiance: Tensor, motion: Tensor | None, shaded: Shaded, camera: SimulatedCamera, instant: Instant,
               rotation: Matrix) -> tuple[Tensor, Tensor | None]:
    """Radiance (3, H, W) and motion (2, H, W) with the vehicle's body before them; the body does not move."""
    rays, body, table = camera.rays, camera.body, camera.table
    if body is None or table is None:
        return radiance, motion
    behind = shaded.radiance.reshape(3, -1)
    draw_ego_body(body, behind, shaded.depth.reshape(-1), rays, table, rotation, instant.noise, instant.light)
    cover = rays.to_image(body.cover.reshape(shaded.depth.shape))
    radiance = torch.where(cover > 0.0, rays.to_image(shaded.radiance), radiance)
    return radiance, None if motion is None else motion * (1.0 - cover)


def _motion(rays: RayTiles, depth: Tensor, T_end_start: Matrix, calibration: CameraCalibration) -> Tensor:
    """(2, T, R) px by which what stands still moves in the image during the exposure (lens distortion left out)."""
    x, y, _ = rays.directions
    near = (1.0 / depth).clamp(max=2.0)  # sky: 0
    t = T_end_start
    moved = [t[i, 0] * x + t[i, 1] * y + t[i, 2] + t[i, 3] * near for i in range(3)]
    ahead = moved[2].clamp(min=0.2)
    k = calibration.intrinsics
    return torch.stack((float(k[0, 0]) * (moved[0] / ahead - x), float(k[1, 1]) * (moved[1] / ahead - y)))
