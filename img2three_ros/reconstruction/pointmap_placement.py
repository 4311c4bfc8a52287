"""Pairs of a window of views into metric scenes by global alignment, with what is known of the cameras as priors."""

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
from ..pointmap.view_graph import Edge, components
from ..structures import InputError, Matrix
from .known_cameras import KnownCamera
from .pointmap_depth import disagreement
from .pointmap_window import subset

_SMALLEST_DOUBT = 1e-3
_ALONE = "nothing usable in common with any other view"
_UNFIT = 0.3
"""Relative disagreement of its pairs about half of its pixels from which a view fits nothing."""
USELESS = 1.0
"""Relative deviation of the metre beyond which a scene says nothing of distances."""


@dataclass(frozen=True, eq=False)
class Placement:
    """One group of views in metres. images: their numbers, ascending, in the order of ``pairs`` and ``scene``.

    scale_doubt: relative deviation of the metre, see ``scale_doubt``.
    """

    images: tuple[int, ...]
    pairs: PairPointmaps
    scene: AlignedScene
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
                settings: AlignmentSettings) -> tuple[list[Placement], dict[int, str]]:
    """Every group of views that pairs connect as a scene of its own, and why the other views have no place.

    Groups are aligned apart, because the objective compares lengths: together, the deeper scene would shrink and the
    other grow until known poses stop them. A group that cannot be aligned is tried again in the parts that pairs join
    which agree in shape. Never raises for what the pairs say.
    """
    placed, without = [], {}
    waiting = components(pairs.images, pairs.edges)
    while waiting:
        images = waiting.pop()
        part = subset(pairs, images)
        own_masks = {new: masks[image] for new, image in enumerate(images) if image in masks}
        known = [cameras[image] for image in images]
        try:
            scene = align(part, trust.known(known), own_masks, settings)
        except InputError as error:
            parts = joined_groups(part, own_masks, settings)
            if len(parts) == 1 and len(parts[0]) == len(images):
                without.update(dict.fromkeys(images, _plain(error)))
                continue
            waiting += [[images[number] for number in group] for group in parts]
            lonely = set(images) - {images[number] for group in parts for number in group}
            without.update(dict.fromkeys(lonely, _ALONE))
            continue
        unfit = [image for number, image in enumerate(images) if _spread(part, scene, number) > _UNFIT]
        if unfit and len(unfit) < len(images):
            without.update(dict.fromkeys(unfit, _ALONE))
            rest = [image for image in images if image not in unfit]
            groups = components(len(rest), _edges_among(pairs, rest))
            without.update({rest[group[0]]: _ALONE for group in groups if len(group) == 1})
            waiting += [[rest[number] for number in group] for group in groups if len(group) > 1]
            continue
        doubt = scale_doubt(part, scene, [camera.T_world_camera for camera in known], own_masks)
        if not scene.metric or doubt > USELESS:
            without.update(dict.fromkeys(images, "known distances between the cameras do not tell how long a metre is"))
        else:
            placed.append(Placement(tuple(images), part, scene, doubt))
    return placed, without


def _edges_among(pairs: PairPointmaps, images: Sequence[int]) -> list[Edge]:
    """The pairs among some images, in the numbers of their places."""
    number = {image: place for place, image in enumerate(images)}
    return [(number[i], number[j]) for i, j in pairs.edges if i in number and j in number]


def _spread(pairs: PairPointmaps, scene: AlignedScene, image: int) -> float:
    """Median over the pixels of an image of how far its pairs disagree, relative; infinite where nothing is known."""
    depth = torch.from_numpy(scene.depth[image]).to(pairs.device)
    off = disagreement(pairs, scene, image, torch.where(depth > 0, depth, torch.full_like(depth, float("nan"))))
    off = off[torch.isfinite(off)]
    return float(off.median()) if len(off) else float("inf")


def _plain(error: InputError) -> str:
    """The message of an alignment without its numbers of images, which mean nothing to who reads of cameras."""
    return {"diverged": "the pointmaps contradict each other", "no_confidence": "the network is sure of nothing",
            "poses": "the known poses contradict the images as a whole", "no_overlap": "no views share anything usable",
            "disconnected": "no views share anything usable"}.get(error.reason, str(error))


def joined_groups(pairs: PairPointmaps, masks: Mapping[int, Tensor], settings: AlignmentSettings) -> list[list[int]]:
    """Groups of two images and more that usable pairs join."""
    sure = {image for image in range(pairs.images) if has_confidence(pairs, image, masks.get(image))}
    usable = [edge for edge in pairs.edges if sure >= set(edge)]
    if len(sure) == pairs.images:
        samples = take_samples(pairs, settings.samples, masks)
        found = register(samples).agreement
        agreement = torch.minimum(found[samples.by_slot(1)], found[samples.by_slot(2)]).tolist()
        usable = [edge for edge, share in zip(pairs.edges, agreement, strict=True) if share > settings.agreement]
    return [group for group in components(pairs.images, usable) if len(group) > 1]


def has_confidence(pairs: PairPointmaps, image: int, mask: Tensor | None) -> bool:
    """Whether any pair is confident of a pixel of an image that its mask leaves."""
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

    See ``told_ways`` and ``ways_doubt``: with short baselines and a network that is unsure of them it is large.
    """
    # Both orders of a pair come from one look at it: they count once.
    return ways_doubt(*told_ways(pairs, scene, known, masks), repeats=2)


def told_ways(pairs: PairPointmaps, scene: AlignedScene, known: Sequence[Matrix | None],
              masks: Mapping[int, Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ways (N, 3) between the cameras of the pairs in use, as the pairs tell them and as they are known to be.

    Every pair tells the way between its cameras in units of its points; the scene tells those units in metres.
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
    return np.array(told, dtype=np.float64).reshape(-1, 3), np.array(given, dtype=np.float64).reshape(-1, 3)


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
