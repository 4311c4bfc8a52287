"""Images without any calibration -> one scene: cameras, focals, depth and a cloud.

read, turn upright, fit   to the size that the network takes
pair                      every image with every other, or with those before it
predict                   a pointmap for either image of each pair: the network, each image encoded once
align                     one scene out of all pairs
scale                     metres, where anything says how long they are
clean                     what is confident, and does not hang before something more confident
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.pointmap_network import MEMORY_BYTES, Pointmaps
from ..pointmap.alignment import align
from ..pointmap.checks import check_perspective, doubts
from ..pointmap.clean import SURE, valid_pixels, without_floating
from ..pointmap.known import Known
from ..pointmap.pairs import PairPointmaps
from ..pointmap.view_graph import Edge, complete_pairs, window_pairs
from ..structures import InputError
from .aligned_parts import AlignedPart, align_largest
from .fitted_image import FittedImage, read_fitted
from .image_scale import Metres, nothing_sure, scaled
from .image_scene import OPTICAL_WORLD, ImageScene

GRAPHS = ("auto", "complete", "window")

Stage = Callable[[str], AbstractContextManager[Callable[..., None]]]
"""Opens a stage of the work by its name; gives a callback progress(done, total)."""


class PairNetwork(Protocol):
    """What predicts pointmaps of pairs: ``models.PointmapNetwork``."""

    def infer_pairs(self, images: Sequence[Tensor], pairs: Sequence[Edge], *, memory_bytes: int, descriptors: bool,
                    progress: Callable[[int, int], None]) -> list[Pointmaps]:
        """See ``PointmapNetwork.infer_pairs``."""
        ...


@dataclass(frozen=True)
class ImageSettings:
    """side: long side of the images for the network, pixels, a multiple of 16.

    graph: complete, window (each image with the ``window`` before it: images in the order in which they were taken), or
    auto: complete up to ``complete_up_to`` images. confidence: that a pixel needs to be kept; 1 = knows nothing.
    baseline: two images, by file name or by number from 0, and the distance of their cameras in metres.
    metric_network: the network's pairs are in metres. memory_bytes: working memory of the network. most_points: of the
    cloud.
    """

    side: int = 512
    graph: str = "auto"
    window: int = 4
    complete_up_to: int = 12
    confidence: float = SURE
    baseline: tuple[str, str, float] | None = None
    metric_network: bool = False
    memory_bytes: int = MEMORY_BYTES
    most_points: int = 2_000_000

    def __post_init__(self) -> None:
        if self.side < 32 or self.side % 16:
            raise InputError("parameter", f"images of {self.side} pixels: a multiple of 16, at least 32, is wanted")
        if self.graph not in GRAPHS:
            raise InputError("parameter", f"graph '{self.graph}' must be one of: {', '.join(GRAPHS)}")
        if self.baseline is not None and not self.baseline[2] > 0:
            raise InputError("parameter", f"a baseline of {self.baseline[2]} m: it must be longer than 0")


@dataclass(frozen=True, eq=False)
class Told:
    """What is known beside the pixels of the images that are aligned.

    known: priors of the alignment. masks: image -> (h, w) bool, False = not the world. metres: what may give the scale.
    world, in_base: see ``ImageScene``. leave_out: images that share nothing with the others are left out, not an error.
    about, notes: sentences for ``ImageScene.about`` and its scene's notes.
    """

    known: Known | None = None
    masks: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)
    metres: Metres = field(default_factory=Metres)
    world: str = OPTICAL_WORLD
    in_base: bool = False
    leave_out: bool = False
    about: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def reconstruct_images(paths: Sequence[Path], network: PairNetwork, settings: ImageSettings, device: torch.device,
                       stage: Stage) -> ImageScene:
    """The front page: image files to a scene. The network lies on ``device``.

    Raises InputError for fewer than two images, one that cannot be read, images that nothing connects, points that are
    no perspective of their images, a scene without a confident point.
    """
    if len(paths) < 2:
        raise InputError("image", f"{len(paths)} image{' (' + str(paths[0]) + ')' if paths else 's'} given: depth and "
                         "cameras need two or more views of one scene from different places")
    told = Told(metres=Metres(numbered_baseline(settings.baseline, paths), settings.metric_network))
    with stage("reading images") as progress:
        images = read_fitted(paths, settings.side, progress)
    return scene_of(images, choose_pairs(len(images), settings), network, settings, device, stage, told)


def scene_of(images: Sequence[FittedImage], edges: Sequence[Edge], network: PairNetwork, settings: ImageSettings,
             device: torch.device, stage: Stage, told: Told) -> ImageScene:
    """Predict the pairs, align, scale and clean. Every image has a pair. Raises InputError as above."""
    with stage("predicting pairs") as progress:
        pairs = predict_pairs(network, images, edges, settings, device, progress)
    masks = {image: torch.from_numpy(mask).to(device) for image, mask in told.masks.items()}
    try:
        notes = [*told.notes, *check_perspective(pairs)]
        with stage("aligning"):
            if told.leave_out:
                part = align_largest(pairs, told.known, masks)
            else:
                part = AlignedPart(tuple(range(len(images))), align(pairs, told.known, masks), pairs)
            metres = _metres_of(told.metres, part.images)
            found = scaled(part, metres, settings.confidence, told.known, masks)
            share, absurd = doubts(part.pairs, part.scene)
    except InputError as error:
        named = ", ".join(f"{number} = {image.path.name}" for number, image in enumerate(images))
        raise InputError(error.reason, f"{error} (images: {named})") from error
    scene, used = found.scene, [images[image] for image in part.images]
    notes += [f"{image.path.name}: left out, it shares nothing usable with the others"
              for number, image in enumerate(images) if number not in part.images]
    with stage("cleaning"):
        own_masks = {new: told.masks[image] for new, image in enumerate(part.images) if image in told.masks}
        kept = without_floating(scene, valid_pixels(scene, own_masks, settings.confidence))
    if not any(own.any() for own in kept):
        raise nothing_sure(scene, settings.confidence)
    empty = [number for number, own in enumerate(kept) if not own.any()]
    if empty:
        notes.append(f"image {', '.join(map(str, empty))}: no pixel is confident enough (above "
                     f"{settings.confidence:g}): nothing of it is in the cloud")
    scene = replace(scene, notes=(*scene.notes, *notes, *found.notes, *absurd))
    return ImageScene(tuple(used), scene, tuple(kept), len(part.pairs.edges), found.unit, told.world, told.in_base,
                      found.scales, share, told.about)


def _metres_of(metres: Metres, images: Sequence[int]) -> Metres:
    """The same for some of the images. Raises InputError('parameter') if one of the baseline's was left out."""
    baseline = metres.baseline
    if baseline is not None:
        if not {baseline[0], baseline[1]} <= set(images):
            raise InputError("parameter", "an image of the baseline shares nothing with the others and was left out")
        baseline = images.index(baseline[0]), images.index(baseline[1]), baseline[2]
    return replace(metres, baseline=baseline, rig=[metres.rig[image] for image in images] if metres.rig else (),
                   lidar=[metres.lidar[image] for image in images] if metres.lidar else (),
                   ways=[[way[image] for image in images] for way in metres.ways])


