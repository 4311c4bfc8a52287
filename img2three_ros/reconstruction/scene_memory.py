"""What the ``scene`` engine keeps of views: features to be matched with, encoded once. And the padding that the
network needs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.image_encoder import Features
from ..structures import Matrix
from .sweep_cost import Pyramid, build_pyramid
from .views import DepthView, PreparedFrame, View

MULTIPLE = 32
"""Sides of the network's images are multiples of this."""

_REMEMBERED_FRAMES = 17
"""This instant's, and as many as the keyframe buffer can hold."""


_GRID = 4
"""Every fourth pixel of a depth is kept."""

_TRUSTED_CONFIDENCE, _TRUSTED_SIGMA = 0.8, 0.1


@dataclass(eq=False)
class RememberedView:
    """A view of an earlier frame, or of this one, without its image.

    T_base_camera: (4, 4). grid_intrinsics: (3, 3) of every fourth pixel. pyramid: grey images at two scales. matching:
    features (1, C, h, w) for other views to be matched with. inverse_depth, confidence, trusted: (h, w) of every fourth
    pixel, empty before the view was reconstructed.
    """

    T_base_camera: Matrix
    grid_intrinsics: Tensor
    pyramid: Pyramid
    matching: Features | None = None
    inverse_depth: Tensor = field(default_factory=lambda: torch.zeros(0))
    confidence: Tensor = field(default_factory=lambda: torch.zeros(0))
    trusted: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    @staticmethod
    def of(view: View) -> RememberedView:
        """A view of which nothing else is known yet."""
        grid = view.intrinsics.new_tensor((1.0 / _GRID, 1.0 / _GRID, 1.0)).diag() @ view.intrinsics
        return RememberedView(view.T_base_camera, grid, build_pyramid(view, view.mask))

    def keep(self, depth: DepthView) -> None:
        """Remember the depth of this view."""
        grid = (slice(None, None, _GRID), slice(None, None, _GRID))
        self.inverse_depth = depth.depth[grid].clamp(min=0.1).reciprocal()
        self.confidence = depth.confidence[grid].clone()
        sure = (depth.confidence > _TRUSTED_CONFIDENCE) & (depth.sigma < _TRUSTED_SIGMA)
        self.trusted = (depth.valid & sure)[grid].clone()


class SceneMemory:
    """Views of the last few frames, by the frame's stamp and the camera; bounded."""

    def __init__(self) -> None:
        self._frames: OrderedDict[int, dict[str, RememberedView]] = OrderedDict()

    def reset(self) -> None:
        """Forget everything."""
        self._frames.clear()

    def frame(self, frame: PreparedFrame) -> dict[str, RememberedView]:
        """What is remembered of a frame's views, by camera."""
        views = self._frames.setdefault(frame.stamp, {})
        for view in frame.views:
            if view.name not in views:
                views[view.name] = RememberedView.of(view)
        self._frames.move_to_end(frame.stamp)
        while len(self._frames) > _REMEMBERED_FRAMES:
            self._frames.popitem(last=False)
        return views

    def of(self, frame: PreparedFrame, view: View) -> RememberedView:
        """What is remembered of a view."""
        return self.frame(frame)[view.name]


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) rounded up to what the network takes."""
    return -(-size[0] // MULTIPLE) * MULTIPLE, -(-size[1] // MULTIPLE) * MULTIPLE


def padded_image(image: Tensor) -> Tensor:
    """(3, H', W') of an image (3, H, W): its last row and column go on at the bottom and at the right."""
    height, width = padded_size((image.shape[1], image.shape[2]))
    if (height, width) == tuple(image.shape[1:]):
        return image
    return F.pad(image[None], (0, width - image.shape[2], 0, height - image.shape[1]), mode="replicate")[0]


def padded_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(*size) of a mask (H, W) that is not larger; False where it does not reach."""
    return F.pad(mask, (0, size[1] - mask.shape[1], 0, size[0] - mask.shape[0]), value=False)


def for_matching(features: Features) -> Features:
    """Descriptors and grey only, as memory of their own: the context of a source is not needed."""
    empty = features.match.new_zeros(0)
    return replace(features, match=features.match.clone(), grey=features.grey.clone(), context4=empty,
                   context8=empty, context16=empty, context32=empty)


def joined_for_matching(views: Sequence[Features]) -> Features:
    """(N, C, h, w) of views (1, C, h, w); smaller ones go on with zeros at the bottom and at the right."""
    return replace(views[0], match=_joined([view.match for view in views]),
                   grey=_joined([view.grey for view in views]))


def joined(views: Sequence[Features]) -> Features:
    """(N, C, h, w) of views (1, C, h, w) of one size, context included."""
    return Features(*(torch.cat(parts) for parts in zip(*(view.tensors() for view in views), strict=True)))


def _joined(tensors: list[Tensor]) -> Tensor:
    height, width = (max(tensor.shape[side] for tensor in tensors) for side in (2, 3))
    return torch.cat([F.pad(tensor, (0, width - tensor.shape[3], 0, height - tensor.shape[2]))
                      if tensor.shape[2:] != (height, width) else tensor for tensor in tensors])
