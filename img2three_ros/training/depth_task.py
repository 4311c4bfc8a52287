"""Training of the depth network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.view_group import ViewGroup
from ..models.depth_network import DepthNetwork, DepthPrediction
from ..models.depth_weights import save_depth_network
from .batches import Batch, as_arrays, batch_of, from_arrays, mirrored, on_device, relit
from .objective import PARTS, ObjectiveConfig, objective
from .task import Arithmetic, Task
from .validation import SCORES, Estimate, picture, validate


class DepthTask(Task[ViewGroup, ViewGroup]):
    """View groups -> ``models.depth_network.DepthNetwork``."""

    parts, scores = PARTS, SCORES

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config

    @staticmethod
    def to_arrays(sample: ViewGroup) -> dict[str, object]:
        return as_arrays(sample)

    @staticmethod
    def from_arrays(arrays: dict[str, object]) -> ViewGroup:
        return from_arrays(arrays)

    def ready(self, sample: ViewGroup, device: torch.device, arithmetic: Arithmetic) -> ViewGroup:
        return on_device(sample, device)

    def augmented(self, ready: ViewGroup, mirror: bool, light: int, strength: float) -> ViewGroup:
        return relit(mirrored(ready) if mirror else ready, light, strength)

    def images(self, ready: ViewGroup) -> int:
        return len(ready.images)

    def loss(self, network: nn.Module, samples: list[ViewGroup], arithmetic: Arithmetic,
             ) -> tuple[Tensor, Mapping[str, Tensor]]:
        batch = batch_of(samples)
        prediction = _estimate(network, arithmetic)(batch)
        planes: Tensor = network.planes  # type: ignore[assignment]
        return objective(prediction, planes, batch.depth, batch.geometry.mask, batch.geometry.intrinsics, self.config)

    def validate(self, network: nn.Module, samples: Sequence[ViewGroup], device: torch.device,
                 arithmetic: Arithmetic) -> dict[str, float]:
        return validate(_estimate(network, arithmetic), samples, device)[0]

    def picture(self, network: nn.Module, sample: ViewGroup, device: torch.device,
                arithmetic: Arithmetic) -> NDArray[np.uint8]:
        return picture(_estimate(network, arithmetic), sample, device)

    def said(self, scores: Mapping[str, float]) -> str:
        return (f"held-out AbsRel/δ<1.25 all {scores['abs_rel']:.4f}/{scores['delta']:.3f}, best 80 % "
                f"{scores['abs_rel_80']:.4f}/{scores['delta_80']:.3f}, best 60 % {scores['abs_rel_60']:.4f}/"
                f"{scores['delta_60']:.3f}, calibration error {scores['calibration']:.3f}")

    def export(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        if isinstance(network, DepthNetwork):
            save_depth_network(path, network, metadata)


def _estimate(network: nn.Module, arithmetic: Arithmetic) -> Estimate:
    def estimate(batch: Batch) -> DepthPrediction:
        with arithmetic():
            return network(batch.images, batch.geometry)  # type: ignore[no-any-return]

    return estimate
