"""What engines see and give: prepared views in, depth with confidence out. Tensors on the engine's device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ..geometry.transforms import inverse
from ..structures import Matrix

if TYPE_CHECKING:
    from .scene_space import SceneSpace


@dataclass(frozen=True, eq=False)
class View:
    """One undistorted image at the engine's size.

    image: (3, H, W) float32 RGB in 0..1; H and W are multiples of 16 and may differ between cameras.
    intrinsics: (3, 3) float32 pinhole matrix in pixels of this image.
    mask: (H, W) bool, True = shows the world; False = ego vehicle or outside the undistorted source.
    T_base_camera: (4, 4) float64 numpy, optical frame into ``base_link`` at the *frame's* reference stamp
        (ego motion between the image's own stamp and the reference stamp is included).
    """

    name: str
    stamp: int
    image: Tensor
    intrinsics: Tensor
    mask: Tensor
    T_base_camera: Matrix

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.image.shape[1]), int(self.image.shape[2])


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """One instant, ready for an engine.

    T_odom_base: (4, 4) float64 numpy ego pose at ``stamp``; None = unknown (then the frame is no keyframe).
    """

    stamp: int
    views: tuple[View, ...]
    missing: tuple[str, ...]
    T_odom_base: Matrix | None


@dataclass(frozen=True, eq=False)
class DepthView:
    """Depth of one view of the current instant.

    depth: (H, W) float32 metres along the optical axis; only meaningful where ``valid``.
    confidence: (H, W) float32 in 0..1: the probability that depth is within 25 % of the truth; 0 where not valid.
    sigma: (H, W) float32 standard deviation of log depth (relative uncertainty) where it is right within 25 %.
    valid: (H, W) bool.
    """

    view: View
    depth: Tensor
    confidence: Tensor
    sigma: Tensor
    valid: Tensor


@dataclass(frozen=True, eq=False)
class Geometry:
    """What an engine makes of one instant. notes: plain sentences on what limited it. space: the scene around the
    vehicle, seen or hidden, from engines that hold one. parts_ms: milliseconds of what the engine did, by name."""

    depths: tuple[DepthView, ...]
    notes: tuple[str, ...] = ()
    space: SceneSpace | None = None
    parts_ms: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """The whole contract of an engine."""

    def reconstruct(self, frame: PreparedFrame, keyframes: Sequence[PreparedFrame]) -> Geometry:
        """Geometry of ``frame`` from its own views and those of earlier keyframes (oldest first).

        Keyframes carry ego poses; they are empty if ``frame.T_odom_base`` is None.
        """
        ...

    def reset(self) -> None:
        """Forget what was learned from earlier frames (time jump)."""
        ...



def relative_pose(frame: PreparedFrame, view: View, other_frame: PreparedFrame, other_view: View) -> Matrix:
    """``T_other_view`` (4, 4) float64: from the optical frame of ``view`` into that of ``other_view``.

    Both frames need an ego pose unless they are the same frame.
    """
    T_base_view = view.T_base_camera
    if other_frame is not frame:
        if frame.T_odom_base is None or other_frame.T_odom_base is None:
            raise ValueError("views of different instants can only be related with ego poses")
        T_base_view = inverse(other_frame.T_odom_base) @ frame.T_odom_base @ T_base_view
    return inverse(other_view.T_base_camera) @ T_base_view
