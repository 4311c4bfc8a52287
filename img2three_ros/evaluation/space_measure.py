"""The scene representation measured on held-out drives, beside what the learned depth reaches without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..config import Config, with_overrides
from ..geometry.voxel_grid import heights_above_ground
from ..models.scene_render import Picture, SceneRenderer
from ..reconstruction.pipeline import ReconstructionPipeline
from ..reconstruction.scene_engine import SceneEngine
from ..reconstruction.scene_space import SceneSpace
from ..structures import OCCUPIED, Frame, InputError, OccupancyVolume, PointCloud, Reconstruction
from .image_metrics import (
    Image,
    PictureScores,
    filled_with_mean,
    filled_with_nearest,
    mean_picture_scores,
    picture_scores,
    reprojected,
)
from .space_held_out import NovelView, SpaceDrive, grid_centres
from .space_metrics import Mask, Points, RayCounts, VoxelCounts, first_hits, lidar_directions, ray_counts, voxel_counts

DEPTH, FILLED, SCENE, NO_PAST, UNREFINED, PUBLISHED = (
    "depth alone, fused", "depth alone, all below its ground solid", "scene, p > 0.5",
    "scene, p > 0.5, without its past", "scene, p > 0.5, without refinement", "published")
POINTS, NO_IMAGES, LOOKED_UP, PICTURE_NO_PAST, PICTURE_UNREFINED = (
    "coloured points", "scene, no look-back", "scene", "scene, without its past", "scene, without refinement")

_AT_ONCE = 1 << 16


@dataclass(eq=False)
class SpaceFigures:
    """Of one drive or several. voxels: answer -> region -> counts; rays: answer -> counts; pictures: kind -> scores of
    every novel view."""

    voxels: dict[str, dict[str, VoxelCounts]] = field(default_factory=dict)
    rays: dict[str, RayCounts] = field(default_factory=dict)
    pictures: dict[str, list[PictureScores]] = field(default_factory=dict)

    def add(self, other: SpaceFigures) -> None:
        """Take in another drive."""
        for answer, regions in other.voxels.items():
            own = self.voxels.setdefault(answer, {})
            for region, counts in regions.items():
                own[region] = own.get(region, VoxelCounts()) + counts
        for answer, rays in other.rays.items():
            self.rays[answer] = self.rays.get(answer, RayCounts()) + rays
        for kind, scores in other.pictures.items():
            self.pictures.setdefault(kind, []).extend(scores)

    def picture(self, kind: str) -> PictureScores:
        """Mean over the views."""
        return mean_picture_scores(self.pictures.get(kind, []))


def pooled(figures: Sequence[SpaceFigures]) -> SpaceFigures:
    """All drives together: voxels and rays are pooled, pictures all count alike."""
    total = SpaceFigures()
    for one in figures:
        total.add(one)
    return total


def measured_space(drive: SpaceDrive, config: Config) -> SpaceFigures:
    """Reconstruct a drive with engine ``scene`` of ``config`` four times - depth alone, with the scene, with a scene
    that forgets its past before the last frame, and with depth that is not refined - and measure the last instant."""
    alone = _processed(drive.frames, with_overrides(config, {"scene.space": False}))[0]
    result, space = _processed(drive.frames, config)
    _, momentary = _processed(drive.frames, config, forget=True)
    _, unrefined = _processed(drive.frames, config, refine=False)
    if space is None or momentary is None or unrefined is None:
        raise InputError("parameter", "the configuration gives no scene representation: engine = 'scene' and "
                         "scene.space = true are needed")
    answers = {DEPTH: alone.occupancy.state == OCCUPIED, FILLED: _with_ground(alone.occupancy),
               SCENE: solid_voxels(space, drive), NO_PAST: solid_voxels(momentary, drive),
               UNREFINED: solid_voxels(unrefined, drive), PUBLISHED: result.occupancy.state == OCCUPIED}
    return measured_answers(drive, answers, _pictures(drive.views, alone.cloud, space, momentary, unrefined))


def measured_answers(drive: SpaceDrive, answers: Mapping[str, Mask],
                     pictures: Mapping[str, Sequence[Image]]) -> SpaceFigures:
    """Measure answers, (Z, Y, X) bool solid, and pictures (H, W, 3) of the drive's views in their order."""
    truth, directions = drive.truth, lidar_directions()
    regions = truth.regions()

    def hits(solid: Mask) -> Points:
        return np.concatenate([first_hits(solid, truth.grid, origin, directions) for origin in drive.origins])

    true_hits = hits(truth.solid)
    return SpaceFigures(
        {name: {region: voxel_counts(solid, truth.solid, where) for region, where in regions.items()}
         for name, solid in answers.items()},
        {name: ray_counts(hits(solid), true_hits) for name, solid in answers.items()},
        {kind: [picture_scores(image, view.image / 255.0) for image, view in zip(images, drive.views, strict=True)]
         for kind, images in pictures.items()})


