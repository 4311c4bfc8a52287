"""What is known before any match: the world does not lie below the ground."""

from __future__ import annotations

from torch import Tensor

from ..geometry.plane_sweep import upward_component
from .views import View

_BELOW = 0.3
_SLOPE = 0.05
_ATTRACTION = 0.04
_NEVER, _NEVER_EXPECTED = 1.2, 3.0
"""More than any other hypothesis costs: by images alone, and with what is expected."""
_FARTHER = 1.25


class GroundPrior:
    """The ground (z = 0 in ``base_link``; tolerance grows with range for slopes) as one camera sees it.

    wanted: (D, h) bool, rows in which any pixel's hypothesis of a plane is not below the ground.
    """

    def __init__(self, view: View, intrinsics: Tensor, planes: Tensor, size: tuple[int, int],
                 expected: Tensor | None = None) -> None:
        """size (h, w) of the cost on every second pixel of the image with ``intrinsics``; planes (D,). expected (h, w):
        depth, m, that is possible though it may be below the ground: slopes are steeper at times."""
        upward = upward_component(view.T_base_camera, intrinsics, 2 * size[0], 2 * size[1])[::2, ::2]
        depth = planes.reciprocal().reshape(-1, 1, 1)
        self._tolerance = _BELOW + _SLOPE * depth
        self._z = (depth * upward).add_(float(view.T_base_camera[2, 3]))
        self._below = self._z < -self._tolerance
        self._never = _NEVER if expected is None else _NEVER_EXPECTED
        if expected is not None:
            self._below &= depth > _FARTHER * expected
        self.wanted = ~self._below.all(-1)

    def add_to(self, cost: Tensor) -> Tensor:
        """Cost (D, h, w), changed in place: hypotheses below the ground cost most; those on it are preferred a bit."""
        near = (self._z / (0.5 * self._tolerance)).square_().neg_().exp_()
        return cost.sub_(near, alpha=_ATTRACTION).masked_fill_(self._below, self._never)
