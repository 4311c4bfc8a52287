"""The image encoder of engine ``scene`` behind the seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ..config import RuntimeConfig
from ..models.depth_network import DepthNetwork
from ..models.image_encoder import Features
from ..runtime.choose_backend import Load
from ..runtime.depth_check import SceneDepthCheck
from ..runtime.parts import Size, scene_encoder
from .backed_encoder import BackedEncoder


class SceneEncoder(BackedEncoder):
    """Images -> features of each."""

    def __init__(self, network: DepthNetwork, config: RuntimeConfig, device: torch.device, load: Load | None = None,
                 ) -> None:
        def check(size: Size, batch: int) -> SceneDepthCheck:
            return SceneDepthCheck(network, size, device, batch)

        super().__init__(partial(scene_encoder, network), check, config, device, load)

    def __call__(self, images: Sequence[Tensor], cameras: Mapping[Size, int] | None = None) -> list[Features]:
        """Features (1, C, h, w) of each image (3, H, W), RGB 0..1, sides multiples of 32; sizes may differ.

        cameras: see ``outputs``.
        """
        return [Features(*tensors) for tensors in self.outputs(images, cameras)]
