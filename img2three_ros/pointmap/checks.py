"""What can be wrong with an alignment, said in plain sentences: errors where there is no result, notes elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..structures import InputError
from .focal import FOCAL_BOUNDS, weiszfeld_focal
from .known import Known
from .pairs import PairPointmaps
from .scene import AlignedScene
from .view_graph import components

_NARROW = 0.002
_CONTRADICTS = 4.0
_NEVER = 0.03
_ABSURD = 0.15
"""Mean distance of pairs from the scene, as a share of their distance from the camera, that a trained network does not
leave on images of one scene at rest."""
_SKEWED, _NO_PERSPECTIVE = 0.04, 0.15
_GRID = 32  # samples along each side


class ImagesApart(InputError):
    """The images fall into groups that nothing connects. groups: their image numbers, largest group first."""

    def __init__(self, reason: str, message: str, groups: Sequence[Sequence[int]] = ()) -> None:
        super().__init__(reason, message)
        self.groups = tuple(tuple(group) for group in groups)


def check_connected(pairs: PairPointmaps, groups: list[list[int]], agreement: NDArray[np.float64],
                    usable: NDArray[np.bool_], known: Known) -> list[str]:
    """Raises ImagesApart if pairs leave images apart and no poses join them; notes on pairs that were not usable."""
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
        raise ImagesApart("disconnected", f"the images fall into {len(groups)} groups that nothing connects "
                          f"({named}): {why}. Add pairs between them, give known poses, or align each group alone",
                          groups)
    single = [group[0] for group in groups if len(group) == 1]
    if single:
        raise ImagesApart("no_overlap", f"image {', '.join(map(str, single))} shares nothing usable with any other "
                          "image: leave it out", groups)
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


def perspective_error(pairs: PairPointmaps) -> float:
    """How far the pixels of first images lie from the projection of their own points, with the focal that fits best.

    Median over pairs of the median over pixels, as a share of the image's long side; infinite if nothing is confident.
    """
    found = []
    for edge in range(len(pairs.edges)):
        points, confidence = pairs.observation(edge, 1)
        height, width = confidence.shape
        step = max(1, min(height, width) // _GRID)
        points, weights = points[::step, ::step].reshape(-1, 3), confidence[::step, ::step].reshape(-1).log()
        v, u = torch.meshgrid(torch.arange(0, height, step), torch.arange(0, width, step), indexing="ij")
        offsets = torch.stack((u - (width - 1) / 2, v - (height - 1) / 2), -1).reshape(-1, 2).to(points)
        good = torch.isfinite(points).all(-1) & (weights > 0)
        if not bool(good.any()):
            continue
        points, offsets, weights = points[good], offsets[good], weights[good]
        front = points[:, 2] > 0
        focal = weiszfeld_focal(points, offsets, weights)
        off = (focal * points[:, :2] / points[:, 2:].clamp(min=1e-9) - offsets).norm(dim=-1)
        off = torch.where(front & torch.isfinite(off), off, torch.full_like(off, float(max(height, width))))
        found.append(float(off.median()) / max(height, width))
    return float(np.median(found)) if found else float("inf")


def check_perspective(pairs: PairPointmaps) -> list[str]:
    """A note for pointmaps whose points are no good perspective of their own pixels.

    Raises InputError('untrained') where they are none at all: the network that made them has not learned.
    """
    error = perspective_error(pairs)
    if error > _NO_PERSPECTIVE and np.isfinite(error):
        raise InputError("untrained", "the network's points are no perspective of its images (pixels are "
                         f"{100 * error:.0f} % of the image off their points, about 1 % is usual): it looks untrained, "
                         "or its file is of another network")
    return [] if error <= _SKEWED or not np.isfinite(error) else [
        f"the network's points are a poor perspective of its images (pixels are {100 * error:.1f} % of the image off "
        "their points, about 1 % is usual): it looks hardly trained for such images"]


def misfit(pairs: PairPointmaps, scene: AlignedScene) -> NDArray[np.float64]:
    """(E,) mean distance of every pair's points from the scene, as a share of their distance from the first camera."""
    found = np.full(len(pairs.edges), np.nan)
    points = {image: scene.points(image) for image in range(pairs.images)}
    for edge, (i, j) in enumerate(pairs.edges):
        total = weight = 0.0
        for slot, image in ((1, i), (2, j)):
            own, confidence = pairs.observation(edge, slot)
            height, width = confidence.shape
            step = max(1, min(height, width) // _GRID)
            own, confidence = own[::step, ::step].cpu().numpy(), confidence[::step, ::step].cpu().numpy()
            placed = own @ scene.pair_similarity[edge][:3, :3].T + scene.pair_similarity[edge][:3, 3]
            far = np.linalg.norm(placed - scene.cameras[i][:3, 3], axis=-1)
            share = np.linalg.norm(placed - points[image][::step, ::step], axis=-1) / np.maximum(far, 1e-9)
            good = np.isfinite(share) & (confidence > 1.0)
            sure = np.log(confidence[good])
            total, weight = total + float((sure * np.minimum(share[good], 1.0)).sum()), weight + float(sure.sum())
        found[edge] = total / weight if weight > 0 else np.nan
    return found


def doubts(pairs: PairPointmaps, scene: AlignedScene) -> tuple[float, list[str]]:
    """Median misfit of the pairs in use, and a note if it is absurd."""
    shares = misfit(pairs, scene)[scene.pair_used]
    usual = float(np.nanmedian(shares)) if np.isfinite(shares).any() else float("nan")
    if not usual > _ABSURD:
        return usual, []
    return usual, [f"the residual is absurd: pairs lie {100 * usual:.0f} % of their distance off the scene (a few % "
                   "are usual). Do not trust it: the images may not show one scene at rest, or the network does not "
                   "know such images"]
