"""What a scene is learned from: views of one vehicle, and the truth about the space around it, seen or hidden."""

from __future__ import annotations

from dataclasses import dataclass

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
