"""Which pixels show the vehicle itself: learned from what stays in the image while the vehicle moves.

A pixel whose ray meets the ground nearby must move between two frames as much as the ground there, or more. Where the
image instead stays the same (and would not also match the moved ground), the vehicle's own body covers it. Evidence is
collected over several moves, so that a car ahead that keeps its distance for a moment, or a single odd frame, masks
nothing; regions above the horizon are never masked, as distant things stay there too (give a mask file for those).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.plane_sweep import PairWarp, horizontal_plane_inverse_depth, upward_component
from ..models.windows import NOISE_VARIANCE
from .sweep_cost import Level, Pyramid, WindowStatistics
from .views import PreparedFrame, View, relative_pose

_RADIUS = 2
_MIN_FLOW = 4.0
_STAYS, _CHANGES = 0.85, 0.5
_MIN_TRAVEL = 12.0
_MIN_PAIRS = 6
_MEMORY = 50.0


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Of one camera: sums of stays and changes per pixel of the coarse scale; pairs seen; metres travelled."""

    stays: Tensor
    changes: Tensor
    pairs: int
    travel: float


class EgoMask:
    """Per camera, over frames. Bounded: one small map for each camera name and image size."""

    def __init__(self) -> None:
        self._evidence: dict[str, _Evidence] = {}
        self._masks: dict[tuple[str, tuple[int, int]], Tensor] = {}
        self._taught: dict[str, tuple[int, float]] = {}

    def reset(self) -> None:
        """Forget what was learned (another vehicle, another rig)."""
        self._evidence.clear()
        self._masks.clear()
        self._taught.clear()

    def learn_frame(self, frame: PreparedFrame, keyframes: Sequence[PreparedFrame],
                    pyramid: Callable[[PreparedFrame, View], Pyramid]) -> None:
        """Compare all views of a frame with those of the latest keyframe; pyramid: grey images of a frame's view.

        Once there is as much evidence as is kept, a keyframe teaches again only from half as far again.
        """
        if not keyframes:
            return
        earlier = keyframes[-1]
        for view in frame.views:
            before = next((other for other in earlier.views if other.name == view.name), None)
            if before is not None and self._news(view.name, earlier.stamp, _way(frame, view, earlier, before)):
                self.learn(frame, view, pyramid(frame, view), earlier, before, pyramid(earlier, before))

    def _news(self, name: str, keyframe: int, way: float) -> bool:
        """Whether a lesson from so far (metres) is worth its time."""
        known = self._evidence.get(name)
        stamp, taught = self._taught.get(name, (None, 0.0))
        if known is not None and known.pairs >= _MEMORY and stamp == keyframe and way < 1.5 * max(taught, 0.01):
            return False
        self._taught[name] = (keyframe, way)
        return True

    def learn(self, frame: PreparedFrame, view: View, pyramid: Pyramid, earlier: PreparedFrame, earlier_view: View,
              earlier_pyramid: Pyramid) -> None:
        """Compare two images of the same camera between which the vehicle moved."""
        now, before = pyramid.coarse, earlier_pyramid.coarse
        if now.size != before.size:
            return
        T_earlier_now = relative_pose(frame, view, earlier, earlier_view)
        upward = upward_component(view.T_base_camera, now.intrinsics, *now.size)
        ground = horizontal_plane_inverse_depth(upward, float(view.T_base_camera[2, 3]), upward.new_zeros(1))
        below = torch.nonzero(ground[0].amax(1) > 0.0)
        top = max(0, int(below[0]) - _RADIUS) if len(below) else now.size[0] - 1
        rows, columns = slice(top, None), slice(None)
        warp = PairWarp.between(T_earlier_now, now.intrinsics, now.size, before.intrinsics, before.size)
        grid, _ = warp.window(rows, columns).grid(ground[:, rows])
        still = F.affine_grid(torch.eye(2, 3, device=grid.device)[None], [1, 1, *now.size], align_corners=False)
        extent = grid.new_tensor((now.size[1] / 2.0, now.size[0] / 2.0))
        along_u, along_v = ((grid - still[:, rows]) * extent)[0].unbind(-1)
        flow = torch.hypot(along_u, along_v)
        moved = F.grid_sample(before.image, grid, padding_mode="border", align_corners=False)[:, 0]
        windows = WindowStatistics(Level(now.image[:, :, rows], now.usable[:, :, rows], now.intrinsics), _RADIUS, 1)
        stays = windows.correlation(before.image[:, 0, rows])[0]
        follows = windows.correlation(moved)[0]
        testable = (ground[0, rows] > 0.0) & (flow > _MIN_FLOW) & (windows.variance[0, 0] > 8.0 * NOISE_VARIANCE)
        stayed = testable & (stays > _STAYS) & (follows < stays - 0.2)
        changed = testable & (stays < _CHANGES)
        whole = F.pad(torch.stack((stayed, changed)).float(), (0, 0, top, 0))
        self._add(view.name, whole[0], whole[1], float(torch.from_numpy(T_earlier_now[:3, 3]).norm()))

    def mask(self, view: View) -> Tensor:
        """(H, W) bool, True = the world as far as is known; shared, so read it only. All True until there is enough
        evidence."""
        known = self._evidence.get(view.name)
        if known is None or known.pairs < _MIN_PAIRS or known.travel < _MIN_TRAVEL:
            return torch.ones_like(view.mask)
        if (view.name, view.size) not in self._masks:
            ego = _attached_to_border(_filled(known))
            mask = F.interpolate(ego[None, None], size=view.size, mode="nearest")[0, 0] < 0.5
            self._masks[view.name, view.size] = mask
        return self._masks[view.name, view.size]

    def _add(self, name: str, stayed: Tensor, changed: Tensor, travel: float) -> None:
        for camera, size in [key for key in self._masks if key[0] == name]:
            del self._masks[camera, size]
        known = self._evidence.get(name)
        if known is None or known.stays.shape != stayed.shape:
            self._evidence[name] = _Evidence(stayed, changed, 1, travel)
            return
        keep = 1.0 - 1.0 / _MEMORY
        self._evidence[name] = _Evidence(keep * known.stays + stayed, keep * known.changes + changed,
                                         known.pairs + 1, known.travel + travel)


def _way(frame: PreparedFrame, view: View, earlier: PreparedFrame, before: View) -> float:
    return float(np.linalg.norm(relative_pose(frame, view, earlier, before)[:3, 3]))


def _filled(known: _Evidence) -> Tensor:
    """(h, w) 1/0: ego vehicle; smooth bodywork without texture takes the state of the textured pixels around it."""
    counts = torch.stack((known.stays, 4.0 * known.changes))[:, None]
    for _ in range(3):
        counts = F.avg_pool2d(counts, 7, stride=1, padding=3)
    stays, changes = counts[:, 0]
    enough = stays + changes > 0.02 * min(known.pairs, _MEMORY)
    return (enough & (stays > 2.0 * changes)).float()


def _attached_to_border(ego: Tensor) -> Tensor:
    """Keep what is connected to the image border, by growing from it inside ``ego`` (h, w)."""
    grown = torch.zeros_like(ego)
    grown[-1], grown[:, 0], grown[:, -1] = ego[-1], ego[:, 0], ego[:, -1]
    for _ in range(max(ego.shape)):
        wider = F.max_pool2d(grown[None, None], 3, stride=1, padding=1)[0, 0] * ego
        if torch.equal(wider, grown):
            break
        grown = wider
    return grown
