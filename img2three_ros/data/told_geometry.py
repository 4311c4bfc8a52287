"""Errors of calibration and odometry: what a network is told of cameras and motion, instead of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..geometry.transforms import from_rotation_translation, from_xyz_rpy
from ..structures import Matrix

_ROTATION_PER_METRE = 0.05  # odometry: radians of turn error for every metre of its error in translation


@dataclass(frozen=True)
class GeometryErrors:
    """Standard deviations. rotation: degrees about every axis of a camera; odometry: share of the motion;
    focal: share of the focal length. base: (4, 4) true ``base_link`` into the one told, common to all views."""

    rotation: float
    odometry: float
    focal: float
    base: Matrix

    def mount(self, random: Generator, T_base_camera: Matrix) -> Matrix:
        """(4, 4) extrinsics with their error."""
        turn = Rotation.from_rotvec(np.radians(self.rotation) * random.normal(size=3)).as_matrix()
        return T_base_camera @ from_rotation_translation(turn, np.zeros(3))

    def motion(self, random: Generator, T_new_old: Matrix) -> Matrix:
        """(4, 4) ego motion with an error that grows with it; none where the vehicle stands."""
        moved, turned = T_new_old[:3, 3], Rotation.from_matrix(T_new_old[:3, :3]).as_rotvec()
        drift = self.odometry * float(np.linalg.norm(moved))
        rotation = turned * (1.0 + self.odometry * random.normal())
        rotation += _ROTATION_PER_METRE * drift * random.normal(size=3)
        place = moved * (1.0 + self.odometry * random.normal()) + 0.3 * drift * random.normal(size=3)
        return from_rotation_translation(Rotation.from_rotvec(rotation).as_matrix(), place)

    def intrinsics(self, random: Generator, intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, 3) with an error of the focal length."""
        told = intrinsics.copy()
        told[[0, 1], [0, 1]] *= 1.0 + self.focal * random.normal()
        return told


def draw_errors(random: Generator, noisy: float, moved_base: float) -> GeometryErrors:
    """Errors of one vehicle: of cameras and odometry in a share ``noisy`` of cases, else none; of ``base_link`` in a
    share ``moved_base`` (height 0.1 m, pitch 0.7 deg, roll 0.3 deg; in 10 % of all its height by up to 0.9 m)."""
    # Everything is drawn whatever the shares are, so that groups that differ in them show the same.
    moves, errs, kind = random.random(3)
    far, near, roll, pitch = random.uniform(-0.9, 0.9), *random.normal(0.0, (0.1, 0.3, 0.7))
    rotation, odometry = random.uniform((0.02, 0.002), (0.2, 0.02))
    base = np.eye(4)
    if moves < moved_base:
        up = far if kind * moved_base < 0.1 else near
        base = from_xyz_rpy((0.0, 0.0, up), np.radians((roll, pitch, 0.0)))
    if errs >= noisy:
        return GeometryErrors(0.0, 0.0, 0.0, base)
    return GeometryErrors(float(rotation), float(odometry), 0.003, base)
