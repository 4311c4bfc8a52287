"""Correction of an odometry pose by the images: direct alignment of an earlier instant with depth to the present one.

A tenth of a degree moves a pixel as much as half a metre of travel does thirty metres ahead, and odometry is often not
better. The reconstructed points of the earlier instant must look the same now: Gauss-Newton over the six degrees of
freedom of the vehicle's motion, all cameras together (Kerl et al., "Robust odometry estimation for RGB-D cameras",
ICRA 2013), held to the odometry by a prior, so that what images cannot tell (scale, standing still) stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..geometry.rays import pixel_rays, project, sampling_grid, transform_points
from ..geometry.transforms import from_rotation_translation, inverse
from ..structures import Matrix
from .sweep_cost import Level

MIN_POINTS = 400
_ITERATIONS = 6
_ROTATION_PRIOR = np.radians(0.2)
_TRANSLATION_PRIOR, _TRANSLATION_PRIOR_SHARE = 0.02, 0.02
_CORRELATED_PIXELS = 20.0
_MAX_SIGMAS = 4.0
_CLEAR_GAIN = 0.92
_SETTLED = 0.02
"""Steps smaller than this share of the prior's deviation (0.004 degrees, 0.4 mm) are the last."""


@dataclass(frozen=True, eq=False)
class AlignmentCamera:
    """One camera at both instants. points (N, 3) in the earlier ``base_link``; appearance (N,) there; present
    (4, H, W): ``Level.appearance`` now; intrinsics (3, 3); T_camera_base (4, 4) now."""

    points: Tensor
    appearance: Tensor
    present: Tensor
    intrinsics: Tensor
    T_camera_base: Matrix

    @staticmethod
    def of(before: Level, inverse_depth: Tensor, grid_intrinsics: Tensor, trusted: Tensor,
           T_base_before: Matrix, now: Level, T_base_now: Matrix) -> AlignmentCamera:
        """From images (``Level``) of both instants and the inverse depth (h, w) of the earlier where ``trusted``."""
        height, width = int(inverse_depth.shape[0]), int(inverse_depth.shape[1])
        trusted = trusted.clone()
        trusted[::2] = False
        trusted[:, ::2] = False
        rays = pixel_rays(grid_intrinsics.float(), height, width)[trusted]
        T = torch.as_tensor(T_base_before, dtype=torch.float32, device=rays.device)
        points = transform_points(T, rays / inverse_depth[trusted].unsqueeze(-1))
        pixels, _ = project(rays, before.intrinsics.float())
        grid = sampling_grid(pixels, *before.size)[None, None]
        looks = F.grid_sample(before.appearance[None, :1], grid, align_corners=False)[0, 0, 0]
        return AlignmentCamera(points, looks, now.appearance, now.intrinsics.float(), inverse(T_base_now))


def align(cameras: Sequence[AlignmentCamera], T_now_before: Matrix) -> Matrix | None:
    """Corrected ``T_now_before`` (4, 4) between the two ``base_link``; None where the images do not tell better."""
    if sum(len(camera.points) for camera in cameras) < MIN_POINTS:
        return None
    translation_prior = _TRANSLATION_PRIOR + _TRANSLATION_PRIOR_SHARE * float(np.linalg.norm(T_now_before[:3, 3]))
    information = np.diag([translation_prior ** -2.0] * 3 + [_ROTATION_PRIOR ** -2.0] * 3)
    groups = _grouped(cameras)
    pose, correction, first, scale, settled = T_now_before, np.zeros(6), 0.0, 0.0, False
    for iteration in range(_ITERATIONS + 1):
        residual, jacobian = _linearise(groups, pose)
        if len(residual) < MIN_POINTS:
            return None
        if iteration == 0:
            scale = max(1.4826 * float(residual.abs().median()), 0.05)
        weight = (1.0 + (residual / (2.0 * scale)) ** 2).reciprocal().square()
        error = float((residual ** 2 / (residual ** 2 + (2.0 * scale) ** 2)).mean())
        if iteration == 0:
            first = error
        if settled or iteration == _ITERATIONS:
            break
        weighted = jacobian * weight.unsqueeze(-1)
        normal = (weighted.T @ jacobian).double().cpu().numpy() / (scale ** 2 * _CORRELATED_PIXELS)
        slope = (weighted.T @ residual).double().cpu().numpy() / (scale ** 2 * _CORRELATED_PIXELS)
        step = np.linalg.solve(normal + information, -slope - information @ correction)
        correction = correction + step
        pose = _moved(step) @ pose
        settled = bool((np.abs(step) * np.sqrt(np.diag(information)) < _SETTLED).all())
    too_far = np.abs(correction) > _MAX_SIGMAS / np.sqrt(np.diag(information))
    return None if too_far.any() or error >= _CLEAR_GAIN * first else pose


