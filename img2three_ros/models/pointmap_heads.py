"""From tokens to a point, a confidence and, if wanted, a matching descriptor for every pixel.

Wang et al., "DUSt3R" (CVPR 2024) for points and confidence; Ranftl et al., "Vision Transformers for Dense Prediction"
(ICCV 2021) for the dense head; Leroy et al., "MASt3R" (ECCV 2024) for descriptors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .pointmap_config import PATCH, PointmapConfig


class PixelPrediction(NamedTuple):
    """Of B images: points (B, H, W, 3), confidence (B, H, W) >= 1; with a descriptor head unit vectors descriptors
    (B, H, W, D) and descriptor_confidence (B, H, W) > 0, otherwise None."""

    points: Tensor
    confidence: Tensor
    descriptors: Tensor | None
    descriptor_confidence: Tensor | None


def points_and_confidence(raw: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 4, H, W) of a head -> points (B, H, W, 3) and confidence (B, H, W).

    A point lies in the direction of its three channels, at the distance expm1 of their norm; confidence is
    1 + exp of the fourth.
    """
    direction = raw[:, :3]
    # Twenty times faster than vector_norm across channels; bounded below, for the quotient and for gradients at 0.
    norm = direction.square().sum(1, keepdim=True).clamp(min=1e-16).sqrt()
    points = direction * (torch.expm1(norm) / norm)
    return points.permute(0, 2, 3, 1).contiguous(), 1 + torch.exp(raw[:, 3])


def tokens_to_pixels(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """(B, rows * columns, C * 256) -> (B, C, 16 rows, 16 columns); channel c * 256 + 16 y + x is pixel (x, y)."""
    return functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(-1, (rows, columns)), PATCH)


class LinearHead(nn.Module):
    """Each token predicts its own 16 x 16 pixels."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.decoder_width, 4 * PATCH ** 2)

    def prepare(self, encoded: Tensor, rows: int, columns: int) -> Tensor:
        """Nothing: this head does not read the encoder; the tokens as they are."""
        return encoded

    def forward(self, prepared: Tensor, levels: list[Tensor], rows: int, columns: int) -> Tensor:
        """Tokens after the last block (B, N, decoder_width) -> (B, 4, H, W)."""
        return tokens_to_pixels(self.project(levels[-1]), rows, columns)


class ConvolutionUnit(nn.Module):
    """Two 3 x 3 convolutions, each after a ReLU, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(functional.relu(x))))


class Fusion(nn.Module):
    """Adds a finer level, if there is one, to what came from the coarser ones, and doubles the resolution."""

    def __init__(self, width: int, finer: bool) -> None:
        super().__init__()
        self.skip = ConvolutionUnit(width) if finer else None
        self.refine = ConvolutionUnit(width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, skipped: Tensor | None = None) -> Tensor:
        """x (B, C, h, w), skipped: what ``skip`` made of the finer level, the same shape -> (B, C, 2 h, 2 w)."""
        x = self.refine(x if skipped is None else x + skipped)
        return _doubled(self.out(x))  # a 1 x 1 convolution and interpolation commute: the cheaper order


class DenseHead(nn.Module):
    """Tokens of the encoder and of three decoder blocks as a pyramid of 4, 2, 1 and 1/2 cells per token, fused."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        widths, width = config.dense_widths, config.dense_width
        sources = (config.encoder_width, *(3 * [config.decoder_width]))
        self.project = nn.ModuleList(nn.Conv2d(source, own, 1) for source, own in zip(sources, widths, strict=True))
        self.resample = nn.ModuleList((nn.ConvTranspose2d(widths[0], widths[0], 4, stride=4),
                                       nn.ConvTranspose2d(widths[1], widths[1], 2, stride=2), nn.Identity(),
                                       nn.Conv2d(widths[3], widths[3], 3, stride=2, padding=1)))
        self.unify = nn.ModuleList(nn.Conv2d(own, width, 3, padding=1, bias=False) for own in widths)
        self.fuse = nn.ModuleList(Fusion(width, finer=level < 3) for level in range(4))
        self.before = nn.Conv2d(width, width // 2, 3, padding=1)
        self.after = nn.Sequential(nn.Conv2d(width // 2, width // 2, 3, padding=1), nn.ReLU(inplace=True),
                                   nn.Conv2d(width // 2, 4, 1))

    def prepare(self, encoded: Tensor, rows: int, columns: int) -> Tensor:
        """The finest level, which depends on one image alone: (B, N, encoder_width) -> (B, C, 4 rows, 4 columns)."""
        return self.fuse[0].skip(self._level(0, encoded, rows, columns))

    def forward(self, prepared: Tensor, levels: list[Tensor], rows: int, columns: int) -> Tensor:
        """What ``prepare`` returned and tokens after three blocks, each (B, N, decoder_width) -> (B, 4, H, W)."""
        second, third, coarsest = (self._level(number, tokens, rows, columns)
                                   for number, tokens in enumerate(levels, start=1))
        x = self.fuse[3](coarsest)[..., :rows, :columns]  # one too many where the number of tokens is odd
        x = self.fuse[2](x, self.fuse[2].skip(third))
        x = self.fuse[1](x, self.fuse[1].skip(second))
        x = self.fuse[0](x, prepared)
        return self.after(_doubled(self.before(x)))

    def _level(self, number: int, tokens: Tensor, rows: int, columns: int) -> Tensor:
        grid = tokens.transpose(1, 2).unflatten(-1, (rows, columns))
        return self.unify[number](self.resample[number](self.project[number](grid)))


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


class DescriptorHead(nn.Module):
    """Descriptors for matching from a token before and after the decoder."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        width = config.encoder_width + config.decoder_width
        self.first = nn.Linear(width, config.descriptor_hidden)
        self.second = nn.Linear(config.descriptor_hidden, (config.descriptor_width + 1) * PATCH ** 2)

    def forward(self, encoded: Tensor, decoded: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, encoder_width) and (B, N, decoder_width) -> descriptors (B, H, W, D), confidence (B, H, W)."""
        hidden = functional.gelu(self.first(torch.cat((encoded, decoded), -1)))
        raw = tokens_to_pixels(self.second(hidden), rows, columns)
        descriptors = functional.normalize(raw[:, :-1], dim=1)
        return descriptors.permute(0, 2, 3, 1).contiguous(), torch.exp(raw[:, -1])


class PixelHead(nn.Module):
    """All that is predicted of one image of a pair. Works in float32, under autocast too."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.points = DenseHead(config) if config.head == "dpt" else LinearHead(config)
        self.descriptors = DescriptorHead(config) if config.descriptor_width else None

    def prepare(self, encoded: Tensor, rows: int, columns: int) -> Tensor:
        """The part that depends on one image alone, for ``forward``; encoded: (B, N, encoder_width)."""
        with torch.autocast(encoded.device.type, enabled=False):
            return self.points.prepare(encoded.float(), rows, columns)

    def forward(self, encoded: Tensor, prepared: Tensor, levels: list[Tensor], rows: int,
                columns: int) -> PixelPrediction:
        """encoded: (B, N, encoder_width); prepared: of ``prepare``; levels: of ``Decoder``, each (B, N, width)."""
        with torch.autocast(encoded.device.type, enabled=False):
            levels = [level.float() for level in levels]
            points, confidence = points_and_confidence(self.points(prepared, levels, rows, columns))
            if self.descriptors is None:
                return PixelPrediction(points, confidence, None, None)
            return PixelPrediction(points, confidence,
                                   *self.descriptors(encoded.float(), levels[-1], rows, columns))
