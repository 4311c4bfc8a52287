"""What the scene representation adds to the fused occupancy: classes, and what is probably there but out of sight.

The fused evidence stays what it is. A voxel it leaves unknown may become occupied if it is out of sight, behind what a
camera sees: with the representation's own probability, but never a higher one than fused evidence needs to be called
occupied. That is a prediction; what is in sight but unsure, and what no camera looks at, is not known. The inside of
the ground is left unknown: nobody drives there. No voxel becomes free unless that is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import OccupancyConfig
from ..geometry.voxel_grid import all_centres, heights_above_ground
from ..structures import FREE, OCCUPIED, UNKNOWN, UNKNOWN_LABEL, OccupancyVolume
from .scene_space import SceneSpace

_SURE_OF_LABEL = 0.5
_BELOW_GROUND = 0.75
"""Voxels whose centre lies deeper, in voxels, are not predicted."""


def completed(volume: OccupancyVolume, space: SceneSpace, config: OccupancyConfig) -> OccupancyVolume:
    """The volume with labels of its occupied voxels, and with predictions where it knows nothing."""
    device = space.state.volume.device
    centres = torch.from_numpy(all_centres(volume)).to(device)
    state = torch.from_numpy(volume.state).flatten().to(device)
    above = torch.from_numpy(heights_above_ground(volume) > -_BELOW_GROUND * volume.voxel_size).flatten().to(device)
    asked = (state == OCCUPIED) | ((state == UNKNOWN) & above & space.hides(centres))
    chosen = asked.nonzero().squeeze(1)
    found, labels = _answers(space, centres[chosen])
    hidden = state[chosen] == UNKNOWN
    solid = hidden & (found >= config.hidden_threshold) & (config.hidden_threshold < 1.0)
    empty = hidden & ~solid & (found <= config.free_threshold) & config.trust_hidden_free
    predicted = state.clone()
    predicted[chosen[solid]] = OCCUPIED
    predicted[chosen[empty]] = FREE
    probability = torch.from_numpy(volume.probability).flatten().to(device).clone()
    told = solid | empty
    probability[chosen[told]] = found[told].clamp(max=config.occupied_threshold)
    label = torch.full(state.shape, UNKNOWN_LABEL, dtype=torch.uint8, device=device)
    label[chosen] = labels
    label[predicted != OCCUPIED] = UNKNOWN_LABEL

    def whole(values: Tensor) -> NDArray[Any]:
        return values.cpu().numpy().reshape(volume.state.shape)

    return replace(volume, state=whole(predicted), probability=whole(probability), label=whole(label))


def _answers(space: SceneSpace, points: Tensor) -> tuple[Tensor, Tensor]:
    """Occupancy probability (N,) of points (N, 3), and their labels (N,) uint8."""
    answer = space.query(points)
    share, best = torch.softmax(answer.label_logits, 1).max(1)
    sure = answer.inside & (share >= _SURE_OF_LABEL)
    return (torch.where(answer.inside, torch.sigmoid(answer.occupancy), 0.5),
            torch.where(sure, best + 1, UNKNOWN_LABEL).to(torch.uint8))
