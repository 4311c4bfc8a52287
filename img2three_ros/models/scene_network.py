"""The scene network: refinement, volume and decoder together, and what the depth network hands to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .depth_network import DepthPrediction
from .depth_refinement import DepthRefinement
from .image_encoder import Features
from .lifting import LiftedView
from .scene_decoder import SceneDecoder
from .scene_volume import SceneVolume, SceneVolumeConfig, ViewTable

STRIDE = 4
"""The volume takes what is known of every STRIDE x STRIDE pixels of the images."""


class SceneNetwork(nn.Module):
    """``refine``: views that see the same surfaces -> corrected depth; ``volume``: views -> state; ``decoder``: state
    and points -> answers."""

    def __init__(self, config: SceneVolumeConfig) -> None:
        super().__init__()
        self.config = config
        self.refine = DepthRefinement()
        self.volume = SceneVolume(config)
        self.decoder = SceneDecoder(config.grid, config.features)


def lifted_views(images: Tensor, mask: Tensor, features: Features, prediction: DepthPrediction) -> list[LiftedView]:
    """What the depth network found in images (V, 3, H, W) RGB 0..1 with masks (V, H, W), at 1 / STRIDE. NaN and
    infinity are masked: one of them would spread over the whole scene."""
    shown = functional.avg_pool2d(mask[:, None].float(), STRIDE)[:, 0] > 0.5
    log_scale = functional.avg_pool2d(prediction.log_scale.float(), STRIDE)
    confidence = functional.avg_pool2d(torch.sigmoid(prediction.confidence.float()), STRIDE)
    colours = functional.avg_pool2d(images.float(), STRIDE)
    log_depth = prediction.log_depths[-2].float()
    shown = shown & log_depth.isfinite() & log_scale.isfinite() & confidence.isfinite()
    maps = [torch.nan_to_num(values, 0.0, 0.0, 0.0) for values in (
        features.context4.float(), colours, log_depth, log_scale, confidence)]
    return [LiftedView(*(values[row] for values in (*maps, shown))) for row in range(len(images))]


def view_table(volume: SceneVolume, intrinsics: Tensor, T_base_camera: Tensor, size: tuple[int, int]) -> ViewTable:
    """The tables of a camera: intrinsics (3, 3) in pixels of its images of ``size`` (height, width), pose (4, 4)."""
    return volume.table(at_stride(intrinsics), T_base_camera, (size[0] // STRIDE, size[1] // STRIDE))


def at_stride(intrinsics: Tensor) -> Tensor:
    """Intrinsics (3, 3) of every STRIDE x STRIDE pixels, averaged."""
    shift = 0.5 / STRIDE - 0.5
    return intrinsics.new_tensor(((1.0 / STRIDE, 0.0, shift), (0.0, 1.0 / STRIDE, shift), (0.0, 0.0, 1.0))) @ intrinsics


def light_above(images: Sequence[Tensor]) -> Tensor:
    """(3,) mean colour of the upper fifths of images (3, h, w), mostly sky; grey without images."""
    if not images:
        return torch.full((3,), 0.5)
    return torch.stack([image[:, :max(1, image.shape[1] // 5)].mean((1, 2)) for image in images]).mean(0)
