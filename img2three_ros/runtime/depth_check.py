"""The depth of a small simulated scene, with the image encoder behind the seam: the last question of its self-test."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..geometry.transforms import inverse
from ..models.depth_network import DepthNetwork
from ..models.image_encoder import Features
from ..models.matching import MatchGeometry
from ..simulation.rig import CameraMount
from ..simulation.settings import SimulationConfig
from ..simulation.vehicle import SimulatedVehicle
from .backend import Backend
from .parts import Size

_CONFIDENT = 0.2
_ENOUGH = 0.05
"""With less than this share of confident pixels, all count: a network without training is never confident."""
_SMALL = 96, 160
_LATER = 3
"""Instants between the two images: some metres of driving."""


class SceneDepthCheck:
    """A street seen by one camera, twice: how much its depth changes when the features come from a backend."""

    def __init__(self, network: DepthNetwork, size: Size, device: torch.device, batch: int = 1) -> None:
        self._network, self._size, self._device, self._batch = network, size, device, batch

    def change(self, backend: Backend) -> float:
        """Mean |depth - depth by torch in fp32| / the latter, over pixels that torch is confident of.

        Of small images for torch, which takes any.
        """
        if backend.name == "torch" and self._size != _SMALL:
            return SceneDepthCheck(self._network, _SMALL, self._device).change(backend)
        found, _ = self._depth([Features(*(tensor[:1] for tensor in backend(images))) for images in self._batches])
        expected, confident = self._expected
        used = confident if float(confident.float().mean()) >= _ENOUGH else torch.ones_like(confident)
        return float(((found - expected).abs() / expected)[used].mean())

    @cached_property
    def _scene(self) -> tuple[Tensor, MatchGeometry]:
        """Two images (2, 3, H, W), and how the first lies to the second."""
        height, width = self._size
        mount = CameraMount("front", (1.7, 0.0, 1.5), 0.0, 70.0, 1.0)
        vehicle = SimulatedVehicle(SimulationConfig(width=width, height=height, traffic=0.0, seed=5), [mount])
        stamps = vehicle.stamp(_LATER), vehicle.stamp(0)
        pixels = np.stack([vehicle.render("front", stamp).image for stamp in stamps])
        now, before = (vehicle.pose(stamp) @ mount.T_base_camera for stamp in stamps)
        K = torch.from_numpy(vehicle.calibrations["front"].intrinsics).float()[None]
        whole = torch.ones(1, height, width, dtype=torch.bool)
        geometry = (K, K, torch.zeros(1, 1, dtype=torch.int64),
                    torch.from_numpy(inverse(before) @ now).float()[None, None],
                    torch.from_numpy(mount.T_base_camera).float()[None], whole, whole)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255.0).contiguous()
        return images.to(self._device), MatchGeometry(*(tensor.to(self._device) for tensor in geometry))

    @property
    def _batches(self) -> list[Tensor]:
        """Either image as often as the backend wants it."""
        return [image[None].repeat(self._batch, 1, 1, 1) for image in self._scene[0]]

    @cached_property
    def _expected(self) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            return self._depth([self._network.encode(image[None]) for image in self._scene[0]])

    @torch.inference_mode()
    def _depth(self, features: list[Features]) -> tuple[Tensor, Tensor]:
        """Depth (1, H, W) of the first image, metres, and where it is confident."""
        now, before = (Features(*(tensor.float() for tensor in of.tensors())) for of in features)
        with torch.autocast(self._device.type, enabled=False):
            prediction = self._network.estimate(now, before, self._scene[1])
        return prediction.log_depth.exp(), torch.sigmoid(prediction.confidence) >= _CONFIDENT
