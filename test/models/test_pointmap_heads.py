"""What heads make of tokens, by hand and against the dense head written a second time."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from img2three_ros.models.pointmap_checkpoint import published_name
from img2three_ros.models.pointmap_config import PointmapConfig
from img2three_ros.models.pointmap_heads import (
    DenseHead,
    DescriptorHead,
    LinearHead,
    PixelHead,
    points_and_confidence,
    tokens_to_pixels,
)

CONFIG = PointmapConfig(encoder_width=24, encoder_depth=1, encoder_heads=2, decoder_width=16, decoder_depth=4,
                        decoder_heads=2, dense_widths=(8, 12, 16, 20), dense_width=8, descriptor_width=5,
                        descriptor_hidden=32)


def test_points_and_confidence_by_hand() -> None:
    raw = torch.tensor([[0.0, 3.0, 4.0, 0.0], [0.0, 0.0, -math.log(2), math.log(3)], [0.0, 0.0, 0.0, -50.0]])
    points, confidence = points_and_confidence(raw.T[None, :, None])
    distance = math.expm1(5.0)
    torch.testing.assert_close(points, torch.tensor([[[[0.0, 0.6 * distance, 0.8 * distance], [0, 0, -1], [0, 0, 0]]]]))
    torch.testing.assert_close(confidence, torch.tensor([[[2.0, 4.0, 1.0]]]))


def test_points_can_be_trained_from_nothing() -> None:
    raw = torch.zeros(1, 4, 1, 1, requires_grad=True)
    points_and_confidence(raw)[0].sum().backward()
    assert torch.isfinite(raw.grad).all()


def test_channels_of_a_token_are_its_pixels() -> None:
    tokens = torch.zeros(1, 6, 3 * 256)
    tokens[0, 4, 2 * 256 + 16 * 5 + 7] = 1.0  # token of row 1, column 1 of two rows of three; channel 2, y 5, x 7
    pixels = tokens_to_pixels(tokens, 2, 3)
    assert pixels.shape == (1, 3, 32, 48)
    assert pixels.nonzero().tolist() == [[0, 2, 16 + 5, 16 + 7]]


def test_linear_head_reads_the_last_level() -> None:
    torch.manual_seed(0)
    head = LinearHead(CONFIG)
    tokens = torch.randn(1, 6, 16)
    raw = head(torch.empty(0), [tokens], 2, 3)
    weight, bias = head.project.weight[3 * 256 + 16 * 2 + 9], head.project.bias[3 * 256 + 16 * 2 + 9]
    torch.testing.assert_close(raw[0, 3, 16 + 2, 32 + 9], weight @ tokens[0, 5] + bias)


def published_dense_head(tensors: dict[str, Tensor], tokens: list[Tensor], rows: int, columns: int) -> Tensor:
    """The dense head as published, by the names of its tensors, in the order in which it is described."""

    def convolved(x: Tensor, name: str, **options: int) -> Tensor:
        return functional.conv2d(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), **options)

    def unit(x: Tensor, name: str) -> Tensor:
        y = convolved(x.relu(), f"{name}.conv1", padding=1)
        return convolved(y.relu(), f"{name}.conv2", padding=1) + x

    def doubled(x: Tensor) -> Tensor:
        size = [2 * side for side in x.shape[-2:]]
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)

    layers = []
    for number, level in enumerate(tokens):
        x = convolved(level.transpose(1, 2).reshape(1, -1, rows, columns), f"act_postprocess.{number}.0")
        name = f"act_postprocess.{number}.1"
        if number < 2:
            x = functional.conv_transpose2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], (4, 2)[number])
        elif number == 3:
            x = convolved(x, name, stride=2, padding=1)
        layers.append(convolved(x, f"scratch.layer{number + 1}_rn", padding=1))
    path = None
    for number in (4, 3, 2, 1):
        name = f"scratch.refinenet{number}"
        x = layers[number - 1] if path is None else path + unit(layers[number - 1], f"{name}.resConfUnit1")
        path = convolved(doubled(unit(x, f"{name}.resConfUnit2")), f"{name}.out_conv")
        if number == 4:
            path = path[..., :rows, :columns]
    x = doubled(convolved(path, "head.0", padding=1))
    return convolved(convolved(x, "head.2", padding=1).relu(), "head.4")


def test_dense_head_is_the_published_one() -> None:
    torch.manual_seed(1)
    head = DenseHead(CONFIG)
    rows, columns = 3, 5  # odd: the coarsest level has half a cell more
    tokens = [torch.randn(1, rows * columns, width) for width in (24, 16, 16, 16)]
    tensors = {published_name(f"head1.points.{name}").removeprefix("downstream_head1.dpt."): tensor
               for name, tensor in head.state_dict().items()}
    expected = published_dense_head(tensors, tokens, rows, columns)
    with torch.no_grad():
        found = head(head.prepare(tokens[0], rows, columns), tokens[1:], rows, columns)
    assert found.shape == (1, 4, 48, 80)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_descriptors_by_hand() -> None:
    torch.manual_seed(2)
    head = DescriptorHead(CONFIG)
    encoded, decoded = torch.randn(1, 6, 24), torch.randn(1, 6, 16)
    descriptors, confidence = head(encoded, decoded, 2, 3)
    assert descriptors.shape == (1, 32, 48, 5) and confidence.shape == (1, 32, 48)
    hidden = head.first(torch.cat((encoded[0, 4], decoded[0, 4])))
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    raw = head.second(hidden).view(6, 16, 16)[:, 3, 11]
    torch.testing.assert_close(descriptors[0, 16 + 3, 16 + 11], raw[:5] / raw[:5].norm())
    torch.testing.assert_close(confidence[0, 16 + 3, 16 + 11], raw[5].exp())


def test_heads_stay_in_float32_under_autocast() -> None:
    torch.manual_seed(3)
    head = PixelHead(CONFIG)
    encoded = torch.randn(1, 6, 24)
    levels = [torch.randn(1, 6, 16) for _ in range(3)]
    plain = head(encoded, head.prepare(encoded, 2, 3), levels, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = head(encoded, head.prepare(encoded, 2, 3), levels, 2, 3)
    for expected, found in zip(plain, mixed, strict=True):
        assert found is not None and found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
