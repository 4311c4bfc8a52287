"""Recordings as folders of frames that training can read in any order: undistorted images, poses, truth."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from ..fileio.rosbag import BagReader
from ..geometry.cameras import Undistorter, UndistortionMap
from ..geometry.transforms import apply, inverse
from ..ingest.bag_frames import read_frames, read_lidar
from ..ingest.lidar import LidarScan
from ..structures import CameraCalibration, CameraImage, Frame, InputError, Matrix
from .bag_truth import NearestInTime, depth_topics, read_depth

_FORMAT = 1
_PIXELS = 640_000
_LIDAR_OFFSET = 60_000_000
_DEPTH_OFFSET = 5_000_000
_QUALITY = 95

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class CachedView:
    """One undistorted image. image: (H, W, 3) uint8 RGB; mask: (H, W) bool, False = ego vehicle or outside;
    intrinsics: (3, 3); T_base_camera: (4, 4) into ``base_link`` at the frame's stamp; depth: (H, W) float32 metres,
    NaN = unknown, inf = nothing there; None = no depth image; name, camera: of the camera, and its number in the
    recording."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    intrinsics: NDArray[np.float64]
    T_base_camera: Matrix
    depth: NDArray[np.float32] | None
    name: str
    camera: int


@dataclass(frozen=True, eq=False)
class CachedFrame:
    """stamp: ns. T_odom_base: (4, 4), None = ego motion unknown. points: (N, 3) LiDAR points in ``base_link`` at the
    stamp, None = no scan."""

    stamp: int
    T_odom_base: Matrix | None
    views: tuple[CachedView, ...]
    points: NDArray[np.float32] | None


def prepare_bags(bags: tuple[Path, ...], cache: Path, supervision: str = "auto", rig: Path | None = None,
                 report: Report = print) -> tuple[tuple[Path, ...], ...]:
    """The frame files of each bag, in order of time; bags that are not in the cache yet are read into it.

    supervision: ``lidar``, ``depth`` or ``auto`` (depth images where the bag has some, LiDAR otherwise).
    Raises InputError: what reading raises, ``no_truth`` where a bag has no frame with truth.
    """
    found = []
    for bag in bags:
        folder = cache / f"{bag.name}_{_key(bag, supervision, rig)}"
        if not folder.is_dir():
            report(f"reading '{bag}' into '{folder}'")
            _fill(bag, folder, supervision, rig)
        files = tuple(sorted(folder.glob("*.npz")))
        report(f"'{bag}': {len(files)} frames with truth")
        found.append(files)
    return tuple(found)


def load_frame(path: Path) -> CachedFrame:
    """A frame of ``prepare_bags``. Raises InputError('cache') for a damaged file."""
    with _opened(path) as data:
        views = tuple(_load_view(data, number) for number in range(int(data["views"])))
        return CachedFrame(int(data["stamp"]), _load_pose(data), views, data.get("points"))


def load_pose(path: Path) -> tuple[int, Matrix | None]:
    """Only the stamp and ``T_odom_base`` of a frame of ``prepare_bags``. Raises InputError('cache')."""
    with _opened(path) as data:
        return int(data["stamp"]), _load_pose(data)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with np.load(path) as data:
            yield data
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError("cache", f"'{path}' cannot be read ({error}); delete its folder to read the bag "
                         "again") from error


def _load_pose(data: Any) -> Matrix | None:
    pose = data["T_odom_base"]
    return pose if np.isfinite(pose).all() else None


