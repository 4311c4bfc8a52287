"""What enters the alignment: pointmaps of image pairs, as a pairwise network predicts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..structures import InputError


@dataclass(frozen=True, eq=False)
class PairPointmaps:
    """Predictions of E ordered image pairs (i, j) over n images.

    edges: (i, j) of every pair, image numbers from 0.
    points1: E tensors (H_i, W_i, 3): the pixels of image i in the camera frame of image i (optical axes), in the
        pair's own unit. A tensor (E, H, W, 3) will do where all images have one size.
    confidence1: E tensors (H_i, W_i), >= 1; 1 = knows nothing (weight log 1 = 0).
    points2: E tensors (H_j, W_j, 3): the pixels of image j, in the camera frame of image i as well.
    confidence2: E tensors (H_j, W_j).
    Raises InputError for shapes that contradict each other. Points that are not finite count as unknown.
    """

    edges: tuple[tuple[int, int], ...]
    points1: Sequence[Tensor] | Tensor
    confidence1: Sequence[Tensor] | Tensor
    points2: Sequence[Tensor] | Tensor
    confidence2: Sequence[Tensor] | Tensor

    def __post_init__(self) -> None:
        count = len(self.edges)
        if count == 0:
            raise InputError("no_pairs", "there is no pair of images to align: two images make the first")
        for name in ("points1", "confidence1", "points2", "confidence2"):
            if len(getattr(self, name)) != count:
                raise InputError("shape", f"{name} holds {len(getattr(self, name))} pairs, edges holds {count}")
        if any(i == j or min(i, j) < 0 for i, j in self.edges):
            raise InputError("edges", f"a pair joins two different images, numbered from 0; given: {self.edges}")
        if self.images > 2 * count:
            raise InputError("disconnected", f"{count} pairs hold {2 * count} images at most, but one is numbered "
                             f"{self.images - 1}: images are numbered from 0 without gaps")
        missing = set(range(self.images)) - {image for edge in self.edges for image in edge}
        if missing:
            raise InputError("disconnected", f"no pair holds image {', '.join(map(str, sorted(missing)))}: the "
                             "view graph must reach every image")
        for edge, (i, j) in enumerate(self.edges):
            for slot, image in ((1, i), (2, j)):
                self._check(edge, slot, image)

    def _check(self, edge: int, slot: int, image: int) -> None:
        points, confidence = self.observation(edge, slot)
        height, width = self.sizes[image]
        for name, tensor, shape in (("points", points, (height, width, 3)),
                                    ("confidence", confidence, (height, width))):
            if tuple(tensor.shape) != shape:
                raise InputError("shape", f"{name}{slot} of pair {edge} {self.edges[edge]} has shape "
                                 f"{tuple(tensor.shape)}, image {image} wants {shape}")

    @property
    def images(self) -> int:
        """Number of images n."""
        return 1 + max(max(edge) for edge in self.edges)

    @property
    def device(self) -> torch.device:
        """Where the predictions lie and the alignment is computed."""
        return self.points1[0].device

    @property
    def sizes(self) -> dict[int, tuple[int, int]]:
        """Image number -> (height, width), from the first pair that holds the image."""
        sizes: dict[int, tuple[int, int]] = {}
        for edge, (i, j) in enumerate(self.edges):
            for slot, image in ((1, i), (2, j)):
                if image not in sizes:
                    height, width = self.observation(edge, slot)[1].shape
                    sizes[image] = (height, width)
        return sizes

    def observation(self, edge: int, slot: int) -> tuple[Tensor, Tensor]:
        """Points (H, W, 3) and confidence (H, W) of one image as a pair sees it; slot 1 = image i, 2 = image j."""
        if slot == 1:
            return self.points1[edge], self.confidence1[edge]
        return self.points2[edge], self.confidence2[edge]
