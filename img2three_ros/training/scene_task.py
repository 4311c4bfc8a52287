"""Training of the scene network, on top of a depth network that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.scene_sample import SceneSample
from ..losses.pyramid import sample_depth
from ..models.depth_network import DepthNetwork
from ..models.depth_refinement import Correction
from ..models.scene_decoder import march
from ..models.scene_network import SceneNetwork
from ..models.scene_volume import SceneState, SceneVolume, SceneVolumeConfig
from ..models.scene_weights import save_scene_network
from .batches import as_arrays, from_arrays, on_device
from .prepared_scene import PreparedScene, corrections, prepared_scene, refined_scene, scene_state, scene_states
from .refinement_objective import overlap_objective, refinement_objective
from .scene_objective import (
    NEAREST,
    PARTS,
    SceneObjectiveConfig,
    patch_difference,
    ray_distances,
    scene_objective,
)
from .task import Arithmetic, Task

SCORES = ("error", "iou_seen", "iou_hidden", "iou_hidden_depth", "psnr", "perceptual", "abs_rel", "depth_before",
          "depth_look_1", "depth_look_2")
_GROUP = "group."
_OWN = tuple(item.name for item in fields(SceneSample) if item.name != "group")


class SceneTask(Task[SceneSample, PreparedScene]):
    """Scene samples -> ``models.scene_network.SceneNetwork``.

    Scores: IoU of occupied points that are seen, hidden, and hidden if only the depth's own evidence is used; PSNR of
    rays of outside views (dB), and the perceptual distance of patches of them; AbsRel of the distance along own rays;
    AbsRel of the depth before refinement and after each look. ``error``: 2 - the sum of the two IoU.
    """

    parts, scores = (*PARTS, "refinement", "overlap"), SCORES

    def __init__(self, depth: DepthNetwork, volume: SceneVolumeConfig, config: SceneObjectiveConfig,
                 faults: float = 0.2) -> None:
        self.depth, self.config, self.faults = depth, config, faults
        self._volume = SceneVolume(volume)  # only for its tables

    @staticmethod
    def to_arrays(sample: SceneSample) -> dict[str, object]:
        views = {_GROUP + name: value for name, value in as_arrays(sample.group).items()}
        return {**views, **{name: getattr(sample, name).numpy() for name in _OWN}}

    @staticmethod
    def from_arrays(arrays: dict[str, object]) -> SceneSample:
        views = {name.removeprefix(_GROUP): value for name, value in arrays.items() if name.startswith(_GROUP)}
        return SceneSample(from_arrays(views), **{name: torch.from_numpy(arrays[name]) for name in _OWN})

    def ready(self, sample: SceneSample, device: torch.device, arithmetic: Arithmetic) -> PreparedScene:
        moved = {name: getattr(sample, name).to(device, non_blocking=True) for name in _OWN}
        return prepared_scene(SceneSample(on_device(sample.group, device), **moved), self.depth, self._volume,
                              arithmetic)

    def augmented(self, ready: PreparedScene, mirror: bool, light: int, strength: float) -> PreparedScene:
        """In its own light: colours of rays are those of the images. ``light`` draws which cameras are missing."""
        return (ready.mirrored(self._volume.config.grid) if mirror else ready).with_faults(self.faults, light)

    def images(self, ready: PreparedScene) -> int:
        return len(ready.sample.group.images)

    def loss(self, network: nn.Module, samples: list[PreparedScene], arithmetic: Arithmetic,
             ) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert isinstance(network, SceneNetwork)
        totals, parts = [], []
        for prepared in samples:
            corrected = corrections(network, prepared, arithmetic)
            newest, group = prepared.instants[0], prepared.sample.group
            rows = list(newest.rows)
            refinement = refinement_objective(newest.views, corrected, group.depth[rows], group.mask[rows])
            overlap = overlap_objective(prepared, corrected)
            states = scene_states(network, refined_scene(prepared, corrected), arithmetic)
            total, found = scene_objective(network.decoder, states, prepared.sample, prepared.light,
                                           self.depth.encoder.backbone.looks, self.config)
            totals.append(total + self.config.refinement * refinement + self.config.overlap * overlap)
            parts.append({**found, "refinement": refinement.detach(), "overlap": overlap.detach()})
        return torch.stack(totals).mean(), {name: torch.stack([found[name] for found in parts]).mean()
                                            for name in self.parts}

    @torch.no_grad()
    def validate(self, network: nn.Module, samples: Sequence[SceneSample], device: torch.device,
                 arithmetic: Arithmetic) -> dict[str, float]:
        assert isinstance(network, SceneNetwork)
        rows = []
        for index, sample in enumerate(samples):
            torch.manual_seed(index)
            prepared = self.ready(sample, device, arithmetic)
            corrected = corrections(network, prepared, arithmetic)
            state = scene_state(network, refined_scene(prepared, corrected), arithmetic)
            rows.append({**_scores(network, state, prepared), **_refinement_scores(prepared, corrected),
                         "perceptual": self._perceptual(network, state, prepared)})
        mean = {name: float(np.nanmean([row[name] for row in rows])) for name in SCORES[1:]}
        return {"error": 2.0 - float(np.nansum((mean["iou_seen"], mean["iou_hidden"]))), **mean}

    def _perceptual(self, network: SceneNetwork, state: SceneState, prepared: PreparedScene) -> float:
        """Mean over the patches; NaN without one."""
        found = [float(patch_difference(network.decoder, state, prepared.sample, patch, prepared.light,
                                        self.depth.encoder.backbone.looks, 64)) for patch in prepared.sample.patches]
        return float(np.mean(found)) if found else float("nan")

    @torch.no_grad()
    def picture(self, network: nn.Module, sample: SceneSample, device: torch.device,
                arithmetic: Arithmetic) -> NDArray[np.uint8]:
        """Occupancy from above: probability that anything stands between 0.4 and 2 m, and what the depth alone says."""
        assert isinstance(network, SceneNetwork)
        prepared = self.ready(sample, device, arithmetic)
        prepared = refined_scene(prepared, corrections(network, prepared, arithmetic))
        state = scene_state(network, prepared, arithmetic)
        axis = torch.arange(40.0, -40.0, -0.4, device=device) - 0.2
        x, y, z = torch.meshgrid(axis, axis, torch.arange(0.4, 2.1, 0.4, device=device), indexing="ij")
        points = torch.stack((x, y, z), -1).reshape(-1, 3)
        maps = [torch.sigmoid(network.decoder.query(state, points).occupancy), _hit(network, state, points)]
        rows = [values.reshape(x.shape).amax(2).clamp(0.0, 1.0).cpu().numpy() for values in maps]
        return np.repeat((255.0 * np.concatenate(rows, 1)).astype(np.uint8)[..., None], 3, axis=2)

    def said(self, scores: Mapping[str, float]) -> str:
        return (f"held-out IoU seen {scores['iou_seen']:.3f}, hidden {scores['iou_hidden']:.3f} (depth alone "
                f"{scores['iou_hidden_depth']:.3f}), outside views {scores['psnr']:.2f} dB, depth along own rays "
                f"{scores['abs_rel']:.3f}; depth {scores['depth_before']:.4f}, refined {scores['depth_look_1']:.4f} "
                f"{scores['depth_look_2']:.4f}")

    def export(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        assert isinstance(network, SceneNetwork)
        save_scene_network(path, network, metadata)


def _scores(network: SceneNetwork, state: SceneState, prepared: PreparedScene) -> dict[str, float]:
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


def _refinement_scores(prepared: PreparedScene, corrected: list[list[Correction]]) -> dict[str, float]:
    """AbsRel at 3-60 m before refinement and after each look: means over views."""
    group, newest = prepared.sample.group, prepared.instants[0]
    found: dict[str, list[float]] = {"depth_before": [], "depth_look_1": [], "depth_look_2": []}
    for row, view, of_view in zip(newest.rows, newest.views, corrected, strict=True):
        truth = sample_depth(torch.where(group.mask[row], group.depth[row], torch.nan)[None],
                             tuple(view.log_depth.shape))[0]
        counts = (truth > 3.0) & (truth < 60.0)
        depths = [view.log_depth, *((correction.applied(view)).log_depth for correction in of_view)]
        for name, log_depth in zip(found, depths, strict=False):
            found[name].append(float(((log_depth.exp() - truth).abs() / truth)[counts].mean()))
    return {name: float(np.nanmean(values)) if values else float("nan") for name, values in found.items()}


def _hit(network: SceneNetwork, state: SceneState, points: Tensor) -> Tensor:
    """(N,) the depth's own evidence that points (N, 3) are occupied; 0 outside the grid."""
    grid = network.config.grid
    cells = grid.cells(points)
    inside = grid.inside(cells)
    index = grid.flat_index(torch.where(inside[:, None], cells, 0.0))
    return torch.where(inside, state.evidence[1].flatten()[index], 0.0)
