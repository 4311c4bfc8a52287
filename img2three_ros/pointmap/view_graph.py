"""Which images are paired, and how the pairs hang together.

The first four functions choose the pairs that a network must predict; the others serve the alignment. A pair (i, j) is
ordered: its points come in the frame of camera i. With ``both_ways`` every pair comes in both orders, which the
alignment likes (each image is then somewhere the reference), for one pass through a siamese decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..geometry.overlap import Frustum, best_sources
from ..geometry.transforms import inverse
from ..structures import InputError, Matrix

Edge = tuple[int, int]


def complete_pairs(images: int, both_ways: bool = True) -> list[Edge]:
    """Every image with every other: n (n - 1) pairs both ways."""
    _at_least_two(images)
    return _ordered({(i, j) for i in range(images) for j in range(i)}, both_ways)


def window_pairs(images: int, window: int, cyclic: bool = False, both_ways: bool = True) -> list[Edge]:
    """Every image with the ``window`` images before it; cyclic: the last are neighbours of the first."""
    _at_least_two(images)
    if window < 1:
        raise InputError("edges", f"a window of {window} images pairs nothing: 1 is the least")
    near = {(max(i, j), min(i, j)) for i in range(images) for step in range(1, window + 1)
            for j in [(i - step) % images if cyclic else i - step] if j >= 0 and j != i}
    return _ordered(near, both_ways)


def reference_pairs(images: int, reference: int = 0, both_ways: bool = True) -> list[Edge]:
    """One image with every other: 2 (n - 1) pairs both ways."""
    _at_least_two(images)
    if not 0 <= reference < images:
        raise InputError("edges", f"there is no image {reference} among {images}")
    return _ordered({(reference, j) for j in range(images) if j != reference}, both_ways)


def frustum_pairs(frusta: Sequence[Frustum], T_world_camera: Sequence[Matrix], neighbours: int = 4,
                  both_ways: bool = True) -> list[Edge]:
    """Every image with up to ``neighbours`` others whose frusta it overlaps, with parallax, by known calibration.

    frusta, T_world_camera: of every image, metres. Images that overlap no other stay without a pair: ``components``
    tells them.
    """
    _at_least_two(len(frusta))
    found = set()
    for i, (frustum, pose) in enumerate(zip(frusta, T_world_camera, strict=True)):
        others = [j for j in range(len(frusta)) if j != i]
        poses = [inverse(T_world_camera[j]) @ pose for j in others]
        for choice, _ in best_sources(frustum, [frusta[j] for j in others], poses, neighbours):
            found.add((max(i, others[choice]), min(i, others[choice])))
    if not found:
        raise InputError("no_overlap", "no two cameras see the same space with parallax: nothing can be aligned")
    return _ordered(found, both_ways)


def _at_least_two(images: int) -> None:
    if images < 2:
        raise InputError("no_pairs", f"{images} image(s) make no pair: two are the least")


def _ordered(pairs: set[Edge], both_ways: bool) -> list[Edge]:
    forward = sorted(pairs)
    return forward + [(j, i) for i, j in forward] if both_ways else forward


def components(images: int, edges: Sequence[Edge]) -> list[list[int]]:
    """The groups of images that pairs connect, largest first; each sorted."""
    group = list(range(images))
    for i, j in edges:
        old, new = group[j], group[i]
        group = [new if member == old else member for member in group]
    found = [[image for image in range(images) if group[image] == name] for name in sorted(set(group))]
    return sorted(found, key=lambda members: (-len(members), members))


def spanning_forest(images: int, edges: Sequence[Edge], scores: NDArray[np.float64]) -> list[int]:
    """Indices of the edges of a forest with the largest total score (Kruskal), best first; scores <= 0 are not used."""
    group = list(range(images))
    chosen = []
    for edge in np.argsort(-scores, kind="stable"):
        i, j = edges[edge]
        if scores[edge] <= 0 or group[i] == group[j]:
            continue
        old, new = group[j], group[i]
        group = [new if member == old else member for member in group]
        chosen.append(int(edge))
    return chosen
