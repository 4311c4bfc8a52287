"""Pairs of a window of views into one metric scene by global alignment, with what is known of the cameras as priors.

Views that share nothing usable with any other are left out and named, the rest is aligned without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.transforms import inverse
from ..pointmap.alignment import AlignmentSettings, align
from ..pointmap.known import Known
from ..pointmap.pairs import PairPointmaps
from ..pointmap.registration import REGISTRATION_SAMPLES, register
from ..pointmap.samples import take_samples
from ..pointmap.scene import AlignedScene
from ..pointmap.view_graph import components
from ..structures import InputError, Matrix
from .known_cameras import KnownCamera
from .pointmap_window import subset

_SMALLEST_DOUBT = 1e-3


@dataclass(frozen=True, eq=False)
class Placement:
    """images: numbers of the aligned views, ascending, in the order of ``pairs`` and ``scene``.

    left_out: numbers of the views without a place. reason: why there is none, or no scene at all; empty = all placed.
    scale_doubt: relative deviation of the metre, see ``scale_doubt``.
    """

    images: tuple[int, ...]
    pairs: PairPointmaps | None
    scene: AlignedScene | None
    left_out: tuple[int, ...]
    reason: str
    scale_doubt: float


@dataclass(frozen=True)
class Trust:
    """Standard deviations of the known poses, radians and metres."""

    rotation: float
    translation: float

    def known(self, cameras: Sequence[KnownCamera]) -> Known:
        """Intrinsics exact, poses as priors."""
        return Known(intrinsics=[camera.intrinsics for camera in cameras],
                     poses=[camera.T_world_camera for camera in cameras],
                     sigma_rotation=self.rotation, sigma_translation=self.translation)

    def contradiction(self, deviation: tuple[float, float]) -> float:
        """Of a pose found from the one given, (degrees, metres): in standard deviations."""
        return float(np.hypot(np.radians(deviation[0]) / self.rotation, deviation[1] / self.translation))


def place_views(pairs: PairPointmaps, cameras: Sequence[KnownCamera], masks: Mapping[int, Tensor], trust: Trust,
                settings: AlignmentSettings) -> Placement:
    """Align; on failure again without the views that nothing usable joins to another. Never raises for bad pairs."""
    everyone = tuple(range(pairs.images))
    images, reason = everyone, ""
    while True:
        part = subset(pairs, images) if len(images) < len(everyone) else pairs
        own_masks = {new: masks[image] for new, image in enumerate(images) if image in masks}
        known = trust.known([cameras[image] for image in images])
        try:
            scene = align(part, known, own_masks, settings)
        except InputError as error:
            left = _joined(part, own_masks, settings)
            if len(left) in (0, len(images)):
                return Placement((), None, None, everyone, _plain(error), float("inf"))
            images, reason = tuple(images[number] for number in left), "it shares nothing usable with any other view"
            continue
        if not scene.metric:
            return Placement((), None, None, everyone, "the cameras lie too close together to say how long a metre is",
                             float("inf"))
        doubt = scale_doubt(part, scene, [camera.T_world_camera for camera in (cameras[k] for k in images)], own_masks)
        return Placement(images, part, scene, tuple(sorted(set(everyone) - set(images))), reason, doubt)


def _plain(error: InputError) -> str:
    """The message of an alignment without its numbers of images, which mean nothing to who reads of cameras."""
    return {"diverged": "the pointmaps contradict each other", "no_confidence": "the network is sure of nothing",
            "poses": "the known poses contradict the images as a whole", "no_overlap": "no views share anything usable",
            "disconnected": "no views share anything usable"}.get(error.reason, str(error))


def _joined(pairs: PairPointmaps, masks: Mapping[int, Tensor], settings: AlignmentSettings) -> list[int]:
    """Images that a usable pair joins to another."""
    sure = [image for image in range(pairs.images) if _has_confidence(pairs, image, masks.get(image))]
    if len(sure) < 2 or not _has_pairs(pairs, sure):
        return []
    if len(sure) < pairs.images:
        return sorted({sure[new] for edge in subset_edges(pairs, sure) for new in edge})
    samples = take_samples(pairs, settings.samples, masks)
    registration = register(samples)
    agreement = torch.minimum(registration.agreement[samples.by_slot(1)], registration.agreement[samples.by_slot(2)])
    usable = [edge for edge, share in zip(pairs.edges, agreement.tolist(), strict=True) if share > settings.agreement]
    return sorted(image for group in components(pairs.images, usable) if len(group) > 1 for image in group)


def subset_edges(pairs: PairPointmaps, images: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs among some images, in the numbers of their places in ``images``."""
    number = {image: new for new, image in enumerate(images)}
    return [(number[i], number[j]) for i, j in pairs.edges if i in number and j in number]


