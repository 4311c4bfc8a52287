"""The rig file (YAML): which topics the cameras are on and how they sit on the vehicle, for when TF does not say."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ..fileio.folders import make_folder
from ..fileio.yaml_files import read_yaml
from ..geometry.transforms import from_quaternion_translation, quaternion
from ..structures import CameraCalibration, InputError, Matrix
from .camera_rig import CameraRig, RigCamera


def load_rig(path: Path | str) -> CameraRig:
    """Read a rig file. Raises InputError('rig_file') naming file, key and remedy; unknown keys are errors."""
    path = Path(path)
    if not path.exists():
        raise InputError("rig_file", f"no rig file at '{path}'; write one with "
                         "'img2three rig-from-bag BAG --output rig.yaml'")
    root = _Node(read_yaml(path, "rig_file", "rig file"), str(path), "")
    root.only("base_frame", "odom_frame", "odometry_topic", "cameras")
    cameras = root.mapping("cameras")
    if not cameras.names():
        raise InputError("rig_file", f"rig file '{path}': cameras is empty; name at least one camera")
    return CameraRig(
        tuple(_camera(name, cameras.mapping(name), path.parent) for name in cameras.names()),
        root.text("base_frame", "base_link"), root.text("odom_frame", ""),
        root.text("odometry_topic", "") or None)


def save_rig(path: Path | str, rig: CameraRig) -> None:
    """Write a rig file that ``load_rig`` reads back (mask files relative to the file's folder where possible)."""
    path = Path(path)
    tree = {"base_frame": rig.base_frame, "odom_frame": rig.odom_frame, "odometry_topic": rig.odometry_topic or "",
            "cameras": {camera.name: _camera_tree(camera, path.parent) for camera in rig.cameras}}
    make_folder(path.parent)
    try:
        path.write_text(yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=110), encoding="utf-8")
    except OSError as error:
        raise InputError("output", f"rig file '{path}' cannot be written: {error}; choose another output") from error


def _camera(name: str, node: _Node, folder: Path) -> RigCamera:
    node.only("image_topic", "camera_info_topic", "compressed", "frame_id", "T_base_camera", "calibration", "mask")
    extrinsics = node.mapping("T_base_camera") if node.has("T_base_camera") else None
    mask = node.text("mask", "")
    compressed = node.value("compressed", False)
    if not isinstance(compressed, bool):
        raise node.error("compressed", compressed, "true or false")
    return RigCamera(
        name, node.text("image_topic", ""), node.text("camera_info_topic", ""), compressed, node.text("frame_id", ""),
        None if extrinsics is None else _extrinsics(extrinsics),
        _calibration(node.mapping("calibration")) if node.has("calibration") else None,
        (folder / mask) if mask else None)


def _extrinsics(node: _Node) -> Matrix:
    node.only("translation", "rotation_xyzw")
    rotation = node.numbers("rotation_xyzw", (4,))
    try:
        return from_quaternion_translation(rotation, node.numbers("translation", (3,)))
    except ValueError as error:
        raise node.error("rotation_xyzw", rotation.tolist(), f"a unit quaternion x, y, z, w ({error})") from error


def _calibration(node: _Node) -> CameraCalibration:
    node.only("width", "height", "intrinsics", "distortion_model", "distortion")
    model = node.text("distortion_model", "plumb_bob")
    expected = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
    if model not in expected:
        raise node.error("distortion_model", model, "one of " + ", ".join(expected))
    intrinsics = node.numbers("intrinsics", (9,)).reshape(3, 3)
    if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise node.error("intrinsics", intrinsics.ravel().tolist(), "positive focal lengths")
    width, height = node.value("width", None), node.value("height", None)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise node.error("width, height", (width, height), "positive whole numbers")
    return CameraCalibration(width, height, intrinsics, model, node.numbers("distortion", (expected[model],)))


def _camera_tree(camera: RigCamera, folder: Path) -> dict[str, Any]:
    tree: dict[str, Any] = {"image_topic": camera.image_topic, "camera_info_topic": camera.camera_info_topic,
                            "compressed": camera.compressed, "frame_id": camera.frame_id}
    if camera.T_base_camera is not None:
        tree["T_base_camera"] = {"translation": [float(value) for value in camera.T_base_camera[:3, 3]],
                                 "rotation_xyzw": [float(value) for value in quaternion(camera.T_base_camera)]}
    if camera.calibration is not None:
        known = camera.calibration
        tree["calibration"] = {
            "width": known.width, "height": known.height, "distortion_model": known.distortion_model,
            "intrinsics": [float(value) for value in known.intrinsics.ravel()],
            "distortion": [float(value) for value in np.asarray(known.distortion).ravel()]}
    if camera.mask_file is not None:
        inside = camera.mask_file.is_relative_to(folder)
        tree["mask"] = str(camera.mask_file.relative_to(folder) if inside else camera.mask_file.resolve())
    return tree


class _Node:
    """A mapping of the YAML tree that knows where it stands, for errors that name file and key."""

    def __init__(self, tree: Any, file: str, path: str) -> None:
        self._file, self._path = file, path
        if not isinstance(tree, Mapping):
            raise InputError("rig_file", f"rig file '{file}': '{path or 'the file'}' must be a mapping of keys, got "
                             f"{tree!r}")
        self._tree = tree

    def names(self) -> tuple[str, ...]:
        return tuple(str(key) for key in self._tree)

    def has(self, key: str) -> bool:
        return self._tree.get(key) is not None

    def only(self, *allowed: str) -> None:
        for key in self.names():
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.0)[0]
                raise InputError("rig_file", f"rig file '{self._file}': unknown key '{self._where(key)}'; did you "
                                 f"mean '{near}'?")

    def value(self, key: str, default: Any) -> Any:
        return self._tree.get(key, default)

    def text(self, key: str, default: str) -> str:
        value = self._tree.get(key, default)
        value = default if value is None else value
        if not isinstance(value, str):
            raise self.error(key, value, "a text")
        return value

    def mapping(self, key: str) -> _Node:
        return _Node(self._tree.get(key), self._file, self._where(key))

    def numbers(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        value = self._tree.get(key)
        try:
            numbers = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.zeros(0)
        if numbers.shape != shape or not np.isfinite(numbers).all():
            raise self.error(key, value, f"{shape[0]} finite numbers")
        return numbers

    def error(self, key: str, value: Any, expected: str) -> InputError:
        return InputError("rig_file", f"rig file '{self._file}': {self._where(key)} = {value!r} must be {expected}")

    def _where(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key
