"""The small network as a whole: shapes, many pairs at once, export, and its file."""

from pathlib import Path

import pytest
import torch
from single_thread import one_thread
from torch import Tensor

from img2three_ros.models.pointmap_config import PointmapConfig, small_config
from img2three_ros.models.pointmap_network import (
    PointmapNetwork,
    Pointmaps,
    load_pointmap_network,
    save_pointmap_network,
)
from img2three_ros.models.pointmap_pairs import image_bytes, pair_batches, pair_bytes, prepared_bytes
from img2three_ros.structures import InputError

__all__ = ["one_thread"]
COMPLETE = [(i, j) for i in range(4) for j in range(4) if i != j]


def tiny_network(head: str = "dpt", descriptor_width: int = 0) -> PointmapNetwork:
    """Its weights are large enough for the images to matter in every output."""
    torch.manual_seed(5)
    network = PointmapNetwork(PointmapConfig(
        encoder_width=32, encoder_depth=2, encoder_heads=2, decoder_width=24, decoder_depth=4, decoder_heads=2,
        head=head, dense_widths=(8, 8, 8, 8), dense_width=16, descriptor_width=descriptor_width, descriptor_hidden=32))
    return network.eval().requires_grad_(False)


def street(count: int, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count + height)) * 2 - 1


def assert_same(found: Pointmaps, expected: Pointmaps) -> None:
    for own, other in zip(found, expected, strict=True):
        if other is None:
            assert own is None
        else:
            assert own is not None
            torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", ["linear", "dpt"])
def test_small_network_predicts_every_pixel(head: str) -> None:
    torch.manual_seed(0)
    network = PointmapNetwork(small_config(head, descriptor_width=16 if head == "dpt" else 0)).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) <= 25_000_000
    with torch.no_grad():
        maps = network(street(2, 48, 80), street(2, 48, 80).flip(0))
    for points, confidence in ((maps.points1, maps.confidence1), (maps.points2_in_1, maps.confidence2)):
        assert points.shape == (2, 48, 80, 3) and confidence.shape == (2, 48, 80)
        assert torch.isfinite(points).all() and (confidence > 1).all()
    if head == "linear":
        assert maps[4:] == (None, None, None, None)
        return
    for descriptors, confidence in ((maps.descriptors1, maps.descriptor_confidence1),
                                    (maps.descriptors2, maps.descriptor_confidence2)):
        assert descriptors is not None and descriptors.shape == (2, 48, 80, 16)
        assert confidence is not None and confidence.shape == (2, 48, 80) and (confidence > 0).all()
        torch.testing.assert_close(descriptors.norm(dim=-1), torch.ones(2, 48, 80))


def test_every_parameter_learns() -> None:
    network = tiny_network(descriptor_width=4).requires_grad_(True)
    maps = network(street(1), street(2)[1:])
    sum(part.square().sum() for part in maps if part is not None).backward()
    assert [name for name, parameter in network.named_parameters()
            if parameter.grad is None or not parameter.grad.abs().sum() > 0] == []


def test_portrait_is_read_upright_and_beside_landscape() -> None:
    network = tiny_network()
    upright, wide = street(1, 64, 32), street(1, 32, 48)
    maps = network(upright, wide)
    assert maps.points1.shape == (1, 64, 32, 3) and maps.points2_in_1.shape == (1, 32, 48, 3)
    tokens = network.encode(upright).tokens
    assert tokens.shape == (1, 4 * 2, 32)
    assert not torch.allclose(tokens, network.encode(upright.mT).tokens)


def test_first_and_second_place_are_not_the_same() -> None:
    network = tiny_network()
    images = street(2)
    one, other = network(images[:1], images[1:]), network(images[1:], images[:1])
    assert not torch.allclose(one.points1, other.points2_in_1, atol=1e-3)
    assert not torch.allclose(one.points1, network(images[:1], images[:1]).points1, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 3, 40, 48), (1, 3, 32, 50), (1, 4, 32, 48), (3, 32, 48), (1, 3, 0, 16)])
def test_images_of_impossible_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shape") as refused:
        tiny_network().encode(torch.zeros(shape))
    assert refused.value.reason == "bad_size"


@pytest.mark.parametrize(("head", "descriptor_width"), [("linear", 0), ("dpt", 0), ("dpt", 4)])
@pytest.mark.parametrize("memory_bytes", [1, 3_000_000, 1 << 30])
def test_pairs_are_what_forward_says(head: str, descriptor_width: int, memory_bytes: int) -> None:
    network = tiny_network(head, descriptor_width)
    images = [*street(2), *street(1, 48, 32), *street(1, 32, 48)]
    pairs = [(2, 0), (0, 1), (1, 0), (3, 0), (1, 2), (1, 1)]
    found = network.infer_pairs(images, pairs, memory_bytes=memory_bytes)
    assert len(found) == len(pairs)
    for (first, second), maps in zip(pairs, found, strict=True):
        assert_same(maps, network(images[first][None], images[second][None]))