def choose_pairs(images: int, settings: ImageSettings) -> list[Edge]:
    """Both ways: the alignment likes each image to be the reference somewhere."""
    complete = settings.graph == "complete" or (settings.graph == "auto" and images <= settings.complete_up_to)
    return complete_pairs(images) if complete else window_pairs(images, settings.window)


def predict_pairs(network: PairNetwork, images: Sequence[FittedImage], edges: Sequence[Edge], settings: ImageSettings,
                  device: torch.device, progress: Callable[[int, int], None]) -> PairPointmaps:
    """Pointmaps of every pair, on the device."""
    tensors = [image.tensor(device) for image in images]
    maps = network.infer_pairs(tensors, edges, memory_bytes=settings.memory_bytes, descriptors=False,
                               progress=progress)
    return PairPointmaps(tuple(edges), [one.points1[0] for one in maps], [one.confidence1[0] for one in maps],
                         [one.points2_in_1[0] for one in maps], [one.confidence2[0] for one in maps])


def numbered_baseline(baseline: tuple[str, str, float] | None, paths: Sequence[Path],
                      ) -> tuple[int, int, float] | None:
    """The baseline by numbers of images. Raises InputError('parameter')."""
    if baseline is None:
        return None
    one, other = (_image_number(name, paths) for name in baseline[:2])
    if one == other:
        raise InputError("parameter", f"a baseline lies between two images, but '{baseline[0]}' and '{baseline[1]}' "
                         "are one")
    return one, other, baseline[2]


def _image_number(text: str, paths: Sequence[Path]) -> int:
    """The image of this file name, path, or number from 0. Raises InputError('parameter')."""
    found = [number for number, path in enumerate(paths) if text in (path.name, path.stem, str(path))]
    if not found and text.isdigit() and int(text) < len(paths):
        return int(text)
    if len(found) != 1:
        raise InputError("parameter", f"baseline: {'several images are' if found else 'no image is'} called '{text}'; "
                         f"give a file name or a number from 0 to {len(paths) - 1}")
    return found[0]
