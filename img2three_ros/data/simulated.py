"""Groups of views from the simulated world, endless and reproducible: what the depth network learns from."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from ..config import setting
from ..geometry.overlap import Frustum, best_sources
from ..geometry.transforms import inverse
from ..simulation.random_rig import cropped
from ..simulation.settings import SCENES, SimulationConfig
from ..simulation.street_world import StreetWorld
from ..simulation.vehicle import RenderedView, SimulatedVehicle, ViewRequest
from ..simulation.weather import randomised
from ..structures import InputError, Matrix
from .group_layout import EgoMotion, Unit, draw_instants, draw_motion, draw_speed, draw_units
from .told_geometry import draw_errors
from .view_group import ViewGroup

_STREET = 320.0  # metres of a world before it repeats
_SCENE_SHARES = (0.34, 0.18, 0.14, 0.10, 0.10, 0.14)  # street, junction, highway, car park, narrow lane, country
_TRIES = 6
_BODY = np.array([(x, y, z) for x in (-0.8, 0.3, 1.4, 2.5, 3.6) for y in (-0.9, 0.0, 0.9) for z in (0.5, 1.2)])
_AROUND_CAMERA = 0.35 * np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])


@dataclass(frozen=True)
class SimulatedGroupSettings:
    """How groups are drawn. Validation uses the same settings with another seed (training 0, validation 1 by
    convention): groups of different seeds share no world."""

    seed: int = setting(0, "seed of all groups; 0 = training, 1 = validation", low=0)
    groups_per_world: int = setting(6, "consecutive groups that share one street, at different places, times, weather",
                                    low=1, high=1000)
    sources: int = setting(3, "source views of every view", low=1, high=12)
    no_sources: float = setting(0.12, "share of views whose sources are all dropped", low=0.0, high=1.0)
    one_source: float = setting(0.08, "share of views that keep one source only", low=0.0, high=1.0)
    wrong_source: float = setting(0.1, "share of views with a view among their sources that does not fit", low=0.0,
                                  high=1.0)
    noisy_geometry: float = setting(0.4, "share of vehicles with errors of calibration and odometry", low=0.0, high=1.0)
    moved_base: float = setting(0.6, "share of vehicles whose base_link is not where the ground is", low=0.0, high=1.0)
    crops: float = setting(0.8, "share of rigs whose images are cut from larger ones", low=0.0, high=1.0)
    full_width: int = setting(640, "width of the images at run time: crops are enlarged up to it", unit="px", low=32)
    device: str = setting("cpu", "torch device of the ray casting", choices=("cpu", "cuda"))


@dataclass(frozen=True, eq=False)
class Shot:
    """A view, where it was truly taken (``T_world_camera``), and what the network is told: intrinsics (3, 3),
    T_base_camera (4, 4); the unit it belongs to, its instant (0 = the newest) and camera."""

    view: RenderedView
    T_world_camera: Matrix
    intrinsics: NDArray[np.float64]
    T_base_camera: Matrix
    unit: int
    instant: int
    camera: int


@dataclass(frozen=True, eq=False)
class Outing:
    """A vehicle on its way through a world. ego: its motion around the newest instant, which lies at ``seconds`` of
    the world. base: (4, 4) true ``base_link`` into the one told. told_motions: of each instant, its told ``base_link``
    into that of the newest, as the network is told. shots: newest instant first."""

    vehicle: SimulatedVehicle
    ego: EgoMotion
    seconds: float
    base: Matrix
    told_motions: list[Matrix]
    shots: list[Shot]


class SimulatedGroups:
    """``group(index)`` is a pure function of the settings, the index and the size; any order, any process."""

    def __init__(self, settings: SimulatedGroupSettings | None = None) -> None:
        self.settings = settings or SimulatedGroupSettings()
        self._worlds: OrderedDict[int, StreetWorld] = OrderedDict()

    def group(self, index: int, size: tuple[int, int], views: int) -> ViewGroup:
        """``views`` views of (height, width) pixels. They form one or more units that see different places: views of
        different units share no sources except as wrong ones; ``camera`` counts on from unit to unit."""
        if views < 1 or index < 0:
            raise InputError("parameter", f"a group has at least one view and an index from 0 on, not views = {views}, "
                             f"index = {index}")
        random = np.random.default_rng((self.settings.seed, 20, index))
        world = self.world(index // self.settings.groups_per_world)
        shots: list[Shot] = []
        for number, unit in enumerate(draw_units(random, views)):
            first = 1 + max((shot.camera for shot in shots), default=-1)
            shots += self.outing(random, world, unit, size, number, first).shots
        return self.stacked(random, shots, size)

    def world(self, number: int) -> StreetWorld:
        """The street ``number``; the two last used are kept."""
        if number not in self._worlds:
            random = np.random.default_rng((self.settings.seed, 21, number))
            self._worlds[number] = StreetWorld(_world_config(random))
            if len(self._worlds) > 2:
                self._worlds.popitem(last=False)
        self._worlds.move_to_end(number)
        return self._worlds[number]

    def outing(self, random: Generator, world: StreetWorld, unit: Unit, size: tuple[int, int], number: int = 0,
               first_camera: int = 0) -> Outing:
        """A vehicle with the cameras of one unit, somewhere in the world, and what they see."""
        settings = self.settings
        mounts = unit.mounts
        if random.random() < settings.crops:
            mounts = cropped(mounts, 1.2 * settings.full_width / size[1], random)
        config = replace(world.config, seed=int(random.integers(1 << 31)), height=size[0], width=size[1],
                         device=settings.device)
        vehicle = SimulatedVehicle(randomised(config, random), mounts, world)
        speed = draw_speed(random)
        instants = draw_instants(random, unit.instants, speed)
        errors = draw_errors(random, settings.noisy_geometry, settings.moved_base)
        ego, seconds = _free_motion(random, vehicle, speed, instants)
        spread = 0.03 if random.random() < 0.5 else 0.0
        phases = random.uniform(-spread, spread, len(mounts))
        told_mounts = [errors.mount(random, mount.T_base_camera) for mount in mounts]
        told_intrinsics = [errors.intrinsics(random, vehicle.calibrations[mount.name].intrinsics) for mount in mounts]
        requests, places, told_poses, order, told_motions = [], [], [], [], []
        for instant, before in enumerate(instants):
            keyframe = inverse(ego.pose(0.0)) @ ego.pose(before)
            told = errors.motion(random, keyframe)
            told_motions.append(errors.base @ told @ inverse(errors.base))
            for camera, mount in enumerate(mounts):
                at = before + phases[camera]
                T_world_base = ego.pose(at)
                requests.append(ViewRequest(mount.name, config.start_ns + round((seconds + at) * 1e9), T_world_base,
                                            ego.pose(at + 1e-9 * vehicle.exposure_ns)))
                within = inverse(ego.pose(before)) @ T_world_base  # motion between the instant and the exposure
                places.append(T_world_base @ vehicle.T_base_camera[mount.name])
                told_poses.append(errors.base @ told @ within @ told_mounts[camera])
                order.append((instant, camera))
        views = vehicle.render_views(requests)
        shots = [Shot(view, place, told_intrinsics[camera], pose, number, instant, first_camera + camera)
                 for view, place, pose, (instant, camera) in zip(views, places, told_poses, order, strict=True)]
        return Outing(vehicle, ego, seconds, errors.base, told_motions, shots)

    def stacked(self, random: Generator, shots: list[Shot], size: tuple[int, int], causal: bool = False) -> ViewGroup:
        """The shots as a group, with the sources of each. causal: no view is matched with a later instant, as on the
        road."""
        return _stacked(shots, np.stack([self._sources(random, shots, place, size, causal)
                                        for place in range(len(shots))]))

    def _sources(self, random: Generator, shots: list[Shot], place: int, size: tuple[int, int], causal: bool,
                 ) -> NDArray[np.int64]:
        """(S,) sources of a view, best first, -1 = none; some dropped or replaced as the settings say."""
        settings, shot = self.settings, shots[place]
        others = [index for index, other in enumerate(shots) if other.unit == shot.unit and index != place
                  and (not causal or other.instant >= shot.instant)]
        frusta = [Frustum(other.intrinsics, size) for other in shots]
        poses = [inverse(shots[index].T_base_camera) @ shot.T_base_camera for index in others]
        best = best_sources(frusta[place], [frusta[index] for index in others], poses, settings.sources)
        chosen = [others[index] for index, _ in best]
        draw, wrong = random.random(), int(random.integers(max(len(shots) - 1, 1)))
        wrong += wrong >= place
        which = int(random.integers(max(len(chosen), 1)))
        if draw < settings.no_sources:
            chosen = []
        elif draw < settings.no_sources + settings.one_source:
            chosen = chosen[which:which + 1]
        elif (draw < settings.no_sources + settings.one_source + settings.wrong_source and wrong < len(shots)
              and wrong not in chosen):
            chosen[which:which + 1] = [wrong]
        found = np.full(settings.sources, -1, dtype=np.int64)
        found[:len(chosen)] = chosen
        return found


def _world_config(random: Generator) -> SimulationConfig:
    """A world of _STREET metres. ``speed`` is the pace of its traffic; the vehicle itself drives as it likes."""
    draw = random.random()
    pace = random.uniform(1.0, 4.0) if draw < 0.15 else random.uniform(4.0, 13.0) if draw < 0.75 \
        else random.uniform(13.0, 25.0)
    flat, gentle = random.random() < 0.25, random.random() < 0.4
    return SimulationConfig(
        seed=int(random.integers(1 << 31)), speed=pace, period=_STREET / pace,
        scene=str(random.choice(SCENES, p=_SCENE_SHARES)), variety=float(random.uniform(0.1, 1.0)),
        terrain=0.0 if flat else float(random.uniform(0.1, 1.5)),
        turning=0.0 if gentle else float(random.uniform(0.0, 1.0)),
        traffic=0.0 if random.random() < 0.1 else float(random.uniform(0.2, 3.0)),
        parked=float(random.uniform(0.0, 1.0)), view_range=float(random.uniform(120.0, 180.0)))


def _free_motion(random: Generator, vehicle: SimulatedVehicle, speed: float,
                 instants: list[float]) -> tuple[EgoMotion, float]:
    """A motion through free space and the time (seconds of the world) of its newest instant."""
    config, path = vehicle.world.config, vehicle.world.drive.pose
    pace = config.length / config.period
    for _ in range(_TRIES):
        ego = draw_motion(random, path, config.period, pace, speed)
        seconds = float(random.uniform(0.0, config.period))
        if _free(vehicle, ego, seconds, instants):
            return ego, seconds
    seconds = float(random.uniform(0.0, config.period))
    return EgoMotion(path, seconds, 1.0, pace), seconds  # as the world's own vehicle drives: nothing is in its way


def _free(vehicle: SimulatedVehicle, ego: EgoMotion, seconds: float, instants: list[float]) -> bool:
    """Whether body and cameras of the vehicle hit nothing at the first and last instant."""
    centres = np.array([T[:3, 3] for T in vehicle.T_base_camera.values()])
    points = np.concatenate((_BODY, (centres[:, None] + _AROUND_CAMERA).reshape(-1, 3)))
    for at in {instants[0], instants[-1]}:
        stamp = vehicle.config.start_ns + round((seconds + at) * 1e9)
        if vehicle.occupied(points, stamp, ego.pose(at)).any():
            return False
    return True


def _stacked(shots: list[Shot], sources: NDArray[np.int64]) -> ViewGroup:
    views = [shot.view for shot in shots]
    depth = torch.from_numpy(np.stack([np.where(view.identity == -1, np.inf, view.depth) for view in views]))
    return ViewGroup(
        images=torch.from_numpy(np.stack([view.image for view in views])).permute(0, 3, 1, 2).contiguous(),
        intrinsics=torch.from_numpy(np.stack([shot.intrinsics for shot in shots])).float(),
        T_base_camera=torch.from_numpy(np.stack([shot.T_base_camera for shot in shots])),
        mask=torch.from_numpy(~np.stack([view.ego for view in views])), depth=depth,
        moving=torch.from_numpy(np.stack([view.moving for view in views])), sources=torch.from_numpy(sources),
        instant=torch.tensor([shot.instant for shot in shots]), camera=torch.tensor([shot.camera for shot in shots]))
