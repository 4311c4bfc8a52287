"""The 3D occupancy seen from above, in the two dialects of ``nav_msgs/OccupancyGrid``: shared by the live node and
by offline bags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import setting
from ..structures import FREE, OCCUPIED, UNKNOWN, InputError, OccupancyVolume


@dataclass(frozen=True)
class OccupancyGridConfig:
    """How the volume becomes a 2D grid."""

    dialect: str = setting("ros", "ros: -1 unknown, 0 free, 100 occupied (nav2); autoware: 1..99, 50 unknown",
                           choices=("ros", "autoware"))
    policy: str = setting("pessimistic", "pessimistic: a cell is free only where the whole height band is free; "
                          "optimistic: where some of it is free and none is occupied",
                          choices=("pessimistic", "optimistic"), dynamic=True)
    min_height: float = setting(0.2, "lower end of the height band above base_link", unit="m", dynamic=True)
    max_height: float = setting(2.0, "upper end of the height band above base_link", unit="m", dynamic=True)

    def __post_init__(self) -> None:
        if self.max_height <= self.min_height:
            raise InputError("parameter", f"occupancy_grid.max_height = {self.max_height} must exceed "
                             f"occupancy_grid.min_height = {self.min_height}")


def occupancy_grid_values(volume: OccupancyVolume, config: OccupancyGridConfig) -> NDArray[np.int8]:
    """(Y, X) int8 cell values of ``nav_msgs/OccupancyGrid`` (row = y, as the message orders them).

    The origin of the grid is ``volume.origin`` x, y; its resolution ``volume.voxel_size``. Voxels count whose centre
    lies in the height band. A cell is occupied where any of them is; unknown is never free.
    """
    heights = volume.origin[2] + (np.arange(volume.state.shape[0]) + 0.5) * volume.voxel_size
    band = (heights >= config.min_height) & (heights < config.max_height)
    if not band.any():
        return np.full(volume.state.shape[1:], -1 if config.dialect == "ros" else 50, dtype=np.int8)
    state, probability = volume.state[band], volume.probability[band]
    occupied = (state == OCCUPIED).any(axis=0)
    free = (state == FREE).all(axis=0) if config.policy == "pessimistic" else (state == FREE).any(axis=0)
    free &= ~occupied
    if config.dialect == "ros":
        return np.select([occupied, free], [np.int8(100), np.int8(0)], np.int8(-1)).astype(np.int8)
    # Autoware clamps to 1..99; on either side of 50 the highest probability of an observed voxel speaks.
    peak = np.where(state == UNKNOWN, 0.0, probability).max(axis=0)
    percent = np.rint(100.0 * peak)
    values = np.select([occupied, free], [np.clip(percent, 51, 99), np.clip(percent, 1, 49)], 50)
    return values.astype(np.int8)
