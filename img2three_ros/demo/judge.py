"""Holds what the live node published against the exact depth of the simulated world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.transforms import apply, inverse
from ..simulation.settings import SimulationConfig
from ..simulation.vehicle import SimulatedVehicle

MAX_INSTANTS = 4
"""Instants that are rendered again for their truth: more would make the demo wait."""


@dataclass(frozen=True)
class TruthScores:
    """Relative error of published points against exact depth, 3 to 60 m, over ``points`` points."""

    points: int
    abs_rel: float
    delta_125: float
    median_error: float

    def __str__(self) -> str:
        return (f"{self.points} points at 3-60 m: AbsRel {self.abs_rel:.3f}, δ<1.25 {self.delta_125:.3f}, "
                f"median error {100 * self.median_error:.1f} %")


def demo_simulation(seed: int) -> SimulationConfig:
    """The demo's street: images small enough that two cores render and reconstruct them in time."""
    return SimulationConfig(seed=seed, width=384, height=256)


def score_against_truth(clouds: Mapping[int, NDArray[np.float32]], seed: int) -> TruthScores:
    """Scores clouds (stamp -> (N, 4) x, y, z, confidence in base_link) of the demo's street.

    Each point is judged in every camera that sees it; overlapping cameras may look behind it, so the smallest error
    counts.
    """
    vehicle = SimulatedVehicle(demo_simulation(seed))
    stamps = sorted(clouds)
    chosen = [stamps[index] for index in
              np.unique(np.linspace(0, len(stamps) - 1, MAX_INSTANTS).round().astype(int))] if stamps else []
    errors = [_relative_errors(vehicle, stamp, clouds[stamp][:, :3].astype(np.float64)) for stamp in chosen]
    relative = np.concatenate(errors) if errors else np.zeros(0)
    if not len(relative):
        return TruthScores(0, float("nan"), float("nan"), float("nan"))
    # prediction / truth = 1 + signed error; δ<1.25 holds for -0.2 < error < 0.25.
    close = (relative > -0.2) & (relative < 0.25)
    return TruthScores(len(relative), float(np.abs(relative).mean()), float(close.mean()),
                       float(np.median(np.abs(relative))))


def _relative_errors(vehicle: SimulatedVehicle, stamp: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    best = np.full(len(points), np.inf)
    for camera in vehicle.camera_names:
        truth = vehicle.render(camera, stamp).depth
        in_camera = apply(inverse(vehicle.T_base_camera[camera]), points)
        pixels = in_camera @ vehicle.calibrations[camera].intrinsics.T
        depth = in_camera[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            columns, rows = np.rint(pixels[:, :2] / depth[:, None]).T
        seen = (depth > 0.1) & (columns >= 0) & (rows >= 0) & (columns < truth.shape[1]) & (rows < truth.shape[0])
        true_depth = truth[rows[seen].astype(int), columns[seen].astype(int)]
        error = (depth[seen] - true_depth) / true_depth
        judged = np.isfinite(error) & (true_depth >= 3.0) & (true_depth <= 60.0)
        index = np.flatnonzero(seen)[judged]
        smaller = np.abs(error[judged]) < np.abs(best[index])
        best[index[smaller]] = error[judged][smaller]
    return best[np.isfinite(best)]
