"""Simulated drives that no training has seen: different scenes, rigs, speeds and light, with every pixel's truth."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..geometry.transforms import apply
from ..simulation.appearance import OpticsConfig, WeatherConfig
from ..simulation.settings import SimulationConfig
from ..simulation.vehicle import SimulatedVehicle
from .drives import Drive
from .lidar import FrameScan

FIRST_HELD_OUT = 1 << 31
"""Training draws the seeds of its worlds and vehicles below this (``data.simulated``); held-out ones start here."""

_KEYFRAME_GAP = 0.8  # metres the vehicle drives between two instants where its cameras' rate allows it
SECONDS_BEFORE = 11.0
_DAILY = OpticsConfig(auto_exposure=0.8, white_balance=0.05, contrast=0.2, vignetting=0.2, shot_noise=0.01,
                      exposure_time=0.003, defocus=0.5, jpeg=85)
_OVERCAST = WeatherConfig(overcast=0.9, clouds=1.0, haze_depth=900.0, gloss=0.8)
_LOW_SUN = WeatherConfig(sun_elevation=12.0, glare=0.8, haze_depth=1500.0, gloss=1.0)
_CLEAR = WeatherConfig(haze_depth=2500.0, gloss=1.0)
_WET = WeatherConfig(overcast=0.7, wet=0.8, clouds=1.2, haze_depth=400.0, gloss=1.0)
_HAZE = WeatherConfig(overcast=0.5, haze_depth=120.0, gloss=0.5)
_NIGHT = WeatherConfig(night=1.0, haze_depth=800.0, gloss=1.0)


@dataclass(frozen=True)
class HeldOut:
    """A drive to be rendered: what it is called, and the simulated vehicle."""

    name: str
    config: SimulationConfig


def _drive(number: int, scene: str, rig: str, speed: float, light: str, weather: WeatherConfig, *,
           terrain: float = 0.0, ego_body: float = 0.0, optics: OpticsConfig = _DAILY) -> HeldOut:
    config = SimulationConfig(
        seed=FIRST_HELD_OUT + number, scene=scene, rig=rig, speed=speed, variety=0.7, terrain=terrain, turning=0.3,
        rate=float(np.clip(speed / _KEYFRAME_GAP, 1.0, 10.0)), ego_body=ego_body, weather=weather, optics=optics)
    return HeldOut(f"{scene}, {rig} rig, {3.6 * speed:.0f} km/h, {light}".replace("_", " "), config)


_DRIVES = (
    _drive(0, "street", "nuscenes", 8.0, "clear", _CLEAR, terrain=0.4),
    _drive(1, "junction", "ddad", 6.0, "overcast", _OVERCAST, ego_body=0.6),
    _drive(2, "narrow", "nuscenes", 4.0, "low sun", _LOW_SUN, terrain=0.3),
    _drive(3, "highway", "kitti", 25.0, "clear", _CLEAR, terrain=0.5),
    _drive(4, "car_park", "waymo", 1.5, "overcast", _OVERCAST),
    _drive(5, "country", "ddad", 15.0, "haze", _HAZE, terrain=1.0),
    _drive(6, "street", "waymo", 10.0, "rain", _WET, optics=replace(_DAILY, drops=0.1, shot_noise=0.02)),
    _drive(7, "junction", "kitti", 7.0, "night", _NIGHT, optics=replace(_DAILY, shot_noise=0.05, bloom=0.15)),
)


def held_out(width: int = 640, height: int = 384, rigs: Sequence[str] = (), standing: bool = False) -> list[HeldOut]:
    """All held-out drives, or those of the given ``rigs``. standing: the vehicle stands still, the traffic does not."""
    chosen = [drive for drive in _DRIVES if not rigs or drive.config.rig in rigs]
    found = [replace(drive, config=replace(drive.config, width=width, height=height)) for drive in chosen]
    if not standing:
        return found
    return [HeldOut(f"{drive.name.split(' rig')[0]} rig, standing, {drive.name.rsplit(', ', 1)[1]}",
                    replace(drive.config, speed=0.0, rate=10.0)) for drive in found]


def rendered(drives: Sequence[HeldOut], instants: int = 3) -> list[Drive]:
    """Render drives of ``instants`` frames each, side by side on the cores this process may use."""
    processes = min(len(os.sched_getaffinity(0)), len(drives))
    if processes < 2:
        return [rendered_drive(drive, instants) for drive in drives]
    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(processes, context, _one_thread) as pool:
        return list(pool.map(partial(rendered_drive, instants=instants), drives))


def rendered_drive(drive: HeldOut, instants: int) -> Drive:
    """Render one drive: images of all instants; truth and LiDAR of the last."""
    vehicle = SimulatedVehicle(drive.config)
    last = round(SECONDS_BEFORE * drive.config.rate) + instants - 1
    earlier = [vehicle.frame(index) for index in range(last - instants + 1, last)]
    views = vehicle.views(last)
    frame = vehicle.frame(last, views)
    points = np.asarray(apply(vehicle.T_base_lidar, vehicle.lidar(frame.stamp).astype(np.float64)))
    scan = FrameScan(points, vehicle.T_base_lidar[:3, 3].copy(), 0, True)
    return Drive(drive.name, (*earlier, frame), scan, {view.camera: view.depth for view in views})


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
