"""Training of the pointmap network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.pointmap_pairs import PairGroup
from ..models.pointmap_network import PointmapNetwork, Pointmaps, save_pointmap_network
from .batches import as_arrays, from_arrays, mirrored, on_device, relit
from .pointmap_objective import PARTS, PointmapObjectiveConfig, pointmap_objective
from .pointmap_validation import SCORES, Estimate, picture_of_pair, validate_pairs
from .task import Arithmetic, Task

_VIEWS = "views."


class PointmapTask(Task[PairGroup, PairGroup]):
    """Groups of paired views -> ``models.pointmap_network.PointmapNetwork``."""

    parts, scores = PARTS, SCORES

    def __init__(self, config: PointmapObjectiveConfig) -> None:
        self.config = config

    @staticmethod
    def to_arrays(sample: PairGroup) -> dict[str, object]:
        views = {_VIEWS + name: value for name, value in as_arrays(sample.views).items()}
        return {**views, "pairs": sample.pairs.numpy(), "covisibility": sample.covisibility.numpy()}

    @staticmethod
    def from_arrays(arrays: dict[str, object]) -> PairGroup:
        views = {name.removeprefix(_VIEWS): value for name, value in arrays.items() if name.startswith(_VIEWS)}
        return PairGroup(from_arrays(views), *(torch.from_numpy(arrays[name]) for name in ("pairs", "covisibility")))

    def ready(self, sample: PairGroup, device: torch.device, arithmetic: Arithmetic) -> PairGroup:
        return PairGroup(on_device(sample.views, device), sample.pairs.to(device), sample.covisibility.to(device))

    def augmented(self, ready: PairGroup, mirror: bool, light: int, strength: float) -> PairGroup:
        """Every view in a light of its own."""
        return replace(ready, views=relit(mirrored(ready.views) if mirror else ready.views, light, strength))

    def images(self, ready: PairGroup) -> int:
        return len(ready.views.images)

    def loss(self, network: nn.Module, samples: list[PairGroup], arithmetic: Arithmetic,
             ) -> tuple[Tensor, Mapping[str, Tensor]]:
        return pointmap_objective(predict_pairs(network, samples, arithmetic), samples, self.config)

    def validate(self, network: nn.Module, samples: Sequence[PairGroup], device: torch.device,
                 arithmetic: Arithmetic) -> dict[str, float]:
        moved = [self.ready(sample, device, arithmetic) for sample in samples]
        return validate_pairs(_estimate(network, arithmetic), moved, self.config.farthest)

    def picture(self, network: nn.Module, sample: PairGroup, device: torch.device,
                arithmetic: Arithmetic) -> NDArray[np.uint8]:
        return picture_of_pair(_estimate(network, arithmetic), self.ready(sample, device, arithmetic),
                               self.config.farthest)

    def said(self, scores: Mapping[str, float]) -> str:
        return (f"held-out median point error {100.0 * scores['error']:.1f} % of the median depth (first view "
                f"{100.0 * scores['error_first']:.1f}, second {100.0 * scores['error_second']:.1f}, weighted by "
                f"confidence {100.0 * scores['error_confident']:.1f}), within 10 % {scores['within']:.3f}, confidence "
                f"of surfaces {scores['confidence_solid']:.2f}, of sky {scores['confidence_sky']:.2f}")

    def export(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        assert isinstance(network, PointmapNetwork)
        save_pointmap_network(path, network, metadata)


def predict_pairs(network: nn.Module, groups: Sequence[PairGroup], arithmetic: Arithmetic) -> Pointmaps:
    """Pointmaps of all pairs of the groups, one after the other; images of one size, each encoded once."""
    assert isinstance(network, PointmapNetwork)
    images = torch.cat([group.views.images for group in groups]).float() / 127.5 - 1.0
    rows, before = [], 0
    for group in groups:
        rows.append(group.pairs + before)
        before += len(group.views.images)
    pairs = torch.cat(rows)
    with arithmetic():
        features = network.encode(images)
        first, second = (features._replace(tokens=features.tokens[chosen], embedded=features.embedded[chosen])
                         for chosen in pairs.unbind(1))
        return network.decode(first, second)


def _estimate(network: nn.Module, arithmetic: Arithmetic) -> Estimate:
    def estimate(group: PairGroup) -> Pointmaps:
        return predict_pairs(network, [group], arithmetic)

    return estimate
