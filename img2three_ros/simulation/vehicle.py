"""The simulated vehicle: frames as the pipeline takes them, sensor events as ROS would carry them, and the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.transforms import apply, inverse
from ..structures import CameraCalibration, CameraImage, Frame, InputError, Matrix
from .camera_view import RenderedView, Shot, SimulatedCamera, Street, make_camera, render_shots
from .categories import class_table
from .ground import GroundView
from .point_truth import moved_points, pixel_velocity, ray_bundle
from .primitives import PrimitiveSet
from .random_rig import configured_rig
from .ray_casting import NEAR, RayTiles, nearest_hits, ray_tiles
from .rig import T_BASE_LIDAR, CameraMount, camera_directions
from .sensor_scenes import sensor_scene
from .settings import SimulationConfig
from .shading import PrimitiveTables, surface_hits
from .sky import Light, make_light
from .street_world import ObjectBox, StreetWorld
from .textures import SolidNoise
from .truth import object_boxes, occupied


@dataclass(frozen=True, eq=False)
class ViewRequest:
    """An image of a camera of the rig at a stamp (ns).

    T_world_base: (4, 4) where the vehicle is, None = where it is by itself; T_world_end: (4, 4) what this has become at
    the end of the exposure, None = it stands (only with ``T_world_base``). all_truth: normals and velocity too.
    """

    camera: str
    stamp: int
    T_world_base: Matrix | None = None
    T_world_end: Matrix | None = None
    all_truth: bool = False


@dataclass(frozen=True, eq=False)
class OutsideRequest:
    """An image of a camera anywhere in the world that is not mounted on the vehicle and stands still.

    T_world_camera: (4, 4) optical frame into the world; stamp: ns. Its lens and sensor are those of the rig's first
    camera, with the exposure of the rig's mean. all_truth: normals and velocity too.
    """

    T_world_camera: Matrix
    calibration: CameraCalibration
    stamp: int
    name: str = "outside"
    all_truth: bool = False


class SimulatedVehicle:
    """A vehicle with cameras, a LiDAR and odometry in a procedural street. Everything follows from the
    configuration; any instant can be asked for in any order.

    chosen_mounts: its cameras instead of those of ``config.rig``, the first is the reference. world: a street built
    before, whatever the configuration says of streets (the look of things still follows ``config``).
    """

    def __init__(self, config: SimulationConfig | None = None, chosen_mounts: Sequence[CameraMount] | None = None,
                 world: StreetWorld | None = None) -> None:
        self.config = config or SimulationConfig()
        if self.config.device == "cuda" and not torch.cuda.is_available():
            raise InputError("parameter", "device = 'cuda', but torch finds no CUDA device; use device = 'cpu'")
        self.world = world or StreetWorld(self.config)
        self._mounts = {mount.name: mount for mount in chosen_mounts or configured_rig(self.config)}
        self._noise = SolidNoise(self.config.seed, self.config.device)
        self._cameras: dict[str, SimulatedCamera] = {}
        random = np.random.default_rng((self.config.seed, 5))
        count = len(self._mounts)
        self._phases = dict(zip(self._mounts, random.uniform(-1.0, 1.0, count) * self.config.phase, strict=True))
        gains = 1.0 + random.uniform(-1.0, 1.0, count) * self.config.exposure_spread
        self._gains = dict(zip(self._mounts, gains, strict=True))
        azimuth, elevation = random.uniform(0.0, 2.0 * math.pi), math.radians(random.uniform(35.0, 58.0))
        elevation = math.radians(self.config.weather.sun_elevation) or elevation
        self.sun = np.array([math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation),
                             math.sin(elevation)])

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras; the first is the reference camera."""
        return tuple(self._mounts)

    @cached_property
    def calibrations(self) -> Mapping[str, CameraCalibration]:
        """Calibration of every camera at its native size."""
        return {name: mount.calibration(self.config) for name, mount in self._mounts.items()}

    @cached_property
    def T_base_camera(self) -> Mapping[str, Matrix]:
        """(4, 4) optical frame of every camera into base_link."""
        return {name: mount.T_base_camera for name, mount in self._mounts.items()}

    @property
    def T_base_lidar(self) -> Matrix:
        """(4, 4) frame of the LiDAR into base_link."""
        return T_BASE_LIDAR

    def pose(self, stamp: int) -> Matrix:
        """``T_odom_base`` (4, 4) at a stamp (ns), exact; the odometry frame is the world of the street."""
        return self.world.drive.pose(self.config.seconds(stamp))

    def twist(self, stamp: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Linear (m/s) and angular (rad/s) velocity in base_link at a stamp, (3,) each."""
        return self.world.drive.twist(self.config.seconds(stamp))

    def stamp(self, index: int) -> int:
        """Nominal stamp (ns) of instant ``index``."""
        return self.config.start_ns + round(index * 1e9 / self.config.rate)

    def camera_stamp(self, camera: str, index: int) -> int:
        """Stamp (ns) at which a camera exposes its image of instant ``index``: own phase and jitter."""
        random = np.random.default_rng((self.config.seed, 6, self.camera_names.index(camera), index))
        jitter = float(np.clip(random.normal(0.0, 1.0), -4.0, 4.0)) * self.config.jitter
        return self.stamp(index) + round((self._phases[camera] + jitter) * 1e9)

    def render(self, camera: str, stamp: int, T_world_base: Matrix | None = None, all_truth: bool = False,
               T_world_end: Matrix | None = None) -> RenderedView:
        """Image and truth of a camera at a stamp (ns), from the vehicle's own pose or another (4, 4), which at the end
        of the exposure has become ``T_world_end`` (None = it stands).

        all_truth: normals and velocity too.
        """
        return self.render_views([ViewRequest(camera, stamp, T_world_base, T_world_end, all_truth)])[0]

    def render_views(self, requests: Sequence[ViewRequest | OutsideRequest],
                     rays_at_once: int | None = None) -> list[RenderedView]:
        """Images and truth of several cameras, instants and poses in one go.

        The same as view by view, but a GPU is kept busy, and views of one instant share its street. rays_at_once: most
        rays that are cast together, None = what suits the device; it changes speed and memory only.
        """
        streets: dict[tuple[int, float], PrimitiveSet] = {}
        shots = [self._shot(request, streets) for request in requests]
        street = Street(self.config, self.world.road, self._light, self._noise, self._classes, self.world.moving)
        views = render_shots(street, shots, rays_at_once)
        return [self._with_velocity(view, shot) for view, shot in zip(views, shots, strict=True)]

    @property
    def exposure_ns(self) -> int:
        """Length of an exposure, ns."""
        return round(self.config.optics.exposure_time * 1e9)

    def render_from(self, T_world_camera: Matrix, calibration: CameraCalibration, stamp: int, name: str = "outside",
                    all_truth: bool = False) -> RenderedView:
        """Image and truth of a camera that is not mounted on the vehicle (see ``OutsideRequest``)."""
        return self.render_views([OutsideRequest(T_world_camera, calibration, stamp, name, all_truth)])[0]

    def visible(self, points_world: NDArray[np.floating], T_world_camera: Matrix, stamp: int) -> NDArray[np.bool_]:
        """(N,) bool: whether points (N, 3) of the world lie before the camera with nothing in between (exact, each by
        a ray of its own; points on surfaces are visible, the image's limits are not asked for)."""
        points = apply(inverse(T_world_camera), np.asarray(points_world, dtype=np.float64))
        seen = points[:, 2] > NEAR
        if seen.any():
            rays, places = ray_bundle(points[seen], self.config.device)
            primitives = self.world.primitives(self.config.seconds(stamp), float(T_world_camera[0, 3]))
            depth = self._depth(rays, T_world_camera, primitives, PrimitiveTables(primitives, self.config.device))
            depth_of = depth.reshape(-1)[torch.as_tensor(places, device=depth.device)].cpu().numpy()
            seen[seen] = points[seen, 2] < 1.002 * depth_of + 0.01
        return seen

    def moved_points(self, points_world: NDArray[np.floating], identity: NDArray[np.integer], stamp: int,
                     later: int) -> NDArray[np.floating]:
        """(N, 3) where points (N, 3) of the world are at another stamp when they belong to objects ``identity`` (N,)
        at ``stamp``; those of static things stay."""
        seconds = self.config.seconds
        return moved_points(self.world, np.asarray(points_world, dtype=np.float64), identity, seconds(stamp),
                            seconds(later))

    def _shot(self, request: ViewRequest | OutsideRequest, streets: dict[tuple[int, float], PrimitiveSet]) -> Shot:
        """What a request means. streets: primitives by stamp and place along the street, filled as they are needed."""
        config, stamp, T_end_start = self.config, request.stamp, None
        if isinstance(request, OutsideRequest):
            camera = make_camera(config, request.name, request.calibration, 1.0, 0)
            T_world_camera, T_world_base = request.T_world_camera, self.pose(stamp)
            x, number = float(T_world_camera[0, 3]), len(self._mounts)
        else:
            camera, T_base_camera = self._camera(request.camera), self.T_base_camera[request.camera]
            T_world_base, T_world_end = self._motion(request)
            x, number = float(T_world_base[0, 3]), self.camera_names.index(request.camera)
            T_world_camera = T_world_base @ T_base_camera
            if self.exposure_ns and T_world_end is not None:
                T_end_start = inverse(T_world_end @ T_base_camera) @ T_world_camera
        if (stamp, x) not in streets:
            streets[stamp, x] = self.world.primitives(config.seconds(stamp), x)
        seed = int(np.random.SeedSequence((config.seed, 8, number, stamp)).generate_state(1)[0])
        return Shot(camera, streets[stamp, x], T_world_camera, T_world_base, stamp, seed, T_end_start,
                    request.all_truth)

    def _motion(self, request: ViewRequest) -> tuple[Matrix, Matrix | None]:
        """``T_world_base`` at the start and at the end of an exposure."""
        if request.T_world_base is not None:
            return request.T_world_base, request.T_world_end
        return self.pose(request.stamp), self.pose(request.stamp + self.exposure_ns)

    def _with_velocity(self, view: RenderedView, shot: Shot) -> RenderedView:
        if not shot.with_normals:
            return view
        velocity = pixel_velocity(self.world, view.depth, view.identity, camera_directions(shot.camera.calibration),
                                  shot.T_world_camera, self.config.seconds(view.stamp))
        return replace(view, velocity=velocity)

    def views(self, index: int) -> tuple[RenderedView, ...]:
        """All cameras of instant ``index``, each at its own stamp."""
        requests = [ViewRequest(name, self.camera_stamp(name, index)) for name in self.camera_names]
        return tuple(self.render_views(requests))

    def frame(self, index: int, views: tuple[RenderedView, ...] | None = None) -> Frame:
        """Instant ``index`` as the pipeline takes it (from ``views`` where they were rendered before).

        The reference stamp is that of the first camera.
        """
        views = views or self.views(index)
        images = tuple(CameraImage(view.camera, view.stamp, view.image, self.calibrations[view.camera],
                                   self.T_base_camera[view.camera], self.pose(view.stamp)) for view in views)
        stamp = self.camera_stamp(self.camera_names[0], index)
        return Frame(stamp, images, self.camera_names, self.pose(stamp))

    def frames(self, count: int, first: int = 0) -> Iterator[Frame]:
        """``count`` consecutive frames."""
        for index in range(first, first + count):
            yield self.frame(index)

    def lidar(self, stamp: int) -> NDArray[np.float32]:
        """(N, 3) points of one LiDAR turn, all measured at ``stamp``, in the LiDAR's frame, with range noise."""
        config, found = self.config, []
        T_world_lidar = self.pose(stamp) @ T_BASE_LIDAR
        primitives = self._primitives(stamp)
        tables = PrimitiveTables(primitives, config.device)
        for sector, (T_lidar_sector, rays) in enumerate(self._lidar_sectors):
            T_world_sector = T_world_lidar @ T_lidar_sector
            depth = self._depth(rays, T_world_sector, primitives, tables)
            image = rays.to_image(depth).reshape(-1).cpu().numpy().astype(np.float64)
            direction = rays.to_image(rays.directions).reshape(3, -1).cpu().numpy().astype(np.float64)
            distance = image * np.linalg.norm(direction, axis=0)
            random = np.random.default_rng((config.seed, 9, sector, stamp))
            noisy = 1.0 + random.normal(0.0, config.lidar_noise, len(distance)) / np.maximum(distance, 0.1)
            keep = (distance < config.lidar_range) & (distance > 1.0)
            points = (image[keep] * noisy[keep] * direction[:, keep]).T
            found.append(apply(T_lidar_sector, points))
        return np.concatenate(found).astype(np.float32)

    def occupied(self, points_base: NDArray[np.floating], stamp: int,
                 T_world_base: Matrix | None = None) -> NDArray[np.bool_]:
        """(N,) bool: whether points (N, 3) in base_link at ``stamp`` lie inside something solid (the ground too).

        T_world_base: (4, 4) where the vehicle is, None = where it is by itself.
        """
        pose = self.pose(stamp) if T_world_base is None else T_world_base
        primitives = self.world.primitives(self.config.seconds(stamp), float(pose[0, 3]))
        points = apply(pose, np.asarray(points_base, dtype=np.float64))
        return occupied(points, primitives, self.world.road, self.config.device)

    def objects(self, stamp: int, max_distance: float = 60.0) -> tuple[ObjectBox, ...]:
        """Boxes around the objects within ``max_distance`` of the vehicle at a stamp, in base_link."""
        return object_boxes(self.world, self._primitives(stamp), inverse(self.pose(stamp)), max_distance)

    def _primitives(self, stamp: int) -> PrimitiveSet:
        return self.world.primitives(self.config.seconds(stamp), float(self.pose(stamp)[0, 3]))

    def _depth(self, rays: RayTiles, T_world_sensor: Matrix, primitives: PrimitiveSet,
               tables: PrimitiveTables) -> Tensor:
        """(T, R) depth of what rays meet first, window openings followed; inf = nothing."""
        scene = sensor_scene(primitives, T_world_sensor, self.sun, self.config.device)
        depth, primitive = nearest_hits(rays, scene, GroundView(self.world.road, T_world_sensor).hits(rays))
        hit, where = depth.reshape(-1), (primitive.reshape(-1) >= 0).nonzero().squeeze(1)
        if len(where):
            hit[where] = surface_hits(rays.directions.reshape(3, -1)[:, where], hit[where],
                                      primitive.reshape(-1)[where], scene, tables).depth
        return hit.reshape(depth.shape)

    def _camera(self, name: str) -> SimulatedCamera:
        if name not in self._cameras:
            self._cameras[name] = make_camera(self.config, name, self.calibrations[name], float(self._gains[name]),
                                              self.camera_names.index(name), self.T_base_camera[name])
        return self._cameras[name]

    @cached_property
    def _light(self) -> Light:
        return make_light(self.config.weather, self.sun, self.config.shadows)

    @cached_property
    def _classes(self) -> NDArray[np.uint8]:
        return class_table([one.category for one in self.world.objects])

    @cached_property
    def _lidar_sectors(self) -> tuple[tuple[Matrix, RayTiles], ...]:
        """The turn in four sectors of 90 degrees, each with an optical frame of its own."""
        config = self.config
        elevations = np.radians(np.linspace(15.0, -25.0, config.lidar_rings))[:, None]
        steps = max(1, round(90.0 / config.lidar_step))
        azimuths = np.radians((np.arange(steps) + 0.5) * 90.0 / steps - 45.0)[None, :]
        directions = np.stack(np.broadcast_arrays(np.tan(azimuths), -np.tan(elevations) / np.cos(azimuths), 1.0), -1)
        sectors = []
        for quarter in range(4):
            angle = quarter * math.pi / 2.0
            turn = np.eye(4)
            turn[:3, :3] = np.array([[math.sin(angle), 0, math.cos(angle)], [-math.cos(angle), 0, math.sin(angle)],
                                     [0, -1, 0]])
            sectors.append((turn, ray_tiles(directions, config.device)))
        return tuple(sectors)
