"""Where the solver starts: focals, camera poses and pair similarities along a spanning tree of pairs that agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..structures import InputError, Matrix
from .focal import weiszfeld_focal, within_bounds
from .pnp import pose_from_points
from .registration import REGISTRATION_SAMPLES, Registration
from .samples import Samples
from .similarity import compose, decompose, robust_similarity, transform
from .view_graph import Edge, components, spanning_forest

_TREES = 24
_GOOD = 0.9
_FOCAL_DOUBT = 0.15
_ROTATION, _LOG_SCALE, _SHIFT = np.radians(5.0), 0.2, 0.1
"""Deviations at which a pair counts half as agreeing with a tree; the shift in units of the scene's distance."""


@dataclass(frozen=True, eq=False)
class Placement:
    """A first guess of everything. cameras: (n, 4, 4) rigid T_world_camera; edges: (E, 4, 4) similarities into the
    world; consistency: (E,) how well each pair agrees with the tree, 0..1; groups: connected images."""

    cameras: Tensor
    edges: Tensor
    consistency: NDArray[np.float64]
    groups: list[list[int]]


def guess_intrinsics(samples: Samples, registration: Registration, sizes: dict[int, tuple[int, int]],
                     known: Sequence[Matrix | None]) -> tuple[Tensor, Registration, list[str]]:
    """(n, 4) fx, fy, cx, cy: the known ones, otherwise from the pointmaps with the principal point at the centre.

    Models that lie in a pair's frame are moved into the camera's (by PnP): the registration comes back with all
    models in camera frames. Returns notes on focals that were not found.
    """
    rows, notes = [], []
    to_model, in_camera = registration.to_model.clone(), registration.in_camera_frame.clone()
    for image, (height, width) in sorted(sizes.items()):
        matrix = known[image]
        centre = (width / 2, height / 2) if matrix is None else (float(matrix[0, 2]), float(matrix[1, 2]))
        if matrix is not None:
            row = [float(matrix[0, 0]), float(matrix[1, 1]), *centre]
            if bool(in_camera[image]):
                notes += _compared(image, row[0], _own_focal(samples, registration, image, centre))
        else:
            focal = _own_focal(samples, registration, image, centre) if bool(in_camera[image]) else None
            row = [focal, focal, *centre] if focal is not None else []
        if not bool(in_camera[image]):
            pose, found = _locate(samples, registration, image, row, centre, max(height, width))
            group = samples.groups[image]
            to_model[group] = pose @ to_model[group]
            in_camera[image] = True
            row = row or [found, found, *centre]
        if matrix is None and not within_bounds(float(row[0]), (height, width)):
            notes.append(f"image {image}: no plausible focal length in its pointmaps ({row[0]:.0f} px found); "
                         f"{max(height, width)} px assumed at the start")
            row = [float(max(height, width))] * 2 + list(centre)
        rows.append(row)
    intrinsics = torch.tensor(rows, dtype=torch.float64, device=samples.points.device)
    return intrinsics, replace(registration, to_model=to_model, in_camera_frame=in_camera), notes


def _compared(image: int, known: float, found: float) -> list[str]:
    """A note if a known focal is far from what the pointmaps say."""
    if not found > 0 or abs(np.log(known / found)) < _FOCAL_DOUBT:
        return []
    return [f"image {image}: its known focal length of {known:.0f} px is {100 * (known / found - 1):+.0f} % off what "
            f"its pointmaps say ({found:.0f} px); was K resized and cropped with the image?"]


def _own_focal(samples: Samples, registration: Registration, image: int, centre: tuple[float, float]) -> float:
    """Of all observations in the camera's own frame, each as far as it agrees with the model; 0 = none found."""
    group = samples.groups[image]
    own = samples.slot[group] == 1
    points = samples.points[group][own].transpose(1, 2).reshape(-1, 3)
    weights = (samples.weights[group] * registration.agreement[group].square().unsqueeze(1))[own].reshape(-1)
    offsets = samples.pixels[image, :2].T - torch.tensor(centre, dtype=points.dtype, device=points.device)
    focal = float(weiszfeld_focal(points, offsets.repeat(int(own.sum()), 1), weights))
    return focal if np.isfinite(focal) else 0.0


def _locate(samples: Samples, registration: Registration, image: int, row: list[float], centre: tuple[float, float],
            longer_side: int) -> tuple[Tensor, float]:
    """T_camera_model (4, 4) of an image whose model lies in another camera's frame, and its focal."""
    model = int(registration.model[image])
    weights = samples.weights[model]
    keep = (weights > 0) & (weights >= weights[weights > 0].quantile(0.3))
    points = samples.points[model][:, keep].T.cpu().numpy()
    offsets = samples.pixels[image, :2, keep].T.cpu().numpy() - np.array(centre)
    if row:
        offsets = offsets * np.array([1.0, row[0] / row[1]])
    pose = pose_from_points(points, offsets, longer_side, row[0] if row else None)
    if pose is None:
        raise InputError("no_pose", f"the camera of image {image} cannot be located: it is never the first of a pair, "
                         "and its points do not project onto their pixels from anywhere; add pairs that begin with it")
    return torch.tensor(pose.T_camera_points, dtype=torch.float64, device=samples.points.device), pose.focal


