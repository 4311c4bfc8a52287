"""A tree of frames built from TF messages, without tf2: static edges replaced when they change, dynamic ones kept
over time."""

from __future__ import annotations

import numpy as np

from ..structures import InputError, Matrix
from .pose_buffer import PoseBuffer
from .transforms import inverse


class TransformTree:
    """Frames connected by ``T_parent_child``; each child has one parent, as in TF."""

    def __init__(self, history: int = 20_000_000_000) -> None:
        """history: how long dynamic edges are kept, ns."""
        self._history = history
        self._parents: dict[str, str] = {}
        self._static: dict[str, Matrix] = {}
        self._dynamic: dict[str, PoseBuffer] = {}

    def set_static(self, parent: str, child: str, T_parent_child: Matrix) -> bool:
        """Add or replace a static edge. Returns True if it changed anything."""
        parent, child = _clean(parent), _clean(child)
        _check(parent, child, T_parent_child)
        same = (self._parents.get(child) == parent and child in self._static
                and np.array_equal(self._static[child], T_parent_child))
        self._parents[child] = parent
        self._static[child] = T_parent_child
        self._dynamic.pop(child, None)
        return not same

    def add(self, parent: str, child: str, stamp: int, T_parent_child: Matrix) -> None:
        """Add a dynamic edge at a stamp (ns)."""
        parent, child = _clean(parent), _clean(child)
        _check(parent, child, T_parent_child)
        if self._parents.get(child) != parent or child not in self._dynamic:
            self._static.pop(child, None)
            self._parents[child] = parent
            self._dynamic[child] = PoseBuffer(history=self._history)
        self._dynamic[child].add(stamp, T_parent_child)

    def clear_dynamic(self) -> None:
        """Forget all dynamic edges (time jump); static ones stay."""
        for child in self._dynamic:
            self._parents.pop(child, None)
        self._dynamic.clear()

    def frames(self) -> tuple[str, ...]:
        """All known frames, sorted."""
        return tuple(sorted(set(self._parents) | set(self._parents.values())))

    def lookup(self, target: str, source: str, stamp: int | None = None) -> Matrix:
        """``T_target_source`` (4, 4) at a stamp (ns; not needed if all edges between are static).

        Raises InputError('transform') naming the missing frame, edge or time. Never identity by default.
        """
        target, source = _clean(target), _clean(source)
        if target == source:
            return np.eye(4)
        to_target, to_source = self._chain(target), self._chain(source)
        common = next((frame for frame in to_source if frame in to_target), None)
        if common is None:
            known = ", ".join(self.frames()) or "none"
            raise InputError("transform", f"no transform connects '{source}' to '{target}' (known frames: {known}); "
                             "publish it on /tf_static or give a rig file")
        return inverse(self._up(target, common, stamp)) @ self._up(source, common, stamp)

    def carrier(self, frame: str) -> str | None:
        """The frame in which ``frame`` moves: the parent at the first dynamic edge above it; None if there is none.

        REP-105: ``odom`` for a vehicle with one, ``map`` or ``world`` where the recording only knows that.
        """
        chain = self._chain(_clean(frame))
        return next((self._parents[child] for child in chain if child in self._dynamic), None)

    def newest(self, frame: str) -> int | None:
        """Newest stamp (ns) of the first dynamic edge above ``frame``; None if there is none."""
        chain = self._chain(_clean(frame))
        return next((self._dynamic[child].newest for child in chain if child in self._dynamic), None)

    def newest_between(self, target: str, source: str) -> int | None:
        """Stamp (ns) up to which all dynamic edges between two frames are known; None if there are none, or the frames
        are not connected."""
        to_target, to_source = self._chain(_clean(target)), self._chain(_clean(source))
        path = set(to_target) ^ set(to_source)
        stamps = [self._dynamic[child].newest for child in path if child in self._dynamic]
        known = [stamp for stamp in stamps if stamp is not None]
        return min(known) if known and set(to_target) & set(to_source) else None

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._parents:
            parent = self._parents[chain[-1]]
            if parent in chain:
                raise InputError("transform", f"the transform tree has a loop through '{parent}'")
            chain.append(parent)
        return chain

    def _up(self, frame: str, ancestor: str, stamp: int | None) -> Matrix:
        transform = np.eye(4)
        while frame != ancestor:
            parent = self._parents[frame]
            if frame in self._static:
                edge: Matrix | None = self._static[frame]
            else:
                edge = None if stamp is None else self._dynamic[frame].at(stamp)
            if edge is None:
                newest = self._dynamic[frame].newest
                raise InputError("transform", f"transform '{frame}' -> '{parent}' is not known at stamp {stamp} ns "
                                 f"(newest {newest} ns)")
            transform = edge @ transform
            frame = parent
        return transform


def _clean(frame: str) -> str:
    return frame.lstrip("/")


def _check(parent: str, child: str, transform: Matrix) -> None:
    if not parent or not child or parent == child:
        raise InputError("transform", f"transform from '{child}' to '{parent}': frames must be named and different")
    if transform.shape != (4, 4) or not np.isfinite(transform).all():
        raise InputError("transform", f"transform from '{child}' to '{parent}' is not a finite (4, 4)")
