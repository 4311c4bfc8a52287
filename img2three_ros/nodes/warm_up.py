"""The first pass of the engine, before any camera speaks: slow first times are over, and what is broken shows now."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from ..ingest.camera_rig import CameraRig
from ..structures import FREE, OCCUPIED, UNKNOWN, CameraCalibration, CameraImage, Frame, InputError, Reconstruction
from .worker import Pipeline

_GREY = 128
_USUAL = CameraCalibration(640, 400, np.array(((400.0, 0.0, 319.5), (0.0, 400.0, 199.5), (0.0, 0.0, 1.0))))


def blank_frame(cameras: Sequence[str], rig: CameraRig | None = None, base_frame: str = "base_link") -> Frame:
    """Grey images of all cameras, with the calibrations and places that ``rig`` knows; the others 640 x 400, looking
    around the vehicle."""
    known = {} if rig is None else {camera.name: camera for camera in rig.cameras}
    images = []
    for index, name in enumerate(cameras):
        camera = known.get(name)
        calibration = (camera.calibration if camera else None) or _USUAL
        place = camera.T_base_camera if camera else None
        if place is None:
            place = from_xyz_rpy((0.0, 0.0, 1.5), (0.0, 0.0, 2.0 * math.pi * index / len(cameras))) @ T_BASE_OPTICAL
        pixels = np.full((calibration.height, calibration.width, 3), _GREY, np.uint8)
        images.append(CameraImage(name, 1, pixels, calibration, place))
    return Frame(1, tuple(images), tuple(cameras), None, base_frame)


def self_test(pipeline: Pipeline, frame: Frame) -> None:
    """One pass over ``frame``, whose result must be sound; then the pipeline forgets it.

    Raises InputError('self_test') naming what is not sound, and whatever the pipeline raises.
    """
    result = pipeline.process(frame)
    pipeline.reset()
    wrong = _unsound(frame, result)
    if wrong:
        raise InputError("self_test", f"the engine fails its self-test on {len(frame.images)} blank images: {wrong}; "
                         "reinstall the package, or try device:=cpu or engine:=sweep")


def _unsound(frame: Frame, result: Reconstruction) -> str:
    volume = result.occupancy
    if result.stamp != frame.stamp or result.cameras != frame.present:
        return f"the result is of stamp {result.stamp} and cameras {', '.join(result.cameras)}"
    if not np.isin(volume.state, (UNKNOWN, FREE, OCCUPIED)).all():
        return "voxels are in no known state"
    if not (np.isfinite(volume.probability).all() and 0.0 <= volume.probability.min() <= volume.probability.max() <= 1):
        return "occupancy is no probability"
    for called, cloud in (("points", result.cloud), ("obstacle points", result.obstacles)):
        if not (np.isfinite(cloud.points).all() and np.isfinite(cloud.confidence).all()):
            return f"{called} are not finite"
    for depth in result.depth_images:
        given = depth.depth[~np.isnan(depth.depth)]
        if not (np.isfinite(given).all() and (given > 0.0).all()):
            return f"depth of camera '{depth.name}' is not positive and finite"
    return ""
