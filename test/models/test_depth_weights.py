"""The depth network as a file: configuration and weights come back, other files are refused by name."""

from dataclasses import replace

import pytest
import torch

from img2three_ros.fileio.checkpoints import read_checkpoint, write_checkpoint
from img2three_ros.models.depth_network import DepthNetwork, DepthNetworkConfig
from img2three_ros.models.depth_weights import load_depth_network, save_depth_network
from img2three_ros.structures import InputError

SMALL = DepthNetworkConfig(planes=16, match=8, groups=4, context=(8, 8, 8, 8), widths=(8, 8, 8), refine_width=8,
                           candidates=4, refinements=1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return DepthNetwork(SMALL)


def test_network_and_metadata_come_back(network, tmp_path):
    path = tmp_path / "depth.safetensors"
    save_depth_network(path, network, {"steps": "12"}, half=False)
    loaded = load_depth_network(path)
    assert loaded.config == SMALL and not loaded.training
    assert read_checkpoint(path).metadata["steps"] == "12"
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_shipped_weights_take_two_bytes_each_and_load_as_float32(network, tmp_path):
    path = tmp_path / "depth.safetensors"
    save_depth_network(path, network)
    count = sum(tensor.numel() for tensor in network.state_dict().values())
    assert 2 * count < path.stat().st_size < 2 * count + 100_000
    assert all(tensor.dtype == torch.float32 for tensor in load_depth_network(path).state_dict().values())


def test_files_of_something_else_are_refused(network, tmp_path):
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, {"x": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="holds no depth network"):
        load_depth_network(path)


def test_another_shape_or_field_is_named(network, tmp_path):
    path = tmp_path / "other.safetensors"
    save_depth_network(path, network)
    found = read_checkpoint(path)
    tensors = {**found.tensors, "upsample.bias": torch.zeros(3)}
    write_checkpoint(path, tensors, found.metadata)
    with pytest.raises(InputError, match=r"'upsample.bias' is \(3,\) in the file and \(36,\) in the network"):
        load_depth_network(path)
    changed = {"depth_network": found.metadata["depth_network"].replace('"planes"', '"layers"')}
    write_checkpoint(path, found.tensors, changed)
    with pytest.raises(InputError, match="'layers', which is not known here"):
        load_depth_network(path)


def test_a_missing_tensor_is_named(network, tmp_path):
    path = tmp_path / "other.safetensors"
    save_depth_network(path, DepthNetwork(replace(SMALL, refinements=2)))
    found = read_checkpoint(path)
    write_checkpoint(path, {key: value for key, value in found.tensors.items() if key != "refine.1.enter.bias"},
                     found.metadata)
    with pytest.raises(InputError, match=r"'refine.1.enter.bias' is nothing in the file"):
        load_depth_network(path)
