"""Keyframes with ego poses corrected by the images, where these say clearly that odometry is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from ..geometry.transforms import inverse
from ..structures import Matrix
from .sweep_alignment import MIN_POINTS, AlignmentCamera, align
from .sweep_cost import Pyramid
from .views import PreparedFrame


class RememberedDepth(Protocol):
    """A view with what is known of its depth. inverse_depth: (h, w) in pixels of ``grid_intrinsics`` (3, 3); trusted:
    (h, w) bool, most likely right; both empty before the view was reconstructed."""

    @property
    def T_base_camera(self) -> Matrix: ...

    @property
    def pyramid(self) -> Pyramid: ...

    @property
    def inverse_depth(self) -> Tensor: ...

    @property
    def grid_intrinsics(self) -> Tensor: ...

    @property
    def trusted(self) -> Tensor: ...


Remembered = Callable[[PreparedFrame], Mapping[str, RememberedDepth]]
"""What is remembered of a frame, by camera."""


def aligned_keyframes(frame: PreparedFrame, keyframes: Sequence[PreparedFrame],
                      remembered: Remembered) -> list[PreparedFrame]:
    """``keyframes`` with corrected ``T_odom_base``, or as they were.

    The keyframe with the best depth is aligned to ``frame`` and the other keyframes to it.
    """
    points = {keyframe.stamp: sum(int(depth.trusted.sum()) for depth in remembered(keyframe).values())
              for keyframe in keyframes}
    known = [keyframe for keyframe in keyframes if points[keyframe.stamp] >= MIN_POINTS]
    if not known or frame.T_odom_base is None:
        return list(keyframes)
    anchor = max(known, key=lambda keyframe: points[keyframe.stamp])
    T_now_anchor = _motion(anchor, frame, remembered)
    corrected = []
    for keyframe in keyframes:
        T_now_key = T_now_anchor
        if keyframe is not anchor:
            T_now_key = T_now_anchor @ inverse(_motion(anchor, keyframe, remembered))
        corrected.append(replace(keyframe, T_odom_base=frame.T_odom_base @ T_now_key))
    return corrected


def _motion(anchor: PreparedFrame, other: PreparedFrame, remembered: Remembered) -> Matrix:
    """``T_other_anchor`` between the two ``base_link``, by odometry and, where possible, images."""
    assert anchor.T_odom_base is not None and other.T_odom_base is not None
    before, now = remembered(anchor), remembered(other)
    cameras = [AlignmentCamera.of(before[name].pyramid.coarse, before[name].inverse_depth,
                                  before[name].grid_intrinsics, before[name].trusted,
                                  before[name].T_base_camera, now[name].pyramid.coarse,
                                  now[name].T_base_camera)
               for name in now if name in before and before[name].trusted.numel()]
    odometry = inverse(other.T_odom_base) @ anchor.T_odom_base
    corrected = align(cameras, odometry)
    return odometry if corrected is None else corrected
