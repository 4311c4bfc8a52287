"""What comes out of the alignment: one scene, in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..structures import Matrix


@dataclass(frozen=True, eq=False)
class AlignedScene:
    """n cameras with depth in one world frame, and where every pair's prediction lies in it.

    cameras: (n, 4, 4) T_world_camera, rigid. intrinsics: (n, 3, 3), pixels.
    depth: per image (H, W) float32, z in the optical frame, world units, NaN where no pair knows the pixel.
    confidence: per image (H, W) float32, the largest of all pairs, >= 1.
    pair_similarity: (E, 4, 4) similarity of each pair's frame into the world.
    pair_residual: (E,) share of every pair in the loss times E: its own mean weighted distance.
    pair_used: (E,) bool, False where a pair contradicted the others and was left out.
    loss: mean over pixels and pairs of log(confidence) * distance, both images of a pair added, in a world scaled so
        that the geometric mean of the pairs' scales is 0.5; comparable between runs and with other optimisers.
    metric: whether the world's unit is the metre.
    iterations, seconds: of the alignment (wall clock). notes: plain sentences on what limits the result.
    pose_deviation: image -> (degrees, metres) between the pose that was given and the one that was found;
        their distance is in world units.
    """

    cameras: Matrix
    intrinsics: Matrix
    depth: tuple[NDArray[np.float32], ...]
    confidence: tuple[NDArray[np.float32], ...]
    pair_similarity: Matrix
    pair_residual: NDArray[np.float64]
    pair_used: NDArray[np.bool_]
    loss: float
    metric: bool
    iterations: int
    seconds: float
    notes: tuple[str, ...] = ()
    pose_deviation: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    def points(self, image: int) -> NDArray[np.float32]:
        """(H, W, 3) the pixels of an image in the world; NaN where the depth is."""
        depth = self.depth[image]
        height, width = depth.shape
        v, u = np.mgrid[:height, :width].astype(np.float32)
        K = self.intrinsics[image]
        camera = np.stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)), -1) * depth[..., None]
        pose = self.cameras[image]
        return (camera @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)

    def rescaled(self, scale: float, metric: bool = True) -> AlignedScene:
        """The same scene with lengths times ``scale`` (world units -> metres, see ``scale``). The loss stays."""
        cameras, pairs = self.cameras.copy(), self.pair_similarity.copy()
        cameras[:, :3, 3] *= scale
        pairs[:, :3] *= scale
        return replace(self, cameras=cameras, pair_similarity=pairs, metric=metric,
                       pose_deviation={image: (degrees, scale * off)
                                       for image, (degrees, off) in self.pose_deviation.items()},
                       depth=tuple((scale * depth).astype(np.float32) for depth in self.depth))

    def moved(self, T_new_world: Matrix) -> AlignedScene:
        """The same scene in another frame; T_new_world: (4, 4) rigid."""
        return replace(self, cameras=T_new_world @ self.cameras, pair_similarity=T_new_world @ self.pair_similarity)
