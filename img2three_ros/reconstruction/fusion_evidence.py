"""What one depth image says of the voxels: free before the surface, occupied at it, nothing behind it.

All functions work in the cell coordinates of a rolling grid (fusion_grid.py); weights are log-odds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

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
UNBOUNDED = 1e6
"""Free space in metres that a pixel without evidence stands for: others decide."""
BOUND_SLACK = 0.999
"""Bounds of depth are compared with this much room for rounding."""
SAMPLE_STEP = 2
"""One pixel in SAMPLE_STEP squared becomes surface points; rows are shifted, so that no line is missed."""
NO_COLUMN = -1 << 60
"""Stays below 0 whatever level is added."""
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


@dataclass(frozen=True)
class _VoxelSize:
    """A voxel as a camera sees it.

    half_depth: half of its extent along the optical axis, metres. half_side: the larger one of those across it, times
    the focal length: pixels * metres. centre: the principal point, pixels.
    """

    half_depth: float
    half_side: float
    centre: tuple[float, float]

    def radius(self, u: Tensor, v: Tensor, depth: Tensor) -> Tensor:
        """Pixels around u, v that a voxel with its centre there may cover."""
        off_axis = torch.maximum((u - self.centre[0]).abs_(), (v - self.centre[1]).abs_())
        return off_axis.mul_(self.half_depth).add_(self.half_side).div_((depth - self.half_depth).clamp_(min=0.05))


@dataclass(frozen=True, eq=False)
class Projection:
    """Voxels of some columns in a camera.

    chosen: (C',) int64: which of the columns can be seen at all. u, v, depth: (levels, C') pixels and metres of the
    voxels' centres. inside: (levels, C') the centre lies in the image, in front. ends: (2, 3, C') homogeneous
    pixels of the lowest and the highest voxel. size: the voxel's extent.
    """

    chosen: Tensor
    u: Tensor
    v: Tensor
    depth: Tensor
    inside: Tensor
    ends: Tensor
    size: _VoxelSize


def project_columns(camera: Camera, columns: Columns, cell_from_base: Matrix, margin: float = 0.0) -> Projection:
    """Voxels in a camera. margin: the image counts as larger by this many footprints (``inside``)."""
    camera_from_cell = inverse(camera.T_base_camera) @ np.linalg.inv(cell_from_base)
    pixel_from_cell = camera.intrinsics @ camera_from_cell[:3]
    device = columns.cells.device
    matrix = torch.from_numpy(pixel_from_cell).float().to(device)
    extent = 0.5 * np.abs(camera_from_cell[:3, :3]).sum(axis=1)
    focal = float(max(camera.intrinsics[0, 0], camera.intrinsics[1, 1]))
    voxel = _VoxelSize(float(extent[2]), focal * float(extent[:2].max()),
                       (float(camera.intrinsics[0, 2]), float(camera.intrinsics[1, 2])))
    height, width = camera.size
    rise = matrix[:, 2]
    chosen = _visible(columns, matrix, camera.size, voxel.half_side * 2.0)
    bottom = (columns.cells[chosen] @ matrix[:, :3].T + matrix[:, 3]).T.contiguous()
    top = bottom + (columns.levels - 1) * rise[:, None]
    level = torch.arange(columns.levels, dtype=torch.float32, device=device)[:, None]
    depth = bottom[2] + level * rise[2]
    scale = depth.clamp(min=0.05).reciprocal_()
    u = (bottom[0] + level * rise[0]).mul_(scale)
    v = (bottom[1] + level * rise[1]).mul_(scale)
    room: Tensor | float = voxel.radius(u, v, depth).mul_(margin).sub_(0.5) if margin else -0.5
    inside = (u >= -room - 1.0).logical_and_(u <= width + room)
    inside.logical_and_(v >= -room - 1.0).logical_and_(v <= height + room)
    inside.logical_and_(depth > (0.05 - margin * voxel.half_depth))
    return Projection(chosen, u, v, depth, inside, torch.stack((bottom, top)), voxel)


def _visible(columns: Columns, pixel_from_cell: Tensor, size: tuple[int, int], pad: float) -> Tensor:
    """(C',) int64 columns that may reach into the image; pixel_from_cell (3, 4): cells to homogeneous pixels.

    A column is left out if both its ends lie outside the same face of the frustum, widened by ``pad``.
    """
    height, width = size
    faces = pixel_from_cell.new_tensor(((1.0, 0.0, 0.5), (-1.0, 0.0, width - 0.5), (0.0, 1.0, 0.5),
                                        (0.0, -1.0, height - 0.5), (0.0, 0.0, 1.0)))
    outside = pixel_from_cell.new_tensor((-pad, -pad, -pad, -pad, -1.0))
    normals = faces @ pixel_from_cell
    upper_end = (normals[:, 2] * (columns.levels - 1)).clamp_(min=0.0)
    reach = torch.addmm((normals[:, 3] + upper_end - outside)[:, None], normals[:, :3], columns.cells.T)
    return (reach >= 0.0).all(dim=0).nonzero().squeeze(1)


def confident_pixels(image: DepthView, min_confidence: float) -> Tensor:
    """(H, W) bool: pixels of the world whose depth counts as evidence."""
    usable = image.valid & image.view.mask & (image.confidence >= min_confidence)
    usable &= (image.depth > 0).logical_and_(image.depth < math.inf)
    return usable.logical_and_(image.sigma.abs() < math.inf)


def footprint_image(image: DepthView, confident: Tensor, config: OccupancyConfig) -> FootprintImage:
    """How far each pixel shows free space, and how sure it is.

    Space is free up to ``free_sigmas`` deviations and one voxel before the surface. A pixel without confident depth
    claims nothing and lowers the mean confidence of the voxels it lies on; a pixel of the ego vehicle vetoes.
    """
    shrink = image.sigma.clamp(min=MIN_SIGMA).mul_(-config.free_sigmas).exp_()
    lower = shrink.mul_(image.depth).sub_(config.voxel_size).nan_to_num_(nan=0.0).clamp_(0.0, UNBOUNDED)
    # Arithmetic instead of masked_fill, which is ten times slower on a CPU.
    trusted = confident.float()
    lower = torch.maximum(lower, (1.0 - trusted).mul_(UNBOUNDED)).mul_(image.view.mask.float())
    return FootprintImage(lower, image.confidence.nan_to_num(nan=0.0).mul_(trusted))


def add_free(free: Tensor, projection: Projection, columns: Columns, footprints: FootprintImage,
             config: OccupancyConfig, free_log_odds: float) -> None:
    """Raise ``free`` (levels, C) to the evidence of one image that voxels are free.

    A voxel is free as far as one image tells if the nearest pixel over all of its footprint looks through it.
    Beyond ``free_range`` the evidence stays short of ``free_log_odds`` (> 0): a second frame must agree.
    """
    half_depth = projection.size.half_depth
    asked = columns.distance[projection.chosen] <= config.max_range
    nearest = projection.ends[:, 2].amin(dim=0)
    asked.logical_and_(footprints.upper_bound(projection.ends) >= (nearest + half_depth) * BOUND_SLACK)
    at = ((projection.depth > half_depth).logical_and_(projection.inside).logical_and_(asked)
          ).flatten().nonzero().squeeze(1)
    u, v, depth = (torch.take(values, at) for values in (projection.u, projection.v, projection.depth))
    radius = projection.size.radius(u, v, depth)
    looked_up = radius <= RADII[-1] - EDGE_PIXELS
    place = footprints.locate(u, v, radius.add_(EDGE_PIXELS).clamp_(max=RADII[-1]))
    seen_through = footprints.lower_at(place) >= depth.add_(half_depth)
    through = seen_through.logical_and_(looked_up).nonzero().squeeze(1)
    at, place = at[through], place[through]
    confidence = footprints.support_at(place)
    evidence = torch.logit(confidence.clamp(0.5, 0.99)).clamp_(max=MAX_FREE)
    evidence.mul_(confidence >= config.free_confidence)
    level = torch.div(at, len(projection.chosen), rounding_mode="floor")
    column = torch.take(projection.chosen, at - level * len(projection.chosen))
    alone = torch.take(columns.distance, column) <= config.free_range
    evidence = torch.where(alone, evidence, evidence.clamp(max=0.75 * free_log_odds))
    voxels = level.mul_(free.shape[1]).add_(column)
    free.view(-1)[voxels] = torch.maximum(torch.take(free, voxels), evidence)


@dataclass(frozen=True, eq=False)
class HitSums:
    """Evidence of all images' surface points, and of where else the surfaces may be.

    hits, possible: (1 + levels * C + 1,) of the voxels (levels, C); what lies in no voxel goes to the two ends.
    first: (Y + 2, X + 2) int64: by the cell's y + 1, x + 1 the place of the column's cell z = 0; far below 0 where no
    column of the C is. count: C.
    """

    hits: Tensor
    possible: Tensor
    first: Tensor
    count: int

    @classmethod
    def empty(cls, columns: Columns, plane: tuple[int, int], max_range: float) -> HitSums:
        """No evidence yet, for the columns up to ``max_range`` metres, in a grid whose levels have the
        shape ``plane``."""
        count, device = len(columns.index), columns.index.device
        first = torch.full(plane, NO_COLUMN, dtype=torch.long, device=device)
        place = torch.arange(1, count + 1, device=device) - columns.lowest * count
        first.view(-1)[columns.index] = place.masked_fill_(columns.distance > max_range, NO_COLUMN)
        sums = torch.zeros(2, columns.levels * count + 2, device=device)
        return cls(sums[0], sums[1], torch.nn.functional.pad(first, (1, 1, 1, 1), value=NO_COLUMN), count)

    def add(self, image: DepthView, confident: Tensor, camera: Camera, cell_from_base: Matrix, voxel: float) -> None:
        """Add one image's points; ``voxel``: edge in metres.

        Each point counts by its confidence, by the share of a voxel's face that it stands for at its depth, and by
        the probability that the surface lies within half a voxel of it (Laplace's distribution of the given sigma).
        Where it may be as well nothing is called free, however unlikely.
        """
        u, v, pixel = _sample_pixels(camera.size, self.hits.device)
        chosen = torch.take(confident, pixel).nonzero().squeeze(1)
        u, v, pixel = u[chosen], v[chosen], pixel[chosen]
        depth, sigma, confidence = (torch.take(values, pixel)
                                    for values in (image.depth, image.sigma, image.confidence))
        sigma.clamp_(min=MIN_SIGMA)
        cell_from_camera = cell_from_base @ camera.T_base_camera
        rays = (cell_from_camera[:3, :3] @ np.linalg.inv(camera.intrinsics)).astype(np.float32).tolist()
        centre = cell_from_camera[:3, 3].astype(np.float32).tolist()
        focal_area = float(camera.intrinsics[0, 0] * camera.intrinsics[1, 1])
        share = (depth * (SAMPLE_STEP / voxel)).square_().div_(focal_area).clamp_(max=1.0)
        weight = torch.logit(confidence.clamp_(0.55, 0.95)).mul_(share).mul_(HIT_GAIN)
        here = weight * (1.0 - torch.exp(voxel / (-math.sqrt(2.0) * sigma * depth)))
        direction = [(rays[i][0] * u).add_(rays[i][1] * v).add_(rays[i][2]) for i in range(3)]
        for sigmas in (0.0, *SPREAD):
            distance = depth if sigmas == 0.0 else (sigma * sigmas).exp_().mul_(depth)
            place = self._places([(direction[i] * distance).add_(centre[i]).floor_() for i in range(3)])
            if sigmas == 0.0:
                self.hits.index_add_(0, place, here)
            self.possible.index_add_(0, place, weight)

    def _places(self, cells: list[Tensor]) -> Tensor:
        """(N,) int64 places in ``hits`` of the cells x, y, z (N,), which are overwritten."""
        x, y, z = cells
        height, width = self.first.shape
        column = y.clamp_(-1, height - 2).add_(1).mul_(width).add_(x.clamp_(-1, width - 2).add_(1)).long()
        return torch.take(self.first, column).add_(z.long(), alpha=self.count).clamp_(0, len(self.hits) - 1)


@lru_cache(maxsize=8)
def _sample_pixels(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """u, v (N,) float32 and the pixel v * width + u (N,) int64: every SAMPLE_STEP-th one of every SAMPLE_STEP-th row,
    odd rows shifted by half a step."""
    height, width = size
    v = torch.arange(0, height, SAMPLE_STEP, device=device)[:, None]
    u = torch.arange(0, width - SAMPLE_STEP + 1, SAMPLE_STEP, device=device)[None, :]
    shifted = u + (v // SAMPLE_STEP % 2) * (SAMPLE_STEP // 2)
    pixel = (v * width + shifted).flatten()
    return shifted.flatten().float(), v.expand(-1, u.shape[1]).flatten().float(), pixel
