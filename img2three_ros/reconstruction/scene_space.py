"""The scene representation at run time: what the scene network holds of the space around the vehicle, frame by frame.

Tables of where each camera looks are kept as long as its calibration holds; the plane of the frame before is moved by
the ego motion and goes into the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..geometry.transforms import inverse
from ..models.lifting import LiftedView
from ..models.scene_decoder import PointAnswer, SceneDecoder
from ..models.scene_network import SceneNetwork, light_above, view_table
from ..models.scene_render import Picture, SceneRenderer, SeenImage
from ..models.scene_volume import SceneState, ViewTable
from ..structures import Matrix
from .views import DepthView, PreparedFrame, View

_REMEMBERED = 1_500_000_000
"""A frame older than this says nothing of now, ns: the network never learned from older ones."""
_SAME_PLACE, _SAME_DIRECTION = 0.15, 0.003
"""A camera that moved less, in metres and radians, looks at the same cells: they are 0.4 m wide. Cameras that are not
triggered together move by centimetres between a frame's stamp and theirs, never by the same."""
_BEHIND, _SURE = 2.0, 0.5
"""A cell is out of sight from so many scales of the depth's distribution behind it on, if the depth is so sure."""


class SpaceView(NamedTuple):
    """A view of this instant. depth: as it is given out; lifted: what the volume takes, of the padded image of
    ``size`` (height, width)."""

    depth: DepthView
    lifted: LiftedView
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class SceneSpace:
    """Everything around the vehicle at one instant, seen or hidden. Coordinates are those of its ``base_link``.

    occluded: (Z, Y, X) bool of the grid's cells: behind what a camera sees, and before what none sees.
    """

    decoder: SceneDecoder
    state: SceneState
    occluded: Tensor
    light: Tensor
    images: tuple[SeenImage, ...]

    @torch.inference_mode()
    def query(self, points: Tensor) -> PointAnswer:
        """What is at points (N, 3) metres: occupied? what colour? which class? how sure?"""
        return self.decoder.query(self.state, points.to(self.state.volume.device, torch.float32))

    def render(self, intrinsics: Tensor, T_base_camera: Tensor, size: tuple[int, int]) -> Picture:
        """The view of a pinhole camera (3, 3) of ``size`` (height, width) at any pose (4, 4)."""
        return self._renderer.picture(intrinsics, T_base_camera, size)

    @torch.inference_mode()
    def hides(self, points: Tensor) -> Tensor:
        """(N,) bool: points (N, 3) are out of sight: in the picture of a camera that gave an image, and in every such
        picture behind the surface that is seen there for sure."""
        cells = self.decoder.grid.cells(points.to(self.occluded.device, torch.float32))
        inside = self.decoder.grid.inside(cells)
        index = self.decoder.grid.flat_index(torch.where(inside[:, None], cells, 0.0))
        return inside & torch.take(self.occluded, index)

    @cached_property
    def _renderer(self) -> SceneRenderer:
        return SceneRenderer(self.decoder, self.state, self.light, self.images)


class SpaceBuilder:
    """Frames -> ``SceneSpace``. Not thread-safe; one instance per vehicle."""

    def __init__(self, network: SceneNetwork, device: torch.device,
                 arithmetic: Callable[[], AbstractContextManager[object]]) -> None:
        self._network, self._device, self._arithmetic = network.to(device), device, arithmetic
        self._tables: dict[str, tuple[View, tuple[int, int], ViewTable]] = {}
        self._past: tuple[int, Matrix, Tensor] | None = None

    def reset(self) -> None:
        """Forget the past (time jump)."""
        self._past = None

    @torch.inference_mode()
    def build(self, frame: PreparedFrame, views: Sequence[SpaceView]) -> SceneSpace:
        """The space at a frame's stamp, from its views and the frames before it. Without an ego pose a frame stands
        alone; so does one that is older than the frame before, or much younger."""
        self._tables = {view.depth.view.name: self._table(view) for view in views}
        tables = [table for _, _, table in self._tables.values()]
        plane, motion = self._remembered(frame)
        with self._arithmetic():
            state: SceneState = self._network.volume([view.lifted for view in views], tables, plane, motion)
        state = SceneState(state.volume.float(), state.evidence, state.plane.float())
        self._past = None
        if frame.T_odom_base is not None and bool(state.plane.isfinite().all()):
            self._past = frame.stamp, frame.T_odom_base, state.plane
        light = light_above([view.lifted.colours for view in views]).to(self._device)
        images = tuple(_seen_image(view.depth) for view in views)
        return SceneSpace(self._network.decoder, state, self._occluded(views, tables), light, images)

    def _remembered(self, frame: PreparedFrame) -> tuple[Tensor | None, Tensor | None]:
        if self._past is None or frame.T_odom_base is None:
            return None, None
        stamp, T_odom_base, plane = self._past
        if not 0 <= frame.stamp - stamp <= _REMEMBERED:
            return None, None
        return plane, torch.from_numpy(inverse(T_odom_base) @ frame.T_odom_base)

    def _table(self, of: SpaceView) -> tuple[View, tuple[int, int], ViewTable]:
        """The camera's tables; made anew when its calibration changed."""
        view, size = of.depth.view, of.size
        known = self._tables.get(view.name)
        if known is not None and known[1] == size and _looks_alike(known[0], view):
            return known
        table = view_table(self._network.volume, view.intrinsics, torch.from_numpy(view.T_base_camera), size)
        return _without_pixels(view), size, table

    def _occluded(self, views: Sequence[SpaceView], tables: Sequence[ViewTable]) -> Tensor:
        behind, in_sight = (torch.zeros(self._network.config.grid.shape, dtype=torch.bool, device=self._device)
                            for _ in range(2))
        for view, table in zip(views, tables, strict=True):
            of, cells = view.lifted, table.fine
            limit = of.log_depth + _BEHIND * of.log_scale.exp()
            limit = torch.where((of.confidence >= _SURE) & limit.isfinite(), limit, torch.inf)
            hidden = cells.log_near > limit.flatten()[cells.pixels]
            shown = of.mask.flatten()[cells.pixels]
            behind.view(-1)[cells.cells[shown & hidden]] = True
            in_sight.view(-1)[cells.cells[shown & ~hidden]] = True
        return behind & ~in_sight


def _looks_alike(one: View, other: View) -> bool:
    moved = inverse(one.T_base_camera) @ other.T_base_camera
    return bool(torch.equal(one.intrinsics, other.intrinsics)
                and np.linalg.norm(moved[:3, 3]) < _SAME_PLACE
                and np.abs(moved[:3, :3] - np.eye(3)).max() < _SAME_DIRECTION)


def _without_pixels(view: View) -> View:
    """The view's geometry alone: its image is not kept alive."""
    nothing = view.image.new_zeros((3, 0, 0))
    return View(view.name, view.stamp, nothing, view.intrinsics, view.mask.new_zeros((0, 0)), view.T_base_camera)


def _seen_image(depth: DepthView) -> SeenImage:
    view = depth.view
    known = depth.valid & view.mask
    return SeenImage(view.image, torch.where(known, depth.depth, torch.nan), view.intrinsics,
                     torch.from_numpy(view.T_base_camera))