def solid_voxels(space: SceneSpace, drive: SpaceDrive) -> Mask:
    """(Z, Y, X) bool: the scene says of the voxel's centre that it is more likely solid than not."""
    centres = torch.from_numpy(grid_centres(drive.truth.grid)).float()
    answers = [space.query(part) for part in centres.split(_AT_ONCE)]
    solid = torch.cat([answer.inside & (answer.occupancy > 0.0) for answer in answers])
    return np.asarray(solid.cpu().numpy(), dtype=np.bool_).reshape(drive.truth.grid.shape)


def rendered_view(space: SceneSpace, view: NovelView) -> Picture:
    """A novel view as the scene shows it."""
    return space.render(*_camera(view))


def _processed(frames: Sequence[Frame], config: Config, forget: bool = False, refine: bool = True,
               ) -> tuple[Reconstruction, SceneSpace | None]:
    """The last frame's result. forget: the scene alone forgets its past before it, depth keeps its keyframes. refine:
    with the corrections of depth."""
    pipeline = ReconstructionPipeline(config)
    if not refine and isinstance(pipeline.engine, SceneEngine):
        pipeline.engine.refine = None
    for frame in frames[:-1]:
        pipeline.process(frame)
    if forget and isinstance(pipeline.engine, SceneEngine):
        pipeline.engine.forget_space()
    return pipeline.process(frames[-1]), pipeline.space


def _with_ground(volume: OccupancyVolume) -> Mask:
    """What is occupied, and everything whose centre lies below the estimated ground."""
    return np.asarray((volume.state == OCCUPIED) | (heights_above_ground(volume) < 0.0))


def _pictures(views: Sequence[NovelView], cloud: PointCloud, space: SceneSpace, momentary: SceneSpace,
              unrefined: SceneSpace) -> dict[str, list[Image]]:
    """Every kind of picture of all views."""
    plain = SceneRenderer(space.decoder, space.state, space.light)
    return {POINTS: [_of_points(cloud, view) for view in views],
            NO_IMAGES: [_colours(plain.picture(*_camera(view))) for view in views],
            LOOKED_UP: [_colours(rendered_view(space, view)) for view in views],
            PICTURE_NO_PAST: [_colours(rendered_view(momentary, view)) for view in views],
            PICTURE_UNREFINED: [_colours(rendered_view(unrefined, view)) for view in views]}


def _of_points(cloud: PointCloud, view: NovelView) -> Image:
    """The points from there, holes filled in the way that brings the picture nearer to the truth."""
    shown, truth = reprojected(cloud, view.calibration, view.T_base_camera), view.image / 255.0
    return min((filled_with_nearest(shown), filled_with_mean(shown)),
               key=lambda image: float(np.square(image - truth).sum()))


def _camera(view: NovelView) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
    calibration = view.calibration
    return (torch.from_numpy(calibration.intrinsics).float(), torch.from_numpy(view.T_base_camera),
            (calibration.height, calibration.width))


def _colours(picture: Picture) -> Image:
    return np.asarray(picture.colours.cpu().numpy(), dtype=np.float64)
