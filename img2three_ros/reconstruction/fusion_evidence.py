"""What one depth image says of the voxels: free before the surface, occupied at it, nothing behind it.

All functions work in the cell coordinates of a rolling grid (fusion_grid.py); weights are log-odds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..config import OccupancyConfig
from ..geometry.transforms import inverse
from ..structures import Matrix
from .fusion_footprint import RADII, FootprintImage
from .fusion_grid import Columns
from .views import DepthView

EDGE_PIXELS = 2.0
"""Matched depth is displaced at the outlines of things by about this much: footprints are widened by it."""
MIN_SIGMA = 0.01
"""No depth is believed to be better than this, relative."""
MAX_FREE, MAX_HIT = 2.2, 2.5
"""Evidence of one frame for free and for occupied is at most this."""
HIT_GAIN = 3.0
"""A voxel is as occupied as its surface points say once they cover a third of its face: thin things count."""
SAMPLE_STEP = 2
"""One pixel in SAMPLE_STEP squared becomes surface points; rows are shifted, so that no line is missed."""
SPREAD = (-1.0, 1.0)
"""Where along the ray, in sigmas from its depth, a surface may lie as well."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera as the grid needs it; what is kept of a camera that is lost.

    intrinsics: (3, 3) float64; size: (height, width); T_base_camera: (4, 4) float64.
    """

    intrinsics: Matrix
    size: tuple[int, int]
    T_base_camera: Matrix


@dataclass(frozen=True, eq=False)
class Projection:
    """Voxels of some columns in a camera.

    chosen: (C',) int64: which of the columns can be seen at all. u, v, depth: (levels, C') pixels and metres of the
    voxels' centres. radius: (levels, C') pixels around u, v that the voxel may cover. half_depth: half of the
    voxel's extent along the optical axis, metres. inside: (levels, C') the centre lies in the image, in front.
    """

    chosen: Tensor
    u: Tensor
    v: Tensor
    depth: Tensor
    radius: Tensor
    half_depth: float
    inside: Tensor


def project_columns(camera: Camera, columns: Columns, cell_from_base: Matrix, margin: float = 0.0) -> Projection:
    """Voxels in a camera. margin: the image counts as larger by this many footprints (``inside``)."""
    camera_from_cell = inverse(camera.T_base_camera) @ np.linalg.inv(cell_from_base)
    pixel_from_cell = camera.intrinsics @ camera_from_cell[:3]
    device = columns.cells.device
    matrix = torch.from_numpy(pixel_from_cell).float().to(device)
    extent = 0.5 * np.abs(camera_from_cell[:3, :3]).sum(axis=1)
    half_depth, half_side = float(extent[2]), float(extent[:2].max())
    focal = float(max(camera.intrinsics[0, 0], camera.intrinsics[1, 1]))
    height, width = camera.size
    bottom = columns.cells @ matrix[:, :3].T + matrix[:, 3]
    rise = matrix[:, 2]
    chosen = _visible(bottom, bottom + (columns.levels - 1) * rise, camera.size, focal * half_side * 2.0)
    bottom = bottom[chosen].T
    level = torch.arange(columns.levels, dtype=torch.float32, device=device)[:, None]
    depth = bottom[2] + level * rise[2]
    near = (depth - half_depth).clamp_(min=0.05)
    scale = 1.0 / depth.clamp(min=0.05)
    u = (bottom[0] + level * rise[0]).mul_(scale)
    v = (bottom[1] + level * rise[1]).mul_(scale)
    off_axis = torch.maximum((u - float(camera.intrinsics[0, 2])).abs_(), (v - float(camera.intrinsics[1, 2])).abs_())
    radius = off_axis.mul_(half_depth).add_(focal * half_side).div_(near)
    room = radius * margin - 0.5
    inside = (u >= -room - 1.0) & (u <= width + room) & (v >= -room - 1.0) & (v <= height + room)
    inside &= depth > (0.05 - margin * half_depth)
    return Projection(chosen, u, v, depth, radius, half_depth, inside)


def _visible(bottom: Tensor, top: Tensor, size: tuple[int, int], pad: float) -> Tensor:
    """(C',) int64 columns that may reach into the image, from homogeneous pixels (C, 3) of both ends.

    A column is left out if both its ends lie outside the same face of the frustum, widened by ``pad``.
    """
    height, width = size
    hidden = torch.zeros(len(bottom), dtype=torch.bool, device=bottom.device)
    for normal in ((1.0, 0.0, 0.5), (-1.0, 0.0, width - 0.5), (0.0, 1.0, 0.5), (0.0, -1.0, height - 0.5)):
        face = torch.tensor(normal, device=bottom.device)
        hidden |= torch.maximum(bottom @ face, top @ face) < -pad
    hidden |= torch.maximum(bottom[:, 2], top[:, 2]) < -1.0
    return (~hidden).nonzero().squeeze(1)


def confident_pixels(image: DepthView, min_confidence: float) -> Tensor:
    """(H, W) bool: pixels of the world whose depth counts as evidence."""
    usable = image.valid & image.view.mask & (image.confidence >= min_confidence)
    return usable & (image.depth > 0) & torch.isfinite(image.depth) & torch.isfinite(image.sigma)


def footprint_image(image: DepthView, confident: Tensor, config: OccupancyConfig) -> FootprintImage:
    """How far each pixel shows free space, and how sure it is.

    Space is free up to ``free_sigmas`` deviations and one voxel before the surface. A pixel without confident depth
    claims nothing and lowers the mean confidence of the voxels it lies on; a pixel of the ego vehicle vetoes.
    """
    shrink = torch.exp(image.sigma.clamp(min=MIN_SIGMA) * -config.free_sigmas)
    shown = (image.depth * shrink - config.voxel_size).clamp(min=0.0)
    lower = torch.where(confident, shown, torch.full_like(shown, 1e6))
    lower = torch.where(image.view.mask, lower, torch.zeros_like(lower))
    return FootprintImage(lower, torch.where(confident, image.confidence, torch.zeros_like(lower)))


def add_free(free: Tensor, projection: Projection, columns: Columns, footprints: FootprintImage,
             config: OccupancyConfig, free_log_odds: float) -> None:
    """Raise ``free`` (levels, C) to the evidence of one image that voxels are free.

    A voxel is free as far as one image tells if the nearest pixel over all of its footprint looks through it.
    Beyond ``free_range`` the evidence stays short of ``free_log_odds`` (> 0): a second frame must agree.
    """
    reachable = projection.inside & (projection.radius <= RADII[-1] - EDGE_PIXELS)
    distance = columns.distance[projection.chosen].expand_as(projection.depth)
    reachable &= (projection.depth > projection.half_depth) & (distance <= config.max_range)
    at = reachable.flatten().nonzero().squeeze(1)
    u, v, depth, radius = (torch.take(values, at) for values in
                           (projection.u, projection.v, projection.depth, projection.radius))
    place = footprints.locate(u, v, radius.add_(EDGE_PIXELS))
    seen_through = footprints.lower_at(place) >= depth + projection.half_depth
    confidence = footprints.support_at(place)
    evidence = torch.logit(confidence.clamp(0.5, 0.99)).clamp_(max=MAX_FREE)
    evidence.mul_(seen_through & (confidence >= config.free_confidence))
    alone = torch.take(distance, at) <= config.free_range
    evidence = torch.where(alone, evidence, evidence.clamp(max=0.75 * free_log_odds))
    per_voxel = torch.zeros_like(projection.depth)
    per_voxel.view(-1)[at] = evidence
    free[:, projection.chosen] = torch.maximum(free[:, projection.chosen], per_voxel)


def add_hits(hits: Tensor, possible: Tensor, image: DepthView, confident: Tensor, camera: Camera, columns: Columns,
             band_of_column: Tensor, cell_from_base: Matrix, grid_width: int, config: OccupancyConfig) -> None:
    """Add to ``hits`` (levels, C) the evidence of one image's surface points, to ``possible`` where else they may be.

    Each point counts by its confidence, by the share of a voxel's face that it stands for at its depth, and by the
    probability that the surface lies within half a voxel of it (Laplace's distribution of the given sigma). Where it
    may be as well nothing is called free, however unlikely.
    band_of_column: (Y * X) int64: column of the grid -> column of ``hits``, -1 for none.
    """
    u, v = _sample_pixels(camera.size, hits.device)
    pixel = v * camera.size[1] + u
    chosen = torch.take(confident, pixel).nonzero().squeeze(1)
    u, v, pixel = u[chosen], v[chosen], pixel[chosen]
    depth, sigma, confidence = (torch.take(values, pixel) for values in (image.depth, image.sigma, image.confidence))
    sigma = sigma.clamp(min=MIN_SIGMA)
    cell_from_camera = cell_from_base @ camera.T_base_camera
    rays = torch.from_numpy(cell_from_camera[:3, :3] @ np.linalg.inv(camera.intrinsics)).float().to(hits.device)
    centre = torch.from_numpy(cell_from_camera[:3, 3]).float().to(hits.device)
    voxel = config.voxel_size
    focal_area = float(camera.intrinsics[0, 0] * camera.intrinsics[1, 1])
    share = (depth * (SAMPLE_STEP / voxel)).square_().div_(focal_area).clamp_(max=1.0)
    weight = torch.logit(confidence.clamp(0.55, 0.95)).mul_(share).mul_(HIT_GAIN)
    here = weight * (1.0 - torch.exp(voxel / (-math.sqrt(2.0) * sigma * depth)))
    direction = [rays[i, 0] * u + rays[i, 1] * v + rays[i, 2] for i in range(3)]
    for sigmas in (0.0, *SPREAD):
        distance = depth if sigmas == 0.0 else depth * torch.exp(sigma * sigmas)
        x, y, z = ((direction[i] * distance).add_(centre[i]).floor_() for i in range(3))
        keep, voxel_index = _voxels((x, y, z), columns, band_of_column, grid_width)
        if sigmas == 0.0:
            hits.view(-1).index_add_(0, voxel_index, here[keep])
        possible.view(-1).index_add_(0, voxel_index, weight[keep])


def _voxels(cells: tuple[Tensor, Tensor, Tensor], columns: Columns, band_of_column: Tensor,
            grid_width: int) -> tuple[Tensor, Tensor]:
    """Which of the cells x, y, z (N,) lie in the columns, (M,) int64, and their flat indices in (levels, C)."""
    x, y, z = cells
    grid_height = band_of_column.numel() // grid_width
    inside = (x >= 0) & (x < grid_width) & (y >= 0) & (y < grid_height)
    column = torch.where(inside, y * grid_width + x, torch.zeros_like(x)).long()
    band = torch.take(band_of_column, column)
    level = z.long() - columns.lowest[band.clamp(min=0)]
    keep = (inside & (band >= 0) & (level >= 0) & (level < columns.levels)).nonzero().squeeze(1)
    return keep, (level * len(columns.index) + band)[keep]


def _sample_pixels(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """u, v (N,) int64: every SAMPLE_STEP-th pixel of every SAMPLE_STEP-th row, odd rows shifted by half a step."""
    height, width = size
    v = torch.arange(0, height, SAMPLE_STEP, device=device)[:, None]
    u = torch.arange(0, width - SAMPLE_STEP + 1, SAMPLE_STEP, device=device)[None, :]
    shifted = u + (v // SAMPLE_STEP % 2) * (SAMPLE_STEP // 2)
    return shifted.flatten(), v.expand(-1, u.shape[1]).flatten()