def _key(bag: Path, supervision: str, rig: Path | None) -> str:
    files = sorted(path for path in bag.rglob("*") if path.is_file()) if bag.is_dir() else [bag]
    content = [_FORMAT, str(bag.resolve()), supervision, rig.read_text() if rig else "",
               [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10]


def _fill(bag: Path, folder: Path, supervision: str, rig: Path | None) -> None:
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        count = 0
        for frame in _frames(bag, supervision, rig):
            _save(unfinished / f"{count:06d}.npz", frame)
            count += 1
        if not count:
            raise InputError("no_truth", f"bag '{bag}' has no image with truth of depth at its time: it needs a LiDAR "
                             f"within {_LIDAR_OFFSET / 1e6:g} ms of the images, or depth images (32FC1, 16UC1) with "
                             "the stamps and the frame_id of the cameras")
        if not folder.is_dir():
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _frames(bag: Path, supervision: str, rig: Path | None) -> Iterator[CachedFrame]:
    """Every frame that has truth for at least one of its images."""
    with BagReader(bag) as reader:
        by_depth = supervision == "depth" or (supervision == "auto" and bool(depth_topics(reader)))
    depth = NearestInTime(read_depth(bag) if by_depth else (), _DEPTH_OFFSET)
    scans = NearestInTime((("", scan.stamp, scan) for scan in (() if by_depth else read_lidar(bag, rig=rig))),
                          _LIDAR_OFFSET)
    undistort = Undistorter()
    cameras: dict[str, int] = {}
    for frame in read_frames(bag, rig=rig):
        views = tuple(_view(image, frame, undistort, depth.at(image.frame_id, image.stamp),
                            cameras.setdefault(image.name, len(cameras))) for image in frame.images)
        scan = scans.at("", frame.stamp)
        points = None if scan is None else _points_at(scan, frame)
        if points is not None or any(view.depth is not None for view in views):
            yield CachedFrame(frame.stamp, frame.T_odom_base, views, points)


def _view(image: CameraImage, frame: Frame, undistort: Undistorter, depth: NDArray[np.float32] | None,
          camera: int) -> CachedView:
    calibration = image.calibration
    shrink = min(1.0, (_PIXELS / (calibration.width * calibration.height)) ** 0.5)
    mapping = undistort.map_of(calibration, round(calibration.width * shrink), round(calibration.height * shrink))
    mask = mapping.inside
    if image.mask is not None:
        mask = mask & (undistort(image.mask.astype(np.uint8) * 255, mapping) == 255)
    T_base_camera = image.T_base_camera
    if image.T_odom_base is not None and frame.T_odom_base is not None:
        T_base_camera = inverse(frame.T_odom_base) @ image.T_odom_base @ T_base_camera
    return CachedView(undistort(image.image, mapping), mask, mapping.calibration.intrinsics, T_base_camera,
                      None if depth is None else _undistorted_depth(depth, calibration, mapping), image.name, camera)


def _undistorted_depth(depth: NDArray[np.float32], calibration: CameraCalibration,
                       mapping: UndistortionMap) -> NDArray[np.float32]:
    """Depth at the pixels of the undistorted image: the nearest one, as a mean of two surfaces lies on neither."""
    height, width = mapping.inside.shape
    if mapping.map_x is None or mapping.map_y is None:
        x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        source = (width, height)
    else:
        x, y, source = mapping.map_x.astype(np.float64), mapping.map_y.astype(np.float64), mapping.source_size
    column, row = ((np.floor((position + 0.5) * given / size)).astype(int).clip(0, given - 1)
                   for position, given, size in ((x, depth.shape[1], source[0]), (y, depth.shape[0], source[1])))
    return np.where(mapping.inside, depth[row, column], np.float32(np.nan))


def _points_at(scan: LidarScan, frame: Frame) -> NDArray[np.float32]:
    """Points of a scan as a world that does not move shows them at the frame's stamp."""
    if frame.T_odom_base is None or scan.T_odom_base is None:
        return scan.points
    return apply(inverse(frame.T_odom_base) @ scan.T_odom_base, scan.points).astype(np.float32)


def _save(path: Path, frame: CachedFrame) -> None:
    content: dict[str, Any] = {"stamp": frame.stamp, "views": len(frame.views),
                               "T_odom_base": np.full((4, 4), np.nan) if frame.T_odom_base is None
                               else frame.T_odom_base}
    if frame.points is not None:
        content["points"] = frame.points
    for number, view in enumerate(frame.views):
        content[f"image{number}"] = _encoded(".jpg", view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        content[f"mask{number}"] = _encoded(".png", view.mask.astype(np.uint8), [])
        content[f"intrinsics{number}"], content[f"T_base_camera{number}"] = view.intrinsics, view.T_base_camera
        content[f"name{number}"], content[f"camera{number}"] = view.name, view.camera
        if view.depth is not None:
            content[f"depth{number}"] = view.depth
    np.savez(path, **content)


def _load_view(data: Any, number: int) -> CachedView:
    image, mask = _decoded(data[f"image{number}"], cv2.IMREAD_COLOR), _decoded(data[f"mask{number}"],
                                                                              cv2.IMREAD_GRAYSCALE)
    return CachedView(np.ascontiguousarray(image[..., ::-1]), np.asarray(mask > 0), data[f"intrinsics{number}"],
                      data[f"T_base_camera{number}"], data.get(f"depth{number}"), str(data[f"name{number}"]),
                      int(data[f"camera{number}"]))


def _decoded(data: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
    image = cv2.imdecode(data, how)
    if image is None:
        raise ValueError("an image in it is damaged")
    return np.asarray(image, dtype=np.uint8)


def _encoded(kind: str, image: NDArray[np.uint8], options: list[int]) -> NDArray[np.uint8]:
    done, data = cv2.imencode(kind, image, options)
    if not done:
        raise InputError("cache", f"an image of {image.shape[1]}x{image.shape[0]} cannot be stored as {kind}")
    return np.asarray(data)
