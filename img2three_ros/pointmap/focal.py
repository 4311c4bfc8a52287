"""The focal length that explains a pointmap: principal point known, square pixels, robust to outliers.

Weiszfeld's iteration (E. Weiszfeld, Tohoku Math. J. 1937) on the distance in pixels between a pixel and the projection
of its point.
"""

from __future__ import annotations

from torch import Tensor

ROUNDS = 50
FOCAL_BOUNDS = (0.25, 4.0)
"""Of the longer side: 127 to 14 degrees of view. What lies outside is no camera that a pairwise network knows."""


def weiszfeld_focal(points: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Focal length, pixels, as a tensor ().

    points: (N, 3) in the optical frame of the camera, any unit; offsets: (N, 2) pixel minus principal point;
    weights: (N,) >= 0. Points behind the camera do not count. NaN if nothing counts.
    """
    usable = (points[:, 2] > 1e-9) & (weights > 0)
    rays = points[usable, :2] / points[usable, 2:]
    offsets, weights = offsets[usable], weights[usable]
    along, square = (rays * offsets).sum(-1), rays.square().sum(-1)
    focal = (weights * along).sum() / (weights * square).sum()
    for _ in range(ROUNDS):
        distance = (offsets - focal * rays).norm(dim=-1)
        robust = weights / distance.clamp(min=1e-8)
        before, focal = focal, (robust * along).sum() / (robust * square).sum()
        if bool((focal - before).abs() <= 1e-6 * focal.abs()):
            break
    return focal


def within_bounds(focal: float, size: tuple[int, int]) -> bool:
    """Whether a focal length is plausible for an image of this (height, width)."""
    low, high = FOCAL_BOUNDS
    return bool(low * max(size) <= focal <= high * max(size))
