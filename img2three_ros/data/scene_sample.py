"""What a scene is learned from: views of one vehicle, and the truth about the space around it, seen or hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from .view_group import ViewGroup

NO_LABEL = 255


@dataclass(frozen=True, eq=False)
class SceneSample:
    """All in ``base_link`` of the newest instant, as the network is told it (see ``ViewGroup``).

    group: the views; instants are numbered from the newest (0) on, all with the same cameras.
    T_now_instant: (I, 4, 4) float64, ``base_link`` of each instant into the newest (the first is the identity).
    points: (P, 3) float32 metres. occupied: (P,) bool, inside something solid, the ground included. hidden: (P,) bool,
        no view of the group shows the point. label: (P,) uint8, index into the decoder's LABELS, NO_LABEL = unknown.
    origins, directions: (R, 3) float32 rays, directions of unit length. colour: (R, 3) float32 0..1. distance: (R,)
        float32 metres to what they meet, inf = the sky. own: (R,) bool, a ray of a view of the group.
    patches: (Q, S, S) int64, rays that are neighbouring pixels of a view from outside; Q may be 0.
    """

    group: ViewGroup
    T_now_instant: Tensor
    points: Tensor
    occupied: Tensor
    hidden: Tensor
    label: Tensor
    origins: Tensor
    directions: Tensor
    colour: Tensor
    distance: Tensor
    own: Tensor
    patches: Tensor


def patch_pixels(random: Generator, usable: NDArray[np.bool_], side: int) -> NDArray[np.intp]:
    """(side * side,) flat numbers of neighbouring pixels of a view, row by row, all ``usable`` (H, W); empty if a few
    tries find none."""
    height, width = usable.shape
    none: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
    if side > min(height, width):
        return none
    for _ in range(8):
        v, u = int(random.integers(0, height - side + 1)), int(random.integers(0, width - side + 1))
        if usable[v:v + side, u:u + side].all():
            rows = np.arange(v, v + side)[:, None] * width + np.arange(u, u + side)
            return np.asarray(rows.ravel(), dtype=np.intp)
    return none
