"""Pictures of the street that cameras take, several together, and the truth about every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from .primitives import PrimitiveSet, concatenate
from .ray_casting import TILE, RayTiles, nearest_hits, ray_tiles, turned
from .reflections import RayTable, ray_table
from .rig import camera_directions
from .sensor_scenes import views_scene
from .settings import SimulationConfig
from .shading import PrimitiveTables
from .sky import Light
from .textures import SolidNoise
from .trajectories import Road

_LAMPS_FROM = 0.35  # of night
_VISIBLE_MOTION = 0.4  # px of blur at 8 m distance below which there is none
_EGO_COVER = 0.05
_RAYS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 22}
"""Rays cast and shaded together: few large kernels for a GPU; on a CPU about one image of 640 x 384 or four of half its
size, more gains nothing."""


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
class Street:
    """What all views of a vehicle share. classes: (1 + objects,) SemanticClass and moving: (1 + objects,) bool by
    identity."""

    config: SimulationConfig
    road: Road
    light: Light
    noise: SolidNoise
    classes: NDArray[np.uint8]
    moving: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Shot:
    """One exposure. primitives: of the street at its instant (the same object for shots of one instant);
    T_world_camera: (4, 4); T_world_base: (4, 4) where the vehicle stands, with its headlights; seed: of its noise;
    T_end_start: (4, 4) optical frame at the start of the exposure into that at its end, None = it stands still."""

    camera: SimulatedCamera
    primitives: PrimitiveSet
    T_world_camera: Matrix
    T_world_base: Matrix
    stamp: int
    seed: int
    T_end_start: Matrix | None = None
    with_normals: bool = False


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


def render_shots(street: Street, shots: Sequence[Shot], rays_at_once: int | None = None) -> Iterator[RenderedView]:
    """Images and truth (without velocity) of the shots, in their order.

    Rays of several shots are cast and shaded together, up to ``rays_at_once`` (None = what suits the device); images
    and truth do not depend on it.
    """
    most = rays_at_once or _RAYS_AT_ONCE[torch.device(street.config.device).type]
    start = 0
    while start < len(shots):
        tiles = shots[start].camera.rays.bounds.shape[0]
        end = start + 1
        while end < len(shots) and shots[end].camera.rays.bounds.shape[0] == tiles and (
                (end + 1 - start) * tiles * TILE * TILE <= most):
            end += 1
        yield from _batch(street, shots[start:end])
        start = end


def _batch(street: Street, shots: Sequence[Shot]) -> Iterator[RenderedView]:
    """The shots, all of as many tiles, together."""
    cameras, device = [shot.camera for shot in shots], street.config.device
    poses = np.stack([shot.T_world_camera for shot in shots])
    scene = views_scene([shot.primitives for shot in shots], poses, street.light.towards_sun, device)
    tables = PrimitiveTables(concatenate([shot.primitives for shot in shots]), device)
    directions = [turned(camera.rays.directions, pose[:3, :3]) for camera, pose in zip(cameras, poses, strict=True)]
    rays = RayTiles(torch.cat(directions, 1), torch.cat([camera.rays.bounds for camera in cameras]), 0, 0)
    frames = np.tile(np.eye(4), (len(shots), 1, 1))
    frames[:, :3, 3] = poses[:, :3, 3]
    lamps = [_lamps(street, shot) for shot in shots]
    pixel = [1.0 / camera.calibration.intrinsics[0, 0] for camera in cameras]
    around = Surroundings(
        street.light, street.noise, partial(_lamp_light, street, shots, lamps) if lamps[0] is not None else None,
        torch.tensor(pixel, dtype=torch.float32, device=device), [camera.table for camera in cameras],
        [pose[:3, :3] for pose in poses])
    ground = GroundView(street.road, frames)
    depth, found = nearest_hits(rays, scene, ground.hits(rays))
    shaded = shade(rays, depth, found, ground, scene, tables, around)
    owner = torch.where(found >= 0, tables.owner[found.clamp(min=0)],
                        torch.where(torch.isfinite(shaded.depth), 0, -1)).to(torch.int32)
    tiles = len(found) // len(shots)
    for view, shot in enumerate(shots):
        own = slice(view * tiles, (view + 1) * tiles)
        part = Shaded(shaded.radiance[:, own], shaded.depth[own], shaded.normal[:, own])
        yield _view(street, shot, part, owner[own], lamps[view])


def _view(street: Street, shot: Shot, shaded: Shaded, owner: Tensor, lamps: Lamps | None) -> RenderedView:
    """What one camera makes of its rays, and the truth. owner: (T, R) int32 identity, -1 = sky."""
    camera, rays = shot.camera, shot.camera.rays
    image = _picture(shaded, shot, street, lamps)
    depth = rays.to_image(torch.where(torch.isfinite(shaded.depth), shaded.depth, torch.nan))
    identity = rays.to_image(owner)
    ego = torch.zeros_like(depth, dtype=torch.bool)
    if camera.body is not None:
        ego = rays.to_image((camera.body.cover > _EGO_COVER).reshape(shaded.depth.shape))
        depth, identity = torch.where(ego, torch.nan, depth), torch.where(ego, -2, identity)
    normals = None
    if shot.with_normals:
        known = torch.isfinite(depth)[..., None]
        normal = rays.to_image(turned(shaded.normal, shot.T_world_camera[:3, :3].T)).permute(1, 2, 0)
        normals = torch.where(known, normal, torch.nan).cpu().numpy()
    number = identity.contiguous().cpu().numpy()
    places = np.maximum(number, 0)
    category = np.where(number >= 0, street.classes[places],
                        np.where(number == -1, SemanticClass.SKY, SemanticClass.UNKNOWN)).astype(np.uint8)
    return RenderedView(camera.name, shot.stamp, image, depth.contiguous().cpu().numpy(), number,
                        street.moving[places] & (number > 0), ego.cpu().numpy(), category, normals)


def _lamps(street: Street, shot: Shot) -> Lamps | None:
    """The street lamps around a camera, None by day."""
    if street.light.night <= _LAMPS_FROM:
        return None
    return street_lamps(street.config.seed, shot.T_world_camera[:3, 3], float(shot.T_world_base[2, 3]))


def _lamp_light(street: Street, shots: Sequence[Shot], lamps: Sequence[Lamps | None], points: Tensor,
                normal: Tensor) -> Tensor:
    """(3, N) irradiance of points (3, N) with normals (3, N) in the frames of the views, one view after the other."""
    count, found = points.shape[1] // len(shots), []
    for view, (shot, near) in enumerate(zip(shots, lamps, strict=True)):
        own, frame = slice(view * count, (view + 1) * count), np.eye(4)
        frame[:3, 3] = shot.T_world_camera[:3, 3]
        if near is not None:
            found.append(lamp_light(points[:, own], normal[:, own], near, frame, shot.T_world_base,
                                    street.light.night))
    return torch.cat(found, 1)


def _picture(shaded: Shaded, shot: Shot, street: Street, lamps: Lamps | None) -> NDArray[np.uint8]:
    """(H, W, 3) what the camera makes of the light."""
    camera, T_world_camera, T_end_start = shot.camera, shot.T_world_camera, shot.T_end_start
    config, rays, light, optics = street.config, camera.rays, street.light, street.config.optics
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
        radiance, motion = _with_body(radiance, motion, shaded, camera, street, rotation)
    return camera_response(radiance, camera.look, optics, config.noise, shot.seed, motion)


def _with_body(radiance: Tensor, motion: Tensor | None, shaded: Shaded, camera: SimulatedCamera, street: Street,
               rotation: Matrix) -> tuple[Tensor, Tensor | None]:
    """Radiance (3, H, W) and motion (2, H, W) with the vehicle's body before them; the body does not move."""
    rays, body, table = camera.rays, camera.body, camera.table
    if body is None or table is None:
        return radiance, motion
    behind = shaded.radiance.reshape(3, -1)
    draw_ego_body(body, behind, shaded.depth.reshape(-1), rays, table, rotation, street.noise, street.light)
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
