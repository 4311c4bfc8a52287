"""Which views an engine of pointmaps looks at together, which of them it pairs, and what it keeps of earlier ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.pointmap_config import PATCH
from ..models.pointmap_network import ImageFeatures, Pointmaps
from ..pointmap.pairs import PairPointmaps
from ..pointmap.view_graph import Edge
from ..structures import Matrix
from .known_cameras import KnownCamera
from .sources import choose_sources
from .views import PreparedFrame, View, relative_pose

Key = tuple[int, str]
"""A view of some instant: the stamp of its frame, its camera."""
Kept = TypeVar("Kept")


class PairNetwork(Protocol):
    """What predicts pointmaps of pairs: ``models.PointmapNetwork``."""

    def infer_pairs(self, images: Sequence[Tensor], pairs: Sequence[Edge], *, memory_bytes: int, descriptors: bool,
                    known: dict[int, ImageFeatures]) -> list[Pointmaps]:
        """See ``PointmapNetwork.infer_pairs``."""
        ...


Encode = Callable[[dict[int, Tensor]], dict[int, ImageFeatures]]


@dataclass(frozen=True, eq=False)
class Member:
    """One view that takes part. image: (3, h, w) float32 from -1 to 1, the view at the network's size.

    camera: of that image; its world is ``base_link`` at the present stamp.
    """

    frame: PreparedFrame
    view: View
    image: Tensor
    camera: KnownCamera

    @property
    def key(self) -> Key:
        """Names the view among all instants."""
        return self.frame.stamp, self.view.name

    @property
    def mask(self) -> Tensor:
        """(h, w) bool at the network's size: every pixel of the view below shows the world."""
        covered = F.adaptive_max_pool2d((~self.view.mask).float()[None, None], self.camera.size)[0, 0]
        return covered == 0


def choose_window(frame: PreparedFrame, keyframes: Sequence[PreparedFrame], neighbours: int, earlier: int,
                  complete: bool = False) -> tuple[list[tuple[PreparedFrame, View]], list[Edge]]:
    """The views that take part, those of the present first, then the earlier ones, oldest first; and the pairs of views
    of the present with others, each as (larger, smaller) number.

    neighbours: others that each view of the present is paired with, by what overlap and parallax they add. earlier:
    views of keyframes that take part at most; the best of every view of the present come first. complete: every view
    of the present with all.
    """
    if complete:
        past = [(key, view) for key in keyframes for view in key.views]
        views = [(frame, view) for view in frame.views] + past[max(0, len(past) - earlier):]
        return views, [(j, i) for i in range(len(frame.views)) for j in range(i + 1, len(views))]
    kept = _earlier(frame, keyframes, neighbours, earlier)
    keyframes = [replace(key, views=tuple(view for view in key.views if (key.stamp, view.name) in kept))
                 for key in keyframes]
    views = [(frame, view) for view in frame.views]
    views += [(key, view) for key in keyframes for view in key.views]
    number = {(of.stamp, view.name): place for place, (of, view) in enumerate(views)}
    pairs = set()
    for place, view in enumerate(frame.views):
        for source in choose_sources(frame, view, keyframes, neighbours):
            other = number[source.frame.stamp, source.view.name]
            pairs.add((max(place, other), min(place, other)))
    return views, sorted(pairs)


def _earlier(frame: PreparedFrame, keyframes: Sequence[PreparedFrame], neighbours: int, most: int) -> set[Key]:
    """The earlier views that stay: first the best of every view of the present, then the second best, and so on.

    Views of the present that have no other partner come first.
    """
    kept: dict[Key, None] = {}
    past = [([source for source in choose_sources(frame, view, keyframes, neighbours) if source.frame is not frame],
             bool(choose_sources(frame, view, (), 1))) for view in frame.views]
    for rank in range(neighbours):
        ranked = [(accompanied, -sources[rank].worth, sources[rank]) for sources, accompanied in past
                  if len(sources) > rank]
        for *_, source in sorted(ranked, key=lambda item: item[:2]):
            if len(kept) < most:
                kept[source.frame.stamp, source.view.name] = None
    return set(kept)


def member(present: PreparedFrame, frame: PreparedFrame, view: View, size: tuple[int, int]) -> Member:
    """A view at the network's size (height, width)."""
    height, width = size
    image = F.interpolate(view.image[None], (height, width), mode="bilinear", align_corners=False, antialias=True)
    scale = np.array([[width / view.size[1]], [height / view.size[0]], [1.0]])
    intrinsics = view.intrinsics.double().cpu().numpy()
    resized = scale * intrinsics
    resized[:2, 2] += 0.5 * (scale[:2, 0] - 1.0)
    camera = KnownCamera((height, width), resized, _pose(present, frame, view))
    return Member(frame, view, image[0].clamp(0.0, 1.0) * 2.0 - 1.0, camera)


def network_size(size: tuple[int, int], side: int, patch: int = PATCH) -> tuple[int, int]:
    """(height, width): the long side ``side`` pixels, the other as near to the aspect ratio as ``patch`` allows."""
    scale = side / max(size)
    height, width = (max(patch, round(length * scale / patch) * patch) for length in size)
    return height, width


