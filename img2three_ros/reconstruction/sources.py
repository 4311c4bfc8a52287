"""Which other views a reference view is matched with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..geometry.overlap import Frustum, best_sources
from ..structures import Matrix
from .views import PreparedFrame, View, relative_pose


@dataclass(frozen=True, eq=False)
class Source:
    """A view chosen to be matched, with ``T_source_reference`` (4, 4) and how much it can tell (0..1)."""

    frame: PreparedFrame
    view: View
    T_source_reference: Matrix
    worth: float


def choose_sources(frame: PreparedFrame, view: View, keyframes: Sequence[PreparedFrame], count: int,
                   neighbours: bool = True) -> list[Source]:
    """Up to ``count`` views of this instant and of keyframes, best first; none if nothing gives parallax.

    neighbours: False = only earlier views of the same camera.
    """
    candidates = [(other, seen) for other in (frame, *keyframes) for seen in other.views
                  if seen is not view and (neighbours or seen.name == view.name)]
    poses = [relative_pose(frame, view, other, seen) for other, seen in candidates]
    found = best_sources(_frustum(view), [_frustum(seen) for _, seen in candidates], poses, count)
    return [Source(*candidates[index], poses[index], worth) for index, worth in found]


def parallax_notes(frame: PreparedFrame, keyframes: Sequence[PreparedFrame], blind: Sequence[str]) -> tuple[str, ...]:
    """Plain sentences on what limited the matching; blind: names of the views that have no source."""
    notes = []
    if frame.T_odom_base is None:
        notes.append("no ego motion: only cameras of one instant are matched")
    elif not keyframes:
        notes.append("no keyframe: only cameras of one instant are matched")
    if blind:
        notes.append(f"no other view gives parallax for {', '.join(sorted(blind))}: depth there is a guess")
    return tuple(notes)


def _frustum(view: View) -> Frustum:
    return Frustum(view.intrinsics.double().cpu().numpy(), view.size)
