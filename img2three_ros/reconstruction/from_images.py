"""Images without any calibration -> one scene: cameras, focals, depth and a cloud.

read, turn upright, fit   to the size that the network takes
pair                      every image with every other, or with those before it
predict                   a pointmap for either image of each pair: the network, each image encoded once
align                     one scene out of all pairs
scale                     metres, where a distance is given
clean                     what is confident, and does not hang before something more confident
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.pointmap_network import MEMORY_BYTES, Pointmaps
from ..pointmap.alignment import align
from ..pointmap.clean import SURE, valid_pixels, without_floating
from ..pointmap.pairs import PairPointmaps
from ..pointmap.scale import scale_from_baselines
from ..pointmap.scene import AlignedScene
from ..pointmap.view_graph import Edge, complete_pairs, window_pairs
from ..structures import InputError, Matrix, PointCloud
from .fitted_image import FittedImage, read_fitted

MEDIAN_DEPTH = 10.0
"""Units of the median depth in a world that is not metric."""

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
    memory_bytes: working memory of the network. most_points: of the cloud.
    """

    side: int = 512
    graph: str = "auto"
    window: int = 4
    complete_up_to: int = 12
    confidence: float = SURE
    baseline: tuple[str, str, float] | None = None
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
class ImageScene:
    """images: at the network's size, in the order of ``scene``. kept: per image (h, w) bool, pixels worth a point.

    pairs: how many were predicted. The world is the optical frame of the first image (x right, y down, z forward), in
    metres where ``scene.metric``, else in units of which the median depth has MEDIAN_DEPTH.
    """

    images: tuple[FittedImage, ...]
    scene: AlignedScene
    kept: tuple[NDArray[np.bool_], ...]
    pairs: int

    def intrinsics(self, image: int) -> Matrix:
        """K (3, 3) of the whole image file, upright."""
        return self.images[image].original_intrinsics(self.scene.intrinsics[image])

    def depth(self, image: int) -> NDArray[np.float32]:
        """(h, w) of the kept pixels, NaN elsewhere."""
        return np.where(self.kept[image], self.scene.depth[image], np.float32(np.nan)).astype(np.float32)

    def cloud(self, most: int) -> tuple[PointCloud, NDArray[np.intp], NDArray[np.float64]]:
        """At most so many kept points, evenly taken; the image (N,) and the pixel there (N, 2) u, v of each."""
        pixels = [np.argwhere(kept)[:, ::-1] for kept in self.kept]
        step = max(1, -(-sum(map(len, pixels)) // most))
        chosen = [own[::step] for own in pixels]
        take = [(own[:, 1], own[:, 0]) for own in chosen]
        points = np.concatenate([self.scene.points(image)[at] for image, at in enumerate(take)])
        colours = np.concatenate([self.images[image].pixels[at] for image, at in enumerate(take)])
        sure = np.concatenate([self.scene.confidence[image][at] for image, at in enumerate(take)])
        image = np.repeat(np.arange(len(chosen)), [len(own) for own in chosen])
        cloud = PointCloud(points, colours, (1.0 - 1.0 / np.maximum(sure, 1.0)).astype(np.float32))
        return cloud, image, np.concatenate(chosen).astype(np.float64)


def reconstruct_images(paths: Sequence[Path], network: PairNetwork, settings: ImageSettings, device: torch.device,
                       stage: Stage) -> ImageScene:
    """The front page: image files to a scene. The network lies on ``device``.

    Raises InputError for fewer than two images, one that cannot be read, images that nothing connects, a scene without
    a confident point.
    """
    if len(paths) < 2:
        raise InputError("image", f"{len(paths)} image{' (' + str(paths[0]) + ')' if paths else 's'} given: depth and "
                         "cameras need two or more views of one scene from different places")
    if settings.baseline is not None:
        _image_number(settings.baseline[0], paths), _image_number(settings.baseline[1], paths)
    with stage("reading images") as progress:
        images = read_fitted(paths, settings.side, progress)
    edges = choose_pairs(len(images), settings)
    with stage("predicting pairs") as progress:
        pairs = predict_pairs(network, images, edges, settings, device, progress)
    try:
        with stage("aligning"):
            scene = align(pairs)
            scene = in_metres(scene, paths, settings.baseline) if settings.baseline else in_own_unit(scene, settings)
    except InputError as error:
        named = ", ".join(f"{number} = {path.name}" for number, path in enumerate(paths))
        raise InputError(error.reason, f"{error} (images: {named})") from error
    with stage("cleaning"):
        kept = without_floating(scene, valid_pixels(scene, confidence=settings.confidence))
    if not any(own.any() for own in kept):
        raise _nothing_sure(scene, settings)
    empty = [number for number, own in enumerate(kept) if not own.any()]
    if empty:
        scene = replace(scene, notes=(*scene.notes, f"image {', '.join(map(str, empty))}: no pixel is confident enough "
                                      f"(above {settings.confidence:g}): nothing of it is in the cloud"))
    return ImageScene(tuple(images), scene, tuple(kept), len(edges))


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


def in_metres(scene: AlignedScene, paths: Sequence[Path], baseline: tuple[str, str, float]) -> AlignedScene:
    """Scaled by one known distance between two cameras. Raises InputError('parameter' | 'degenerate_baseline')."""
    one, other = (_image_number(name, paths) for name in baseline[:2])
    if one == other:
        raise InputError("parameter", f"a baseline lies between two images, but '{baseline[0]}' and '{baseline[1]}' "
                         "are one")
    poses: list[Matrix | None] = [None] * len(paths)
    poses[one], poses[other] = np.eye(4), np.eye(4)
    poses[other][0, 3] = baseline[2]  # type: ignore[index]  # only the distance counts
    return scene.rescaled(scale_from_baselines(scene, poses, least_baseline=1e-3).metres)


def in_own_unit(scene: AlignedScene, settings: ImageSettings) -> AlignedScene:
    """Scaled so that the median depth has MEDIAN_DEPTH units: nothing says how long a metre is."""
    valid = valid_pixels(scene, confidence=settings.confidence)
    depth = np.concatenate([own[sure] for own, sure in zip(scene.depth, valid, strict=True)])
    if not len(depth):
        raise _nothing_sure(scene, settings)
    return scene.rescaled(MEDIAN_DEPTH / float(np.median(depth)), metric=False)


def _nothing_sure(scene: AlignedScene, settings: ImageSettings) -> InputError:
    most = max(float(np.nanmax(own)) for own in scene.confidence)
    return InputError("no_points", f"no pixel is confident enough: the highest confidence is {most:.1f}, wanted is "
                      f"more than {settings.confidence:g} (--confidence). Do the images show one scene, and is the "
                      "checkpoint a trained one?")


def _image_number(text: str, paths: Sequence[Path]) -> int:
    """The image of this file name, path, or number from 0. Raises InputError('parameter')."""
    found = [number for number, path in enumerate(paths) if text in (path.name, path.stem, str(path))]
    if not found and text.isdigit() and int(text) < len(paths):
        return int(text)
    if len(found) != 1:
        raise InputError("parameter", f"baseline: {'several images are' if found else 'no image is'} called '{text}'; "
                         f"give a file name or a number from 0 to {len(paths) - 1}")
    return found[0]
