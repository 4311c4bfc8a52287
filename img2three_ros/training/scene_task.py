"""Training of the scene network, on top of a depth network that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.scene_sample import SceneSample
from ..models.depth_network import DepthNetwork
from ..models.scene_decoder import march
from ..models.scene_network import SceneNetwork, SceneViews, scene_views, view_tables
from ..models.scene_volume import SceneState
from ..models.scene_weights import save_scene_network
from .batches import as_arrays, batch_of, from_arrays, mirrored, on_device
from .scene_objective import NEAREST, PARTS, SceneObjectiveConfig, ray_distances, scene_objective
from .task import Arithmetic, Task

SCORES = ("error", "iou_seen", "iou_hidden", "iou_hidden_depth", "psnr", "abs_rel")
_GROUP = "group."
_OWN = tuple(item.name for item in fields(SceneSample) if item.name != "group")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sample and what the depth network makes of its views: one entry per instant, the newest first."""

    sample: SceneSample
    instants: list[SceneViews]
    light: Tensor


class SceneTask(Task[SceneSample]):
    """Scene samples -> ``models.scene_network.SceneNetwork``.

    Scores: IoU of occupied points that are seen, hidden, and hidden if only the depth's own evidence is used; PSNR of
    rays of outside views (dB); AbsRel of the distance along own rays. ``error``: 2 - the sum of the two IoU.
    """

    parts, scores = PARTS, SCORES

    def __init__(self, depth: DepthNetwork, config: SceneObjectiveConfig) -> None:
        self.depth, self.config = depth, config

    @staticmethod
    def to_arrays(sample: SceneSample) -> dict[str, object]:
        views = {_GROUP + name: value for name, value in as_arrays(sample.group).items()}
        return {**views, **{name: getattr(sample, name).numpy() for name in _OWN}}

    @staticmethod
    def from_arrays(arrays: dict[str, object]) -> SceneSample:
        views = {name.removeprefix(_GROUP): value for name, value in arrays.items() if name.startswith(_GROUP)}
        return SceneSample(from_arrays(views), **{name: torch.from_numpy(arrays[name]) for name in _OWN})

    def on_device(self, sample: SceneSample, device: torch.device) -> SceneSample:
        moved = {name: getattr(sample, name).to(device, non_blocking=True) for name in _OWN}
        return SceneSample(on_device(sample.group, device), **moved)

    def augmented(self, sample: SceneSample, mirror: bool, light: int, strength: float) -> SceneSample:
        return mirrored_scene(sample) if mirror else sample  # in its own light: colours of rays are those of the images

    def images(self, sample: SceneSample) -> int:
        return len(sample.group.images)

    def loss(self, network: nn.Module, samples: list[SceneSample], arithmetic: Arithmetic,
             ) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert isinstance(network, SceneNetwork)
        totals, parts = [], []
        for sample in samples:
            prepared = self.prepared(sample, arithmetic)
            state = self.state(network, prepared, arithmetic)
            total, found = scene_objective(network.decoder, state, sample, prepared.light, self.config)
            totals.append(total)
            parts.append(found)
        return torch.stack(totals).mean(), {name: torch.stack([found[name] for found in parts]).mean()
                                            for name in PARTS}

    @torch.no_grad()
    def prepared(self, sample: SceneSample, arithmetic: Arithmetic) -> Prepared:
        """Depth of all views of a sample."""
        batch = batch_of([sample.group])
        self.depth.to(batch.images.device)
        with arithmetic():
            features = self.depth.encode(batch.images)
            prediction = self.depth.estimate(features, features, batch.geometry.matching())
        everything = scene_views(batch.images, sample.group.mask, features, prediction)
        instants = [everything.select((sample.group.instant == instant).nonzero().squeeze(1))
                    for instant in range(len(sample.T_now_instant))]
        return Prepared(sample, instants, light_above(instants[0].colours))

    def state(self, network: SceneNetwork, prepared: Prepared, arithmetic: Arithmetic) -> SceneState:
        """The state at the newest instant, with those before it remembered; gradients reach the newest alone."""
        group, poses = prepared.sample.group, prepared.sample.T_now_instant
        size = (group.images.shape[2], group.images.shape[3])
        plane, motion = None, None
        for instant in reversed(range(len(poses))):
            chosen = (group.instant == instant).nonzero().squeeze(1).tolist()
            T_instant_now = torch.linalg.inv(poses[instant])
            tables = view_tables(network.volume, [group.intrinsics[view] for view in chosen],
                                 [T_instant_now @ group.T_base_camera[view] for view in chosen], size)
            of = prepared.instants[instant]
            if instant:
                with torch.no_grad(), arithmetic():
                    plane = network.volume.observe(of.views, of.colours, tables, plane, motion)[0]
                motion = T_instant_now @ poses[instant - 1]
        with arithmetic():
            state: SceneState = network.volume(of.views, of.colours, tables, plane, motion)
        return SceneState(state.volume.float(), state.evidence, state.plane.float())

    @torch.no_grad()
    def validate(self, network: nn.Module, samples: Sequence[SceneSample], device: torch.device,
                 arithmetic: Arithmetic) -> dict[str, float]:
        assert isinstance(network, SceneNetwork)
        rows = []
        for index, sample in enumerate(samples):
            torch.manual_seed(index)
            prepared = self.prepared(self.on_device(sample, device), arithmetic)
            rows.append(_scores(network, self.state(network, prepared, arithmetic), prepared))
        mean = {name: float(np.nanmean([row[name] for row in rows])) for name in SCORES[1:]}
        return {"error": 2.0 - float(np.nansum((mean["iou_seen"], mean["iou_hidden"]))), **mean}

    @torch.no_grad()
    def picture(self, network: nn.Module, sample: SceneSample, device: torch.device,
                arithmetic: Arithmetic) -> NDArray[np.uint8]:
        """Occupancy from above: probability that anything stands between 0.4 and 2 m, and what the depth alone says."""
        assert isinstance(network, SceneNetwork)
        prepared = self.prepared(self.on_device(sample, device), arithmetic)
        state = self.state(network, prepared, arithmetic)
        axis = torch.arange(40.0, -40.0, -0.4, device=device) - 0.2
        x, y, z = torch.meshgrid(axis, axis, torch.arange(0.4, 2.1, 0.4, device=device), indexing="ij")
        points = torch.stack((x, y, z), -1).reshape(-1, 3)
        maps = [torch.sigmoid(network.decoder.query(state, points).occupancy), _hit(network, state, points)]
        rows = [values.reshape(x.shape).amax(2).clamp(0.0, 1.0).cpu().numpy() for values in maps]
        return np.repeat((255.0 * np.concatenate(rows, 1)).astype(np.uint8)[..., None], 3, axis=2)

    def said(self, scores: Mapping[str, float]) -> str:
        return (f"held-out IoU seen {scores['iou_seen']:.3f}, hidden {scores['iou_hidden']:.3f} (depth alone "
                f"{scores['iou_hidden_depth']:.3f}), outside views {scores['psnr']:.2f} dB, depth along own rays "
                f"{scores['abs_rel']:.3f}")

    def export(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        assert isinstance(network, SceneNetwork)
        save_scene_network(path, network, metadata)


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


def _scores(network: SceneNetwork, state: SceneState, prepared: Prepared) -> dict[str, float]:
    sample = prepared.sample
    answer = network.decoder.query(state, sample.points)
    hit = _hit(network, state, sample.points) > 0.3

    def iou(said: Tensor, keep: Tensor) -> float:
        either = (said | sample.occupied) & keep
        return float((said & sample.occupied & keep).sum() / either.sum()) if bool(either.any()) else float("nan")

    distances, edges = ray_distances(len(sample.origins), 64, sample.points.device)
    rays = march(network.decoder, state, sample.origins, sample.directions, distances, edges.diff(dim=1),
                 prepared.light)
    outside = ~sample.own
    squared = (rays.colour - sample.colour)[outside].square().mean()
    near = sample.own & (sample.distance > NEAREST) & (sample.distance < 40.0) & rays.depth.isfinite()
    relative = ((rays.depth - sample.distance).abs() / sample.distance)[near]
    occupied = answer.occupancy > 0.0
    return {"iou_seen": iou(occupied, ~sample.hidden), "iou_hidden": iou(occupied, sample.hidden),
            "iou_hidden_depth": iou(hit, sample.hidden), "psnr": float(-10.0 * torch.log10(squared)),
            "abs_rel": float(relative.mean()) if len(relative) else float("nan")}


def _hit(network: SceneNetwork, state: SceneState, points: Tensor) -> Tensor:
    """(N,) the depth's own evidence that points (N, 3) are occupied; 0 outside the grid."""
    grid = network.config.grid
    cells = grid.cells(points)
    inside = grid.inside(cells)
    index = grid.flat_index(torch.where(inside[:, None], cells, 0.0))
    return torch.where(inside, state.evidence[1].flatten()[index], 0.0)
