"""A scene sample as the scene network is trained on it: what the frozen depth network makes of it is found once, and
used as often as the sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.scene_sample import SceneSample
from ..geometry.contraction import ContractedGrid
from ..models.depth_network import DepthNetwork
from ..models.lifting import CellTable, LiftedViews
from ..models.scene_network import SceneNetwork, SceneViews, scene_views, view_tables
from ..models.scene_volume import BLOCK, SceneState, SceneVolume, ViewTables
from .batches import batch_of, mirrored
from .task import Arithmetic


@dataclass(frozen=True, eq=False)
class PreparedInstant:
    """views: what is known of the cameras at one instant; tables: where they look, in its ``base_link``."""

    views: SceneViews
    tables: ViewTables

    def select(self, rows: list[int]) -> PreparedInstant:
        """Some of the cameras."""
        return PreparedInstant(self.views.select(torch.tensor(rows, dtype=torch.int64)), ViewTables(
            *(tuple(tables[row] for row in rows) for tables in (self.tables.fine, self.tables.coarse))))


@dataclass(frozen=True, eq=False)
class PreparedScene:
    """A sample, its instants, the newest first, and the light of the sky (``light_above``)."""

    sample: SceneSample
    instants: tuple[PreparedInstant, ...]
    light: Tensor

    def mirrored(self, grid: ContractedGrid) -> PreparedScene:
        """As a world mirrored left to right would look."""
        instants = tuple(PreparedInstant(_mirrored_views(instant.views), ViewTables(
            *(tuple(_mirrored_table(table, instant.views.colours.shape[-1], (rows // step, columns // step))
                    for table in tables)
              for tables, step in ((instant.tables.fine, 1), (instant.tables.coarse, BLOCK)))))
            for instant in self.instants for _, rows, columns in (grid.shape,))
        return PreparedScene(mirrored_scene(self.sample), instants, self.light)

    def with_faults(self, share: float, seed: int) -> PreparedScene:
        """In a ``share`` of all cases without the past, in as many with a camera or two missing; the seed draws."""
        random = torch.Generator().manual_seed(seed)
        no_past, fewer = (torch.rand(2, generator=random) < share).tolist()
        instants = self.instants[:1] if no_past else self.instants
        cameras = len(instants[0].views.colours)
        lost = int(torch.randint(1, 3, (), generator=random)) if fewer else 0
        kept = sorted(torch.randperm(cameras, generator=random)[:max(cameras - lost, 1)].tolist())
        if len(kept) == cameras:
            return replace(self, instants=instants)
        return replace(self, instants=tuple(instant.select(kept) for instant in instants))


@torch.no_grad()
def prepared_scene(sample: SceneSample, depth: DepthNetwork, volume: SceneVolume, arithmetic: Arithmetic,
                   ) -> PreparedScene:
    """``sample`` with what ``depth`` finds in its views, on the sample's device."""
    group, poses = sample.group, sample.T_now_instant
    batch = batch_of([group])
    depth.to(batch.images.device)
    volume.to(batch.images.device)
    with arithmetic():
        features = depth.encode(batch.images)
        prediction = depth.estimate(features, features, batch.geometry.matching())
    everything = scene_views(batch.images, group.mask, features, prediction)
    size = (group.images.shape[2], group.images.shape[3])
    instants = []
    for number, pose in enumerate(poses):
        chosen = (group.instant == number).nonzero().squeeze(1)
        T_instant_now = torch.linalg.inv(pose)
        tables = view_tables(volume, [group.intrinsics[view] for view in chosen.tolist()],
                             [T_instant_now @ group.T_base_camera[view] for view in chosen.tolist()], size)
        instants.append(PreparedInstant(everything.select(chosen), tables))
    return PreparedScene(sample, tuple(instants), light_above(instants[0].views.colours))


def scene_state(network: SceneNetwork, prepared: PreparedScene, arithmetic: Arithmetic) -> SceneState:
    """The state at the newest instant, with those before it remembered; gradients reach the newest alone."""
    plane, motion = None, None
    poses = prepared.sample.T_now_instant
    newest, *past = prepared.instants
    for number, instant in reversed(list(enumerate(past, 1))):
        with torch.no_grad(), arithmetic():
            plane = network.volume.observe(instant.views.views, instant.views.colours, instant.tables, plane,
                                           motion)[0]
        motion = torch.linalg.inv(poses[number]) @ poses[number - 1]
    with arithmetic():
        state: SceneState = network.volume(newest.views.views, newest.views.colours, newest.tables, plane, motion)
    return SceneState(state.volume.float(), state.evidence, state.plane.float())


def mirrored_scene(sample: SceneSample) -> SceneSample:
    """The sample as a world mirrored left to right would look (``mirrored`` for its views)."""
    device = sample.points.device
    flip = torch.tensor((1.0, -1.0, 1.0), device=device)
    both = torch.diag(torch.tensor((1.0, -1.0, 1.0, 1.0), dtype=torch.float64, device=device))
    return replace(sample, group=mirrored(sample.group), points=sample.points * flip, origins=sample.origins * flip,
                   directions=sample.directions * flip, T_now_instant=both @ sample.T_now_instant @ both)


def light_above(colours: Tensor) -> Tensor:
    """(3,) mean colour of the upper fifth of images (V, 3, h, w), mostly sky; grey without images."""
    if not len(colours):
        return colours.new_full((3,), 0.5)
    return colours[:, :, :max(1, colours.shape[2] // 5)].mean((0, 2, 3))


def _mirrored_views(of: SceneViews) -> SceneViews:
    views = of.views
    return SceneViews(LiftedViews(*(values.flip(-1) for values in (
        views.features, views.log_depth, views.log_scale, views.confidence, views.mask))), of.colours.flip(-1))


def _mirrored_table(table: CellTable, width: int, plane: tuple[int, int]) -> CellTable:
    """Cells (z, y, x) of a plane (rows, columns) at -y, pixels (v, u) of rows of ``width`` at -u."""
    rows, columns = plane
    level, rest = table.cells // (rows * columns), table.cells % (rows * columns)
    row, column = rest // columns, rest % columns
    v, u = table.pixels // width, table.pixels % width
    return CellTable((level * rows + rows - 1 - row) * columns + column, v * width + width - 1 - u, table.log_near,
                     table.log_far)