def _pose(present: PreparedFrame, frame: PreparedFrame, view: View) -> Matrix:
    """``T_base_camera`` (4, 4) in ``base_link`` of the present stamp."""
    reference = present.views[0]
    return reference.T_base_camera @ relative_pose(frame, view, present, reference)


class PairMemory:
    """Encodings and predictions that may be wanted again, at most ``limit`` bytes of each, the latest used last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._features: OrderedDict[Key, ImageFeatures] = OrderedDict()
        self._pairs: OrderedDict[tuple[Key, Key], Pointmaps] = OrderedDict()

    def reset(self) -> None:
        """Forget all."""
        self._features.clear()
        self._pairs.clear()

    @property
    def bytes(self) -> int:
        """What is held."""
        return sum(map(_feature_bytes, self._features.values())) + sum(map(_pair_bytes, self._pairs.values()))

    def holds(self, first: Key, second: Key) -> bool:
        """Whether both orders of a pair were predicted and are still kept."""
        return (first, second) in self._pairs and (second, first) in self._pairs

    def predict(self, network: PairNetwork, members: Sequence[Member], edges: Sequence[Edge], memory_bytes: int,
                encode: Encode | None = None) -> PairPointmaps:
        """Pointmaps of ordered pairs; the network is asked only for what is not kept. Numbers are those of members.

        encode: gives the features of images in the network's place.
        """
        keys = [one.key for one in members]
        new = [(i, j) for i, j in edges if (keys[i], keys[j]) not in self._pairs]
        known = {number: self._features[key] for number, key in enumerate(keys) if key in self._features}
        if encode is not None:
            used = {number for pair in new for number in pair}
            known |= encode({number: members[number].image for number in sorted(used - set(known))})
        found = dict(zip(new, network.infer_pairs([one.image for one in members], new, memory_bytes=memory_bytes,
                                                  descriptors=False, known=known), strict=True))
        maps = [found[edge] if edge in found else self._pairs[keys[edge[0]], keys[edge[1]]] for edge in edges]
        self._keep({(keys[i], keys[j]): one for (i, j), one in zip(edges, maps, strict=True)},
                   {keys[number]: features for number, features in known.items()})
        return PairPointmaps(tuple(edges), [one.points1[0] for one in maps], [one.confidence1[0] for one in maps],
                             [one.points2_in_1[0] for one in maps], [one.confidence2[0] for one in maps])

    def _keep(self, pairs: dict[tuple[Key, Key], Pointmaps], features: dict[Key, ImageFeatures]) -> None:
        for names, maps in pairs.items():
            if names not in self._pairs:  # copied: a slice would keep its whole batch alive
                self._pairs[names] = Pointmaps(*(part.clone() for part in maps[:4] if part is not None))
            self._pairs.move_to_end(names)
        for key, own in features.items():
            if key not in self._features:
                self._features[key] = own._replace(tokens=own.tokens.clone(), embedded=own.embedded.clone())
            self._features.move_to_end(key)
        _shrink(self._pairs, self._limit, _pair_bytes)
        _shrink(self._features, self._limit, _feature_bytes)


def _pair_bytes(maps: Pointmaps) -> int:
    return sum(part.numel() * part.element_size() for part in maps if part is not None)


def _feature_bytes(features: ImageFeatures) -> int:
    return sum(part.numel() * part.element_size() for part in (features.tokens, features.embedded))


def _shrink(kept: OrderedDict[Key, Kept] | OrderedDict[tuple[Key, Key], Kept], limit: int,
            size: Callable[[Kept], int]) -> None:
    """Drop the oldest until the rest fits."""
    held = sum(map(size, kept.values()))
    while held > limit:
        _, dropped = kept.popitem(last=False)  # type: ignore[misc]
        held -= size(dropped)


def both_ways(pairs: Sequence[Edge]) -> list[Edge]:
    """Every pair in both orders, side by side."""
    return [edge for i, j in pairs for edge in ((i, j), (j, i))]


def remembered_pairs(members: Sequence[Member], memory: PairMemory, present: int) -> list[Edge]:
    """Pairs among the earlier members, numbers from ``present`` on, that cost nothing: predicted before."""
    return [(i, j) for i in range(present, len(members)) for j in range(present, i)
            if memory.holds(members[i].key, members[j].key)]


def subset(pairs: PairPointmaps, images: Sequence[int]) -> PairPointmaps:
    """The pairs among some images, which are numbered anew from 0 in the given order."""
    number = {image: new for new, image in enumerate(images)}
    kept = [edge for edge, (i, j) in enumerate(pairs.edges) if i in number and j in number]
    return PairPointmaps(tuple((number[pairs.edges[edge][0]], number[pairs.edges[edge][1]]) for edge in kept),
                         [pairs.points1[edge] for edge in kept], [pairs.confidence1[edge] for edge in kept],
                         [pairs.points2[edge] for edge in kept], [pairs.confidence2[edge] for edge in kept])


def torch_masks(members: Sequence[Member]) -> dict[int, Tensor]:
    """Image number -> mask, for the alignment; only of members whose mask hides anything."""
    masks = {number: one.mask for number, one in enumerate(members)}
    return {number: mask for number, mask in masks.items() if not bool(torch.all(mask))}
