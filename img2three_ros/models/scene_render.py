"""Pictures of a scene from anywhere: rays that skip empty space, and colours looked up in the images.

A ray first reads the density of the nearest cells along its whole length (that of a cell is decoded once per scene,
when a ray first comes by); then the decoder is asked at a few places alone, where that says the ray ends. What the
cameras saw of the surface that a ray meets is sharper than any decoded colour: where one of the two images that look at
it most alike shows it, its colour is taken (6Img-to-3D: "projected image features").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .scene_decoder import SceneDecoder, march, shares
from .scene_volume import SceneState

_NEAREST, _FARTHEST, _COARSE = 0.4, 110.0, 96
_FINE = 12
_BLOCK = 2
"""Pixels of a BLOCK x BLOCK square share the first look."""
_EMPTY = 0.03
_SAME_SURFACE = 0.12
_AT_ONCE = 1 << 15


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image that a scene was made of. colours: (3, h, w) RGB 0..1; depth: (h, w) metres, NaN = nothing to be looked
    up; intrinsics: (3, 3) of its pixels; T_base_camera: (4, 4)."""

    colours: Tensor
    depth: Tensor
    intrinsics: Tensor
    T_base_camera: Tensor


@dataclass(frozen=True, eq=False)
class Picture:
    """colours: (h, w, 3) RGB 0..1. depth: (h, w) metres along the optical axis, inf = sky. looked_up: (h, w) bool, the
    colour comes from an image."""

    colours: Tensor
    depth: Tensor
    looked_up: Tensor


