"""The common way of doing the same, measured in the same run.

Whole images decoded and resized with OpenCV, clouds packed point by point, images joined by equal stamps.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..config import Config
from ..fileio.point_cloud2 import dense_cloud
from ..geometry.cameras import is_distorted
from ..geometry.image_size import network_size
from ..ingest.bag_frames import recorded_sets
from ..ingest.frame_assembler import FrameAssembler
from ..ingest.images import decode_image, is_compressed
from ..ingest.synchronizer import CameraSynchronizer, ImageSet
from ..reconstruction.prepare import FramePreparer
from ..structures import CameraCalibration, PointCloud

POINTS = 640_000
ROUNDS = 7
_FIELDS = struct.Struct("<fffIf")


@dataclass(frozen=True)
class Compared:
    """Processor time of the two ways, median ms. note: what was done."""

    what: str
    common_ms: float
    ours_ms: float
    note: str

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.common_ms / self.ours_ms


@dataclass(frozen=True)
class Joined:
    """Sets that came out of the images of ``instants``: by equal stamps, and by our synchronizer; microseconds of
    processor time for each image."""

    instants: int
    cameras: int
    exact_sets: int
    our_sets: int
    exact_us: float
    our_us: float


def compare(bag: Path, config: Config, cameras: Sequence[str]) -> tuple[list[Compared], Joined]:
    """Images and clouds in alternation, on one thread; how images are joined."""
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        assembler, sets = recorded_sets(bag, config, cameras)
        return [_images(config, assembler, sets), _clouds()], join(sets, cameras)
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def _images(config: Config, assembler: FrameAssembler, sets: Sequence[ImageSet[Any]]) -> Compared:
    device = torch.device("cpu")
    prepare = FramePreparer(config.prepare, device)
    calibrations = _whole_calibrations(assembler, sets[0])

    def ours() -> None:
        prepare(assembler.assemble(sets[0]))

    def common() -> None:
        for image in sets[0].images:
            common_image(image.payload, calibrations[image.camera], config.prepare.pixels)

    common_ms, ours_ms = alternated(common, ours)
    size = network_size(next(iter(calibrations.values())), config.prepare.pixels)
    return Compared("images", common_ms, ours_ms, f"{len(sets[0].images)} images to {size[0]} x {size[1]} tensors: "
                    "cv2.imdecode whole, cv2.undistort where distorted, cv2.resize, float")


def _whole_calibrations(assembler: FrameAssembler, image_set: ImageSet[Any]) -> dict[str, CameraCalibration]:
    """Of the images as they were sent: what was decoded smaller is multiplied back."""
    found = {}
    for sent, image in zip(image_set.images, assembler.assemble(image_set).images, strict=True):
        height, width = _decoded(sent.payload).shape[:2]
        factor = round(width / image.calibration.width)
        intrinsics = image.calibration.intrinsics.copy()
        intrinsics[:2] *= factor
        intrinsics[:2, 2] += 0.5 * (factor - 1)
        found[image.name] = CameraCalibration(width, height, intrinsics, image.calibration.distortion_model,
                                              image.calibration.distortion)
    return found


def _decoded(message: Any) -> NDArray[np.uint8]:
    """BGR, as cv_bridge gives it."""
    if not is_compressed(message):
        return decode_image(message, "image")[..., ::-1]
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels, dtype=np.uint8)


def common_image(message: Any, calibration: CameraCalibration, pixels: int) -> torch.Tensor:
    """(3, h, w) float32 RGB of a message: cv_bridge's decoding, undistorted, resized, converted."""
    image = cv2.cvtColor(_decoded(message), cv2.COLOR_BGR2RGB)
    if is_distorted(calibration):
        if calibration.distortion_model == "equidistant":
            image = cv2.fisheye.undistortImage(image, calibration.intrinsics, calibration.distortion,
                                               Knew=calibration.intrinsics)
        else:
            image = cv2.undistort(image, calibration.intrinsics, calibration.distortion)
    image = cv2.resize(image, network_size(calibration, pixels), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255.0)


def example_cloud(points: int = POINTS) -> PointCloud:
    """Points without meaning."""
    random = np.random.default_rng(0)
    return PointCloud(random.uniform(-40.0, 40.0, (points, 3)).astype(np.float32),
                      random.integers(0, 256, (points, 3), dtype=np.uint8), random.random(points, dtype=np.float32))


def packed_point_by_point(cloud: PointCloud) -> bytes:
    """The data of a PointCloud2 with x y z rgb confidence, as ``create_cloud`` of sensor_msgs made it: one
    ``struct.pack`` per point."""
    data = bytearray(_FIELDS.size * len(cloud))
    at = 0
    for (x, y, z), (red, green, blue), confidence in zip(cloud.points, cloud.colours, cloud.confidence, strict=True):
        _FIELDS.pack_into(data, at, x, y, z, int(red) << 16 | int(green) << 8 | int(blue), confidence)
        at += _FIELDS.size
    return bytes(data)


def _clouds() -> Compared:
    cloud = example_cloud()
    common_ms, ours_ms = alternated(lambda: packed_point_by_point(cloud), lambda: dense_cloud(cloud), rounds=1)
    return Compared("cloud", common_ms, ours_ms, f"{POINTS} points x y z rgb confidence into the bytes of a "
                    "PointCloud2: struct.pack for each point")


def exact_sets(images: Sequence[tuple[str, int]], cameras: Sequence[str], queue: int = 10) -> int:
    """Sets that joining by equal stamps gives, as message_filters' exact policy has it: (camera, stamp) in order of
    arrival; a set is complete when all cameras have the same stamp; ``queue`` stamps wait."""
    waiting: dict[int, set[str]] = {}
    complete = 0
    for camera, stamp in images:
        waiting.setdefault(stamp, set()).add(camera)
        if len(waiting[stamp]) == len(cameras):
            complete += 1
            for old in [known for known in waiting if known <= stamp]:
                del waiting[old]
        while len(waiting) > queue:
            del waiting[min(waiting)]
    return complete


def join(sets: Sequence[ImageSet[Any]], cameras: Sequence[str], rounds: int = 50) -> Joined:
    """Both joins over the stamps of a recording, in their order."""
    arrivals = sorted((image.stamp, image.camera) for image_set in sets for image in image_set.images)
    images = [(camera, stamp) for stamp, camera in arrivals]

    def ours() -> int:
        synchronizer: CameraSynchronizer[None] = CameraSynchronizer(cameras)
        given = sum(len(synchronizer.add(camera, stamp, None, stamp)) for camera, stamp in images)
        return given + len(synchronizer.flush())

    exact, our = exact_sets(images, cameras), ours()
    common_ms, ours_ms = alternated(lambda: [exact_sets(images, cameras) for _ in range(rounds)],
                                    lambda: [ours() for _ in range(rounds)])
    scale = 1000.0 / (rounds * len(images))
    return Joined(len(sets), len(cameras), exact, our, common_ms * scale, ours_ms * scale)


def alternated(common: Callable[[], object], ours: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median processor ms of both, taken in turns: what else the machine does falls on both."""
    common()
    ours()
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, work in zip(spent, (common, ours), strict=True):
            began = time.process_time()
            work()
            times.append(1000.0 * (time.process_time() - began))
    return statistics.median(spent[0]), statistics.median(spent[1])
