"""What the ``scene`` engine keeps of views: features to be matched with, encoded once. And the padding that the
network needs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.image_encoder import Features
from .sweep_cost import Pyramid
from .views import PreparedFrame, View

MULTIPLE = 32
"""Sides of the network's images are multiples of this."""

_REMEMBERED_FRAMES = 17
"""This instant's, and as many as the keyframe buffer can hold."""


@dataclass(eq=False)
class RememberedView:
    """matching: features (1, C, h, w) for other views to be matched with; pyramid: grey, for the ego mask."""

    matching: Features | None = None
    pyramid: Pyramid | None = None


class SceneMemory:
    """Views of the last few frames, by the frame's stamp and the camera; bounded."""

    def __init__(self) -> None:
        self._frames: OrderedDict[int, dict[str, RememberedView]] = OrderedDict()

    def reset(self) -> None:
        """Forget everything."""
        self._frames.clear()

    def of(self, frame: PreparedFrame, view: View) -> RememberedView:
        """What is remembered of a view; empty if it is new."""
        views = self._frames.setdefault(frame.stamp, {})
        self._frames.move_to_end(frame.stamp)
        while len(self._frames) > _REMEMBERED_FRAMES:
            self._frames.popitem(last=False)
        return views.setdefault(view.name, RememberedView())


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
