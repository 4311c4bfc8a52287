"""Vision transformer parts of the pointmap network: rotary positions in two dimensions, encoder, paired decoders.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021); Su et al., "RoFormer" (2021) for rotary positions;
Weinzaepfel et al., "CroCo v2" (ICCV 2023) for rotary positions in two dimensions and the cross-attending decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .pointmap_config import PATCH, PointmapConfig

_EPSILON = 1e-6  # of every layer norm


def rotary_tables(rows: int, columns: int, width: int, base: float, device: torch.device) -> Tensor:
    """(2, rows * columns, 2, width / 4) float32: cosine and sine of the angles of tokens in row-major order.

    The first half of a head's channels turns with the row, the second with the column. width: channels of a head.
    """
    frequencies = base ** (-torch.arange(0, width // 2, 2, dtype=torch.float32, device=device) / (width // 2))
    row = torch.arange(rows, dtype=torch.float32, device=device)[:, None].expand(rows, columns)
    column = torch.arange(columns, dtype=torch.float32, device=device).expand(rows, columns)
    angles = torch.stack((row, column), -1).reshape(rows * columns, 2, 1) * frequencies
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x: Tensor, tables: Tensor) -> Tensor:
    """Queries or keys (B, heads, N, width) turned by the angles of their tokens; tables of ``rotary_tables``.

    Within each half, channel k pairs with channel k + width / 4.
    """
    first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)
    cosine, sine = tables.unbind(0)
    turned = torch.stack((first * cosine - second * sine, second * cosine + first * sine), -2)
    return turned.flatten(-3).to(x.dtype)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, tables: Tensor) -> Tensor:
        """(B, N, width) -> the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(rotate(q, tables), rotate(k, tables), v)
        return self.project(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor, tables: Tensor, other_tables: Tensor) -> Tensor:
        """What the tokens x (B, N, width) find among the other image's (B, M, width): (B, N, width)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in (self.query(x), self.key(other), self.value(other)))
        mixed = functional.scaled_dot_product_attention(rotate(q, tables), rotate(k, other_tables), v)
        return self.project(mixed.transpose(1, 2).flatten(2))


def _mlp(width: int, ratio: float) -> nn.Sequential:
    hidden = int(width * ratio)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class EncoderBlock(nn.Module):
    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=_EPSILON) for _ in range(2))
        self.attention = SelfAttention(width, heads)
        self.mlp = _mlp(width, mlp_ratio)

    def forward(self, x: Tensor, tables: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), tables)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm_other = (nn.LayerNorm(width, eps=_EPSILON) for _ in range(4))
        self.attention = SelfAttention(width, heads)
        self.cross = CrossAttention(width, heads)
        self.mlp = _mlp(width, mlp_ratio)

    def forward(self, x: Tensor, other: Tensor, tables: Tensor, other_tables: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), tables)
        x = x + self.cross(self.norm2(x), self.norm_other(other), tables, other_tables)
        return x + self.mlp(self.norm3(x))


class Encoder(nn.Module):
    """Images to tokens, each image on its own."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(3, config.encoder_width, PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(EncoderBlock(config.encoder_width, config.encoder_heads, config.mlp_ratio)
                                    for _ in range(config.encoder_depth))
        self.norm = nn.LayerNorm(config.encoder_width, eps=_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, H / 16 * W / 16, encoder_width), row by row."""
        patches = self.patches(images)
        rows, columns = patches.shape[-2:]
        config = self.config
        tables = rotary_tables(rows, columns, config.encoder_width // config.encoder_heads, config.rotary_base,
                               images.device)
        x = patches.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, tables)
        return self.norm(x)


class Decoder(nn.Module):
    """Two stacks, one for each image of a pair; in every block each reads the other's tokens of the block before."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.encoder_width, config.decoder_width)
        self.first, self.second = (
            nn.ModuleList(DecoderBlock(config.decoder_width, config.decoder_heads, config.mlp_ratio)
                          for _ in range(config.decoder_depth)) for _ in range(2))
        self.norm = nn.LayerNorm(config.decoder_width, eps=_EPSILON)

    def forward(self, x1: Tensor, x2: Tensor, size1: tuple[int, int],
                size2: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
        """Embedded tokens (B, N, decoder_width) and (B, M, decoder_width) of images of rows x columns tokens.

        Returns, for either image, its tokens after each of the blocks ``config.levels``, the last normalised.
        """
        config = self.config
        width = config.decoder_width // config.decoder_heads
        tables1, tables2 = (rotary_tables(*size, width, config.rotary_base, x1.device) for size in (size1, size2))
        kept1, kept2 = [], []
        for number, (first, second) in enumerate(zip(self.first, self.second, strict=True), start=1):
            x1, x2 = first(x1, x2, tables1, tables2), second(x2, x1, tables2, tables1)
            if number in config.levels[:-1]:
                kept1.append(x1)
                kept2.append(x2)
        return [*kept1, self.norm(x1)], [*kept2, self.norm(x2)]
