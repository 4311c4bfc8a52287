"""What the caller knows of the cameras, and how it enters the alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..structures import InputError, Matrix
from .initialization import Placement
from .pairs import PairPointmaps
from .priors import FocalPrior, PosePrior
from .similarity import rotation_log

_WRONG_WAY = float(np.radians(8.0))


@dataclass(frozen=True, eq=False)
class Known:
    """Per image, None where it is not known; None for all: nothing is known.

    intrinsics: (3, 3) K of the images as the network saw them (resized and cropped), pixels.
    sigma_focal: relative standard deviation of their focals; 0 = exact.
    poses: (4, 4) T_world_camera, metres; priors, never hard.
    sigma_rotation, sigma_translation: their standard deviations, radians and metres.
    """

    intrinsics: Sequence[Matrix | None] | None = None
    sigma_focal: float = 0.0
    poses: Sequence[Matrix | None] | None = None
    sigma_rotation: float = float(np.radians(0.3))
    sigma_translation: float = 0.03

    def check(self, pairs: PairPointmaps) -> None:
        """Raises InputError('intrinsics' | 'poses') for what cannot belong to these images."""
        for name, matrices, shape in (("intrinsics", self.intrinsics, (3, 3)), ("poses", self.poses, (4, 4))):
            if matrices is None:
                continue
            if len(matrices) != pairs.images:
                raise InputError(name, f"{len(matrices)} known {name} for {pairs.images} images")
            for image, matrix in enumerate(matrices):
                if matrix is not None and (np.shape(matrix) != shape or not np.isfinite(matrix).all()):
                    raise InputError(name, f"known {name} of image {image} must be a finite {shape} matrix")
        for image, (matrix, size) in enumerate(zip(self.all_intrinsics(pairs.images),
                                                   (pairs.sizes[image] for image in range(pairs.images)),
                                                   strict=True)):
            _check_intrinsics(image, matrix, size)
        for image, pose in enumerate(self.all_poses(pairs.images)):
            if pose is not None and not np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3):
                raise InputError("poses", f"the known pose of image {image} is not rigid: its rotation part is "
                                 "no rotation")

    def all_intrinsics(self, images: int) -> list[Matrix | None]:
        """One for every image."""
        return list(self.intrinsics) if self.intrinsics is not None else [None] * images

    def all_poses(self, images: int) -> list[Matrix | None]:
        """One for every image."""
        return list(self.poses) if self.poses is not None else [None] * images

    @property
    def centre(self) -> np.ndarray:
        """(3,) mean of the known camera centres, metres: priors are kept around it, for precision far from origin."""
        centres = [pose[:3, 3] for pose in self.poses or () if pose is not None]
        return np.mean(centres, 0) if centres else np.zeros(3)

    @property
    def baseline(self) -> float:
        """Largest distance of a known camera centre from their mean, metres; 0 with fewer than two."""
        centres = [pose[:3, 3] for pose in self.poses or () if pose is not None]
        return float(np.linalg.norm(np.array(centres) - self.centre, axis=1).max()) if len(centres) > 1 else 0.0

    @property
    def fixes_scale(self) -> bool:
        """Whether the known camera centres lie far enough apart to say how long a metre is."""
        return self.baseline > 2.0 * self.sigma_translation


def _check_intrinsics(image: int, matrix: Matrix | None, size: tuple[int, int]) -> None:
    if matrix is None:
        return
    height, width = size
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or not np.allclose(matrix[2], (0, 0, 1)):
        raise InputError("intrinsics", f"known intrinsics of image {image} are no pinhole matrix: {matrix.tolist()}")
    if not (0 < matrix[0, 2] < width and 0 < matrix[1, 2] < height):
        raise InputError("intrinsics", f"known intrinsics of image {image} have their principal point "
                         f"({matrix[0, 2]:.0f}, {matrix[1, 2]:.0f}) outside the image of {width} x {height} pixels: "
                         "they must be those of the image as the network saw it, resized and cropped with it")


def focal_prior(intrinsics: Tensor, known: Known) -> FocalPrior:
    """Exact or near where known, free elsewhere. intrinsics: (n, 4) start values."""
    given = [matrix is not None for matrix in known.all_intrinsics(len(intrinsics))]
    sigma = [known.sigma_focal if one else float("inf") for one in given]
    return FocalPrior(intrinsics[:, 0].log(), torch.tensor(sigma, dtype=torch.float64, device=intrinsics.device))


def pose_prior(known: Known, device: torch.device) -> PosePrior | None:
    """The known poses around their mean; None where there are none."""
    found = [(image, pose) for image, pose in enumerate(known.poses or ()) if pose is not None]
    if not found:
        return None
    poses = np.array([pose for _, pose in found], dtype=np.float64)
    poses[:, :3, 3] -= known.centre
    return PosePrior(torch.tensor([image for image, _ in found], device=device), torch.tensor(poses, device=device),
                     known.sigma_rotation, known.sigma_translation)


def check_convention(placement: Placement, prior: PosePrior) -> None:
    """Raises InputError('poses') if the known poses fit what the pairs say only when they are inverted."""
    if len(prior.image) < 2:
        return
    ours, given = placement.cameras[prior.image, :3, :3], prior.pose[:, :3, :3]
    as_given, inverted = _turn_off(ours, given), _turn_off(ours, given.transpose(1, 2))
    if as_given > _WRONG_WAY and inverted < 0.2 * as_given:
        raise InputError("poses", f"the known poses look inverted: as given they are {np.degrees(as_given):.0f} deg "
                         f"off what the pairs say, inverted only {np.degrees(inverted):.1f} deg. Wanted is "
                         "T_world_camera (camera into world, c2w), in optical axes")


def _turn_off(ours: Tensor, given: Tensor) -> float:
    """Median angle, radians, between the rotations of neighbouring cameras as found and as given."""
    found, told = (rotations[:-1].transpose(1, 2) @ rotations[1:] for rotations in (ours, given))
    return float(rotation_log(found.transpose(1, 2) @ told).norm(dim=1).median())


def onto_known_poses(placement: Placement, edges: Sequence[tuple[int, int]], prior: PosePrior,
                     fixes_scale: bool) -> Placement:
    """Bring every connected group of images onto the known poses of its images, in metres around their mean.

    A group whose known centres coincide keeps the scale that the others found (1 where none did).
    """
    known = dict(zip(prior.image.tolist(), prior.pose.cpu().numpy(), strict=True))
    cameras, similarities = placement.cameras.cpu().numpy().copy(), placement.edges.cpu().numpy().copy()
    scales = {number: _centre_scale(group, known, cameras, 2.0 * prior.sigma_translation)
              for number, group in enumerate(placement.groups)}
    found = [scale for scale in scales.values() if scale is not None]
    common = float(np.median(found)) if found and fixes_scale else 1.0
    for number, group in enumerate(placement.groups):
        scale = (scales[number] if fixes_scale else None) or common
        mapping = _group_similarity([image for image in group if image in known], known, cameras, scale)
        for image in group:
            cameras[image] = mapping @ cameras[image]
            cameras[image, :3, :3] /= scale
        members = [edge for edge, (i, _) in enumerate(edges) if i in group]
        similarities[members] = mapping @ similarities[members]
    device = placement.cameras.device
    return replace(placement, cameras=torch.tensor(cameras, device=device),
                   edges=torch.tensor(similarities, device=device))


def _centre_scale(group: list[int], known: dict[int, Matrix], cameras: Matrix, least: float) -> float | None:
    """Metres per unit of the group, from the spread of its camera centres; None if they coincide."""
    images = [image for image in group if image in known]
    if len(images) < 2:
        return None
    metres = np.array([known[image][:3, 3] for image in images])
    units = np.array([cameras[image][:3, 3] for image in images])
    metres, units = metres - metres.mean(0), units - units.mean(0)
    if np.linalg.norm(metres, axis=1).max() < least or np.linalg.norm(units) < 1e-9:
        return None
    return float(np.linalg.norm(metres) / np.linalg.norm(units))


def _group_similarity(images: list[int], known: dict[int, Matrix], cameras: Matrix, scale: float) -> Matrix:
    """(4, 4) of a group onto known poses: mean rotation, given scale, mean centre."""
    mapping = np.eye(4)
    mapping[:3, :3] *= scale
    if not images:
        return mapping
    total = sum(known[image][:3, :3] @ cameras[image][:3, :3].T for image in images)
    left, _, right = np.linalg.svd(total)
    rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    mapping[:3, :3] = scale * rotation
    metres = np.mean([known[image][:3, 3] for image in images], axis=0)
    units = np.mean([cameras[image][:3, 3] for image in images], axis=0)
    mapping[:3, 3] = metres - mapping[:3, :3] @ units
    return mapping
