"""The alignment problem on samples: residuals, best depths, and normal equations with every depth eliminated.

Unknown are camera poses, focals, one similarity per pair, and a depth per pixel. An observation o of image i by pair e
has the residual ``depth * ray - y`` with ``y = inv(camera_i) @ edge_e @ point``, in the camera frame of image i, where
its length is that in the world. The objective is the mean over pixels and pairs of log(confidence) * |residual|, the
two images of a pair added: a sum of distances, solved by reweighted least squares with part of the true curvature.

A step of camera i (twist xi: rotation, translation, in its own frame) and of pair e (twist and log scale eta, in the
frame of the pair) both move y by a field ``omega x y + v + sigma y``; all normal equations are therefore built in
that field's seven numbers per observation and then mapped to the unknowns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .samples import Samples
from .similarity import decompose, inverse, rotation_exp, skew

CURVATURE = 0.6
"""Share of the curvature that a distance lacks along its residual (1 = Newton's Hessian, 0 = reweighted squares)."""
FLOOR = 6e-4
"""Distances below this share of the scenes's unit (the mean pair scale) count as squares."""


@dataclass(frozen=True, eq=False)
class State:
    """Values of the unknowns, float64.

    camera: (n, 4, 4) T_world_camera, rigid. edge: (E, 4, 4) similarity of every pair's frame into the world.
    intrinsics: (n, 4) fx, fy, cx, cy in pixels. depth: (n, N) of the samples, world units, > 0; None = not solved yet.
    log_unit: () log of world units per metre; used with known poses only.
    """

    camera: Tensor
    edge: Tensor
    intrinsics: Tensor
    depth: Tensor | None
    log_unit: Tensor


@dataclass(frozen=True, eq=False)
class Residuals:
    """What a state leaves. rays: (n, 3, N) with z = 1; points: (O, 3, N) in camera frames; residual: (O, 3, N);
    length: (O, N); weights: (O, N) with which the objective sums the lengths; loss: ()."""

    rays: Tensor
    points: Tensor
    residual: Tensor
    length: Tensor
    weights: Tensor
    loss: Tensor


@dataclass(frozen=True, eq=False)
class Block:
    """Normal equations of one image over the unknowns that it touches.

    index: (P,) where they lie in the vector of all unknowns (see ``Layout``); hessian: (P, P); gradient: (P,).
    """

    index: Tensor
    hessian: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Layout:
    """Places in the vector of unknowns: 6 per camera (rotation, translation), 1 log focal per camera, 7 per pair
    (rotation, translation, log scale), 1 log unit."""

    images: int
    edges: int

    @property
    def size(self) -> int:
        """Length of the vector."""
        return 7 * self.images + 7 * self.edges + 1

    def cameras(self, step: Tensor) -> Tensor:
        """(n, 6) of a vector."""
        return step[:6 * self.images].view(self.images, 6)

    def focals(self, step: Tensor) -> Tensor:
        """(n,) of a vector."""
        return step[6 * self.images:7 * self.images]

    def pairs(self, step: Tensor) -> Tensor:
        """(E, 7) of a vector."""
        return step[7 * self.images:-1].view(self.edges, 7)


def objective_weights(samples: Samples, active: Tensor) -> Tensor:
    """(O, N) weight of every distance; pairs that are not active (E,) bool count for nothing."""
    counted = samples.weights * active[samples.edge].unsqueeze(1)
    return counted / (samples.edges * samples.weights.shape[1])


def camera_rays(intrinsics: Tensor, pixels: Tensor) -> Tensor:
    """(n, 4) and (n, 3, N) -> (n, 3, N) directions with z = 1."""
    x = (pixels[:, 0] - intrinsics[:, 2:3]) / intrinsics[:, 0:1]
    y = (pixels[:, 1] - intrinsics[:, 3:4]) / intrinsics[:, 1:2]
    return torch.stack((x, y, pixels[:, 2]), 1)


def evaluate(state: State, samples: Samples, weights: Tensor, depth_rounds: int) -> tuple[State, Residuals]:
    """Solve the depths (reweighted least squares from those given), then measure what is left."""
    rays = camera_rays(state.intrinsics, samples.pixels)
    into_camera = inverse(state.camera)[samples.image] @ state.edge[samples.edge]
    points = torch.baddbmm(into_camera[:, :3, 3:], into_camera[:, :3, :3], samples.points)
    square = rays.square().sum(1)
    own_square = square[samples.image]
    along = (points * rays[samples.image]).sum(1)
    nearest = along / own_square
    off = (points - nearest.unsqueeze(1) * rays[samples.image]).square().sum(1)
    off = off + (0.5 * FLOOR) ** 2
    depth = _mean_depth(nearest, weights, samples) if state.depth is None else state.depth
    for _ in range(depth_rounds):
        gap = nearest - depth[samples.image]
        depth = _mean_depth(nearest, weights * torch.rsqrt(own_square * gap.square() + off), samples)
    residual = depth[samples.image].unsqueeze(1) * rays[samples.image] - points
    length = residual.square().sum(1).sqrt()
    loss = (weights * length).sum()
    return State(state.camera, state.edge, state.intrinsics, depth, state.log_unit), Residuals(
        rays, points, residual, length, weights, loss)


def _mean_depth(nearest: Tensor, weights: Tensor, samples: Samples) -> Tensor:
    """(O, N) depths and weights -> (n, N) weighted means over the observations of every image, > 0."""
    images = len(samples.groups), nearest.shape[1]
    total = nearest.new_zeros(images).index_add_(0, samples.image, weights)
    mean = nearest.new_zeros(images).index_add_(0, samples.image, weights * nearest) / total.clamp(min=1e-300)
    return torch.where(total > 0, mean.clamp(min=1e-4), torch.ones_like(mean))


def normal_equations(state: State, samples: Samples, found: Residuals) -> list[Block]:
    """Second-order model of the loss around a state, per image, depths eliminated (Schur complement)."""
    assert state.depth is not None
    smooth = (found.length.square() + (0.5 * FLOOR) ** 2).sqrt()
    robust = found.weights / smooth
    unit = found.residual / smooth.unsqueeze(1) * CURVATURE ** 0.5
    rays = found.rays[samples.image]
    bend = -state.depth.unsqueeze(1) * found.rays
    bend[:, 2] = 0.0
    bend = bend[samples.image]
    field_ray, field_unit = _field(found.points, rays), _field(found.points, unit)
    unit_ray, unit_bend = (unit * rays).sum(1), (unit * bend).sum(1)
    weight = robust.unsqueeze(1)
    own = _own_blocks(found.points, robust) - (weight * field_unit) @ field_unit.transpose(1, 2)
    to_focal = (weight * (_field(found.points, bend) - field_unit * unit_bend.unsqueeze(1))).sum(2)
    couple = weight * (field_ray - field_unit * unit_ray.unsqueeze(1))
    gradient = (found.weights.unsqueeze(1) * field_unit).sum(2) / CURVATURE ** 0.5
    per_pixel = torch.stack((
        robust * (rays.square().sum(1) - unit_ray.square()),
        robust * ((rays * bend).sum(1) - unit_ray * unit_bend),
        robust * (rays * found.residual).sum(1),
        robust * (bend.square().sum(1) - unit_bend.square()),
        robust * (bend * found.residual).sum(1)))
    map_edge = _edge_maps(state, samples)
    return [_image_block(number, group, samples, per_pixel[:, group].sum(1), couple[group], own[group],
                         to_focal[group], gradient[group], map_edge[group])
            for number, group in enumerate(samples.groups)]


def _image_block(number: int, group: slice, samples: Samples, pixel: Tensor, couple: Tensor, own: Tensor,
                 to_focal: Tensor, gradient: Tensor, map_edge: Tensor) -> Block:
    """One image: field unknowns of its K observations and its focal, minus depths, mapped to cameras and pairs.

    pixel: (5, N) sums over observations: depth-depth, depth-focal, depth gradient, focal-focal, focal gradient.
    Signs: residual = depth * ray - y, so the fields enter with a minus.
    """
    count, layout = len(couple), Layout(len(samples.groups), samples.edges)
    width = 7 * count
    depth_depth, depth_focal, depth_gradient, focal_focal, focal_gradient = pixel
    inverse_depth = torch.where(depth_depth > 0, 1.0 / depth_depth.clamp(min=1e-300), 0.0)
    columns = torch.cat((-couple.reshape(width, -1), depth_focal.unsqueeze(0)))
    scaled = columns * inverse_depth
    local = -(scaled @ columns.T)
    slope = -(scaled @ depth_gradient)
    for k in range(count):
        local[7 * k:7 * k + 7, 7 * k:7 * k + 7] += own[k]
    local[:width, width] -= to_focal.reshape(-1)
    local[width, :width] -= to_focal.reshape(-1)
    local[width, width] += focal_focal.sum()
    slope[:width] -= gradient.reshape(-1)
    slope[width] += focal_gradient.sum()
    mapping = local.new_zeros(width + 1, 7 + width)
    for k in range(count):
        mapping[7 * k:7 * k + 6, :6] = -torch.eye(6, dtype=local.dtype, device=local.device)
        mapping[7 * k:7 * k + 7, 7 + 7 * k:14 + 7 * k] = map_edge[k]
    mapping[width, 6] = 1.0
    edges = samples.edge[group]
    places = torch.arange(7, device=local.device)
    index = torch.cat((6 * number + places[:6], torch.full_like(places[:1], 6 * layout.images + number),
                       (7 * layout.images + 7 * edges.unsqueeze(1) + places).reshape(-1)))
    return Block(index, mapping.T @ local @ mapping, mapping.T @ slope)


def _field(points: Tensor, vectors: Tensor) -> Tensor:
    """(O, 3, N) twice -> (O, 7, N): vectors seen along the field omega x y + v + sigma y, by omega, v, sigma."""
    return torch.cat((torch.linalg.cross(points, vectors, dim=1), vectors,
                      (points * vectors).sum(1, keepdim=True)), 1)


def _own_blocks(points: Tensor, weight: Tensor) -> Tensor:
    """(O, 7, 7) sums over samples of weight * field^T field, from the weighted moments of the points."""
    homogeneous = torch.cat((points, torch.ones_like(points[:, :1])), 1)
    moments = (weight.unsqueeze(1) * homogeneous) @ homogeneous.transpose(1, 2)
    second, first, total = moments[:, :3, :3], moments[:, :3, 3], moments[:, 3, 3]
    trace = second.diagonal(dim1=1, dim2=2).sum(1)
    eye = torch.eye(3, dtype=points.dtype, device=points.device)
    block = points.new_zeros(len(points), 7, 7)
    block[:, :3, :3] = trace[:, None, None] * eye - second
    block[:, :3, 3:6] = skew(first)
    block[:, 3:6, :3] = -skew(first)
    block[:, 3:6, 3:6] = total[:, None, None] * eye
    block[:, 3:6, 6] = first
    block[:, 6, 3:6] = first
    block[:, 6, 6] = trace
    return block


def _edge_maps(state: State, samples: Samples) -> Tensor:
    """(O, 7, 7) a pair's own (omega, s v, sigma) -> the field in the camera frame of the observation's image."""
    _, rotation, translation = decompose(inverse(state.camera)[samples.image] @ state.edge[samples.edge])
    result = rotation.new_zeros(len(rotation), 7, 7)
    result[:, :3, :3] = rotation
    result[:, 3:6, 3:6] = rotation
    result[:, 3:6, :3] = skew(translation) @ rotation
    result[:, 3:6, 6] = -translation
    result[:, 6, 6] = 1.0
    return result


def moved(state: State, step: Tensor) -> State:
    """The state after a step of all unknowns (see ``Layout``); depths stay."""
    layout = Layout(len(state.camera), len(state.edge))
    cameras, pairs = layout.cameras(step), layout.pairs(step)
    camera = state.camera.clone()
    camera[:, :3, 3] += (state.camera[:, :3, :3] @ cameras[:, 3:].unsqueeze(2)).squeeze(2)
    camera[:, :3, :3] = state.camera[:, :3, :3] @ rotation_exp(cameras[:, :3])
    edge = state.edge.clone()
    rotation = decompose(state.edge)[1]
    edge[:, :3, 3] += (rotation @ pairs[:, 3:6].unsqueeze(2)).squeeze(2)
    edge[:, :3, :3] = state.edge[:, :3, :3] @ rotation_exp(pairs[:, :3]) * pairs[:, 6].exp()[:, None, None]
    focal = layout.focals(step).exp().unsqueeze(1)
    intrinsics = torch.cat((state.intrinsics[:, :2] * focal, state.intrinsics[:, 2:]), 1)
    return State(camera, edge, intrinsics, state.depth, state.log_unit + step[-1])
