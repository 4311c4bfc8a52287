"""Plane sweep geometry: inverse-depth hypotheses of a reference view and where they appear in a source view.

A pixel p of the reference at inverse depth r lies in the source at K_s (R K_r^-1 p + r t): linear in r before the
perspective division, so that a whole stack of planes, a slanted plane or a depth map are warped by one function
(Collins, "A space-sweep approach to true multi-image matching", CVPR 1996; Gallup et al., "Real-time plane-sweeping
stereo with multiple sweeping directions", CVPR 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..structures import Matrix
from .rays import pixel_grid, pixel_rays

_BEHIND = 1e-4


def inverse_depth_planes(count: int, min_depth: float, max_depth: float, bend: float = 33.0) -> Tensor:
    """(count,) float32 inverse depths 1/m, ascending: far to near.

    Uniform in inverse depth beyond ``bend`` metres, where a step of disparity decides, and of constant ratio before
    it, where a uniform step would waste planes on millimetres.
    """
    far, near, offset = 1.0 / max_depth, 1.0 / min_depth, 1.0 / bend
    steps = torch.linspace(np.log(far + offset), np.log(near + offset), count, dtype=torch.float64)
    return (torch.exp(steps) - offset).clamp(min=far * 0.999).to(torch.float32)


def scaled_intrinsics(intrinsics: Tensor, factor: float) -> Tensor:
    """Intrinsics (3, 3) of the image averaged over blocks of ``1/factor`` pixels (integer pixel = pixel centre)."""
    scale = torch.tensor([[factor, 0.0, 0.5 * factor - 0.5], [0.0, factor, 0.5 * factor - 0.5], [0.0, 0.0, 1.0]],
                         dtype=torch.float64, device=intrinsics.device)
    return scale @ intrinsics.double()


@dataclass(frozen=True, eq=False)
class PairWarp:
    """Where the pixels of a reference image lie in a source image.

    infinity: (3, H, W) float32 homogeneous ``grid_sample`` coordinates (align_corners=False) at infinite depth.
    parallax: three floats added per unit of inverse depth; the third is the change of the depth factor.
    """

    infinity: Tensor
    parallax: tuple[float, float, float]

    @staticmethod
    def between(T_source_reference: Matrix, reference_intrinsics: Tensor, reference_size: tuple[int, int],
                source_intrinsics: Tensor, source_size: tuple[int, int]) -> PairWarp:
        """Warp from a reference (height, width) into a source (height, width); intrinsics (3, 3) in their pixels."""
        height, width = source_size
        to_grid = np.array([[2.0 / width, 0.0, 1.0 / width - 1.0], [0.0, 2.0 / height, 1.0 / height - 1.0],
                            [0.0, 0.0, 1.0]])
        source = to_grid @ source_intrinsics.double().cpu().numpy()
        reference = reference_intrinsics.double().cpu().numpy()
        rotation = source @ T_source_reference[:3, :3] @ np.linalg.inv(reference)
        device = reference_intrinsics.device
        pixels = pixel_grid(*reference_size, device=device).permute(2, 0, 1).reshape(3, -1)
        infinity = torch.from_numpy(rotation).to(device, torch.float32) @ pixels
        x, y, z = (float(value) for value in source @ T_source_reference[:3, 3])
        return PairWarp(infinity.reshape(3, *reference_size), (x, y, z))

    def grid(self, inverse_depth: Tensor) -> tuple[Tensor, Tensor]:
        """``grid_sample`` coordinates (N, H, W, 2) of inverse depths (N, H or 1, W or 1), and the depth factor.

        The depth factor (N, H, W) is source depth over reference depth; where it is not positive (behind the source
        camera) the coordinates lie far outside the image.
        """
        px, py, pz = self.parallax
        factor = torch.add(self.infinity[2], inverse_depth, alpha=pz)
        scale = factor.clamp(min=_BEHIND).reciprocal_()
        coordinates = torch.empty(2, *factor.shape, dtype=torch.float32, device=factor.device)
        torch.add(self.infinity[0], inverse_depth, alpha=px, out=coordinates[0]).mul_(scale)
        torch.add(self.infinity[1], inverse_depth, alpha=py, out=coordinates[1]).mul_(scale)
        return coordinates.permute(1, 2, 3, 0), factor


    def window(self, rows: slice, columns: slice) -> PairWarp:
        """The warp of a part of the reference image."""
        return PairWarp(self.infinity[:, rows, columns], self.parallax)

    def seen(self, inverse_depth: Tensor, margin: int) -> tuple[slice, slice]:
        """Rows and columns of the reference that the source sees at any of the inverse depths (N,), plus a margin.

        Bounds are multiples of 4; both are empty where it sees nothing. Judged on every fourth pixel and plane.
        """
        height, width = self.infinity.shape[1:]
        sparse = self.window(slice(None, None, 4), slice(None, None, 4))
        grid, _ = sparse.grid(torch.cat((inverse_depth[::4], inverse_depth[-1:])).reshape(-1, 1, 1))
        inside = (grid.abs() < 1.05).all(-1).any(0)
        bounds = []
        for along, size in ((inside.any(1), height), (inside.any(0), width)):
            hit = torch.nonzero(along)
            if len(hit) == 0:
                return slice(0, 0), slice(0, 0)
            low = max(0, (4 * int(hit[0]) - margin) // 4 * 4)
            bounds.append(slice(low, min(size, -(-(4 * int(hit[-1]) + margin) // 4) * 4)))
        return bounds[0], bounds[1]


def upward_component(T_base_camera: Matrix, intrinsics: Tensor, height: int, width: int) -> Tensor:
    """(H, W) float32 metres of height gained per metre of depth along each pixel's ray."""
    up = torch.as_tensor(T_base_camera[2, :3], dtype=torch.float32, device=intrinsics.device)
    return pixel_rays(intrinsics.float(), height, width) @ up


def horizontal_plane_inverse_depth(upward: Tensor, camera_height: float, heights: Tensor) -> Tensor:
    """Inverse depth (N, H, W) at which rays (``upward`` (H, W)) meet horizontal planes at ``heights`` (N,) metres.

    0 where a ray does not meet the plane.
    """
    drop = (heights - camera_height).reshape(-1, 1, 1)
    drop = torch.where(drop.abs() < 1e-3, torch.full_like(drop, -1e-3), drop)
    return (upward / drop).clamp(min=0.0)
