"""LiDAR scans of a bag, in ``base_link``: the truth of evaluations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..structures import Matrix


@dataclass(frozen=True, eq=False)
class LidarScan:
    """One scan.

    stamp: ns. points: (N, 3) float32 metres, in the base frame at ``stamp``, finite.
    origin: (3,) position of the sensor in the base frame, metres.
    T_odom_base: (4, 4) ego pose at ``stamp``, or None where ego motion is not known.
    """

    stamp: int
    points: NDArray[np.float32]
    T_odom_base: Matrix | None
    origin: NDArray[np.float64]
