"""Pixels, rays and depth: pinhole projection of undistorted images, in torch.

Integer pixel = pixel centre; depth = z in the optical frame.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # whoever asks first: a tensor of inference mode could not be trained with
def pixel_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 3) homogeneous pixel coordinates u, v, 1 of every pixel centre; shared, so read it only."""
    v, u = torch.meshgrid(torch.arange(height, dtype=torch.float32, device=device),
                          torch.arange(width, dtype=torch.float32, device=device), indexing="ij")
    return torch.stack((u, v, torch.ones_like(u)), dim=-1)


def pixel_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """(H, W, 3) directions in the optical frame with z = 1: point = depth * ray. intrinsics (3, 3)."""
    return pixel_grid(height, width, intrinsics.device) @ torch.linalg.inv(intrinsics).T


def unproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Depth (H, W) metres -> points (H, W, 3) in the optical frame (a pointmap)."""
    return depth.unsqueeze(-1) * pixel_rays(intrinsics, *depth.shape)


def project(points: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Points (..., 3) in the optical frame -> pixels (..., 2) u, v and depth (...,).

    intrinsics: (3, 3), or (B, 3, 3) for points (B, N, 3).
    Pixels of points with depth <= 0 are meaningless; test the depth.
    """
    homogeneous = points @ intrinsics.mT
    depth = homogeneous[..., 2]
    return homogeneous[..., :2] / depth.clamp(min=1e-6).unsqueeze(-1), depth


def transform_points(T_target_source: Tensor, points: Tensor) -> Tensor:
    """(4, 4) and (..., 3) -> (..., 3); or (B, 4, 4) and (B, N, 3) -> (B, N, 3)."""
    translation = T_target_source[..., :3, 3] if T_target_source.dim() == 2 else T_target_source[:, None, :3, 3]
    return points @ T_target_source[..., :3, :3].mT + translation


def sampling_grid(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pixels (..., 2) u, v -> ``grid_sample`` coordinates with align_corners=False (-1..1 at outer pixel borders)."""
    size = torch.tensor((width, height), dtype=pixels.dtype, device=pixels.device)
    return (2.0 * pixels + 1.0) / size - 1.0
