"""The ``scene`` engine: a learned network matches each view with others and completes it from context.

A view is encoded once: when it is reconstructed, or when it is first needed as a source. Its features are kept while
it may be a keyframe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import RuntimeConfig, SceneConfig
from ..models.depth_weights import load_depth_network
from ..models.image_encoder import Features
from ..models.matching import MatchGeometry
from ..models.scene_network import lifted_views
from ..models.scene_weights import load_scene_network
from ..runtime.choose_backend import torch_precision
from ..runtime.torch_backend import arithmetic
from ..structures import InputError
from .ego_mask import EgoMask
from .keyframe_alignment import aligned_keyframes
from .scene_encoder import SceneEncoder
from .scene_memory import (
    SceneMemory,
    for_matching,
    joined,
    joined_for_matching,
    padded_image,
    padded_mask,
    padded_size,
)
from .scene_refinement import Estimate, Refiner
from .scene_rematch import Rematcher
from .scene_space import SpaceBuilder, SpaceView
from .scene_sweep import Asked, MatchSource
from .sources import Source, choose_sources, parallax_notes
from .timing import StageTimer
from .views import Geometry, PreparedFrame, View

SHIPPED_WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "scene_depth.safetensors"
SHIPPED_SPACE_WEIGHTS = SHIPPED_WEIGHTS.with_name("scene_space.safetensors")
_CPU_BATCH = 1
"""Views a CPU works on together: larger batches leave its caches."""
_CUDA_BATCH = 12


@dataclass(frozen=True, eq=False)
class _Reference:
    """A view to be reconstructed. mask: (H, W) bool, True = shows the world; features: (1, C, h, w)."""

    view: View
    sources: list[Source]
    mask: Tensor
    features: Features


class SceneEngine:
    """Learned depth, see ``reconstruct``. Remembers features of a few frames and what it learned of the ego vehicle's
    outline. Not thread-safe."""

    def __init__(self, config: SceneConfig, device: torch.device, runtime: RuntimeConfig) -> None:
        self.config, self.device = config, device
        self.network = load_depth_network(weights_file(config.weights)).to(device)
        self._precision = torch_precision(runtime.precision, device)
        if self._precision != "fp32":  # the order in which bf16 convolutions work; fp32 ones on a CPU are slower in it
            self.network.to(memory_format=torch.channels_last)
        self.encode = SceneEncoder(self.network, runtime, device)
        self.ego_mask = EgoMask()
        self._memory = SceneMemory()
        self.rematch = Rematcher(device)
        self.space: SpaceBuilder | None = None
        self.refine: Refiner | None = None
        if config.space:
            network = load_scene_network(space_weights_file(config.space_weights))
            if network.config.context != self.network.config.context[0]:
                raise InputError("checkpoint", f"the scene network takes features of {network.config.context} channels,"
                                 f" the depth network gives {self.network.config.context[0]}: their weights do not "
                                 "belong together (scene.weights, scene.space_weights)")
            self.space = SpaceBuilder(network, device, self._arithmetic)
            self.refine = Refiner(network.refine, self._arithmetic)

    @property
    def backend(self) -> str:
        """What encodes images now, see ``SceneEncoder.backend``; the rest of the network runs in torch."""
        return self.encode.backend

    def reset(self) -> None:
        """Forget the past: remembered features, the scene, and learned masks."""
        self._memory.reset()
        self.forget_space()
        self.ego_mask.reset()

    def forget_space(self) -> None:
        """Forget the scene alone; depth keeps its past."""
        if self.space is not None:
            self.space.reset()

    @torch.inference_mode()
    def reconstruct(self, frame: PreparedFrame, keyframes: Sequence[PreparedFrame]) -> Geometry:
        """Depth and confidence of every view of ``frame``, and the scene; keyframes with ego poses, oldest first."""
        timer = StageTimer(self.device)
        with timer.stage("ego mask"):
            self.ego_mask.learn_frame(frame, keyframes, lambda of, view: self._memory.of(of, view).pyramid)
        with timer.stage("align"):
            keyframes = aligned_keyframes(frame, keyframes, self._memory.frame)
        with timer.stage("encode"):
            encoded = self._encode(frame, frame.views)
            references = [_Reference(view, choose_sources(frame, view, keyframes, self.config.max_sources,
                                                          self.config.neighbours), self._mask(view), features)
                          for view, features in zip(frame.views, encoded, strict=True)]
            self._encode_sources(references)
        found: dict[str, Estimate] = {}
        with timer.stage("match"):
            for group in self._batches(references):
                found |= {estimate.view.name: estimate for estimate in self._estimate(group)}
        if self.refine is not None:
            with timer.stage("refine"):
                found = self.refine(frame, found)
        if self.config.rematch:
            with timer.stage("rematch"):
                found = self.rematch([self._asked(frame, reference, found) for reference in references])
        views = [SpaceView(found[view.name].depth(self.config), found[view.name].lifted, found[view.name].size)
                 for view in frame.views]
        for view in views:
            self._memory.of(frame, view.depth.view).keep(view.depth)
        blind = [reference.view.name for reference in references if not reference.sources]
        notes, space = parallax_notes(frame, keyframes, blind), None
        if self.space is not None:
            with timer.stage("lift"):
                space = self.space.build(frame, views)
        return Geometry(tuple(view.depth for view in views), (*notes, *self.encode.troubles), space,
                        timer.milliseconds)

    def _asked(self, frame: PreparedFrame, reference: _Reference, found: Mapping[str, Estimate]) -> Asked:
        sources = [MatchSource(self._memory.of(source.frame, source.view), source.T_source_reference,
                               source.view.name if source.frame.stamp == frame.stamp else "")
                   for source in reference.sources]
        return Asked(found[reference.view.name], self._memory.of(frame, reference.view), sources)

    def _encode(self, frame: PreparedFrame, views: Sequence[View]) -> list[Features]:
        """Features (1, C, h, w) of each view; the part that is matched is remembered."""
        found = self.encode([padded_image(view.image) for view in views], _cameras(frame))
        for view, features in zip(views, found, strict=True):
            self._memory.of(frame, view).matching = for_matching(features)
        return found

    def _encode_sources(self, references: Sequence[_Reference]) -> None:
        """Features of sources that were never reconstructed (frames that were only observed)."""
        sources = {(source.frame.stamp, source.view.name): source
                   for reference in references for source in reference.sources
                   if self._memory.of(source.frame, source.view).matching is None}
        for stamp in {stamp for stamp, _ in sources}:
            of = [source for (at, _), source in sources.items() if at == stamp]
            self._encode(of[0].frame, [source.view for source in of])

    def _batches(self, references: Sequence[_Reference]) -> list[list[_Reference]]:
        """References of one padded size, as many as the device works on together."""
        limit = _CPU_BATCH if self.device.type == "cpu" else _CUDA_BATCH
        groups: dict[tuple[int, int], list[_Reference]] = {}
        for reference in references:
            groups.setdefault(padded_size(reference.view.size), []).append(reference)
        return [group[start:start + limit] for group in groups.values() for start in range(0, len(group), limit)]

    def _estimate(self, group: Sequence[_Reference]) -> list[Estimate]:
        """What the network makes of references of one padded size."""
        sources = {(source.frame.stamp, source.view.name): source
                   for reference in group for source in reference.sources}
        views = [self._matching(source) for source in sources.values()] or [for_matching(group[0].features)]
        geometry = self._geometry(group, list(sources), list(sources.values()))
        features = joined([reference.features for reference in group])
        with self._arithmetic():
            prediction = self.network.estimate(features, joined_for_matching(views), geometry)
        images = torch.stack([padded_image(reference.view.image) for reference in group])
        lifted = lifted_views(images, geometry.mask, features, prediction)
        size = padded_size(group[0].view.size)
        found = []
        for row, reference in enumerate(group):
            height, width = reference.view.size
            log_depth, log_scale, confidence = (values[row, :height, :width].float() for values in (
                prediction.log_depth, prediction.log_scale, prediction.confidence))
            found.append(Estimate(reference.view, reference.mask, log_depth, log_scale, confidence, lifted[row], size))
        return found

    def _geometry(self, group: Sequence[_Reference], names: list[tuple[int, str]], sources: list[Source],
                  ) -> MatchGeometry:
        """Where the references' sources are; without any, one view stands in that no reference points to."""
        size = padded_size(group[0].view.size)
        slots = max(1, *(len(reference.sources) for reference in group))
        rows = torch.full((len(group), slots), -1, dtype=torch.int64)
        poses = np.tile(np.eye(4, dtype=np.float64), (len(group), slots, 1, 1))
        for number, reference in enumerate(group):
            for slot, source in enumerate(reference.sources):
                rows[number, slot] = names.index((source.frame.stamp, source.view.name))
                poses[number, slot] = source.T_source_reference
        seen = [source.view for source in sources] or [group[0].view]
        common = tuple(max(padded_size(view.size)[side] for view in seen) for side in (0, 1))
        T_base_camera = np.stack([reference.view.T_base_camera for reference in group])
        return MatchGeometry(
            intrinsics=torch.stack([reference.view.intrinsics for reference in group]),
            source_intrinsics=torch.stack([view.intrinsics for view in seen]), sources=rows.to(self.device),
            T_source_reference=torch.from_numpy(poses).float().to(self.device),
            T_base_camera=torch.from_numpy(T_base_camera).float().to(self.device),
            mask=torch.stack([padded_mask(reference.mask, size) for reference in group]),
            source_mask=torch.stack([padded_mask(self._mask(view), (common[0], common[1])) for view in seen]))

    def _matching(self, source: Source) -> Features:
        features = self._memory.of(source.frame, source.view).matching
        assert features is not None
        return features

    def _mask(self, view: View) -> Tensor:
        return view.mask & self.ego_mask.mask(view)

    def _arithmetic(self) -> torch.autocast:
        return arithmetic(self._precision, self.device)


