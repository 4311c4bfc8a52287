"""The depth network as one file: its weights and, as metadata, the configuration it was built with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .depth_network import DepthNetwork, DepthNetworkConfig
from .weights_file import load_network, save_network

_CONFIG = "depth_network"


def save_depth_network(path: Path, network: DepthNetwork, metadata: Mapping[str, str] | None = None, *,
                       half: bool = True) -> None:
    """Write the network; metadata: text to keep with it (steps, hours, hardware). half: float16, for shipping.

    Raises InputError('checkpoint'), see ``write_checkpoint``.
    """
    save_network(path, network, network.config, _CONFIG, metadata, half)


def load_depth_network(path: Path) -> DepthNetwork:
    """The network of a file of ``save_depth_network``: float32, on the CPU, for inference.

    Raises InputError('checkpoint') if the file is missing, damaged or of another network.
    """
    return load_network(path, DepthNetworkConfig, DepthNetwork, _CONFIG, "depth network")
