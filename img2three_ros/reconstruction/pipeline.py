"""The front page: from one frame of camera images to metric 3D and tri-state occupancy."""

from __future__ import annotations

from ..config import Config
from ..geometry.voxel_grid import grid_size
from ..structures import Frame, Reconstruction
from .choose import choose_device, choose_engine
from .clouds import depth_image, obstacle_points, point_cloud
from .completion import completed
from .fusion import OccupancyFusion
from .ground import estimate_ground, ground_under
from .keyframes import KeyframeBuffer
from .prepare import FramePreparer
from .scene_space import SceneSpace
from .timing import StageTimer


class ReconstructionPipeline:
    """A few images of a vehicle in, metric 3D out. Not thread-safe; one instance per vehicle.

    prepare      undistort and resize images and intrinsics together; the only host-to-device copy
    reconstruct  the engine: views of this instant and of earlier keyframes -> depth and confidence
    points       confident depth becomes the dense cloud, the ground under it, and the obstacles above the ground
    fuse         evidence along rays into the tri-state occupancy grid around the vehicle
    complete     classes, and what is probably there but out of sight, from the engine's scene (``scene`` has one)

    space: the scene of the last frame, to be asked about points and rendered from anywhere; None without one.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.device = choose_device(self.config)
        self.prepare = FramePreparer(self.config.prepare, self.device)
        self.engine = choose_engine(self.config, self.device)
        self.keyframes = KeyframeBuffer(self.config.keyframes)
        self.fusion = OccupancyFusion(self.config.occupancy, self.device)
        self.space: SceneSpace | None = None
        self._segment: int | None = None

    def process(self, frame: Frame) -> Reconstruction:
        """Reconstruct one frame. Frames come in the order of their stamps; call ``reset`` at a time jump.

        Raises InputError if no image of the frame can be used.
        """
        timer = StageTimer(self.device)
        self._start_anew_after_a_break(frame)
        self.space = None
        with timer.stage("prepare"):
            prepared = self.prepare(frame, timer)
        with timer.stage("reconstruct"):
            geometry = self.engine.reconstruct(prepared, self.keyframes.select(prepared))
        with timer.stage("points"):
            cloud = point_cloud(geometry, self.config.cloud)
            ground = estimate_ground(cloud.points, cloud.confidence)
            obstacles = obstacle_points(cloud, ground, self.config.cloud)
            depth_images = tuple(depth_image(depth) for depth in geometry.depths)
        with timer.stage("fuse"):
            occupancy = ground_under(self.fusion.update(prepared, geometry), ground)
        self.space = geometry.space
        if geometry.space is not None:
            with timer.stage("complete"):
                occupancy = completed(occupancy, geometry.space, self.config.occupancy)
        self.keyframes.add(prepared)
        return Reconstruction(
            stamp=frame.stamp, base_frame=frame.base_frame, cloud=cloud, obstacles=obstacles,
            occupancy=occupancy, depth_images=depth_images, cameras=frame.present, missing=frame.missing,
            timings_ms=timer.milliseconds, parts_ms={**timer.parts, **geometry.parts_ms}, notes=geometry.notes,
        )

    def observe(self, frame: Frame) -> None:
        """Remember a frame as a keyframe without reconstructing it: a live node slower than its cameras would
        otherwise have no two instants close enough to match."""
        self._start_anew_after_a_break(frame)
        self.keyframes.add(self.prepare(frame))

    def reset(self) -> None:
        """Forget the past (time jump): what the engine remembers, keyframes and fused evidence."""
        self.engine.reset()
        self.keyframes.reset()
        self.fusion.reset()
        self.space = None

    def reconfigure(self, config: Config) -> None:
        """Take over the settings that may change while running (``dynamic``)."""
        if grid_size(config.occupancy) != grid_size(self.config.occupancy):
            self.fusion = OccupancyFusion(config.occupancy, self.device)
        self.config = config
        self.fusion.config = config.occupancy

    def _start_anew_after_a_break(self, frame: Frame) -> None:
        """Time or ego motion jumped: what is known of the past is not where it seems to be."""
        if self._segment not in (None, frame.segment):
            self.reset()
        self._segment = frame.segment
