"""A network and view groups small enough for tests: planes seen by sideways moved cameras, textured by position."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from img2three_ros.config import with_overrides
from img2three_ros.data.view_group import ViewGroup
from img2three_ros.models.depth_network import DepthPrediction, ViewGeometry
from img2three_ros.training.settings import TrainConfig

SIZE = (32, 64)


@dataclass(frozen=True)
class TinyGroups:
    """A slanted wall, the brighter the farther; a strip of sky above, a strip of unknown truth below.

    fixed: every group is the same. slow: seconds it takes to make one. Every second
    of different groups has no sources.
    """

    fixed: bool = False
    slow: float = 0.0

    def group(self, index: int, size: tuple[int, int], views: int) -> ViewGroup:
        time.sleep(self.slow)
        generator = torch.Generator().manual_seed(0 if self.fixed else index)
        height, width = size
        across = torch.linspace(0.0, 1.0, width).expand(views, height, width)
        base = 5.0 + 20.0 * torch.rand((views, 1, 1), generator=generator)
        depth = (base * (1.0 + across)).clone()
        image = (depth[:, None] / 50.0).repeat(1, 3, 1, 1) + 0.02 * torch.rand((views, 3, height, width),
                                                                              generator=generator)
        depth[:, : height // 8] = torch.inf
        depth[:, -height // 8:] = torch.nan
        intrinsics = torch.tensor([[width, 0.0, width / 2], [0.0, width, height / 2], [0.0, 0.0, 1.0]])
        pose = torch.eye(4, dtype=torch.float64).repeat(views, 1, 1)
        pose[:, 0, 3] = torch.arange(views) * 0.3
        alone = index % 2 and not self.fixed
        sources = torch.stack([torch.tensor([-1 if alone else (view + 1) % views, -1]) for view in range(views)])
        return ViewGroup(
            images=(image.clamp(0, 1) * 255).to(torch.uint8), intrinsics=intrinsics.repeat(views, 1, 1),
            T_base_camera=pose, mask=torch.ones(views, height, width, dtype=torch.bool), depth=depth,
            moving=torch.zeros(views, height, width, dtype=torch.bool), sources=sources,
            instant=torch.zeros(views, dtype=torch.int64), camera=torch.arange(views))


class TinyNetwork(nn.Module):
    """Same interface as DepthNetwork, a few hundred parameters; of matching, one that only views with sources use.
    noise: how much of its output in training is chance."""

    planes: Tensor

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        torch.manual_seed(3)
        self.register_buffer("planes", torch.linspace(0.0, 5.0, 16), persistent=False)
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU())
        self.logits, self.outputs = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 3, 1)
        self.matched = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor, geometry: ViewGeometry) -> DepthPrediction:
        features = self.body(images)
        small = functional.avg_pool2d(features, 8)
        logits = self.logits(small).float()
        coarse = (logits.softmax(1) * self.planes[:, None, None]).sum(1)
        full = self.outputs(features).float()
        if self.training:
            full = full + self.noise * torch.randn(1)
        if bool((geometry.sources >= 0).any()):
            full = full + self.matched
        log_depth = full[:, 0] + functional.interpolate(coarse[:, None], scale_factor=8.0, mode="bilinear")[:, 0]
        return DepthPrediction(logits, logits, (coarse, log_depth), full[:, 1], full[:, 2])


def tiny_config(**changes: object) -> TrainConfig:
    """Twelve steps of two groups of two views on the CPU without background processes, fp32."""
    values = {"stages": ["to 12 size 32x64 groups 2 views 2"], "device": "cpu", "precision": "fp32",
              "data.workers": 0, "data.reuse": 2, "data.spread": 3, "optimizer.warmup": 2, "log_every": 4,
              "optimizer.learning_rate": 0.01,
              "validation.groups": 2, "validation.every": 6, "validation.size": "32x64", "validation.views": 2,
              "validation.pictures": 1, "checkpoint_every": 100}
    return with_overrides(TrainConfig(), {**values, **{name.replace("__", "."): v for name, v in changes.items()}})
