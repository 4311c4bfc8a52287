"""Alignment of as many images as hang together: what shares nothing with the others is left out, not the whole.

Groups that no usable pair joins are aligned apart, then laid side by side where known poses give each its own metre:
the objective compares lengths, and in one problem they would pull at each other's scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ..pointmap.alignment import AlignmentSettings, align
from ..pointmap.checks import ImagesApart
from ..pointmap.known import Known
from ..pointmap.pairs import PairPointmaps
from ..pointmap.scene import AlignedScene
from ..structures import InputError
from .known_cameras import with_pairs
from .pointmap_placement import USELESS, has_confidence, joined_groups, scale_doubt


@dataclass(frozen=True, eq=False)
class AlignedPart:
    """images: their numbers in what was given; scene: of these, in this order; pairs: of these, renumbered."""

    images: tuple[int, ...]
    scene: AlignedScene
    pairs: PairPointmaps


def align_largest(pairs: PairPointmaps, known: Known | None = None,
                  masks: Mapping[int, Tensor] | None = None) -> AlignedPart:
    """The largest group of images that pairs hold together, or all groups that known poses place in metres.

    An image of which nothing is known is left out. Raises InputError like ``align``.
    """
    images = _sure_images(pairs, masks or {}) or tuple(range(pairs.images))
    if known is not None and any(pose is not None for pose in known.all_poses(pairs.images)):
        placed = _on_poses(pairs, images, known, masks or {})
        if placed is not None:
            return placed
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
    """Every group of two or more images, each in a world of its own, without images of which nothing is known.

    Raises InputError like ``align``.
    """
    waiting, found = [_sure_images(pairs, masks or {}) or tuple(range(pairs.images))], []
    while waiting:
        images = waiting.pop()
        own = part_of(pairs, images)
        try:
            scene = align(own, known_part(known, images), masks_part(masks or {}, images))
            found.append(AlignedPart(images, scene, own))
        except ImagesApart as apart:
            waiting += [tuple(images[number] for number in group) for group in apart.groups if len(group) > 1]
    return sorted(found, key=lambda part: part.images)


def _sure_images(pairs: PairPointmaps, masks: Mapping[int, Tensor]) -> tuple[int, ...]:
    """Those with a confident pixel in a pair with another such image; none or two and more."""
    images = tuple(range(pairs.images))
    while images:
        own, left = part_of(pairs, images), masks_part(masks, images)
        sure = {image for number, image in enumerate(images) if has_confidence(own, number, left.get(number))}
        if len(sure) == len(images):
            break
        images = tuple(sorted({image for edge in pairs.edges if sure >= set(edge) for image in edge}))
    return images


def _on_poses(pairs: PairPointmaps, images: Sequence[int], known: Known,
              masks: Mapping[int, Tensor]) -> AlignedPart | None:
    """Groups that no usable pair joins, side by side in the metres of their poses; the largest where none has metres.

    None where there is only one group, or none can be aligned.
    """
    groups = joined_groups(part_of(pairs, images), masks_part(masks, images), AlignmentSettings())
    poses, parts, placed = known.all_poses(pairs.images), [], []
    for group in groups if len(groups) > 1 else []:
        own = tuple(images[number] for number in group)
        part, left = part_of(pairs, own), masks_part(masks, own)
        try:
            scene = align(part, known_part(known, own), left)
        except InputError:
            continue
        parts.append(AlignedPart(own, scene, part))
        if scene.metric and scale_doubt(part, scene, [poses[image] for image in own], left) <= USELESS:
            placed.append(parts[-1])
    if not placed:
        return max(parts, key=lambda part: len(part.images), default=None)
    return _side_by_side(placed, pairs) if len(placed) > 1 else placed[0]


def _side_by_side(parts: Sequence[AlignedPart], pairs: PairPointmaps) -> AlignedPart:
    """One part out of several in one metric world; pairs between them are left out."""
    images = tuple(sorted(image for part in parts for image in part.images))
    held = [edge for part in parts for edge, pair in enumerate(pairs.edges) if set(pair) <= set(part.images)]
    order = np.argsort([image for part in parts for image in part.images])
    edges = np.argsort(held)
    new = {image: number for number, image in enumerate(images)}
    scenes = [part.scene for part in parts]
    residual = np.concatenate([scene.pair_residual for scene in scenes])[edges]
    depth, confidence = ([one for scene in scenes for one in getattr(scene, name)] for name in ("depth", "confidence"))
    notes = [f"images {', '.join(str(new[image]) for image in part.images)}, numbered from 0 among them: {note}"
             for part in parts for note in part.scene.notes]
    scene = AlignedScene(
        cameras=np.concatenate([scene.cameras for scene in scenes])[order],
        intrinsics=np.concatenate([scene.intrinsics for scene in scenes])[order],
        depth=tuple(depth[at] for at in order), confidence=tuple(confidence[at] for at in order),
        pair_similarity=np.concatenate([scene.pair_similarity for scene in scenes])[edges], pair_residual=residual,
        pair_used=np.concatenate([scene.pair_used for scene in scenes])[edges], loss=float(residual.mean()),
        metric=True, iterations=sum(scene.iterations for scene in scenes),
        seconds=sum(scene.seconds for scene in scenes),
        notes=(f"the images fall into {len(parts)} groups that no usable pair joins; only their known poses place the "
               "groups against each other", *notes),
        pose_deviation={new[part.images[own]]: off for part in parts for own, off in part.scene.pose_deviation.items()})
    chosen = sorted(held)
    own_edges = tuple((new[pairs.edges[edge][0]], new[pairs.edges[edge][1]]) for edge in chosen)
    return AlignedPart(images, scene, PairPointmaps(own_edges, *([source[edge] for edge in chosen] for source in (
        pairs.points1, pairs.confidence1, pairs.points2, pairs.confidence2))))


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
