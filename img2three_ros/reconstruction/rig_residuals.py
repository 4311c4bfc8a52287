"""What the images of one instant say against the calibration: rotation, focal and direction of motion of each camera.

Cameras are aligned with focals and poses free. That gives their rotations against each other, in a frame of its own;
it is laid onto the published one so that most cameras fit best (an L1 mean of rotations: one wrong camera does not
move it), and what each camera then is off is its residual. The direction in which a camera moves, against odometry,
tells the same of cameras that overlap no other, except about that direction itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..structures import Matrix
from .aligned_parts import AlignedPart
from .bag_images import BagImage
from .known_cameras import KnownCamera

_LEAST_MOTION = 0.5
_BIASED = 0.75  # of the misfit: errors of depth that pass for a turn of the motion
_ROUNDS = 50
_NOISE = float(np.radians(0.3))

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CameraResidual:
    """Of one camera at one instant; None = these images do not tell.

    rotation: (3,) rotation vector in its optical frame, degrees, from the published camera to where the images see it:
    R_base_camera = R_published @ exp(rotation). focal: found over published, minus 1. motion: as rotation, from the
    direction of motion alone, so without the part about that direction. motion_bias: degrees by which smooth errors of
    depth may turn it, in all instants alike. others: cameras it was compared with.
    """

    rotation: Vector | None = None
    focal: float | None = None
    motion: Vector | None = None
    motion_bias: float = 0.0
    others: frozenset[str] = frozenset()


def residuals_of(parts: Sequence[AlignedPart], misfits: Sequence[float], images: Sequence[BagImage],
                 cameras: Sequence[KnownCamera]) -> dict[str, CameraResidual]:
    """Of every camera in the parts. misfits: of each part, see ``pointmap.checks``. images, cameras: what the parts
    number, all with intrinsics and pose."""
    found: dict[str, CameraResidual] = {}
    by_size = sorted(zip(parts, misfits, strict=True), key=lambda one: len(one[0].images))
    for part, misfit in by_size:  # the largest part that holds a camera counts
        own = [images[image] for image in part.images]
        rotations = _rotations(part, own)
        names = list(dict.fromkeys(image.camera for image in own))
        for name in names:
            at = [number for number, image in enumerate(own) if image.camera == name]
            ratio = [part.scene.intrinsics[number][0, 0] / _known_focal(cameras[part.images[number]]) for number in at]
            motion, depths = _motion(part, own, at)
            bias = float(np.degrees(np.arctan(_BIASED * misfit * depths)))
            found[name] = CameraResidual(rotations.get(name), float(np.mean(ratio)) - 1.0, motion, bias,
                                         frozenset(names) - {name})
    return found


def _known_focal(camera: KnownCamera) -> float:
    assert camera.intrinsics is not None
    return float(camera.intrinsics[0, 0])


def _rotations(part: AlignedPart, own: Sequence[BagImage]) -> dict[str, Vector]:
    """Rotation residual of each camera of a part with two or more."""
    votes: dict[str, list[Rotation]] = {}
    for number, image in enumerate(own):
        vote = Rotation.from_matrix(_pose(image)[:3, :3] @ part.scene.cameras[number][:3, :3].T)
        votes.setdefault(image.camera, []).append(vote)
    if len(votes) < 2:
        return {}
    means = {name: Rotation.concatenate(own_votes).mean() for name, own_votes in votes.items()}
    found = {}
    for name, mean in means.items():
        others = [other for key, other in means.items() if key != name]
        # Of two cameras each is compared with the other; of more, with where most of them fit.
        anchor = others[0] if len(means) == 2 else l1_mean(list(means.values()))
        published = Rotation.from_matrix(_of_camera(own, name)[:3, :3])
        found[name] = np.degrees((published.inv() * anchor * mean.inv() * published).as_rotvec())
    return found


def l1_mean(rotations: Sequence[Rotation]) -> Rotation:
    """The rotation with the least sum of angles to all (Weiszfeld on rotations; Hartley et al., "L1 rotation averaging
    using the Weiszfeld algorithm", CVPR 2011); angles below 0.3 deg are noise and count squared."""
    mean = min(rotations, key=lambda one: sum((one.inv() * other).magnitude() for other in rotations))
    for _ in range(_ROUNDS):
        steps = np.array([(mean.inv() * other).as_rotvec() for other in rotations])
        weights = 1.0 / np.maximum(np.linalg.norm(steps, axis=1), _NOISE)
        step = (weights[:, None] * steps).sum(0) / weights.sum()
        mean = mean * Rotation.from_rotvec(step)
        if float(np.linalg.norm(step)) < 1e-8:
            break
    return mean


def _motion(part: AlignedPart, own: Sequence[BagImage], at: Sequence[int]) -> tuple[Vector | None, float]:
    """Turn from the direction in which the images see one camera moving to the published one, in its optical frame; and
    how many times its motion the median depth is."""
    newest = min(at, key=lambda number: own[number].instant)
    earlier = max(at, key=lambda number: own[number].instant)
    published, found = _pose(own[newest]), part.scene.cameras[newest]
    known = published[:3, :3].T @ (_pose(own[earlier])[:3, 3] - published[:3, 3])
    seen = found[:3, :3].T @ (part.scene.cameras[earlier][:3, 3] - found[:3, 3])
    length = float(np.linalg.norm(seen))
    if own[newest].instant == own[earlier].instant or np.linalg.norm(known) < _LEAST_MOTION or length == 0.0:
        return None, 0.0
    known, seen = known / np.linalg.norm(known), seen / length
    axis = np.cross(seen, known)
    sine, cosine = float(np.linalg.norm(axis)), float(seen @ known)
    turn = np.asarray(np.degrees(np.arctan2(sine, cosine)) * axis / max(sine, 1e-12))
    return turn, float(np.nanmedian(part.scene.depth[newest])) / length


def _of_camera(own: Sequence[BagImage], name: str) -> Matrix:
    """Published pose of the newest image of a camera."""
    return _pose(min((image for image in own if image.camera == name), key=lambda image: image.instant))


def _pose(image: BagImage) -> Matrix:
    assert image.T_world_camera is not None
    return image.T_world_camera


def collected(instants: Sequence[Mapping[str, CameraResidual]], camera: str) -> list[CameraResidual]:
    """What several instants say of one camera."""
    return [instant[camera] for instant in instants if camera in instant]