def _has_pairs(pairs: PairPointmaps, images: Sequence[int]) -> bool:
    return bool(subset_edges(pairs, images))


def _has_confidence(pairs: PairPointmaps, image: int, mask: Tensor | None) -> bool:
    for edge, members in enumerate(pairs.edges):
        for slot, held in enumerate(members, start=1):
            if held == image:
                points, confidence = pairs.observation(edge, slot)
                sure = (confidence > 1.0) & torch.isfinite(points).all(-1)
                if bool((sure if mask is None else sure & mask).any()):
                    return True
    return False


def scale_doubt(pairs: PairPointmaps, scene: AlignedScene, known: Sequence[Matrix | None],
                masks: Mapping[int, Tensor]) -> float:
    """Relative standard deviation of the metre: how well the ways between cameras, as pairs tell them, fit the known.

    Every pair tells the way between its cameras in units of its points; the scene tells those units in metres. See
    ``ways_doubt``: with short baselines and a network that is unsure of them it is large.
    """
    samples = take_samples(pairs, REGISTRATION_SAMPLES, masks)
    registration = register(samples)
    relative = registration.second_to_first(samples).cpu().numpy()
    metres = _metres_per_unit(samples.points[registration.model].cpu().numpy(),
                              samples.weights[registration.model].cpu().numpy(), samples.pixels.cpu().numpy(), scene)
    told, given = [], []
    for edge, (i, j) in enumerate(pairs.edges):
        pose_i, pose_j = known[i], known[j]
        counts = bool(scene.pair_used[edge]) and bool(registration.in_camera_frame[i])
        if counts and pose_i is not None and pose_j is not None:
            told.append(metres[i] * relative[edge, :3, 3])
            given.append((inverse(pose_i) @ pose_j)[:3, 3])
    # Both orders of a pair come from one look at it: they count once.
    return ways_doubt(np.array(told).reshape(-1, 3), np.array(given).reshape(-1, 3), repeats=2)


def ways_doubt(told: NDArray[np.floating], given: NDArray[np.floating], repeats: int = 1) -> float:
    """Relative standard deviation of the metre from ways (N, 3) as told in supposed metres and as they are known to be.

    Least squares gives the factor between them, which should be 1: counted are its distance from 1 and its standard
    error. repeats: how often every measurement is among them. Infinite where nothing is known.
    """
    square = float((given ** 2).sum())
    if square <= 0.0:
        return float("inf")
    factor = float((told * given).sum()) / square
    if not factor > 0.0:
        return float("inf")
    error = float(((told - factor * given) ** 2).sum()) / (3.0 * len(told))
    return max(_SMALLEST_DOUBT, float(np.hypot(np.log(factor), (repeats * error / square) ** 0.5 / factor)))


def _metres_per_unit(points: NDArray[np.floating], weights: NDArray[np.floating], pixels: NDArray[np.floating],
                     scene: AlignedScene) -> NDArray[np.float64]:
    """(n,) of the model of every image: median ratio of the scene's depth to the model's. points: (n, 3, N)."""
    scales = []
    for image, depth in enumerate(scene.depth):
        u, v = pixels[image, :2].astype(np.int64)
        good = (weights[image] > 0) & (points[image, 2] > 0)
        ratio = depth[v[good], u[good]] / points[image, 2, good]
        ratio = ratio[np.isfinite(ratio)]
        scales.append(float(np.median(ratio)) if len(ratio) else float("nan"))
    return np.array(scales)
