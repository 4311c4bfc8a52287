"""Rotary positions by hand, attention against its definition, and who reads whom in the decoder."""

import math

import numpy as np
import pytest
import torch

from img2three_ros.models.pointmap_config import PointmapConfig, small_config
from img2three_ros.models.pointmap_transformer import (
    CrossAttention,
    Decoder,
    Encoder,
    SelfAttention,
    rotary_tables,
    rotate,
)
from img2three_ros.structures import InputError

CPU = torch.device("cpu")


def tiny_config(**changes: object) -> PointmapConfig:
    values: dict = {"encoder_width": 32, "encoder_depth": 2, "encoder_heads": 2, "decoder_width": 24,
                    "decoder_depth": 4, "decoder_heads": 3, "dense_widths": (8, 8, 8, 8), "dense_width": 8,
                    "descriptor_hidden": 16}
    return PointmapConfig(**(values | changes))


def test_rotary_angles_by_hand() -> None:
    cosine, sine = rotary_tables(3, 4, width=8, base=100.0, device=CPU)
    token = 2 * 4 + 3  # row 2, column 3; two frequencies: 100^0 = 1 and 100^(-1/2) = 0.1
    angles = torch.tensor([[2.0, 0.2], [3.0, 0.3]])
    torch.testing.assert_close(cosine[token], angles.cos())
    torch.testing.assert_close(sine[token], angles.sin())
    assert cosine.shape == (12, 2, 2) and cosine.dtype == torch.float32


def test_rotation_by_hand() -> None:
    x = torch.arange(1.0, 9.0).expand(1, 1, 12, 8)
    turned = rotate(x, rotary_tables(3, 4, width=8, base=100.0, device=CPU))[0, 0, 2 * 4 + 3]

    def pair(first: float, second: float, angle: float) -> tuple[float, float]:
        return (first * math.cos(angle) - second * math.sin(angle), second * math.cos(angle) + first * math.sin(angle))

    row0, row1 = pair(1, 3, 2.0), pair(2, 4, 0.2)  # channel k of a half goes with k + 2
    column0, column1 = pair(5, 7, 3.0), pair(6, 8, 0.3)
    expected = [row0[0], row1[0], row0[1], row1[1], column0[0], column1[0], column0[1], column1[1]]
    torch.testing.assert_close(turned, torch.tensor(expected))


def test_attention_depends_on_relative_positions_only() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(1, 1, 1, 16, generator=generator).expand(1, 1, 35, 16) for _ in range(2))
    tables = rotary_tables(5, 7, width=16, base=100.0, device=CPU)
    scores = (rotate(query, tables) @ rotate(key, tables).mT)[0, 0].view(5, 7, 5, 7)
    torch.testing.assert_close(scores[1, 2, 3, 6], scores[0, 1, 2, 5])
    torch.testing.assert_close(scores[4, 0, 2, 1], scores[3, 3, 1, 4])
    assert not torch.isclose(scores[1, 2, 3, 6], scores[2, 1, 6 - 3, 3])  # rows and columns are told apart


@pytest.mark.parametrize("crossed", [False, True])
def test_attention_is_softmax_of_rotated_products(crossed: bool) -> None:
    torch.manual_seed(2)
    width, heads = 16, 2
    layer = CrossAttention(width, heads) if crossed else SelfAttention(width, heads)
    x, other = torch.randn(1, 6, width), torch.randn(1, 4, width)
    tables, other_tables = (rotary_tables(2, columns, 8, 100.0, CPU) for columns in (3, 2))
    if isinstance(layer, CrossAttention):
        found = layer(x, other, tables, other_tables)
        q, k, v = layer.query(x), layer.key(other), layer.value(other)
    else:
        found = layer(x, tables)
        (q, k, v), other_tables = layer.qkv(x).split(width, -1), tables
    mixed = []
    for head in range(heads):
        own = slice(8 * head, 8 * head + 8)
        turned_q, turned_k = rotate(q[:, None, :, own], tables)[0, 0], rotate(k[:, None, :, own], other_tables)[0, 0]
        scores = (turned_q @ turned_k.T / math.sqrt(8)).double().detach().numpy()
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        mixed.append(torch.from_numpy(weights).float() @ v[0, :, own])
    torch.testing.assert_close(found, layer.project(torch.cat(mixed, -1))[None], atol=1e-5, rtol=1e-5)


def test_encoder_reads_patches_row_by_row() -> None:
    config = tiny_config(encoder_depth=1)
    encoder = Encoder(config)
    encoder.blocks = torch.nn.ModuleList()
    image = torch.randn(1, 3, 32, 48)
    patch = image[0, :, 16:32, 0:16]  # row 1, column 0: token 3
    token = (encoder.patches.weight * patch).sum((1, 2, 3)) + encoder.patches.bias
    torch.testing.assert_close(encoder(image)[0, 3], torch.nn.functional.layer_norm(token, (32,), eps=1e-6))


def test_both_decoders_read_what_the_other_was_before_the_block() -> None:
    torch.manual_seed(3)
    decoder = Decoder(tiny_config())
    x1, x2 = torch.randn(1, 4, 24), torch.randn(1, 6, 24)
    before1, before2 = decoder(x1, x2, (2, 2), (2, 3))
    with torch.no_grad():
        for parameter in decoder.second[-1].parameters():
            parameter.add_(0.3)
    after1, after2 = decoder(x1, x2, (2, 2), (2, 3))
    torch.testing.assert_close(after1, before1, atol=0, rtol=0)
    assert not torch.allclose(after2[-1], before2[-1])
    with torch.no_grad():
        for parameter in decoder.first[-2].parameters():
            parameter.add_(0.3)
    _, last2 = decoder(x1, x2, (2, 2), (2, 3))
    assert not torch.allclose(last2[-1], after2[-1])  # one block later it is read
    torch.testing.assert_close(last2[1], after2[1], atol=0, rtol=0)
    assert [level.shape for level in last2] == 3 * [(1, 6, 24)]


def test_levels_of_published_depth() -> None:
    assert PointmapConfig().levels == (6, 9, 12)
    assert PointmapConfig(head="linear").levels == (12,)
    assert small_config().levels == (3, 4, 6)


@pytest.mark.parametrize("changes", [{"encoder_heads": 3}, {"decoder_width": 30}, {"head": "cubic"},
                                     {"decoder_depth": 3}, {"head": "linear", "descriptor_width": 8}])
def test_impossible_sizes_are_refused(changes: dict) -> None:
    with pytest.raises(InputError, match="pointmap"):
        tiny_config(**changes)
