"""What goes wrong on real vehicles, done to frames: cameras that fail, calibrations and odometry that err.

Each function takes frames and gives new ones; images and stamps stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry.transforms import from_rotation_translation, inverse
from ..structures import Frame, Matrix

HEADING_DRIFT = 0.05
"""Radians that the heading drifts for every metre of error in the distance driven: at 2 %, 0.057 degrees a metre."""


def without_camera(frames: Sequence[Frame], name: str) -> list[Frame]:
    """The camera is expected, but gives no image."""
    return [replace(frame, images=tuple(image for image in frame.images if image.name != name)) for frame in frames]


def with_calibration_error(frames: Sequence[Frame], degrees: float, seed: int) -> list[Frame]:
    """Every camera is mounted ``degrees`` off what is told, about an axis of its own that follows from the seed and
    its place in the alphabet of cameras; the same in all frames."""
    names = sorted({image.name for frame in frames for image in frame.images} | set(frames[0].expected_cameras))
    turns = {name: _turn(degrees, np.random.default_rng((seed, number))) for number, name in enumerate(names)}
    return [replace(frame, images=tuple(replace(image, T_base_camera=image.T_base_camera @ turns[image.name])
                                        for image in frame.images)) for frame in frames]


def with_odometry_error(frames: Sequence[Frame], share: float, seed: int) -> list[Frame]:
    """Odometry measures every distance and every turn too long or too short by ``share``, and its heading drifts by
    ``HEADING_DRIFT`` for every metre of error. The three signs follow from the seed: seed 1 is the opposite of seed 0,
    seed 3 of seed 2, and so on. The first pose is the true one; frames without ego pose stay without.
    """
    signs = np.random.default_rng((seed // 2, 31)).choice((-1.0, 1.0), 3) * (1.0 if seed % 2 == 0 else -1.0)
    distance, turn, drift = share * signs
    true = {frame.stamp: frame.T_odom_base for frame in frames if frame.T_odom_base is not None}
    true.update({image.stamp: image.T_odom_base for frame in frames for image in frame.images
                 if image.T_odom_base is not None})
    told: dict[int, Matrix] = {}
    last: int | None = None
    for stamp in sorted(true):
        if last is None:
            told[stamp] = true[stamp]
        else:
            told[stamp] = told[last] @ _mismeasured(inverse(true[last]) @ true[stamp], distance, turn, drift)
        last = stamp
    return [replace(frame, T_odom_base=_told(told, frame.stamp, frame.T_odom_base), images=tuple(
        replace(image, T_odom_base=_told(told, image.stamp, image.T_odom_base)) for image in frame.images))
        for frame in frames]


def _mismeasured(motion: Matrix, distance: float, turn: float, drift: float) -> Matrix:
    """(4, 4) what odometry with these relative errors makes of a small motion (4, 4)."""
    rotation = Rotation.from_matrix(motion[:3, :3]).as_rotvec() * (1.0 + turn)
    rotation[2] += HEADING_DRIFT * drift * float(np.linalg.norm(motion[:3, 3]))
    return from_rotation_translation(Rotation.from_rotvec(rotation).as_matrix(), motion[:3, 3] * (1.0 + distance))


def _told(told: Mapping[int, Matrix], stamp: int, pose: Matrix | None) -> Matrix | None:
    return None if pose is None else told[stamp]


def _turn(degrees: float, random: np.random.Generator) -> Matrix:
    """(4, 4) rotation by ``degrees`` about a random axis."""
    axis = random.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis))
    return from_rotation_translation(turn.as_matrix(), np.zeros(3))
