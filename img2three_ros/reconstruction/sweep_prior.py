"""What is known before any match: the world does not lie below the ground."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.plane_sweep import upward_component
from .views import View

_BELOW = 0.3
_SLOPE = 0.05
_ATTRACTION = 0.04


def add_ground_prior(cost: Tensor, view: View, intrinsics: Tensor, planes: Tensor) -> Tensor:
    """Cost (D, h, w) on every second pixel of the image with ``intrinsics``, with the ground taken into account.

    Hypotheses below the ground (z = 0 in ``base_link``; tolerance grows with range for slopes) cost most; those on
    it are slightly preferred.
    """
    _, height, width = cost.shape
    upward = upward_component(view.T_base_camera, intrinsics, 2 * height, 2 * width)[::2, ::2]
    depth = planes.reciprocal().reshape(-1, 1, 1)
    z = float(view.T_base_camera[2, 3]) + depth * upward
    tolerance = _BELOW + _SLOPE * depth
    near = _ATTRACTION * torch.exp(-(z / (0.5 * tolerance)) ** 2)
    return torch.where(z < -tolerance, torch.full_like(cost, 1.2), cost - near)
