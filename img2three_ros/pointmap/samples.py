"""A few thousand pixels of every image and what the pairs say of them: what poses and focals are solved on.

An observation is one image as one pair sees it: a pair (i, j) makes two. Observations are sorted by image, so that
those of one image are a slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..structures import InputError
from .pairs import PairPointmaps


@dataclass(frozen=True, eq=False)
class Samples:
    """O = 2 E observations of N pixels, float64.

    pixels: (n, 3, N) homogeneous pixel coordinates u, v, 1 of the samples of every image.
    points: (O, 3, N) in the frame of the pair (that of its first camera, in its unit).
    weights: (O, N) log confidence; 0 = nothing known, masked, or padding.
    image, edge, slot: (O,) of every observation; slot 1 or 2.
    groups: the slice of observations of every image.
    """

    pixels: Tensor
    points: Tensor
    weights: Tensor
    image: Tensor
    edge: Tensor
    slot: Tensor
    groups: tuple[slice, ...]

    @property
    def edges(self) -> int:
        """Number of pairs E."""
        return len(self.edge) // 2

    def by_slot(self, slot: int) -> Tensor:
        """(E,) the observation of every pair in this slot."""
        chosen = torch.nonzero(self.slot == slot).squeeze(1)
        return chosen[torch.argsort(self.edge[chosen])]

    def thinned(self, count: int) -> Samples:
        """About ``count`` of the pixels, evenly."""
        step = max(1, self.weights.shape[1] // max(count, 1))
        return replace(self, pixels=self.pixels[..., ::step], points=self.points[..., ::step],
                       weights=self.weights[:, ::step])


def take_samples(pairs: PairPointmaps, count: int, masks: Mapping[int, Tensor] | None = None) -> Samples:
    """About ``count`` pixels of each image on a regular grid.

    masks: image number -> (H, W) bool, False where the image must not be used (sky, own vehicle).
    Raises InputError('no_confidence') if an image has no pixel with confidence above 1 in any pair.
    """
    grids = {image: _grid(size, count, pairs.device) for image, size in pairs.sizes.items()}
    longest = max(len(rows) for rows, _ in grids.values())
    order = sorted((image, edge, slot) for edge, (i, j) in enumerate(pairs.edges) for slot, image in ((1, i), (2, j)))
    points = torch.zeros(len(order), longest, 3, dtype=torch.float64, device=pairs.device)
    weights = torch.zeros(len(order), longest, dtype=torch.float64, device=pairs.device)
    for observation, (image, edge, slot) in enumerate(order):
        rows, columns = grids[image]
        cloud, confidence = pairs.observation(edge, slot)
        points[observation, :len(rows)] = cloud[rows, columns].double()
        weights[observation, :len(rows)] = confidence[rows, columns].double()
        if masks is not None and image in masks:
            weights[observation, :len(rows)] *= masks[image].to(pairs.device)[rows, columns]
    known = torch.isfinite(points).all(-1) & torch.isfinite(weights) & (weights > 1.0)
    points = torch.where(known.unsqueeze(-1), points, 0.0)
    weights = torch.where(known, weights, 1.0).log()
    pixels = torch.zeros(len(grids), 3, longest, dtype=torch.float64, device=pairs.device)
    for image, (rows, columns) in grids.items():
        pixels[image, :, :len(rows)] = torch.stack((columns, rows, torch.ones_like(rows)))
    numbers = torch.tensor(order, device=pairs.device)
    samples = Samples(pixels, points.transpose(1, 2).contiguous(), weights, numbers[:, 0], numbers[:, 1],
                      numbers[:, 2], _groups([image for image, _, _ in order]))
    _check_confidence(samples)
    return samples


def _grid(size: tuple[int, int], count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns (N,) of a grid with about ``count`` nodes, half a cell from the borders."""
    height, width = size
    stride = max(1, round((height * width / count) ** 0.5))
    rows = torch.arange(stride // 2, height, stride, device=device)
    columns = torch.arange(stride // 2, width, stride, device=device)
    return rows.repeat_interleave(len(columns)), columns.repeat(len(rows))


def _groups(images: list[int]) -> tuple[slice, ...]:
    starts = [images.index(image) for image in range(images[-1] + 1)]
    return tuple(slice(start, end) for start, end in zip(starts, [*starts[1:], len(images)], strict=True))


def _check_confidence(samples: Samples) -> None:
    for image, group in enumerate(samples.groups):
        if not bool((samples.weights[group] > 0).any()):
            raise InputError("no_confidence", f"nothing is known of image {image}: no pixel has a confidence above 1 "
                             "in any pair (all sky, all masked, or no overlap with the other images)")
