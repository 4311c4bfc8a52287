"""What the sensors of the simulated vehicle deliver, in the order of their stamps: for recording and live playing.

Rendering may be slower than real time, so a live player renders once (``prerender``) and plays from memory, again
and again (``repeat``). A drive of exactly ``config.period`` seconds repeats without a seam: street and traffic are
then as they were, one length of the street further on.
"""

from __future__ import annotations

import heapq
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..structures import Matrix
from .settings import SimulationConfig
from .vehicle import SimulatedVehicle

Progress = Callable[[int, int], None]
"""Called with (instants done, instants in all)."""


@dataclass(frozen=True, eq=False)
class ImageEvent:
    """jpeg: the encoded image; depth: (H, W) float32 truth, NaN = sky, or None if it was not asked for."""

    stamp: int
    camera: str
    jpeg: bytes
    depth: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class OdometryEvent:
    """T_odom_base: (4, 4); linear m/s and angular rad/s, (3,), in base_link."""

    stamp: int
    T_odom_base: Matrix
    linear: NDArray[np.float64]
    angular: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LidarEvent:
    """points: (N, 3) float32 in the frame of the LiDAR."""

    stamp: int
    points: NDArray[np.float32]


Event = ImageEvent | OdometryEvent | LidarEvent


def events(vehicle: SimulatedVehicle, seconds: float, *, lidar: bool = True, depth: bool = False, quality: int = 93,
           progress: Progress | None = None, processes: int = 1) -> Iterator[Event]:
    """Everything the sensors deliver in ``seconds``, in the order of stamps; rendered as it is asked for.

    Odometry covers half a camera period before the first and after the last image. quality: of the JPEGs.
    processes: with 2 or more, that many processes of one thread each render side by side, which uses the cores of a
    CPU better than threads do; they import the caller's main module, so a script needs its ``__main__`` guard.
    """
    instants = max(1, round(seconds * vehicle.config.rate))
    rendered = _instants(vehicle, instants, partial(_instant, lidar=lidar, depth=depth, quality=quality), processes)
    return heapq.merge(_odometry(vehicle, instants), _reported(rendered, instants, progress),
                       key=lambda event: event.stamp)


def prerender(vehicle: SimulatedVehicle, seconds: float, *, lidar: bool = True, depth: bool = False,
              quality: int = 93, progress: Progress | None = None, processes: int = 1) -> list[Event]:
    """``events`` in memory (about 1 MB per instant of six 640 x 384 images without depth)."""
    return list(events(vehicle, seconds, lidar=lidar, depth=depth, quality=quality, progress=progress,
                       processes=processes))


def repeat(recorded: Sequence[Event], vehicle: SimulatedVehicle, seconds: float) -> Iterator[Event]:
    """Endlessly the prerendered events of ``seconds``, later and further along the street with every lap.

    With ``seconds`` = ``config.period`` the laps join without a seam; otherwise poses jump on to where the drive
    would start again, and stamps stay gapless either way.
    """
    duration = round(max(1, round(seconds * vehicle.config.rate)) * 1e9 / vehicle.config.rate)
    first = vehicle.config.start_ns
    # Odometry beyond a lap would overlap with the next lap's.
    inside = [event for event in recorded
              if not isinstance(event, OdometryEvent) or 0 <= event.stamp - first < duration]
    lap = 0
    while True:
        for event in inside:
            yield _later(event, lap * duration, lap * _advance(vehicle, seconds))
        lap += 1


def _advance(vehicle: SimulatedVehicle, seconds: float) -> float:
    """Metres along x between laps: whole lengths of the street, so that the street stays the same."""
    length, speed = vehicle.world.road.length, vehicle.world.drive.speed
    return round(speed * seconds / length) * length


def _later(event: Event, nanoseconds: int, metres: float) -> Event:
    if isinstance(event, OdometryEvent):
        moved = event.T_odom_base.copy()
        moved[0, 3] += metres
        return replace(event, stamp=event.stamp + nanoseconds, T_odom_base=moved)
    return replace(event, stamp=event.stamp + nanoseconds)


def _odometry(vehicle: SimulatedVehicle, instants: int) -> Iterator[OdometryEvent]:
    rate = vehicle.config.odometry_rate
    margin = 0.5 / vehicle.config.rate
    first, last = -round(margin * rate), round((instants / vehicle.config.rate + margin) * rate)
    for index in range(first, last + 1):
        stamp = vehicle.config.start_ns + round(index * 1e9 / rate)
        yield OdometryEvent(stamp, vehicle.pose(stamp), *vehicle.twist(stamp))


def _instant(vehicle: SimulatedVehicle, index: int, *, lidar: bool, depth: bool, quality: int) -> list[Event]:
    """Images and LiDAR of one instant in the order of their stamps."""
    found: list[Event] = [ImageEvent(view.stamp, view.camera, encode_jpeg(view.image, quality),
                                     view.depth if depth else None) for view in vehicle.views(index)]
    if lidar:
        found.append(LidarEvent(vehicle.stamp(index), vehicle.lidar(vehicle.stamp(index))))
    return sorted(found, key=lambda event: event.stamp)


def _instants(vehicle: SimulatedVehicle, count: int, render: Callable[[SimulatedVehicle, int], list[Event]],
              processes: int) -> Iterator[list[Event]]:
    if processes <= 1:
        yield from (render(vehicle, index) for index in range(count))
        return
    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(partial(_render_elsewhere, vehicle.config, render), range(count))


def _render_elsewhere(config: SimulationConfig, render: Callable[[SimulatedVehicle, int], list[Event]],
                      index: int) -> list[Event]:
    return render(_vehicle_of(config), index)


@cache
def _vehicle_of(config: SimulationConfig) -> SimulatedVehicle:
    """A worker process builds its vehicle once."""
    return SimulatedVehicle(config)


def _reported(rendered: Iterator[list[Event]], count: int, progress: Progress | None) -> Iterator[Event]:
    for done, instant in enumerate(rendered, start=1):
        if progress is not None:
            progress(done, count)
        # Stamps of one instant stay within half a period of it, so instants never interleave.
        yield from instant


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """(H, W, 3) RGB -> JPEG bytes."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
    return bytes(data)
