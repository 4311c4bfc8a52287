"""The scene network as one file: its weights and, as metadata, the configuration it was built with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .scene_network import SceneNetwork
from .scene_volume import SceneVolumeConfig
from .weights_file import load_network, save_network

_CONFIG = "scene_network"


def save_scene_network(path: Path, network: SceneNetwork, metadata: Mapping[str, str] | None = None, *,
                       half: bool = True) -> None:
    """Write the network; metadata: text to keep with it. half: float16, for shipping.

    Raises InputError('checkpoint'), see ``write_checkpoint``.
    """
    save_network(path, network, network.config, _CONFIG, metadata, half)


def load_scene_network(path: Path) -> SceneNetwork:
    """The network of a file of ``save_scene_network``: float32, on the CPU, for inference.

    Raises InputError('checkpoint') if the file is missing, damaged or of another network.
    """
    return load_network(path, SceneVolumeConfig, SceneNetwork, _CONFIG, "scene network")
