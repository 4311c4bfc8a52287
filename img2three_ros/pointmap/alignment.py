"""Global alignment: pointmaps of image pairs -> one scene with cameras, focals and depth.

The front of this room: the stages in the order in which they happen. A spanning tree of pairs gives a first guess,
Levenberg-Marquardt solves poses, focals and pair similarities on a grid of samples with every depth eliminated, and one
closed pass solves all depths.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .assembly import assemble, in_pair_units, normalised_state, with_all_pairs
from .checks import check_connected, check_result, contradictions, limits
from .dense import solve_depths
from .initialization import guess_intrinsics, place
from .known import Known, check_convention, focal_prior, onto_known_poses, pose_prior
from .pairs import PairPointmaps
from .registration import register
from .residuals import State
from .samples import Samples, take_samples
from .scene import AlignedScene
from .solver import Problem, Solution, solve


@dataclass(frozen=True)
class AlignmentSettings:
    """samples, fine_samples: pixels per image that poses are solved on, first and in the last steps.
    most_samples: bound of samples over all observations, for memory and time with many pairs.
    iterations, fine_iterations: most steps of each. tolerance: relative gain of the loss at which it ends.
    evidence: independent measurements that one image in one pair is worth, against known poses.
    agreement: share of a pair's confident pixels that must agree in shape with the other pairs for it to be used.
    """

    samples: int = 2304
    fine_samples: int = 9216
    most_samples: int = 300_000
    iterations: int = 20
    fine_iterations: int = 3
    tolerance: float = 3e-4
    evidence: float = 30.0
    agreement: float = 0.3


def align(pairs: PairPointmaps, known: Known | None = None, masks: Mapping[int, Tensor] | None = None,
          settings: AlignmentSettings | None = None) -> AlignedScene:
    """Join the pairs into one scene. Computes where the pairs lie (CPU or CUDA).

    known: intrinsics and poses that are known. masks: image -> (H, W) bool, False where it shows sky or the vehicle.
    Raises InputError if the pairs do not connect all images (unless known poses do), if an image is without confident
    pixels, or if the optimisation diverged; everything milder is a note of the result.
    """
    begin = time.perf_counter()
    settings, known = settings or AlignmentSettings(), known or Known()
    known.check(pairs)
    bound = settings.most_samples // (2 * len(pairs.edges))
    samples, unit = _in_common_unit(take_samples(pairs, max(256, min(settings.samples, bound)), masks))
    problem, start, notes = first_guess(pairs, samples, known, settings)

    solution = solve(problem, start, settings.iterations, settings.tolerance)
    problem, solution, more = _without_contradictions(pairs, problem, solution, settings)
    steps = solution.iterations
    finer = take_samples(pairs, min(settings.fine_samples, bound), masks)
    if settings.fine_iterations > 0 and finer.weights.shape[1] > samples.weights.shape[1]:
        problem = replace(problem, samples=replace(finer, points=finer.points / unit))
        solution = solve(problem, replace(solution.state, depth=None), settings.fine_iterations, settings.tolerance)
        steps += solution.iterations
    state = in_pair_units(with_all_pairs(solution, problem), unit)
    dense = solve_depths(pairs, state, masks, unit)
    scene = assemble(state, dense, problem, known, steps)
    check_result(scene)
    notes += [*more, *scene.notes, *limits(scene, solution.converged)]
    return replace(scene, notes=tuple(notes), seconds=time.perf_counter() - begin)


def first_guess(pairs: PairPointmaps, samples: Samples, known: Known,
                settings: AlignmentSettings) -> tuple[Problem, State, list[str]]:
    """What is to be solved, and where to start: shapes compared, focals, a tree of pairs, known poses."""
    registration = register(samples)
    intrinsics, registration, notes = guess_intrinsics(samples, registration, pairs.sizes,
                                                       known.all_intrinsics(pairs.images))
    first, second = samples.by_slot(1), samples.by_slot(2)
    agreement = torch.minimum(registration.agreement[first], registration.agreement[second]).cpu().numpy()
    usable = agreement > settings.agreement
    placement = place(samples, registration, pairs.edges, usable)
    notes += check_connected(pairs, placement.groups, agreement, usable, known)
    active = torch.tensor(usable, device=pairs.device)
    prior = pose_prior(known, pairs.device)
    if prior is not None:
        check_convention(placement, prior)
        placement = onto_known_poses(placement, pairs.edges, prior, known.fixes_scale)
        if not known.fixes_scale:
            notes.append(f"the known camera centres lie within {known.baseline:.3f} m of their mean: too close to say "
                         "how long a metre is; the result is not metric (see scale: LiDAR, odometry, a metric network)")
    problem = Problem(samples, active, focal_prior(intrinsics, known), prior, known.fixes_scale,
                      settings.evidence * len(samples.image))
    zero = torch.zeros((), dtype=torch.float64, device=pairs.device)
    start = State(placement.cameras, placement.edges, intrinsics, None, zero)
    return problem, normalised_state(start, active), notes


def _in_common_unit(samples: Samples) -> tuple[Samples, float]:
    """Points divided by their mean distance, and that distance: thresholds then hold for pairs in any unit."""
    distance = (samples.points.norm(dim=1) * samples.weights).sum() / samples.weights.sum()
    return replace(samples, points=samples.points / distance), float(distance)


def _without_contradictions(pairs: PairPointmaps, problem: Problem, solution: Solution,
                            settings: AlignmentSettings) -> tuple[Problem, Solution, list[str]]:
    """Solved again without the pairs that fit the scene far worse than the others."""
    samples, found = problem.samples, solution.residuals
    relative = found.length / found.points.norm(dim=1).clamp(min=1e-9)
    share = (relative * samples.weights).sum(1) / samples.weights.sum(1).clamp(min=1e-12)
    worst = torch.maximum(share[samples.by_slot(1)], share[samples.by_slot(2)]).cpu().numpy()
    rejected = contradictions(pairs, worst, problem.active.cpu().numpy())
    if not rejected.any():
        return problem, solution, []
    notes = [f"pair {i} -> {j} contradicts the others ({100 * worst[edge]:.0f} % off): left out"
             for edge, (i, j) in enumerate(pairs.edges) if rejected[edge]]
    problem = replace(problem, active=problem.active & ~torch.tensor(rejected, device=problem.active.device))
    again = solve(problem, normalised_state(solution.state, problem.active), settings.iterations, settings.tolerance)
    return problem, replace(again, iterations=solution.iterations + again.iterations), notes
