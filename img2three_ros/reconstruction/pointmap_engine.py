"""The ``pointmap`` engine: a network predicts pointmaps of pairs of images, an alignment joins them into metric depth.

choose    the views of the present and those of earlier keyframes that show the same space, at most so many
predict   a pointmap for either image of each pair; encodings and pairs of earlier views are kept, not computed again
align     into one scene: intrinsics known, poses of calibration and odometry as priors, pairs with poses of their own
estimate  the depth of every view of the present, and how sure it is

Wang et al., "DUSt3R: Geometric 3D Vision Made Easy" (CVPR 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..config import PointmapConfig, RuntimeConfig
from ..models.pointmap_network import PointmapNetwork, load_pointmap_network
from ..pointmap.alignment import AlignmentSettings
from ..structures import InputError
from .pointmap_depth import Estimate, depth_view, estimate
from .pointmap_encoder import PointmapEncoder
from .pointmap_placement import Placement, Trust, place_views
from .pointmap_window import (
    Member,
    PairMemory,
    PairNetwork,
    both_ways,
    choose_window,
    member,
    network_size,
    remembered_pairs,
    torch_masks,
)
from .sources import parallax_notes
from .views import Geometry, PreparedFrame

_CONTRADICTED = 3.0
"""Standard deviations from which a known pose is said to be contradicted by the images."""
_SCALE_IN_DOUBT = 0.1


def read_network(config: PointmapConfig) -> PointmapNetwork:
    """The network of ``config.checkpoint``. Raises InputError('checkpoint') with what works if there is none."""
    from .images_command import WHICH

    if not config.checkpoint:
        raise InputError("checkpoint", "engine pointmap needs a network: set the parameter pointmap.checkpoint. "
                         f"{WHICH}")
    if not Path(config.checkpoint).expanduser().exists():
        raise InputError("checkpoint", f"engine pointmap: pointmap.checkpoint = '{config.checkpoint}' does not exist. "
                         f"{WHICH}")
    return load_pointmap_network(Path(config.checkpoint).expanduser())


class PointmapEngine:
    """Pairs of images to metric depth, see ``reconstruct``. Remembers encodings and pairs of earlier views, bounded by
    ``config.memory``. Not thread-safe."""

    def __init__(self, config: PointmapConfig, device: torch.device, network: PointmapNetwork,
                 runtime: RuntimeConfig | None = None) -> None:
        """runtime: what encodes images; None = the network itself."""
        self.config, self.device = config, device
        self.network: PairNetwork = network.to(device)
        self.encode = None if runtime is None else PointmapEncoder(network, runtime, device)
        self.side = config.size or network.config.image_side
        self.trust = Trust(float(np.radians(config.sigma_rotation)), config.sigma_translation)
        self._memory = PairMemory(config.memory << 19)
        self._settings = AlignmentSettings(samples=config.samples, fine_samples=config.samples,
                                           iterations=config.iterations)

    @property
    def backend(self) -> str:
        """What encodes images now, see ``BackedEncoder.backend``; decoder and heads run in torch."""
        return "torch" if self.encode is None else self.encode.backend

    def reset(self) -> None:
        """Forget the past: encodings and pairs of earlier views."""
        self._memory.reset()

    @torch.no_grad()
    def reconstruct(self, frame: PreparedFrame, keyframes: Sequence[PreparedFrame]) -> Geometry:
        """Depth and confidence of every view of ``frame``; keyframes with ego poses, oldest first.

        A view that shares nothing with any other gets no depth: its pointmap alone would not say how long a metre is.
        """
        views, pairs = choose_window(frame, keyframes, self.config.neighbours, self.config.window,
                                     self.config.pairs == "complete")
        members = [member(frame, of, view, network_size(view.size, self.side)) for of, view in views]
        paired = sorted({number for pair in pairs for number in pair})
        found: dict[int, Estimate] = {}
        blind = [view.name for number, view in enumerate(frame.views) if number not in paired]
        notes = list(parallax_notes(frame, keyframes, ()))
        if blind:
            notes.append(f"no other view shows the same space as {', '.join(blind)} from another place: no depth there")
        if pairs:
            placed, without = self._place(members, pairs, len(frame.views), paired)
            for placement in placed:
                found |= self._estimates(placement, paired, len(frame.views))
                notes += self._doubts(placement, members, paired, len(frame.views))
            for reason in sorted(set(without.values())):
                lost = [members[paired[place]].view.name for place in sorted(without)
                        if without[place] == reason and paired[place] < len(frame.views)]
                notes += [f"no depth of {', '.join(lost)}: {reason}"] if lost else []
        depths = tuple(depth_view(view, found.get(number), self.config.max_depth, self.config.min_confidence)
                       for number, view in enumerate(frame.views))
        return Geometry(depths, (*notes, *(self.encode.troubles if self.encode is not None else ())))

    def _place(self, members: Sequence[Member], pairs: Sequence[tuple[int, int]], present: int,
               paired: Sequence[int]) -> tuple[list[Placement], dict[int, str]]:
        """Predict and align; numbers of images are places in ``paired``."""
        edges = both_ways([*pairs, *remembered_pairs(members, self._memory, present)])
        chosen = {number: place for place, number in enumerate(paired)}
        used = [members[number] for number in paired]
        edges = [(chosen[i], chosen[j]) for i, j in edges if i in chosen and j in chosen]
        maps = self._memory.predict(self.network, used, edges, self.config.memory << 20, self.encode)
        return place_views(maps, [one.camera for one in used], torch_masks(used), self.trust, self._settings)

    def _estimates(self, placement: Placement, paired: Sequence[int], present: int) -> dict[int, Estimate]:
        """Estimates of the views of the present by number."""
        found: dict[int, Estimate] = {}
        for own, place in enumerate(placement.images):
            if paired[place] < present:
                degrees, metres = placement.scene.pose_deviation[own]
                distance = float(np.nanmedian(placement.scene.depth[own]))
                off = float(np.hypot(np.radians(degrees), metres / max(distance, 1.0)))
                found[paired[place]] = estimate(placement.pairs, placement.scene, own, (placement.scale_doubt, off))
        return found

    def _doubts(self, placement: Placement, members: Sequence[Member], paired: Sequence[int],
                present: int) -> list[str]:
        """Plain sentences on what limits a group."""
        now = {own: members[paired[place]].view.name for own, place in enumerate(placement.images)
               if paired[place] < present}
        notes = []
        if now and placement.scale_doubt > _SCALE_IN_DOUBT:
            notes.append(f"depth of {', '.join(now.values())}: the metre is in doubt by "
                         f"{100 * placement.scale_doubt:.0f} %, pairs and known distances between cameras fit badly")
        for own, name in now.items():
            degrees, metres = placement.scene.pose_deviation[own]
            if self.trust.contradiction((degrees, metres)) > _CONTRADICTED:
                notes.append(f"the images contradict the pose of {name}: they say {degrees:.1f} deg and {metres:.2f} m "
                             "off")
        return notes
