"""The encoder of engine ``pointmap`` behind the seam: the features are the network's, whoever computes them."""

from types import SimpleNamespace

import pytest
import torch
from runtime_networks import pointmap_network

from img2three_ros.config import PointmapConfig, RuntimeConfig
from img2three_ros.reconstruction.pointmap_encoder import PointmapEncoder
from img2three_ros.reconstruction.pointmap_engine import PointmapEngine
from img2three_ros.reconstruction.pointmap_window import PairMemory

CPU = torch.device("cpu")


def images_of(*sizes):
    chance = torch.Generator().manual_seed(2)
    return {number: torch.rand(3, *size, generator=chance) * 2.0 - 1.0 for number, size in enumerate(sizes)}


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_features_are_those_of_the_network(backend, tmp_path):
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    network = pointmap_network()
    encode = PointmapEncoder(network, RuntimeConfig(backend, "fp32", str(tmp_path)), CPU)
    images = images_of((64, 48), (32, 64), (64, 48))
    found = encode(images)
    assert encode.backend == f"{backend} fp32" and encode.troubles == ()
    for number, image in images.items():
        right = network.encode(image[None])
        assert (found[number].rows, found[number].columns) == (right.rows, right.columns)
        assert torch.allclose(found[number].tokens, right.tokens, atol=1e-4)
        assert torch.allclose(found[number].embedded, right.embedded, atol=1e-4)


def test_auto_is_torch_on_a_cpu_and_exports_nothing(tmp_path):
    encode = PointmapEncoder(pointmap_network(), RuntimeConfig(cache_folder=str(tmp_path)), CPU)
    encode(images_of((32, 32)))
    assert encode.backend == "torch fp32" and list(tmp_path.iterdir()) == []


def test_the_engine_predicts_the_same_and_encodes_each_image_once(tmp_path):
    pytest.importorskip("onnxruntime")
    network = pointmap_network()
    engine = PointmapEngine(PointmapConfig(), CPU, network, RuntimeConfig("onnxruntime", "fp32", str(tmp_path)))
    images = images_of((64, 48), (64, 48), (64, 48))
    members = [SimpleNamespace(key=(number, "front"), image=image) for number, image in images.items()]
    edges = [(0, 1), (1, 0), (1, 2), (2, 1)]
    asked = []

    def encode(some):
        asked.append(sorted(some))
        return engine.encode(some)

    memory = PairMemory(1 << 30)
    found = memory.predict(network, members, edges, 1 << 30, encode)
    memory.predict(network, members, [*edges, (0, 2)], 1 << 30, encode)
    assert asked == [[0, 1, 2], []] and engine.backend == "onnxruntime fp32"
    right = PairMemory(1 << 30).predict(network, members, edges, 1 << 30)
    for one, other in zip((*found.points1, *found.confidence2), (*right.points1, *right.confidence2), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)
