"""A scene sample as the scene network is trained on it: what the frozen depth network makes of it is found once, and
used as often as the sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.scene_sample import SceneSample
from ..geometry.contraction import ContractedGrid
from ..models.depth_network import DepthNetwork
from ..models.depth_refinement import Correction, Witness
from ..models.lifting import CellTable, LiftedView
from ..models.scene_network import SceneNetwork, at_stride, lifted_views, light_above, view_table
from ..models.scene_volume import BLOCK, SceneState, SceneVolume, ViewTable
from .batches import batch_of, mirrored
from .task import Arithmetic


@dataclass(frozen=True, eq=False)
class PreparedInstant:
    """views: what is known of each camera at one instant; tables: where it looks, in the ``base_link`` of then; rows:
    of the sample's group."""

    views: tuple[LiftedView, ...]
    tables: tuple[ViewTable, ...]
    rows: tuple[int, ...]

    def select(self, cameras: list[int]) -> PreparedInstant:
        """Some of the cameras."""
        return PreparedInstant(tuple(self.views[camera] for camera in cameras),
                               tuple(self.tables[camera] for camera in cameras),
                               tuple(self.rows[camera] for camera in cameras))

    def mirrored(self, grid: ContractedGrid) -> PreparedInstant:
        """See ``PreparedScene``."""
        _, rows, columns = grid.shape
        return PreparedInstant(
            tuple(LiftedView(*(values.flip(-1) for values in vars(view).values())) for view in self.views),
            tuple(ViewTable(*(_mirrored_table(of, view.colours.shape[-1], (rows // step, columns // step))
                              for of, step in ((table.fine, 1), (table.coarse, BLOCK))))
                  for view, table in zip(self.views, self.tables, strict=True)), self.rows)


@dataclass(frozen=True, eq=False)
class PreparedScene:
    """A sample, its instants, the newest first, and the light of the sky (``light_above``)."""

    sample: SceneSample
    instants: tuple[PreparedInstant, ...]
    light: Tensor

    def mirrored(self, grid: ContractedGrid) -> PreparedScene:
        """As a world mirrored left to right would look."""
        return PreparedScene(mirrored_scene(self.sample), tuple(instant.mirrored(grid) for instant in self.instants),
                             self.light)

    def with_faults(self, share: float, seed: int) -> PreparedScene:
        """In a ``share`` of all cases without the past, in as many with a camera or two missing, and in as many without
        features of the images, so that what depth alone can tell is not learned from the looks of the simulated world;
        the seed draws."""
        random = torch.Generator().manual_seed(seed)
        no_past, fewer, blind = (torch.rand(3, generator=random) < share).tolist()
        instants = self.instants[:1] if no_past else self.instants
        if blind:
            instants = tuple(replace(instant, views=tuple(replace(view, features=torch.zeros_like(view.features))
                                                          for view in instant.views)) for instant in instants)
        cameras = len(instants[0].views)
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
    everything = lifted_views(batch.images, group.mask, features, prediction)
    size = (group.images.shape[2], group.images.shape[3])
    instants = []
    for number, pose in enumerate(poses):
        chosen = (group.instant == number).nonzero().squeeze(1).tolist()
        T_instant_now = torch.linalg.inv(pose)
        tables = (view_table(volume, group.intrinsics[view], T_instant_now @ group.T_base_camera[view], size)
                  for view in chosen)
        instants.append(PreparedInstant(tuple(everything[view] for view in chosen), tuple(tables), tuple(chosen)))
    return PreparedScene(sample, tuple(instants), light_above([view.colours for view in instants[0].views]))


def corrections(network: SceneNetwork, prepared: PreparedScene, arithmetic: Arithmetic) -> list[list[Correction]]:
    """Of each view of the newest instant, after each look; witnesses are the others."""
    intrinsics = prepared.sample.group.intrinsics
    result = []
    for row, view in zip(prepared.instants[0].rows, prepared.instants[0].views, strict=True):
        with arithmetic():
            result.append(network.refine(view, at_stride(intrinsics[row]), witnesses_of(prepared, row)))
    return result


def witnesses_of(prepared: PreparedScene, row: int) -> list[Witness]:
    """The other views of the newest instant, of a view of it (row of the group)."""
    group, newest = prepared.sample.group, prepared.instants[0]
    return [Witness(view, at_stride(group.intrinsics[other]),
                    torch.linalg.inv(group.T_base_camera[other]) @ group.T_base_camera[row])
            for other, view in zip(newest.rows, newest.views, strict=True) if other != row]


def refined_scene(prepared: PreparedScene, found: list[list[Correction]]) -> PreparedScene:
    """With the depth of the newest instant as corrected in the last look (no gradient)."""
    newest = prepared.instants[0]
    views = tuple(Correction(*(values.detach() for values in vars(of_view[-1]).values())).applied(view)
                  if of_view else view for view, of_view in zip(newest.views, found, strict=True))
    return replace(prepared, instants=(replace(newest, views=views), *prepared.instants[1:]))


class States(NamedTuple):
    """now: at the newest instant, with those before it remembered; gradients reach it alone. before: at the instant
    before, as it was then, None without one. T_before_now: (4, 4)."""

    now: SceneState
    before: SceneState | None
    T_before_now: Tensor | None


def scene_states(network: SceneNetwork, prepared: PreparedScene, arithmetic: Arithmetic) -> States:
    """The states of a scene's last two instants."""
    poses = prepared.sample.T_now_instant
    state: SceneState | None = None
    before: SceneState | None = None
    motion: Tensor | None = None
    for number, instant in reversed(list(enumerate(prepared.instants))):
        with torch.set_grad_enabled(number == 0 and torch.is_grad_enabled()), arithmetic():
            found: SceneState = network.volume(instant.views, instant.tables, state.plane if state else None, motion)
        before, state = state, SceneState(found.volume.float(), found.evidence, found.plane.float())
        if number:
            motion = torch.linalg.inv(poses[number]) @ poses[number - 1]
    assert state is not None
    return States(state, before, motion)


def scene_state(network: SceneNetwork, prepared: PreparedScene, arithmetic: Arithmetic) -> SceneState:
    """The state at the newest instant."""
    return scene_states(network, prepared, arithmetic).now


def mirrored_scene(sample: SceneSample) -> SceneSample:
    """The sample as a world mirrored left to right would look (``mirrored`` for its views)."""
    device = sample.points.device
    flip = torch.tensor((1.0, -1.0, 1.0), device=device)
    both = torch.diag(torch.tensor((1.0, -1.0, 1.0, 1.0), dtype=torch.float64, device=device))
    return replace(sample, group=mirrored(sample.group), points=sample.points * flip, origins=sample.origins * flip,
                   directions=sample.directions * flip, T_now_instant=both @ sample.T_now_instant @ both)


def _mirrored_table(table: CellTable, width: int, plane: tuple[int, int]) -> CellTable:
    """Cells (z, y, x) of a plane (rows, columns) at -y, pixels (v, u) of rows of ``width`` at -u."""
    rows, columns = plane
    level, rest = table.cells // (rows * columns), table.cells % (rows * columns)
    row, column = rest // columns, rest % columns
    v, u = table.pixels // width, table.pixels % width
    return CellTable((level * rows + rows - 1 - row) * columns + column, v * width + width - 1 - u, table.log_near,
                     table.log_far)