class SceneRenderer:
    """Views of one scene, see ``picture``. light: see ``SceneDecoder.sky_colour``; images: to look colours up in."""

    def __init__(self, decoder: SceneDecoder, state: SceneState, light: Tensor,
                 images: Sequence[SeenImage] = ()) -> None:
        self._decoder, self._state, self._light, self._images = decoder, state, light, tuple(images)
        cells = state.evidence[0].numel()
        self._density = torch.zeros(cells, device=state.volume.device)
        self._decoded = torch.zeros(cells, dtype=torch.bool, device=state.volume.device)

    @torch.no_grad()
    def picture(self, intrinsics: Tensor, T_base_camera: Tensor, size: tuple[int, int]) -> Picture:
        """What a pinhole camera (3, 3) of ``size`` (height, width) at a pose (4, 4) would show."""
        height, width = size
        pose = T_base_camera.to(self._density.device, torch.float32)
        v, u = (torch.arange(count, device=pose.device).float() for count in size)
        directions, length = _directions(intrinsics, pose, v, u)
        blocks = [(torch.arange(-(-count // _BLOCK), device=pose.device) + 0.5) * _BLOCK - 0.5 for count in size]
        coarse, _ = _directions(intrinsics, pose, blocks[0], blocks[1])
        looks = [self._coarse(pose[:3, 3], part) for part in coarse.split(_AT_ONCE)]
        block_of = (v / _BLOCK).long()[:, None] * len(blocks[1]) + (u / _BLOCK).long()
        weights = torch.cat([look[1] for look in looks])
        parts = [self._rays(pose[:3, 3], part, looks[0][0], weights[block]) for part, block in zip(
            directions.split(_AT_ONCE), block_of.flatten().split(_AT_ONCE), strict=True)]
        colour, distance, looked_up = (torch.cat(values) for values in zip(*parts, strict=True))
        return Picture(colour.reshape(height, width, 3), (distance / length).reshape(height, width),
                       looked_up.reshape(height, width))

    def _rays(self, origin: Tensor, directions: Tensor, edges: Tensor, weights: Tensor,
              ) -> tuple[Tensor, Tensor, Tensor]:
        """Colour (R, 3), distance (R,) and whether looked up, of rays from one place; edges, weights: ``_coarse``."""
        colour = self._decoder.sky_colour(directions, self._light)
        distance = torch.full_like(directions[:, 0], torch.inf)
        looked_up = torch.zeros_like(distance, dtype=torch.bool)
        meets = (weights.sum(1) > _EMPTY).nonzero().squeeze(1)
        if not len(meets):
            return colour, distance, looked_up
        where, widths = _places(edges, _widened(weights[meets]))
        origins = origin.expand(len(meets), 3)
        rays = march(self._decoder, self._state, origins, directions[meets], where, widths, self._light)
        decoded, found = rays.colour, rays.depth.isfinite()
        points = origins + directions[meets] * torch.where(found, rays.depth, 1.0)[:, None]
        seen, known = self._looked_up(points, directions[meets])
        known &= found
        colour[meets] = torch.where(known[:, None], seen * rays.opacity[:, None]
                                    + colour[meets] * (1.0 - rays.opacity[:, None]), decoded)
        distance[meets] = rays.depth
        looked_up[meets] = known
        return colour, distance, looked_up

    def _coarse(self, origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Edges (S + 1,) along all rays, and weights (R, S) by the density of the nearest cells."""
        grid = self._decoder.grid
        steps = torch.linspace(0.0, 1.0, _COARSE + 1, device=directions.device)
        edges = _NEAREST * (_FARTHEST / _NEAREST) ** steps
        middle = 0.5 * (edges[1:] + edges[:-1])
        cells = grid.cells(origin + directions[:, None] * middle[:, None])
        inside = grid.inside(cells)
        index = grid.flat_index(torch.where(inside[..., None], cells, 0.0))
        self._decode(index)
        return edges, shares(torch.where(inside, self._density[index], 0.0) * edges.diff())

    def _decode(self, index: Tensor) -> None:
        """The density of cells, numbers in the flattened grid, where it is not known yet."""
        wanted = torch.zeros_like(self._decoded)
        wanted[index.flatten()] = True
        new = (wanted & ~self._decoded).nonzero().squeeze(1)
        if len(new):
            self._density[new] = self._decoder.at_cells(self._state, new).density
            self._decoded[new] = True

    def _looked_up(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Colour (N, 3) of points in the two images that see them and look at them most alike, and whether any does."""
        best = torch.full((len(points), 2), -torch.inf, device=points.device)
        colours = torch.zeros(len(points), 2, 3, device=points.device)
        for image in self._images:
            colour, alike = _seen_in(image, points, directions)
            first = alike > best[:, 0]
            second = ~first & (alike > best[:, 1])
            best[:, 1] = torch.where(first, best[:, 0], torch.where(second, alike, best[:, 1]))
            colours[:, 1] = torch.where(first[:, None], colours[:, 0],
                                        torch.where(second[:, None], colour, colours[:, 1]))
            best[:, 0] = torch.where(first, alike, best[:, 0])
            colours[:, 0] = torch.where(first[:, None], colour, colours[:, 0])
        share = torch.softmax(8.0 * best.clamp(min=-10.0), 1)
        return (share[..., None] * colours).sum(1), best[:, 0] > -torch.inf


def _directions(intrinsics: Tensor, T_base_camera: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions (N, 3) in ``base_link`` of the pixels of rows v and columns u, and the lengths (N,) they had when
    z was 1."""
    rows, columns = torch.meshgrid(v, u, indexing="ij")
    pixels = torch.stack((columns, rows, torch.ones_like(columns)), -1).reshape(-1, 3)
    local = pixels @ torch.linalg.inv(intrinsics.double()).T.float().to(pixels.device)
    return functional.normalize(local @ T_base_camera[:3, :3].T, dim=1), local.norm(dim=1)


def _widened(weights: Tensor) -> Tensor:
    """Weights (R, S) that reach into the neighbouring steps: a surface found by the nearest cells may lie there (the
    blur of mip-NeRF's proposals, Barron et al., ICCV 2021)."""
    padded = functional.pad(weights, (1, 1))
    before, here, after = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    return 0.5 * (torch.maximum(before, here) + torch.maximum(here, after))


def _places(edges: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(R, _FINE) ascending distances, as many to each step of ``edges`` (S + 1,) as its weight (R, S) is due, and the
    metres each stands for: those of a step together the whole step, and nothing of what lies between steps."""
    share = weights / weights.sum(1, keepdim=True)
    reached = torch.cat((torch.zeros_like(share[:, :1]), share.cumsum(1)), 1).contiguous()
    wanted = (torch.arange(_FINE, device=edges.device) + 0.5) / _FINE
    wanted = wanted.expand(len(weights), -1).contiguous()
    step = (torch.searchsorted(reached, wanted, right=True) - 1).clamp(0, len(edges) - 2)
    low, high = reached.gather(1, step), reached.gather(1, step + 1)
    within = ((wanted - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)
    length = edges[step + 1] - edges[step]
    sharing = (step[:, :, None] == step[:, None]).sum(2)
    return edges[step] + within * length, length / sharing


def _seen_in(image: SeenImage, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Colour (N, 3) of points in an image, and how alike it looks at them: cos of the angle between both rays; -inf
    where it does not show them."""
    T_camera_base = torch.linalg.inv(image.T_base_camera.double()).float().to(points.device)
    local = points @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
    depth = local[:, 2]
    ahead = depth > 0.2
    pixels = (local @ image.intrinsics.T)[:, :2] / torch.where(ahead, depth, 1.0)[:, None]
    height, width = image.depth.shape
    scale = pixels.new_tensor((2.0 / width, 2.0 / height))
    where = ((pixels + 0.5) * scale - 1.0)[None, None]
    inside = ahead & (where[0, 0].abs() < 1.0).all(1)
    colour = functional.grid_sample(image.colours[None], where, align_corners=False, padding_mode="border")[0, :, 0].T
    surface = functional.grid_sample(image.depth[None, None], where, mode="nearest", align_corners=False)[0, 0, 0]
    same = (torch.log(surface.clamp(min=1e-3) / depth.clamp(min=1e-3)).abs() < _SAME_SURFACE) & surface.isfinite()
    towards = functional.normalize(points - image.T_base_camera[:3, 3].float().to(points.device), dim=1)
    alike = (towards * directions).sum(1)
    return colour, torch.where(inside & same, alike, -torch.inf)
