"""The cameras of a vehicle: their topics and how they sit on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import CameraCalibration, InputError, Matrix


@dataclass(frozen=True, eq=False)
class RigCamera:
    """One camera of the vehicle.

    frame_id: its optical frame; empty = as the images say.
    T_base_camera: (4, 4), used where TF does not connect frame_id with the base frame. None = TF only.
    calibration: used until a CameraInfo arrives.
    mask_file: PNG of the image's size, white = usable, black = ego vehicle.
    """

    name: str
    image_topic: str
    camera_info_topic: str = ""
    compressed: bool = False
    frame_id: str = ""
    T_base_camera: Matrix | None = None
    calibration: CameraCalibration | None = None
    mask_file: Path | None = None


@dataclass(frozen=True, eq=False)
class CameraRig:
    """All cameras, and the frames they are placed in. odom_frame empty = as the odometry says."""

    cameras: tuple[RigCamera, ...]
    base_frame: str = "base_link"
    odom_frame: str = ""
    odometry_topic: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras in order; the first is the reference camera unless configured otherwise."""
        return tuple(camera.name for camera in self.cameras)

    def camera(self, name: str) -> RigCamera:
        """Raises KeyError."""
        return next(camera for camera in self.cameras if camera.name == name)


def load_mask(path: Path) -> NDArray[np.bool_]:
    """PNG -> (H, W) bool, True = usable. Raises InputError('mask')."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise InputError("mask", f"mask file '{path}' cannot be read; give a PNG, white = usable")
    return np.asarray(picture > 127)
