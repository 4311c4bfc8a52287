"""Networks of engine ``scene``, small and with random weights, as files."""

from pathlib import Path

import torch

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.depth_network import DepthNetwork, DepthNetworkConfig
from img2three_ros.models.depth_weights import save_depth_network
from img2three_ros.models.scene_network import SceneNetwork
from img2three_ros.models.scene_volume import SceneVolumeConfig
from img2three_ros.models.scene_weights import save_scene_network

CONTEXT = 8
GRID = ContractedGrid(near=6.0, growth=4.0, side=24, levels=8, z_near=3.2)


def depth_weights(folder: Path, sure: bool = False) -> str:
    """The file of a depth network whose features have CONTEXT channels. sure: of whatever it finds."""
    torch.manual_seed(3)
    path = folder / "small.safetensors"
    network = DepthNetwork(DepthNetworkConfig(
        planes=16, match=8, groups=4, context=(CONTEXT, 8, 8, 8), widths=(8, 8, 8), refine_width=8, candidates=4,
        refinements=1))
    if sure:
        torch.nn.init.zeros_(network.belief[-1].weight)
        network.belief[-1].bias.data = torch.tensor([-3.0, 4.0])  # log scale, logit of the confidence
    save_depth_network(path, network)
    return str(path)


def scene_network(context: int = CONTEXT) -> SceneNetwork:
    """A scene network over GRID that corrects no depth (as before any training)."""
    torch.manual_seed(4)
    network = SceneNetwork(SceneVolumeConfig(GRID, context=context, lift=4, widths=(16, 16, 24), features=4))
    for part in (network.volume, network.decoder):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval().requires_grad_(False)


def scene_weights(folder: Path, context: int = CONTEXT) -> str:
    """The file of ``scene_network``."""
    path = folder / "small_space.safetensors"
    save_scene_network(path, scene_network(context))
    return str(path)
