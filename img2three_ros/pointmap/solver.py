"""Levenberg-Marquardt over poses, focals and pair similarities: the small system that is left when depths are gone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .priors import FocalPrior, PosePrior
from .residuals import Block, Layout, Residuals, State, evaluate, moved, normal_equations, objective_weights
from .samples import Samples

DENSE_UNKNOWNS = 1500
"""Larger systems are solved by conjugate gradients on their blocks, in time and memory linear in pairs."""
_DEPTH_ROUNDS = 3
_RETRIES = 6


@dataclass(frozen=True, eq=False)
class Problem:
    """What is solved. active: (E,) bool, pairs that count; the mean log scale of those stays what it is.

    fixes_scale: whether the known poses say how long a metre is.
    evidence: how many independent measurements the samples are worth: weighs them against the priors.
    """

    samples: Samples
    active: Tensor
    focal: FocalPrior
    poses: PosePrior | None
    fixes_scale: bool
    evidence: float

    def prior_cost(self, state: State) -> Tensor:
        """() of both priors."""
        cost = self.focal.cost(state)
        return cost if self.poses is None else cost + self.poses.cost(state)

    def objective(self, state: State, loss: Tensor) -> float:
        """Negative log likelihood of a state: evidence * log(loss) for the pairs, which is free of scale."""
        return float(self.evidence * torch.log(loss.clamp(min=1e-12)) + self.prior_cost(state))

    def free(self) -> Tensor:
        """(P,) bool, unknowns that are solved for; camera 0 holds the world where no pose is known."""
        layout = Layout(len(self.samples.groups), self.samples.edges)
        free = torch.ones(layout.size, dtype=torch.bool, device=self.active.device)
        layout.focals(free)[:] = ~self.focal.exact
        layout.pairs(free)[:] = self.active.unsqueeze(1)
        if self.poses is None:
            layout.cameras(free)[0] = False
        free[-1] = self.poses is not None and self.fixes_scale
        return free


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the solver ended. converged: the last accepted step gained less than asked, or where no step was accepted,
    the Newton step promised less."""

    state: State
    residuals: Residuals
    iterations: int
    converged: bool


def solve(problem: Problem, start: State, iterations: int, tolerance: float = 1e-4) -> Solution:
    """Minimise from ``start`` until a step gains less than ``tolerance`` of the loss, at most ``iterations`` steps."""
    weights = objective_weights(problem.samples, problem.active)
    state, found = evaluate(start, problem.samples, weights, depth_rounds=2 * _DEPTH_ROUNDS)
    value, damping, free = problem.objective(state, found.loss), 1e-4, problem.free()
    for iteration in range(iterations):
        blocks = _blocks(problem, state, found)
        accepted, promised = False, 0.0
        for _ in range(_RETRIES):
            step = _step(problem, blocks, free, damping)
            promised = max(promised, _promised(blocks, step))  # that of the least damped step
            trial, left = evaluate(moved(state, step), problem.samples, weights, _DEPTH_ROUNDS)
            new = problem.objective(trial, left.loss) if bool(torch.isfinite(left.loss)) else float("inf")
            accepted = new < value
            if accepted:
                break
            damping = max(10.0 * damping, 1e-6)
        if not accepted:
            return Solution(state, found, iteration, promised < tolerance * problem.evidence)
        gained, state, found, value = value - new, trial, left, new
        damping *= 0.2
        if gained < tolerance * problem.evidence:
            return Solution(state, found, iteration + 1, True)
    return Solution(state, found, iterations, False)


def _promised(blocks: list[Block], step: Tensor) -> float:
    """By how much the objective would fall if it were the parabola that it is taken for."""
    return -0.5 * sum(float((block.gradient * step[block.index]).sum()) for block in blocks)


def _blocks(problem: Problem, state: State, found: Residuals) -> list[Block]:
    factor = problem.evidence / found.loss.clamp(min=1e-12)
    blocks = [replace(block, hessian=factor * block.hessian, gradient=factor * block.gradient)
              for block in normal_equations(state, problem.samples, found)]
    blocks += problem.focal.blocks(state)
    return blocks if problem.poses is None else blocks + problem.poses.blocks(state)


def _step(problem: Problem, blocks: list[Block], free: Tensor, damping: float) -> Tensor:
    """The damped Newton step that keeps the sum of the log scales of active pairs."""
    layout = Layout(len(problem.samples.groups), problem.samples.edges)
    gradient = torch.zeros(layout.size, dtype=torch.float64, device=free.device)
    diagonal = torch.zeros_like(gradient)
    for block in blocks:
        gradient.index_add_(0, block.index, block.gradient)
        diagonal.index_add_(0, block.index, block.hessian.diagonal())
    constraint = torch.zeros_like(gradient)
    layout.pairs(constraint)[:, 6] = problem.active.to(constraint.dtype)
    right = torch.stack((-gradient, constraint), 1) * free.unsqueeze(1)
    scale = torch.where(free & (diagonal > 0), diagonal.clamp(min=1e-300).rsqrt(), torch.zeros_like(diagonal))
    solve_with = _solve_dense if int(free.sum()) <= DENSE_UNKNOWNS else _solve_iterative
    result = solve_with(blocks, scale, scale.unsqueeze(1) * right, damping) * scale.unsqueeze(1)
    newton, along = result[:, 0], result[:, 1]
    excess = (constraint * newton).sum() / (constraint * along).sum().clamp(min=1e-300)
    return newton - excess * along


def _solve_dense(blocks: list[Block], scale: Tensor, right: Tensor, damping: float) -> Tensor:
    """Cholesky of the scaled system; unknowns with scale 0 stay 0."""
    size = len(scale)
    matrix = torch.zeros(size, size, dtype=scale.dtype, device=scale.device)
    for block in blocks:
        matrix[block.index.unsqueeze(1), block.index] += block.hessian
    matrix *= scale * scale.unsqueeze(1)
    kept = torch.nonzero(scale).squeeze(1)
    matrix = matrix[kept.unsqueeze(1), kept]
    matrix.diagonal().add_(damping + 1e-12)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    result = torch.zeros_like(right)
    if int(failed) == 0:
        result[kept] = torch.cholesky_solve(right[kept], factor)
    else:
        result[kept] = torch.linalg.lstsq(matrix, right[kept]).solution
    return result


def _solve_iterative(blocks: list[Block], scale: Tensor, right: Tensor, damping: float) -> Tensor:
    """Conjugate gradients on the scaled blocks, to a relative residual of 1e-6, at most 500 rounds."""
    scaled = [replace(block, hessian=block.hessian * scale[block.index] * scale[block.index].unsqueeze(1))
              for block in blocks]

    def product(vectors: Tensor) -> Tensor:
        result = (damping + 1e-12) * vectors
        for block in scaled:
            result.index_add_(0, block.index, block.hessian @ vectors[block.index])
        return result

    result, residual = torch.zeros_like(right), right.clone()
    direction, square = residual.clone(), residual.square().sum(0)
    target = 1e-12 * square
    for _ in range(500):
        image = product(direction)
        length = square / (direction * image).sum(0).clamp(min=1e-300)
        result += length * direction
        residual -= length * image
        previous, square = square, residual.square().sum(0)
        if bool((square <= target).all()):
            break
        direction = residual + square / previous.clamp(min=1e-300) * direction
    return result
