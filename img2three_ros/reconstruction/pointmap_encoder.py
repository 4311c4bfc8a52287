"""The image encoder of engine ``pointmap`` behind the seam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..config import RuntimeConfig
from ..models.pointmap_config import PATCH
from ..models.pointmap_network import ImageFeatures, PointmapNetwork
from ..runtime.choose_backend import Load
from ..runtime.parts import pointmap_encoder
from .backed_encoder import BackedEncoder


class PointmapEncoder(BackedEncoder):
    """Images -> their features.

    ``auto`` is torch on a CPU: a large vision transformer is products of matrices, in which ONNX Runtime is no faster,
    and writing a gigabyte for it takes a minute.
    """

    def __init__(self, network: PointmapNetwork, config: RuntimeConfig, device: torch.device, load: Load | None = None,
                 ) -> None:
        if device.type == "cpu" and config.backend == "auto":
            config = replace(config, backend="torch", precision="fp32")
        super().__init__(partial(pointmap_encoder, network), None, config, device, load)

    def __call__(self, images: Mapping[int, Tensor]) -> dict[int, ImageFeatures]:
        """Features (B = 1) of images (3, H, W), RGB from -1 to 1, sides multiples of 16, by number."""
        found = self.outputs(list(images.values()))
        return {number: ImageFeatures(tokens, embedded, int(image.shape[1]) // PATCH, int(image.shape[2]) // PATCH)
                for (number, image), (tokens, embedded) in zip(images.items(), found, strict=True)}
