"""Alignment of as many images as hang together: what shares nothing with the others is left out, not the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..pointmap.alignment import align
from ..pointmap.checks import ImagesApart
from ..pointmap.known import Known
from ..pointmap.pairs import PairPointmaps
from ..pointmap.scene import AlignedScene
from .known_cameras import with_pairs


@dataclass(frozen=True, eq=False)
class AlignedPart:
    """images: their numbers in what was given; scene: of these, in this order; pairs: of these, renumbered."""

    images: tuple[int, ...]
    scene: AlignedScene
    pairs: PairPointmaps


def align_largest(pairs: PairPointmaps, known: Known | None = None,
                  masks: Mapping[int, Tensor] | None = None) -> AlignedPart:
    """The largest group of images that pairs, or known poses, hold together. Raises InputError like ``align``."""
    images = tuple(range(pairs.images))
    while True:
        own = part_of(pairs, images)
        try:
            return AlignedPart(images, align(own, known_part(known, images), masks_part(masks or {}, images)), own)
        except ImagesApart as apart:
            kept = _joinable(apart, images)
            if len(kept) < 2:
                raise
            images = kept


def align_parts(pairs: PairPointmaps, known: Known | None = None,
                masks: Mapping[int, Tensor] | None = None) -> list[AlignedPart]:
    """Every group of two or more images, each in a world of its own. Raises InputError like ``align``."""
    waiting, found = [tuple(range(pairs.images))], []
    while waiting:
        images = waiting.pop()
        own = part_of(pairs, images)
        try:
            scene = align(own, known_part(known, images), masks_part(masks or {}, images))
            found.append(AlignedPart(images, scene, own))
        except ImagesApart as apart:
            waiting += [tuple(images[number] for number in group) for group in apart.groups if len(group) > 1]
    return sorted(found, key=lambda part: part.images)


def part_of(pairs: PairPointmaps, images: Sequence[int]) -> PairPointmaps:
    """The pairs between some images (ascending, each in a pair with another), in numbers from 0."""
    inside = [edge for edge, pair in enumerate(pairs.edges) if set(pair) <= set(images)]
    _, edges = with_pairs([pairs.edges[edge] for edge in inside])
    return PairPointmaps(tuple(edges), *([source[edge] for edge in inside] for source in (
        pairs.points1, pairs.confidence1, pairs.points2, pairs.confidence2)))


def known_part(known: Known | None, images: Sequence[int]) -> Known | None:
    """What is known of some images."""
    if known is None:
        return None
    intrinsics, poses = ([given[image] for image in images] if given is not None else None
                         for given in (known.intrinsics, known.poses))
    return replace(known, intrinsics=intrinsics, poses=poses)


def _joinable(apart: ImagesApart, images: Sequence[int]) -> tuple[int, ...]:
    """Known poses may hold groups together, but not images that are alone; without them the largest group is left."""
    groups = [group for group in apart.groups if len(group) > 1]
    if apart.reason == "disconnected" and groups:
        groups = groups[:1]
    return tuple(sorted(images[number] for group in groups for number in group))


def masks_part(masks: Mapping[int, Tensor], images: Sequence[int]) -> dict[int, Tensor]:
    """The masks of some images, in numbers from 0."""
    return {new: masks[image] for new, image in enumerate(images) if image in masks}
