"""Networks for tests of the runtime: small, with random weights."""

import torch
from torch import nn

from img2three_ros.models.depth_network import DepthNetwork, DepthNetworkConfig
from img2three_ros.models.pointmap_config import PointmapConfig
from img2three_ros.models.pointmap_network import PointmapNetwork
from img2three_ros.runtime.exported import TensorSpec
from img2three_ros.runtime.parts import Part

SIZE = (64, 96)


def depth_network(seed: int = 0) -> DepthNetwork:
    torch.manual_seed(seed)
    config = DepthNetworkConfig(planes=16, match=8, context=(8, 8, 8, 8), widths=(8, 8, 8), refine_width=8,
                                candidates=4, refinements=1)
    return DepthNetwork(config).eval().requires_grad_(False)


def pointmap_network() -> PointmapNetwork:
    torch.manual_seed(1)
    config = PointmapConfig(32, 2, 2, 32, 2, 2, head="linear", image_side=64)
    return PointmapNetwork(config).eval().requires_grad_(False)


class Scaled(nn.Module):
    """y = w x: small enough to be exported in no time."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.weight * x,)


def scaled(weight: float = 3.0, width: int = 4) -> Part:
    return Part("scaled", Scaled(weight).eval().requires_grad_(False), (TensorSpec("x", (1, width)),), ("y",), "any",
                lambda chance: (torch.randn(1, width, generator=chance),))
