"""From depth on the device to points and depth images on the host: the only device-to-host copy of geometry."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..config import CloudConfig
from ..structures import CameraCalibration, DepthImage, PointCloud
from .ground import GroundModel
from .views import DepthView, Geometry

_COUNTED_CELLS = 1 << 22


def point_cloud(geometry: Geometry, config: CloudConfig) -> PointCloud:
    """Coloured points in ``base_link`` of every n-th pixel that is confident enough and near enough."""
    parts = [_view_points(depth, config) for depth in geometry.depths]
    if not parts:
        return PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
    points, colours, confidence = (torch.cat(part, -1).cpu().numpy() for part in zip(*parts, strict=True))
    return PointCloud(_interleaved(points), _interleaved(colours), confidence)


def _interleaved(columns: NDArray[Any]) -> NDArray[Any]:
    """(3, N) -> (N, 3) in this order in memory; several times as fast as numpy and torch."""
    return np.asarray(cv2.merge(list(columns))).reshape(-1, 3) if columns.size else columns.T


def _view_points(depth: DepthView, config: CloudConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points and colours (3, N), confidence (N,). Only what is kept is looked up, unprojected and moved:
    depth * (R K^-1 pixel) + t."""
    view, step = depth.view, config.stride
    keep = depth.valid[::step, ::step] & view.mask[::step, ::step]
    v, u = (step * index for index in (keep & (depth.confidence[::step, ::step] >= config.min_confidence)
                                       ).nonzero(as_tuple=True))
    pixel = v * view.size[1] + u
    T_base_camera = torch.from_numpy(view.T_base_camera).to(view.image.device)
    ray = (T_base_camera[:3, :3] @ torch.linalg.inv(view.intrinsics.double())).float()
    centre = T_base_camera[:3, 3].float()
    distance = torch.take(depth.depth, pixel)
    points = torch.stack([(ray[row, 0] * u + ray[row, 1] * v + ray[row, 2]) * distance + centre[row]
                          for row in range(3)])
    near = (points.square().sum(0) <= config.max_range ** 2).nonzero().squeeze(1)
    points, pixel = points[:, near], pixel[near]
    colours = (view.image.flatten(1)[:, pixel] * 255.0).round_().to(torch.uint8)
    return points, colours, torch.take(depth.confidence, pixel)


def obstacle_points(cloud: PointCloud, ground: GroundModel, config: CloudConfig) -> PointCloud:
    """The points a planner must avoid: confident, within range, between two heights above the ground, not alone."""
    x, y, z = np.ascontiguousarray(cloud.points.T)
    index = np.flatnonzero((cloud.confidence >= config.obstacle_min_confidence) & np.isfinite(z)
                           & (x * x + y * y <= config.obstacle_max_range ** 2))
    x, y, z = x[index], y[index], z[index]
    height = z - ground.height(np.stack((x, y), axis=1))
    keep = np.flatnonzero((height >= config.obstacle_min_height) & (height <= config.obstacle_max_height))
    return cloud.select(index[keep[_supported((x[keep], y[keep], z[keep]), config.obstacle_support)]])


def _supported(points: tuple[NDArray[np.float32], ...], least: int, cell: float = 0.5) -> NDArray[np.bool_]:
    """(N,) bool: at least ``least`` of the points (x, y, z, each (N,)) share the point's cell. A lone point is a
    matching error, not a thing."""
    if len(points[0]) == 0:
        return np.zeros(0, dtype=bool)
    cells = [np.floor(along * (1.0 / cell)).astype(np.int64) for along in points]
    cells = [along - along.min() for along in cells]
    nx, ny, nz = (int(along.max()) + 1 for along in cells)
    keys = (cells[2] * ny + cells[1]) * nx + cells[0]
    if nx * ny * nz <= _COUNTED_CELLS:  # counting is faster than sorting, where the cells are not too many
        return np.asarray(np.bincount(keys, minlength=nx * ny * nz)[keys] >= least)
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(counts[place] >= least)


def depth_image(depth: DepthView) -> DepthImage:
    """Depth and confidence of one view on the host, NaN where no depth is given."""
    view = depth.view
    height, width = view.size
    given = depth.valid & view.mask
    nothing = torch.full_like(depth.depth, float("nan"))
    return DepthImage(
        name=view.name, stamp=view.stamp,
        image=(view.image.permute(1, 2, 0) * 255.0).round().to(torch.uint8).cpu().numpy(),
        depth=torch.where(given, depth.depth, nothing).cpu().numpy(),
        confidence=torch.where(given, depth.confidence, nothing).cpu().numpy(),
        calibration=CameraCalibration(width, height, view.intrinsics.cpu().double().numpy()),
        T_base_camera=view.T_base_camera,
    )
