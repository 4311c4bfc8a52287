"""What can be wrong with an alignment, said in plain sentences: errors where there is no result, notes elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..structures import InputError
from .focal import FOCAL_BOUNDS
from .known import Known
from .pairs import PairPointmaps
from .scene import AlignedScene
from .view_graph import components

_NARROW = 0.002
_CONTRADICTS = 4.0
_NEVER = 0.03


def check_connected(pairs: PairPointmaps, groups: list[list[int]], agreement: NDArray[np.float64],
                    usable: NDArray[np.bool_], known: Known) -> list[str]:
    """Raises InputError if pairs leave images apart and no poses join them; notes on pairs that were not usable."""
    notes = [f"pair {i} -> {j} disagrees in shape with the other pairs of its images (only {100 * agreement[edge]:.0f} "
             "% of its confident pixels agree): left out"
             for edge, (i, j) in enumerate(pairs.edges) if not usable[edge]]
    if len(groups) == 1:
        return notes
    named = "; ".join(", ".join(map(str, group)) for group in groups)
    poses = known.all_poses(pairs.images)
    if len(components(pairs.images, pairs.edges)) == 1:
        why = "the pairs between them do not overlap or contradict their other pairs"
    else:
        why = "no pair joins them"
    if any(all(poses[image] is None for image in group) for group in groups):
        raise InputError("disconnected", f"the images fall into {len(groups)} groups that nothing connects "
                         f"({named}): {why}. Add pairs between them, give known poses, or align each group alone")
    single = [group[0] for group in groups if len(group) == 1]
    if single:
        raise InputError("no_overlap", f"image {', '.join(map(str, single))} shares nothing usable with any other "
                         "image: leave it out")
    return [*notes, f"the images fall into {len(groups)} groups ({named}) because {why}; only their known poses place "
            "the groups against each other"]


def contradictions(pairs: PairPointmaps, relative: NDArray[np.float64],
                   active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(E,) the active pairs that fit the scene far worse than the others and that it can do without.

    relative: (E,) mean distance of every pair's points from the scene, as a share of their distance from the camera.
    """
    usual = float(np.median(relative[active]))
    suspects = [edge for edge in np.argsort(-relative)
                if active[edge] and relative[edge] > max(_CONTRADICTS * usual, _NEVER)]
    rejected = np.zeros(len(active), dtype=bool)
    groups = len(components(pairs.images, _chosen(pairs, active)))
    for edge in suspects:
        rejected[edge] = True
        if len(components(pairs.images, _chosen(pairs, active & ~rejected))) > groups:
            rejected[edge] = False
    return rejected


def _chosen(pairs: PairPointmaps, keep: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [edge for edge, kept in zip(pairs.edges, keep, strict=True) if kept]


def check_result(scene: AlignedScene) -> None:
    """Raises InputError('diverged') for a scene that is no scene."""
    finite = all(np.isfinite(array).all() for array in (scene.cameras, scene.intrinsics, scene.pair_similarity))
    if not finite or not np.isfinite(scene.loss):
        raise InputError("diverged", "the alignment diverged (values that are not finite): the pointmaps contradict "
                         "each other; leave out pairs, or give known intrinsics and poses")
    for image, K in enumerate(scene.intrinsics):
        side = max(scene.depth[image].shape)
        low, high = FOCAL_BOUNDS
        if not 0.5 * low * side <= K[0, 0] <= 2.0 * high * side:
            raise InputError("diverged", f"the alignment diverged: image {image} came out with a focal length of "
                             f"{K[0, 0]:.1f} px for {side} px; its pointmaps show no perspective. Give known "
                             "intrinsics")


def limits(scene: AlignedScene, converged: bool) -> list[str]:
    """Notes on what a valid result does not tell."""
    notes = [] if converged else ["the optimisation had not settled after its last step: more iterations may help"]
    reference = float(np.nanmedian(np.concatenate([depth[::4, ::4].ravel() for depth in scene.depth])))
    centres = scene.cameras[:, :3, 3]
    widest = float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
    if widest < _NARROW * reference:
        notes.append(f"the cameras hardly differ in position ({100 * widest / reference:.2f} % of the median depth): "
                     "depth rests on what the network knows of single images, and no scale follows from baselines")
    behind = [image for image, depth in enumerate(scene.depth)
              if np.mean(depth[np.isfinite(depth)] <= 1e-3 * reference) > 0.2]
    if behind:
        notes.append(f"image {', '.join(map(str, behind))}: more than a fifth of the pixels has no depth in front of "
                     "the camera; its pose is doubtful")
    return notes