def _cameras(frame: PreparedFrame) -> Counter[tuple[int, int]]:
    """How many cameras of the rig have images of which padded size. Missing cameras have the size of the others
    if these have only one, and are not counted otherwise."""
    sizes = Counter(padded_size(view.size) for view in frame.views)
    if len(sizes) == 1:
        sizes.update({size: len(frame.missing) for size in sizes})
    return sizes


def weights_file(path: str) -> Path:
    """The file of weights that ``scene.weights`` means. Raises InputError if there is none."""
    return _file_of("scene.weights", path, SHIPPED_WEIGHTS, "take engine 'sweep'")


def space_weights_file(path: str) -> Path:
    """The file of weights that ``scene.space_weights`` means. Raises InputError if there is none."""
    return _file_of("scene.space_weights", path, SHIPPED_SPACE_WEIGHTS, "set scene.space to false")


def _file_of(parameter: str, path: str, shipped: Path, instead: str) -> Path:
    if path:
        chosen = Path(path).expanduser()
        if not chosen.is_file():
            raise InputError("checkpoint", f"{parameter} = '{path}': there is no such file; leave it empty for the "
                             "weights that come with the package")
        return chosen
    if not shipped.is_file():
        raise InputError("checkpoint", f"weights of engine 'scene' are not installed ({shipped}): install the package "
                         f"anew, name a file ({parameter}), or {instead}")
    return shipped
