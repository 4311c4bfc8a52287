"""Which pairs of images are decoded together, so that the working memory stays below a bound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from .pointmap_config import PATCH, PointmapConfig

Size = tuple[int, int]  # rows and columns of tokens

_FLOAT = 4  # bytes
_SCRATCH = 1.5  # what the libraries take for themselves, measured with oneDNN's convolutions


def image_bytes(config: PointmapConfig, size: Size) -> int:
    """Working memory for encoding one image."""
    return round(_SCRATCH * _FLOAT * _tokens(size) * config.encoder_width * (6 + 2 * config.mlp_ratio))


def prepared_bytes(config: PointmapConfig, size: Size) -> int:
    """What is kept of one image for both heads."""
    channels = 16 * config.dense_width if config.head == "dpt" else config.encoder_width
    return 2 * _FLOAT * _tokens(size) * channels


def pair_bytes(config: PointmapConfig, size1: Size, size2: Size) -> int:
    """Working memory for decoding one ordered pair: its inputs, and the larger of decoder and head."""
    tokens, both = max(_tokens(size1), _tokens(size2)), _tokens(size1) + _tokens(size2)
    inputs = both * (config.encoder_width + config.decoder_width * (1 + len(config.levels)))
    decoder = 2 * both * config.decoder_width + tokens * config.decoder_width * (4 + 2 * config.mlp_ratio)
    outputs = PATCH ** 2 * (5 + config.descriptor_width)
    if config.head == "dpt":
        # Two maps of half the channels at full resolution, their source at half of it.
        head = tokens * (PATCH ** 2 * config.dense_width + PATCH ** 2 // 8 * config.dense_width)
    else:
        head = 2 * tokens * 4 * PATCH ** 2
    if config.descriptor_width:
        head = max(head, tokens * (2 * config.descriptor_hidden + 3 * outputs))
    work = _FLOAT * (inputs + max(decoder, head) + tokens * outputs)
    return round(_SCRATCH * work) + (prepared_bytes(config, size1) + prepared_bytes(config, size2)) // 2


def image_batches(config: PointmapConfig, sizes: dict[int, Size], memory_bytes: int) -> list[list[int]]:
    """Images, named by the keys of sizes, to be encoded together: of one size, at least one, within the bound."""
    batches = []
    for size, same in groupby(sorted(sizes, key=lambda image: (sizes[image], image)), sizes.__getitem__):
        batches += _slices(list(same), max(1, memory_bytes // image_bytes(config, size)))
    return batches


def pair_batches(config: PointmapConfig, pairs: Sequence[tuple[int, int]], sizes: dict[int, Size],
                 memory_bytes: int) -> list[list[int]]:
    """Positions in ``pairs`` of those to be decoded together, within the bound but at least one.

    All images at the first place of a batch have one size, those at the second place too. Where both have the same,
    the two orders of a pair of images stand side by side in one batch if the bound has room for two.
    """
    def shape(position: int) -> tuple[Size, Size]:
        first, second = pairs[position]
        return sizes[first], sizes[second]

    order = sorted(range(len(pairs)), key=lambda k: (shape(k), min(pairs[k]), max(pairs[k]), pairs[k]))
    batches: list[list[int]] = []
    for (size1, size2), same in groupby(order, shape):
        most = max(1, memory_bytes // pair_bytes(config, size1, size2))
        batch: list[int] = []
        for _, both in groupby(same, lambda position: sorted(pairs[position])):
            orders = list(both)
            if batch and len(batch) + len(orders) > most:
                batches.append(batch)
                batch = []
            *full, batch = _slices(batch + orders, most)
            batches += full
        batches.append(batch)
    return batches


def _tokens(size: Size) -> int:
    return size[0] * size[1]


def _slices(items: list[int], length: int) -> list[list[int]]:
    return [items[begin:begin + length] for begin in range(0, len(items), length)]
