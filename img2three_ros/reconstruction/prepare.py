"""From a frame of camera images to views the engine can work on: undistorted, resized, on the device."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import PrepareConfig
from ..geometry.cameras import Undistorter, UndistortionMap
from ..geometry.image_size import network_size
from ..geometry.transforms import inverse
from ..structures import CameraCalibration, CameraImage, Frame, InputError, Matrix
from .timing import StageTimer
from .views import PreparedFrame, View


class FramePreparer:
    """Undistorts and resizes images and intrinsics together, and moves them to the device once.

    The ego masks it hands on are those of the frame; what never moves is learned by the engine.
    """

    def __init__(self, config: PrepareConfig, device: torch.device) -> None:
        self._config, self._device = config, device
        self._undistort = Undistorter(config.max_half_angle)

    def __call__(self, frame: Frame, timer: StageTimer | None = None) -> PreparedFrame:
        """Prepare a frame; ``timer`` is told of the parts ``undistort`` and ``copy``.

        Raises InputError('no_images') if it is empty, ValueError if an image and its calibration differ in size (ingest
        checks that before).
        """
        if not frame.images:
            raise InputError("no_images", f"the frame at {frame.stamp} ns has no usable image (missing: "
                             f"{', '.join(frame.missing) or 'no camera is configured'})")
        timer = timer or StageTimer(self._device)
        with timer.stage("undistort"):
            given = [self._undistorted(image) for image in frame.images]
        with timer.stage("copy"):
            views = tuple(self._view(image, pixels, mapping, frame)
                          for image, (pixels, mapping) in zip(frame.images, given, strict=True))
        return PreparedFrame(frame.stamp, views, frame.missing, frame.T_odom_base)

    def _undistorted(self, image: CameraImage) -> tuple[NDArray[np.uint8], UndistortionMap]:
        calibration = image.calibration
        if image.image.shape[:2] != (calibration.height, calibration.width):
            raise ValueError(f"camera '{image.name}': image is {image.image.shape[1]}x{image.image.shape[0]}, "
                             f"calibration says {calibration.width}x{calibration.height}")
        if self._config.rectified:
            calibration = CameraCalibration(calibration.width, calibration.height, calibration.intrinsics)
        mapping = self._undistort.map_of(calibration, *network_size(calibration, self._config.pixels))
        return self._undistort(image.image, mapping), mapping

    def _view(self, image: CameraImage, pixels: NDArray[np.uint8], mapping: UndistortionMap, frame: Frame) -> View:
        rgb = self._on_device(pixels).permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        return View(
            name=image.name, stamp=image.stamp, image=rgb.div_(255.0),
            intrinsics=self._on_device(mapping.calibration.intrinsics.astype(np.float32)),
            mask=self._on_device(_mask(image, mapping)), T_base_camera=at_reference_stamp(image, frame),
        )

    def _on_device(self, values: NDArray[Any]) -> Tensor:
        """Without a copy on a CPU; through pinned memory, while the CPU goes on, to a GPU. Read-only arrays are copied:
        torch knows none."""
        host = torch.from_numpy(values if values.flags.writeable else values.copy())
        return host.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else host


def _mask(image: CameraImage, mapping: UndistortionMap) -> NDArray[np.bool_]:
    if image.mask is None:
        return mapping.inside
    usable = image.mask.astype(np.uint8) * 255
    usable = np.asarray(cv2.resize(usable, mapping.source_size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if mapping.map_x is not None and mapping.map_y is not None:
        usable = np.asarray(cv2.remap(usable, mapping.map_x, mapping.map_y, cv2.INTER_LINEAR), dtype=np.uint8)
    # A pixel that shows any part of the ego vehicle is not usable.
    return np.asarray(mapping.inside & (usable == 255))


def at_reference_stamp(image: CameraImage, frame: Frame) -> Matrix:
    """Pose of the camera when it exposed, in ``base_link`` at the frame's reference stamp."""
    if image.T_odom_base is None or frame.T_odom_base is None:
        return image.T_base_camera
    return inverse(frame.T_odom_base) @ image.T_odom_base @ image.T_base_camera