def test_each_image_is_encoded_once_and_batches_obey_the_bound() -> None:
    network = tiny_network()
    encoded, decoded, prepared = [], [], []
    network.encoder.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    network.decoder.register_forward_hook(lambda _, inputs, __: decoded.append(len(inputs[0])))
    network.head1.points.fuse[0].skip.register_forward_hook(lambda _, inputs, __: prepared.append(len(inputs[0])))
    size = (2, 3)
    kept = 4 * prepared_bytes(network.config, size)
    network.infer_pairs(street(5), COMPLETE, memory_bytes=kept + 4 * pair_bytes(network.config, size, size))
    assert sum(encoded) == 4  # the fifth image is in no pair
    assert decoded == [4, 4, 4]
    assert sum(prepared) == 4
    assert image_bytes(network.config, size) > 6 * 32 * 4


def test_no_pairs_need_no_images() -> None:
    assert tiny_network().infer_pairs([], []) == []
    with pytest.raises(InputError, match="there are 2"):
        tiny_network().infer_pairs(street(2), [(0, 2)])


def test_both_orders_of_a_pair_are_decoded_together() -> None:
    config, size = tiny_network().config, (2, 3)
    sizes = dict.fromkeys(range(4), size)
    one = pair_bytes(config, size, size)
    for most in (2, 3, 4, 5):
        batches = pair_batches(config, COMPLETE, sizes, most * one)
        assert sorted(position for batch in batches for position in batch) == list(range(12))
        assert max(map(len, batches)) <= most
        for batch in batches:
            together = {COMPLETE[position] for position in batch}
            assert together == {(second, first) for first, second in together}
    assert [len(batch) for batch in pair_batches(config, COMPLETE, sizes, one)] == 12 * [1]


def test_batches_hold_pairs_of_one_size() -> None:
    config = tiny_network().config
    sizes = {0: (2, 3), 1: (3, 2), 2: (2, 3)}
    pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    batches = pair_batches(config, pairs, sizes, 1 << 40)
    assert sorted(sorted(pairs[position] for position in batch) for batch in batches) == [
        [(0, 1), (2, 1)], [(0, 2), (2, 0)], [(1, 0), (1, 2)]]


def test_features_of_different_numbers_make_no_pairs() -> None:
    network = tiny_network()
    with pytest.raises(InputError, match="make no pairs"):
        network.decode(network.encode(street(2)), network.encode(street(1)))


def test_own_file_keeps_network_and_words(tmp_path: Path) -> None:
    network = tiny_network(descriptor_width=4)
    save_pointmap_network(tmp_path / "own.safetensors", network, {"steps": "3"}, half=False)
    loaded = load_pointmap_network(tmp_path / "own.safetensors")
    assert loaded.config == network.config and not loaded.training
    images = street(2)
    assert_same(loaded(images[:1], images[1:]), network(images[:1], images[1:]))


def test_network_exports(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PointmapNetwork(small_config()).eval().requires_grad_(False)
    images = street(2)
    exported = torch.export.export(network, (images[:1], images[1:]))
    other = street(3)
    assert_same(Pointmaps(*exported.module()(other[:1], other[1:2])), network(other[:1], other[1:2]))


def test_network_exports_to_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="torch.onnx needs onnxscript")
    network, images = tiny_network(), street(2)
    torch.onnx.export(network, (images[:1], images[1:]), tmp_path / "pointmap.onnx", dynamo=True)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(tmp_path / "pointmap.onnx", providers=["CPUExecutionProvider"])
    names = [own.name for own in session.get_inputs()]
    found = session.run(None, dict(zip(names, (images[:1].numpy(), images[1:].numpy()), strict=True)))
    for own, expected in zip(found, network(images[:1], images[1:])[:4], strict=True):
        torch.testing.assert_close(torch.from_numpy(own), expected, atol=1e-4, rtol=1e-3)


def test_descriptors_can_be_left_out_and_progress_ends_whole() -> None:
    network = tiny_network(descriptor_width=4)
    told: list[tuple[int, int]] = []
    whole = network.infer_pairs(street(4), COMPLETE[:3])
    found = network.infer_pairs(street(4), COMPLETE[:3], memory_bytes=1, descriptors=False,
                                progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    for bare, full in zip(found, whole, strict=True):
        assert bare[4:] == (None,) * 4 and full.descriptors1 is not None
        torch.testing.assert_close(bare.points1, full.points1)


def test_features_of_an_earlier_call_are_used_again() -> None:
    network, images = tiny_network(), street(4)
    encoded: list[int] = []
    network.encoder.register_forward_hook(lambda module, inputs, output: encoded.append(len(inputs[0])))
    whole = network.infer_pairs(images, [(0, 1), (1, 0), (2, 1)])
    known = {}
    network.infer_pairs(images, [(0, 1)], known=known)
    encoded.clear()
    found = network.infer_pairs(images, [(0, 1), (1, 0), (2, 1)], known=known)
    assert sum(encoded) == 1 and set(known) == {0, 1, 2}
    for own, other in zip(found, whole, strict=True):
        assert_same(own, other)
