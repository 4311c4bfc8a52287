"""From what the solver found to the scene that is handed out: units, frame, all pairs, the loss by definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..structures import Matrix
from .dense import DenseDepth
from .known import Known
from .residuals import State
from .scene import AlignedScene
from .similarity import decompose, inverse, robust_similarity
from .solver import Problem, Solution

MEAN_SCALE = 0.5
"""Geometric mean of the pairs' scales in the world in which the loss is measured."""


def normalised_state(state: State, active: Tensor) -> State:
    """The same scene scaled so that the geometric mean of the active pairs' scales is MEAN_SCALE."""
    return _scaled(state, MEAN_SCALE * (-decompose(state.edge[active])[0].log().mean()).exp())


def _scaled(state: State, factor: Tensor) -> State:
    camera, edge = state.camera.clone(), state.edge.clone()
    camera[:, :3, 3] *= factor
    edge[:, :3] *= factor
    depth = None if state.depth is None else state.depth * factor
    return State(camera, edge, state.intrinsics, depth, state.log_unit + factor.log())


def in_pair_units(state: State, unit: float) -> State:
    """Back from points that were divided by ``unit``: pair scales stay, lengths of the world grow."""
    camera, edge = state.camera.clone(), state.edge.clone()
    camera[:, :3, 3] *= unit
    edge[:, :3, 3] *= unit
    depth = None if state.depth is None else state.depth * unit
    return State(camera, edge, state.intrinsics, depth, state.log_unit + float(np.log(unit)))


def with_all_pairs(solution: Solution, problem: Problem) -> State:
    """The solved state, with pairs that were left out brought as close to the scene as a similarity can."""
    state, samples, found = solution.state, problem.samples, solution.residuals
    if bool(problem.active.all()):
        return state
    assert state.depth is not None
    camera = state.camera[samples.image]
    seen = (state.depth.unsqueeze(1) * found.rays)[samples.image]
    world = (camera[:, :3, :3] @ seen + camera[:, :3, 3:]).transpose(1, 2)
    source = samples.points.transpose(1, 2)
    first, second = samples.by_slot(1)[~problem.active], samples.by_slot(2)[~problem.active]
    edge = state.edge.clone()
    edge[~problem.active] = robust_similarity(
        torch.cat((source[first], source[second]), 1), torch.cat((world[first], world[second]), 1),
        torch.cat((samples.weights[first], samples.weights[second]), 1))
    return replace(state, edge=edge)


def assemble(state: State, dense: DenseDepth, problem: Problem, known: Known, iterations: int) -> AlignedScene:
    """The scene in numpy: camera 0 at the origin, or in the frame and unit of the known poses."""
    scale = decompose(state.edge)[0]
    factor = float(MEAN_SCALE * (-scale.log().mean()).exp())
    residual = dense.pair_loss.sum(1).cpu().numpy() * factor
    fx, fy, cx, cy = state.intrinsics.cpu().numpy().T
    intrinsics = np.zeros((len(fx), 3, 3))
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 0, 2], intrinsics[:, 1, 2] = fx, fy, cx, cy
    intrinsics[:, 2, 2] = 1.0
    scene = AlignedScene(
        cameras=state.camera.cpu().numpy(), intrinsics=intrinsics,
        depth=tuple(depth.cpu().numpy() for depth in dense.depth),
        confidence=tuple(confidence.cpu().numpy() for confidence in dense.confidence),
        pair_similarity=state.edge.cpu().numpy(), pair_residual=residual * len(residual),
        pair_used=problem.active.cpu().numpy(), loss=float(residual.sum()), metric=False, iterations=iterations,
        seconds=0.0)
    if problem.poses is None:
        return scene.moved(inverse(state.camera[0]).cpu().numpy()).rescaled(factor, metric=False)
    unit = float(torch.exp(-state.log_unit)) if problem.fixes_scale else factor
    scene = scene.rescaled(unit, metric=problem.fixes_scale).moved(_translation(known.centre))
    pull = problem.poses.pull(state).cpu().numpy()
    images = problem.poses.image.tolist()
    deviation = {image: _deviation(known.all_poses(len(fx))[image], scene.cameras[image]) for image in images}
    notes = tuple(f"image {image}: its known pose is contradicted by the images (they say {deviation[image][0]:.2f} "
                  f"deg and {deviation[image][1]:.3f} {'m' if scene.metric else 'units'} off); it pulled little"
                  for image, share in zip(images, pull, strict=True) if share < 0.5)
    return replace(scene, pose_deviation=deviation, notes=notes)


def _translation(offset: np.ndarray) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def _deviation(given: Matrix | None, found: Matrix) -> tuple[float, float]:
    assert given is not None
    cosine = (np.trace(given[:3, :3].T @ found[:3, :3]) - 1.0) / 2.0
    return (float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))),
            float(np.linalg.norm(given[:3, 3] - found[:3, 3])))
