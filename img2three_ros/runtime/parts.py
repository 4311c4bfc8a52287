"""The networks, and parts of networks, that can stand behind the seam: tensors of fixed shapes in, tensors out.

Measured on a CPU (``benchmarks/runtime.py --parts``), only the encoder is faster enough elsewhere to be routed there by
the engine; the others can be exported for whoever runs them on other hardware.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.depth_network import DepthNetwork
from ..models.image_encoder import Features
from ..models.pointmap_network import PointmapNetwork
from ..models.scene_network import SceneNetwork
from ..models.scene_volume import BLOCK
from .exported import TensorSpec

Size = tuple[int, int]
"""(height, width) in pixels."""

SCENE_ENCODER, SCENE_REGULARISER = "scene-encoder", "scene-regulariser"
SCENE_VOLUME, SCENE_DECODER, POINTMAP_ENCODER = "scene-volume", "scene-decoder", "pointmap-encoder"
FEATURES = ("match", "grey", "context4", "context8", "context16", "context32")
_RGB = "RGB 0..1; the network normalises it itself"
_INNER = "features as the parts before it give them"


@dataclass(frozen=True, eq=False)
class Part:
    """A network at fixed shapes. module: float32 tensors of ``inputs`` -> tuple of tensors named ``outputs``.

    normalisation: what the inputs must be, in words. sample: a generator -> inputs for the self-test, on the CPU.
    """

    network: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    normalisation: str
    sample: Callable[[torch.Generator], tuple[Tensor, ...]]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @cached_property
    def weights(self) -> str:
        """sha256 (hex) of names, shapes and values of the weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def samples(self, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs for the self-test, always the same, on the device of the weights."""
        made = self.sample(torch.Generator().manual_seed(seed))
        return tuple(tensor.to(self.device) for tensor in made)

    @torch.inference_mode()
    def reference(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What torch gives in float32: the truth of every other backend."""
        with torch.autocast(self.device.type, enabled=False):
            return tuple(self.module(*inputs))


def scene_encoder(network: DepthNetwork, size: Size, batch: int = 1) -> Part:
    """Images (batch, 3, H, W), sides multiples of 32 -> ``Features``."""
    spec = TensorSpec("images", (batch, 3, *size))
    return Part(SCENE_ENCODER, _SceneEncoder(network), (spec,), FEATURES, _RGB,
                lambda chance: (pseudo_images(spec.shape, chance),))


def scene_regulariser(network: DepthNetwork, size: Size, batch: int = 1) -> Part:
    """Scores of all depth hypotheses and features -> distribution, hidden state and weights of the upsampling, see
    ``depth_network.Regulariser``."""
    config, (h, w) = network.config, (size[0] // 8, size[1] // 8)
    planes, (_, c8, c16, c32) = config.planes, config.context
    specs = (TensorSpec("scores", (batch, 2, planes, h, w)), TensorSpec("alike", (batch, planes, h, w)),
             TensorSpec("smooth", (batch, planes, h, w)), TensorSpec("context8", (batch, c8, h, w)),
             TensorSpec("context16", (batch, c16, h // 2, w // 2)),
             TensorSpec("context32", (batch, c32, h // 4, w // 4)), TensorSpec("view", (batch, 6, h, w)))
    return Part(SCENE_REGULARISER, _Regulariser(network), specs, ("logits", "hidden", "blend"), _INNER,
                lambda chance: tuple(torch.rand(spec.shape, generator=chance) for spec in specs))


def scene_volume(network: SceneNetwork) -> Part:
    """The plane of an instant -> the features of all cells, see ``scene_volume.SceneVolume.complete``."""
    _, rows, columns = network.config.grid.shape
    spec = TensorSpec("plane", (1, network.config.widths[0], rows // BLOCK, columns // BLOCK))
    return Part(SCENE_VOLUME, _Volume(network), (spec,), ("volume",), _INNER,
                lambda chance: (torch.randn(spec.shape, generator=chance),))


def scene_decoder(network: SceneNetwork, points: int = 1 << 14) -> Part:
    """Features and evidence (points, F + 2) of points (points, 3) in base_link -> answers, see ``SceneDecoder``."""
    specs = TensorSpec("features", (points, network.config.features + 2)), TensorSpec("points", (points, 3))
    return Part(SCENE_DECODER, _Decoder(network), specs, ("answers",), _INNER,
                lambda chance: (torch.randn(specs[0].shape, generator=chance),
                                20.0 * torch.randn(specs[1].shape, generator=chance)))


def pointmap_encoder(network: PointmapNetwork, size: Size, batch: int = 1) -> Part:
    """Images (batch, 3, H, W), sides multiples of 16 -> tokens, and the same embedded for the decoder."""
    spec = TensorSpec("images", (batch, 3, *size))
    return Part(POINTMAP_ENCODER, _PointmapEncoder(network), (spec,), ("tokens", "embedded"), "RGB -1..1",
                lambda chance: (2.0 * pseudo_images(spec.shape, chance) - 1.0,))


def pseudo_images(shape: tuple[int, ...], chance: torch.Generator) -> Tensor:
    """(N, 3, H, W) in 0..1: blotches of all sizes, as contrasts in real images are at all scales."""
    count, _, height, width = shape
    total = torch.zeros(count, 3, height, width)
    for level in range(6):
        coarse = torch.randn(count, 3, max(1, height >> level), max(1, width >> level), generator=chance)
        total += 2.0 ** (0.5 * level) * functional.interpolate(coarse, (height, width), mode="nearest")
    return torch.sigmoid(0.3 * total)


class _SceneEncoder(nn.Module):
    def __init__(self, network: DepthNetwork) -> None:
        super().__init__()
        self.encoder = network.encoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features: Features = self.encoder(images)
        return features.tensors()


class _Regulariser(nn.Module):
    def __init__(self, network: DepthNetwork) -> None:
        super().__init__()
        self.regularise = network.regularise

    def forward(self, scores: Tensor, alike: Tensor, smooth: Tensor, context8: Tensor, context16: Tensor,
                context32: Tensor, view: Tensor) -> tuple[Tensor, ...]:
        nothing = context8.new_zeros(0)
        reference = Features(nothing, nothing, nothing, context8, context16, context32)
        found: tuple[Tensor, ...] = self.regularise(scores, alike, smooth, reference, view)
        return found


class _Volume(nn.Module):
    def __init__(self, network: SceneNetwork) -> None:
        super().__init__()
        self.volume = network.volume

    def forward(self, plane: Tensor) -> tuple[Tensor, ...]:
        return (self.volume.complete(plane),)


class _Decoder(nn.Module):
    def __init__(self, network: SceneNetwork) -> None:
        super().__init__()
        self.decoder = network.decoder

    def forward(self, features: Tensor, points: Tensor) -> tuple[Tensor, ...]:
        return (self.decoder.said(features, points),)


class _PointmapEncoder(nn.Module):
    def __init__(self, network: PointmapNetwork) -> None:
        super().__init__()
        self.encoder, self.embed = network.encoder, network.decoder.embed

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        tokens = self.encoder(images)
        return tokens, self.embed(tokens)