def place(samples: Samples, registration: Registration, edges: Sequence[Edge], usable: NDArray[np.bool_]) -> Placement:
    """Compose pairs along the tree that most other pairs agree with; usable: (E,) pairs that may be composed."""
    relative = registration.second_to_first(samples).cpu().numpy()
    quality = np.where(usable, registration.quality(samples).cpu().numpy(), 0.0)
    distance = _model_distance(samples, registration)
    images = len(samples.groups)
    chance = np.random.default_rng(0)
    best_score, best = -1.0, None
    for trial in range(_TREES):
        scores = quality * (1.0 if trial == 0 else chance.uniform(0.0, 1.0, len(quality)))
        world = _compose(images, edges, relative, spanning_forest(images, edges, scores))
        agreement = _consistency(edges, relative, world, distance)
        score = float((quality * agreement).sum() / max(quality.sum(), 1e-300))
        if score > best_score:
            best_score, best = score, (world, agreement)
        if best_score > _GOOD:
            break
    assert best is not None
    world, agreement = best
    device = samples.points.device
    worlds = torch.tensor(world, device=device)
    scale, rotation, translation = decompose(worlds)
    cameras = compose(torch.ones_like(scale), rotation, translation)
    return Placement(cameras, _pair_similarities(samples, registration, worlds), agreement,
                     components(images, [edge for edge, fine in zip(edges, quality > 0, strict=True) if fine]))


def _compose(images: int, edges: Sequence[Edge], relative: NDArray[np.float64], tree: list[int]) -> Matrix:
    """(n, 4, 4) model frames into the world, the first image of every group at the identity."""
    world = np.tile(np.eye(4), (images, 1, 1))
    neighbours: dict[int, list[tuple[int, Matrix]]] = {image: [] for image in range(images)}
    for edge in tree:
        i, j = edges[edge]
        neighbours[i].append((j, relative[edge]))
        neighbours[j].append((i, np.linalg.inv(relative[edge])))
    done: set[int] = set()
    for root in range(images):
        waiting = [root] if root not in done else []
        done.add(root)
        while waiting:
            image = waiting.pop()
            for other, T_image_other in neighbours[image]:
                if other not in done:
                    world[other] = world[image] @ T_image_other
                    done.add(other)
                    waiting.append(other)
    return world


def _consistency(edges: Sequence[Edge], relative: NDArray[np.float64], world: Matrix,
                 distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(E,) 1 = a pair says exactly what the tree says of its two images."""
    i, j = np.array([edge[0] for edge in edges]), np.array([edge[1] for edge in edges])
    expected = np.linalg.inv(world[i]) @ world[j]
    error = np.linalg.inv(expected) @ relative
    scale = np.cbrt(np.maximum(np.linalg.det(error[:, :3, :3]), 1e-30))
    cosine = (np.trace(error[:, :3, :3], axis1=1, axis2=2) / scale - 1.0) / 2.0
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    shift = np.linalg.norm(error[:, :3, 3], axis=1) / distance[j]
    return 1.0 / (1.0 + (angle / _ROTATION) ** 2 + (np.log(scale) / _LOG_SCALE) ** 2 + (shift / _SHIFT) ** 2)


def _model_distance(samples: Samples, registration: Registration) -> NDArray[np.float64]:
    """(n,) mean distance of every model's points from the origin of its frame."""
    points, weights = samples.points[registration.model], samples.weights[registration.model]
    scale = decompose(registration.to_model[registration.model])[0]
    mean = (points.norm(dim=1) * weights).sum(1) / weights.sum(1).clamp(min=1e-12)
    return np.maximum((scale * mean).cpu().numpy(), 1e-12)


def _pair_similarities(samples: Samples, registration: Registration, worlds: Tensor) -> Tensor:
    """(E, 4, 4) every pair's frame onto the models of both its images in the world."""
    thin = samples.thinned(REGISTRATION_SAMPLES)
    model = registration.model[samples.image]
    frame = worlds @ registration.to_model[registration.model]
    target = transform(frame[samples.image], thin.points[model].transpose(1, 2))
    weights = (thin.weights * thin.weights[model]).sqrt()
    first, second = samples.by_slot(1), samples.by_slot(2)
    source = thin.points.transpose(1, 2)
    both = [torch.cat((values[first], values[second]), 1) for values in (source, target, weights)]
    return robust_similarity(*both)

