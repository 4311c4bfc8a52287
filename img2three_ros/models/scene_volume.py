"""The scene representation: features of everything around the vehicle, seen or hidden, in one contracted grid.

lift        each view's features and evidence into cells (``lifting``)
flatten     the cells of a column become channels of a plane seen from above (FlashOcc, Yu et al. 2023: at equal
            accuracy a planar backbone costs a fraction of 3D convolutions)
remember    the plane of the instant before, moved by ego motion, is blended in by a learned gate
complete    a 2D U-Net: what is hidden follows from what is seen around it
raise       heights are recovered from channels: a volume of features, one vector per cell
query       any point of space -> occupancy, density, colour, class (``scene_decoder``)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..geometry.contraction import ContractedGrid
from .blocks import Residual
from .lifting import Blocks, CellTable, LiftedView, cell_table, evidence, lifted

MOST_OF_PAST = 0.8
"""No more of the past than this goes into the present: so everything remembered fades within a second or two."""
BLOCK = 2
"""The plane has a cell for every BLOCK x BLOCK columns of the grid."""


@dataclass(frozen=True)
class SceneVolumeConfig:
    """grid: the cells. context: channels of the image features that come in. lift: channels that are lifted. widths:
    of the U-Net over the plane, at its resolution, half and a quarter of it. features: channels of the volume."""

    grid: ContractedGrid = field(default_factory=ContractedGrid)
    context: int = 32
    lift: int = 12
    widths: tuple[int, int, int] = (96, 128, 160)
    features: int = 8


@dataclass(frozen=True, eq=False)
class ViewTable:
    """The cells a view looks at (``fine``), and the blocks of cells (``coarse``). Depends on the calibration alone."""

    fine: CellTable
    coarse: CellTable


@dataclass(frozen=True, eq=False)
class SceneState:
    """What is known of the space around the vehicle at one instant.

    volume: (F, Z, Y, X), features of cells. evidence: (2, Z, Y, X), probability that the centre of a cell is seen to be
    free, and to be hit, now (a feature, no claim: a cell near a camera is wider than one pixel's ray). plane: (1, W,
    Y / 2, X / 2), to be remembered.
    """

    volume: Tensor
    evidence: Tensor
    plane: Tensor

    @cached_property
    def known(self) -> Tensor:
        """(F + 2, Z, Y, X) float32: features and evidence of every cell."""
        return torch.cat((self.volume.float(), self.evidence.float()))


class SceneVolume(nn.Module):
    """See the module. One vehicle at a time; any number of views, none included (then only the past speaks)."""

    fine_centres: Tensor
    fine_edges: Tensor
    coarse_centres: Tensor
    coarse_edges: Tensor

    def __init__(self, config: SceneVolumeConfig = SceneVolumeConfig()) -> None:
        super().__init__()
        self.config = config
        for name, step in (("fine", 1), ("coarse", BLOCK)):
            blocks = Blocks.of(config.grid, step)
            self.register_buffer(f"{name}_centres", blocks.centres, persistent=False)
            self.register_buffer(f"{name}_edges", blocks.edges, persistent=False)
        levels, (w1, w2, w4) = config.grid.shape[0], config.widths
        self.reduce = nn.Conv2d(config.context + 3, config.lift, 1)
        self.enter = nn.Conv2d(levels * (config.lift + 1 + 2 * BLOCK * BLOCK), w1, 1)
        self.first = Residual(w1)
        self.of_now, self.of_past = nn.GroupNorm(8, w1), nn.GroupNorm(8, w1)
        self.gate = nn.Conv2d(2 * w1 + 1, w1, 3, padding=1)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, -1.0)  # type: ignore[arg-type]
        self.down2, self.in2 = nn.Conv2d(w1, w2, 3, stride=2, padding=1), Residual(w2)
        self.down4, self.in4 = nn.Conv2d(w2, w4, 3, stride=2, padding=1), nn.Sequential(Residual(w4), Residual(w4))
        self.up2, self.out2 = nn.Conv2d(w4, w2, 1), Residual(w2)
        self.up1, self.out1 = nn.Conv2d(w2, w1, 1), Residual(w1)
        self.raise_ = nn.Conv2d(w1, levels * config.features * BLOCK * BLOCK, 1)

    def table(self, intrinsics: Tensor, T_base_camera: Tensor, size: tuple[int, int]) -> ViewTable:
        """The tables of a camera: intrinsics (3, 3) in pixels of maps of ``size`` (height, width), pose (4, 4)."""
        fine, coarse = Blocks(self.fine_centres, self.fine_edges), Blocks(self.coarse_centres, self.coarse_edges)
        return ViewTable(*(cell_table(blocks, intrinsics, T_base_camera, size) for blocks in (fine, coarse)))

    def forward(self, views: Sequence[LiftedView], tables: Sequence[ViewTable], past: Tensor | None = None,
                T_past_now: Tensor | None = None) -> SceneState:
        """The state now, from this instant's views (features of ``context`` channels) and the plane of the instant
        before.

        T_past_now: (4, 4), ``base_link`` now into that of ``past`` (a ``SceneState.plane``); needed with it.
        """
        plane, seen = self.observe(views, tables, past, T_past_now)
        return SceneState(self.complete(plane), seen, plane)

    def complete(self, plane: Tensor) -> Tensor:
        """Features of all cells (F, Z, Y, X) from a plane (1, W, Y / 2, X / 2): what is hidden, and heights."""
        raised = self.raise_(functional.silu(self._completed(plane)))
        return functional.pixel_shuffle(raised, BLOCK).reshape(self.config.features, *self.config.grid.shape)

    def observe(self, views: Sequence[LiftedView], tables: Sequence[ViewTable], past: Tensor | None = None,
                T_past_now: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Plane and evidence of ``forward``, without completing them: all that the next instant needs."""
        levels, rows, columns = self.config.grid.shape
        height, width = rows // BLOCK, columns // BLOCK
        device = self.fine_centres.device
        reduced = [self.reduce(torch.cat((view.features, view.colours - 0.5))[None])[0].float() for view in views]
        seen = evidence(views, [table.fine for table in tables], levels * rows * columns, device)
        seen = seen.reshape(2, levels, rows, columns)
        pulled = lifted(views, reduced, [table.coarse for table in tables], levels * height * width, self.config.lift,
                        device)
        flat = torch.cat((pulled.reshape(1, -1, height, width), _columns_to_channels(seen)), 1)
        plane = self.first(self.enter(flat))
        if past is not None:
            if T_past_now is None:
                raise ValueError("a past state needs the motion since")
            plane = self._remembered(plane, past, T_past_now)
        return plane, seen

    def _remembered(self, plane: Tensor, past: Tensor, T_past_now: Tensor) -> Tensor:
        """The plane with that of the past blended in, where the vehicle came from."""
        moved, known = moved_plane(past, self.config.grid, T_past_now)
        both = torch.cat((self.of_now(plane), self.of_past(moved), known), 1)
        share = MOST_OF_PAST * torch.sigmoid(self.gate(both)) * known
        return plane + share * (moved - plane)

    def _completed(self, plane: Tensor) -> Tensor:
        half = self.in2(self.down2(functional.silu(plane)))
        quarter = self.in4(self.down4(functional.silu(half)))
        half = self.out2(half + _twice(self.up2(quarter)))
        return self.out1(plane + _twice(self.up1(half)))


