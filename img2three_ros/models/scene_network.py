"""The scene network: volume and decoder together, and what the depth network hands to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .depth_network import DepthPrediction
from .image_encoder import Features
from .lifting import LiftedViews
from .scene_decoder import SceneDecoder
from .scene_volume import SceneVolume, SceneVolumeConfig, ViewTables

STRIDE = 4
"""The volume takes what is known of every STRIDE x STRIDE pixels of the images."""


class SceneNetwork(nn.Module):
    """``volume``: views -> state; ``decoder``: state and points -> answers."""

    def __init__(self, config: SceneVolumeConfig) -> None:
        super().__init__()
        self.config = config
        self.volume = SceneVolume(config)
        self.decoder = SceneDecoder(config.grid, config.features)


@dataclass(frozen=True, eq=False)
class SceneViews:
    """Views of one instant as the volume takes them. colours: (V, 3, h, w) RGB 0..1."""

    views: LiftedViews
    colours: Tensor

    def select(self, rows: Tensor) -> SceneViews:
        """Some of the views."""
        of = self.views
        return SceneViews(LiftedViews(of.features[rows], of.log_depth[rows], of.log_scale[rows], of.confidence[rows],
                                      of.mask[rows]), self.colours[rows])


def scene_views(images: Tensor, mask: Tensor, features: Features, prediction: DepthPrediction) -> SceneViews:
    """What the depth network found in images (V, 3, H, W) RGB 0..1 with masks (V, H, W), at 1 / STRIDE."""
    shown = functional.avg_pool2d(mask[:, None].float(), STRIDE)[:, 0] > 0.5
    log_scale = functional.avg_pool2d(prediction.log_scale.float(), STRIDE)
    confidence = functional.avg_pool2d(torch.sigmoid(prediction.confidence.float()), STRIDE)
    views = LiftedViews(features.context4.float(), prediction.log_depths[-2].float(), log_scale, confidence, shown)
    return SceneViews(views, functional.avg_pool2d(images.float(), STRIDE))


def view_tables(volume: SceneVolume, intrinsics: Sequence[Tensor], T_base_camera: Sequence[Tensor],
                size: tuple[int, int]) -> ViewTables:
    """Tables of cameras: intrinsics (3, 3) in pixels of their images of ``size`` (height, width), poses (4, 4)."""
    shift = 0.5 / STRIDE - 0.5
    to_small = torch.tensor([[1.0 / STRIDE, 0.0, shift], [0.0, 1.0 / STRIDE, shift], [0.0, 0.0, 1.0]])
    scaled = [to_small.to(matrix.device) @ matrix for matrix in intrinsics]
    return volume.tables(scaled, T_base_camera, (size[0] // STRIDE, size[1] // STRIDE))
