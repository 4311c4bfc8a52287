"""A world of textured planes with exact depth, rendered by intersecting rays with planes: truth for the sweep tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.reconstruction.views import PreparedFrame, View


@dataclass(frozen=True)
class Plane:
    """point and normal in the odometry frame; limits of y and z where it ends; seed of its texture."""

    point: tuple[float, float, float]
    normal: tuple[float, float, float]
    seed: int = 0
    y: tuple[float, float] = (-1e9, 1e9)
    z: tuple[float, float] = (-1e9, 1e9)
    contrast: float = 1.0


GROUND = Plane((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 7)


def wall(distance: float, **kwargs) -> Plane:
    """A plane across the direction of travel."""
    return Plane((distance, 0.0, 0.0), (-1.0, 0.0, 0.0), 3, **kwargs)


def side_wall(y: float) -> Plane:
    """A plane along the direction of travel."""
    return Plane((0.0, y, 0.0), (0.0, -1.0, 0.0), 5)


def camera_pose(x: float = 0.0, y: float = 0.0, z: float = 1.5, yaw: float = 0.0) -> np.ndarray:
    """``T_base_camera`` of a level camera."""
    return from_xyz_rpy([x, y, z], [0.0, 0.0, yaw]) @ T_BASE_OPTICAL


def pinhole(size: tuple[int, int], focal: float) -> np.ndarray:
    """Intrinsics of a centred camera, size (height, width)."""
    return np.array([[focal, 0.0, size[1] / 2 - 0.5], [0.0, focal, size[0] / 2 - 0.5], [0.0, 0.0, 1.0]])


def render(planes: list[Plane], T_odom_camera: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int],
           ) -> tuple[np.ndarray, np.ndarray]:
    """Grey (H, W) 0..1 (3 x 3 samples a pixel) and depth (H, W) at pixel centres; inf where no plane is hit."""
    shades = []
    depth = np.full(size, np.inf)
    for dv in (-1 / 3, 0.0, 1 / 3):
        for du in (-1 / 3, 0.0, 1 / 3):
            v, u = np.mgrid[:size[0], :size[1]].astype(float)
            rays = np.stack((u + du, v + dv, np.ones_like(u)), -1) @ np.linalg.inv(intrinsics).T
            rays = rays @ T_odom_camera[:3, :3].T
            nearest, shade = np.full(size, np.inf), np.full(size, 0.9)
            for plane in planes:
                normal = np.array(plane.normal)
                with np.errstate(divide="ignore", invalid="ignore"):
                    distance = normal @ (np.array(plane.point) - T_odom_camera[:3, 3]) / (rays @ normal)
                points = T_odom_camera[:3, 3] + np.where(np.isfinite(distance), distance, 0.0)[..., None] * rays
                hit = ((distance > 0.1) & (distance < nearest)
                       & (points[..., 1] >= plane.y[0]) & (points[..., 1] <= plane.y[1])
                       & (points[..., 2] >= plane.z[0]) & (points[..., 2] <= plane.z[1]))
                shade = np.where(hit, 0.5 + plane.contrast * _texture(points, plane.seed), shade)
                nearest = np.where(hit, distance, nearest)
            shades.append(shade)
            if du == dv == 0.0:
                depth = nearest
    return np.mean(shades, 0).clip(0.0, 1.0), depth


def view(planes: list[Plane], name: str, T_base_camera: np.ndarray, T_odom_base: np.ndarray,
         size: tuple[int, int] = (128, 192), focal: float = 160.0, gain: float = 1.0, offset: float = 0.0,
         ) -> tuple[View, np.ndarray]:
    """A view of the planes and its true depth (H, W)."""
    intrinsics = pinhole(size, focal)
    grey, depth = render(planes, T_odom_base @ T_base_camera, intrinsics, size)
    image = torch.from_numpy((gain * grey + offset).clip(0.0, 1.0)).float().expand(3, *size).contiguous()
    return View(name, 0, image, torch.from_numpy(intrinsics).float(), torch.ones(size, dtype=torch.bool),
                T_base_camera), depth


def frame(stamp: int, views: list[View], T_odom_base: np.ndarray | None) -> PreparedFrame:
    """A prepared frame without missing cameras."""
    return PreparedFrame(stamp, tuple(views), (), T_odom_base)


def _texture(points: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shade = np.zeros(points.shape[:-1])
    for wavelength in (0.15, 0.25, 0.4, 0.7, 1.1, 1.9, 3.1):
        for _ in range(4):
            direction = rng.normal(size=3)
            direction *= 2 * np.pi / wavelength / np.linalg.norm(direction)
            shade += np.sin(points @ direction + rng.uniform(0, 6.3))
    return 0.06 * shade