def moved_plane(past: Tensor, grid: ContractedGrid, T_past_now: Tensor) -> tuple[Tensor, Tensor]:
    """A plane (1, C, Y / 2, X / 2) of the past as it lies around the vehicle now, and (1, 1, ...) 1 where it reaches.

    T_past_now: (4, 4); only the motion in the plane counts.
    """
    _, rows, columns = grid.shape
    device = past.device
    y = (torch.arange(rows // BLOCK, dtype=torch.float32, device=device) + 0.5) * BLOCK
    x = (torch.arange(columns // BLOCK, dtype=torch.float32, device=device) + 0.5) * BLOCK
    v, u = torch.meshgrid(y, x, indexing="ij")
    level = grid.cells(torch.zeros(3))[2].to(device)
    points = grid.points(torch.stack((u, v, level.expand_as(u)), -1))
    T = T_past_now.to(device, torch.float32)
    cells = grid.cells(points @ T[:3, :3].T + T[:3, 3])
    where = grid.sampling_grid(cells)[None, ..., :2]
    known = (where.abs() <= 1.0).all(-1)[:, None].to(past.dtype)
    return functional.grid_sample(past.float(), where, padding_mode="border", align_corners=False), known


def _columns_to_channels(values: Tensor) -> Tensor:
    """(1, C * Z * BLOCK^2, Y / BLOCK, X / BLOCK) of (C, Z, Y, X): nothing is averaged away."""
    return functional.pixel_unshuffle(values.flatten(0, 1)[None], BLOCK)


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
