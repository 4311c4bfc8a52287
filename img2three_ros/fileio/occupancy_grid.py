"""The 3D occupancy seen from above, in the two dialects of ``nav_msgs/OccupancyGrid``: shared by the live node and
by offline bags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import setting
from ..geometry.voxel_grid import occupancy_slice
from ..structures import UNKNOWN, InputError, OccupancyVolume


@dataclass(frozen=True)
class OccupancyGridConfig:
    """How the volume becomes a 2D grid."""

    dialect: str = setting("ros", "ros: -1 unknown, 0 free, 100 occupied (nav2); autoware: 1..99, 50 unknown",
                           choices=("ros", "autoware"))
    min_height: float = setting(0.3, "lower end of the height band above the ground", unit="m", dynamic=True)
    max_height: float = setting(3.0, "upper end of the height band above the ground", unit="m", dynamic=True)
    min_free_share: float = setting(0.3, "share of the band that must be known free for a free cell; 1 = pessimistic",
                                    low=0.0, high=1.0, dynamic=True)

    def __post_init__(self) -> None:
        if self.max_height <= self.min_height:
            raise InputError("parameter", f"occupancy_grid.max_height = {self.max_height} must exceed "
                             f"occupancy_grid.min_height = {self.min_height}")


def occupancy_grid_values(volume: OccupancyVolume, config: OccupancyGridConfig | None = None,
                          occupied_threshold: float = 0.5) -> NDArray[np.int8]:
    """(Y, X) int8 cell values of ``nav_msgs/OccupancyGrid`` (row = y, as the message orders them).

    The origin of the grid is ``volume.origin`` x, y; its resolution ``volume.voxel_size``. Cells as in
    ``occupancy_slice``; a cell from ``occupied_threshold`` on is occupied, other known cells are free.
    """
    config = config or OccupancyGridConfig()
    probability = occupancy_slice(volume, config.min_height, config.max_height,
                                  min_free_share=config.min_free_share)
    unknown, occupied = probability == UNKNOWN, probability >= occupied_threshold
    if config.dialect == "ros":
        # nav2's static layer takes anything below its lethal threshold (100) as free, so no shades of grey.
        return np.select([unknown, occupied], [-1, 100], 0).astype(np.int8)
    percent = np.rint(100.0 * probability)
    return np.select([unknown, occupied], [50, percent.clip(51, 99)], percent.clip(1, 49)).astype(np.int8)
