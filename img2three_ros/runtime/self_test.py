"""Whether a backend may be believed: it must say what torch says in float32, of made-up images and of depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .backend import Backend
from .parts import Part

LEAST_COSINE = {"fp32": 0.9999, "bf16": 0.995, "fp16": 0.999, "int8": 0.99}
"""Of any output with that of torch in fp32; bf16 has three bits less than fp16. The length counts as well, though a
wrong scale is no angle: the distance must not be larger than that cosine makes it between vectors of equal length."""
LARGEST_DEPTH_CHANGE = 0.01
"""Mean relative change of the depth that the whole network finds."""


class DepthCheck(Protocol):
    """What a backend does to the depth of a known scene."""

    def change(self, backend: Backend) -> float:
        """Mean relative change of the depth against torch in fp32; NaN if it gives none."""
        ...


@dataclass(frozen=True)
class Verdict:
    """trouble: why the backend must not be used, a plain sentence part; empty = it passed. cosine: the worst of all
    outputs. depth_change: None = not asked for."""

    trouble: str
    cosine: float = math.nan
    depth_change: float | None = None

    def __str__(self) -> str:
        depth = "" if self.depth_change is None else f", depth changes by {100 * self.depth_change:.2f} %"
        return f"cosine {self.cosine:.5f}{depth}"


def self_test(backend: Backend, part: Part, depth: DepthCheck | None = None) -> Verdict:
    """Run a backend on the part's own inputs, twice, and on a scene. Raises InputError('backend') if it fails to run.

    Twice with different inputs: a backend that gives back what it gave before, or writes over it, is found out.
    """
    least, worst = LEAST_COSINE[backend.precision], 1.0
    runs = [(part.samples(seed), backend(*part.samples(seed))) for seed in (0, 1)]
    for inputs, given in runs:
        right = part.reference(inputs)
        if len(given) != len(right):
            return Verdict(f"it gives {len(given)} outputs, the network has {len(right)}")
        for name, expected, found in zip(part.outputs, right, given, strict=True):
            if found.shape != expected.shape:
                return Verdict(f"its '{name}' has shape {tuple(found.shape)}, that of the network "
                               f"{tuple(expected.shape)}")
            if not bool(found.isfinite().all()):
                return Verdict(f"its '{name}' holds values that are not finite")
            angle, distance = compared(expected, found)
            worst = min(worst, angle)
            if not (angle >= least and distance <= math.sqrt(2.0 * (1.0 - least))):
                return Verdict(f"its '{name}' is not that of the network: cosine {angle:.5f} and distance "
                               f"{distance:.3f} of its length; in {backend.precision} at least {least} and at most "
                               f"{math.sqrt(2.0 * (1.0 - least)):.3f} are wanted", worst)
    if depth is None:
        return Verdict("", worst)
    change = depth.change(backend)
    if not change <= LARGEST_DEPTH_CHANGE:
        return Verdict(f"with it, depth changes by {100 * change:.2f} %, at most {100 * LARGEST_DEPTH_CHANGE:.0f} % is "
                       "allowed", worst, change)
    return Verdict("", worst, change)


def compared(expected: Tensor, found: Tensor) -> tuple[float, float]:
    """Cosine of the angle between two tensors as vectors, and the length of their difference as a share of the first;
    1 and 0 between two zeros."""
    one, other = (tensor.detach().to("cpu", torch.float64).flatten() for tensor in (expected, found))
    lengths = float(one.norm()), float(other.norm())
    if min(lengths) == 0.0:
        return (1.0, 0.0) if max(lengths) == 0.0 else (0.0, math.inf)
    return float(one @ other) / (lengths[0] * lengths[1]), float((other - one).norm()) / lengths[0]