@dataclass(frozen=True, eq=False)
class _Group:
    """Cameras with images of one size, their points padded to the same number: (B, N, 3) and so on. real: (B, N)."""

    points: Tensor
    appearance: Tensor
    real: Tensor
    present: Tensor
    intrinsics: Tensor
    T_camera_base: Tensor

    @staticmethod
    def of(cameras: Sequence[AlignmentCamera]) -> _Group:
        """Together they take a fraction of the time: the steps are many and small."""
        points, appearance, real = (pad_sequence(values, batch_first=True) for values in (
            [camera.points for camera in cameras], [camera.appearance for camera in cameras],
            [torch.ones_like(camera.appearance, dtype=torch.bool) for camera in cameras]))
        return _Group(
            points, appearance, real,
            torch.stack([camera.present for camera in cameras]),
            torch.stack([camera.intrinsics for camera in cameras]),
            points.new_tensor(np.stack([camera.T_camera_base for camera in cameras])))


def _grouped(cameras: Sequence[AlignmentCamera]) -> list[_Group]:
    sizes: dict[torch.Size, list[AlignmentCamera]] = {}
    for camera in cameras:
        sizes.setdefault(camera.present.shape, []).append(camera)
    return [_Group.of(group) for group in sizes.values()]


def _linearise(groups: Sequence[_Group], T_now_before: Matrix) -> tuple[Tensor, Tensor]:
    """Residuals (N,) of all cameras and their derivatives (N, 6) by a small translation and rotation of the pose."""
    residuals, jacobians = [], []
    for group in groups:
        height, width = group.present.shape[2:]
        base = transform_points(group.points.new_tensor(T_now_before), group.points)
        local = transform_points(group.T_camera_base, base)
        pixels, depth = project(local, group.intrinsics)
        grid = sampling_grid(pixels, height, width)
        sample = F.grid_sample(group.present, grid[:, None], align_corners=False)[:, :, 0]
        keep = group.real & (depth > 0.5) & (sample[:, 3] > 0.99)
        inverse_depth = depth.clamp(min=0.5).reciprocal()
        by_x = sample[:, 1] * group.intrinsics[:, 0, 0, None] * inverse_depth
        by_y = sample[:, 2] * group.intrinsics[:, 1, 1, None] * inverse_depth
        by_z = -(by_x * local[..., 0] + by_y * local[..., 1]) * inverse_depth
        by_base = torch.stack((by_x, by_y, by_z), -1) @ group.T_camera_base[:, :3, :3]
        jacobian = torch.cat((by_base, torch.linalg.cross(base, by_base)), -1)
        residuals.append((sample[:, 0] - group.appearance)[keep])
        jacobians.append(jacobian[keep])
    return torch.cat(residuals), torch.cat(jacobians)


def _moved(twist: NDArray[np.float64]) -> Matrix:
    return from_rotation_translation(Rotation.from_rotvec(twist[3:]).as_matrix(), twist[:3])
