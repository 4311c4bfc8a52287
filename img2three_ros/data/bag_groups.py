"""Groups of views from recordings: training on one's own vehicle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from ..geometry.cameras import scale_intrinsics
from ..geometry.overlap import Frustum, best_sources
from ..geometry.transforms import inverse
from ..structures import InputError, Matrix
from .bag_cache import CachedFrame, CachedView, load_frame, load_pose
from .bag_truth import lidar_depth
from .view_group import ViewGroup

_SOURCES = 3
_NO_SOURCES = 0.1
_MAX_AGE = 3_000_000_000
_SPACING = (0.25, 2.5)
_HELD_OUT = 0.1


@dataclass(frozen=True)
class BagGroups:
    """``group(index)`` is a function of the frames and the index; any order, any process.

    frames: files of each recording in order of time (``prepare_bags``). held_out: the last tenth of every recording
    instead of the rest; no frame is in both.
    """

    frames: tuple[tuple[Path, ...], ...]
    held_out: bool = False

    def __post_init__(self) -> None:
        if not any(map(self._part, range(len(self.frames)))):
            raise InputError("no_frames", f"the recordings have {sum(map(len, self.frames))} frames with truth: too "
                             "few to train on some and hold out others")

    def group(self, index: int, size: tuple[int, int], views: int) -> ViewGroup:
        """Up to ``views`` views of (height, width) pixels: neighbouring cameras of a frame and of earlier ones."""
        random = np.random.default_rng((int(self.held_out), 40, index))
        bag, newest = self._drawn(random)
        frames = self._with_earlier(random, self._part(bag), newest, views)
        shots = _shots(random, frames, views)
        taken = [_taken(random, frame, view, size) for frame, view, _ in shots]
        newest_pose = frames[0].T_odom_base
        poses = [_pose(frame, view, newest_pose) for frame, view, _ in shots]
        sources = np.stack([_sources(random, place, taken, poses, size) for place in range(len(shots))])
        return ViewGroup(
            images=torch.from_numpy(np.stack([one.image for one in taken])).permute(0, 3, 1, 2).contiguous(),
            intrinsics=torch.from_numpy(np.stack([one.intrinsics for one in taken])).float(),
            T_base_camera=torch.from_numpy(np.stack(poses)),
            mask=torch.from_numpy(np.stack([one.mask for one in taken])),
            depth=torch.from_numpy(np.stack([one.depth for one in taken])),
            moving=torch.zeros((len(shots), *size), dtype=torch.bool), sources=torch.from_numpy(sources),
            instant=torch.tensor([instant for _, _, instant in shots]),
            camera=torch.tensor([view.camera for _, view, _ in shots]))

    def _part(self, bag: int) -> tuple[Path, ...]:
        files = self.frames[bag]
        cut = len(files) - max(1, round(_HELD_OUT * len(files)))
        return files[cut:] if self.held_out else files[:cut]

    def _drawn(self, random: Generator) -> tuple[int, int]:
        """Recording and frame of it, every frame equally likely."""
        counts = [len(self._part(bag)) for bag in range(len(self.frames))]
        place = int(random.integers(sum(counts)))
        for bag, count in enumerate(counts):
            if place < count:
                return bag, place
            place -= count
        raise AssertionError("unreachable: a place below the sum lies in one of the parts")

    def _with_earlier(self, random: Generator, files: tuple[Path, ...], newest: int, views: int) -> list[CachedFrame]:
        """The newest frame, and earlier ones a drawn distance apart (or the ones before, where it hardly moved)."""
        frames = [load_frame(files[newest])]
        if frames[0].T_odom_base is None:
            return frames
        wanted = min(int(random.choice((1, 2, 3), p=(0.15, 0.35, 0.5))), views)
        spacing = random.uniform(*_SPACING)
        for place in range(newest - 1, -1, -1):
            if len(frames) == wanted:
                break
            stamp, pose = load_pose(files[place])
            last = frames[-1].T_odom_base
            if pose is None or last is None or frames[0].stamp - stamp > _MAX_AGE:
                break
            moved = float(np.linalg.norm((inverse(last) @ pose)[:3, 3]))
            if moved >= spacing or frames[-1].stamp - stamp > _MAX_AGE // 3:
                frames.append(load_frame(files[place]))
        return frames


@dataclass(frozen=True, eq=False)
class _Taken:
    """A view cut and resized. image (H, W, 3), mask (H, W), depth (H, W), intrinsics (3, 3)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]


def _shots(random: Generator, frames: list[CachedFrame], views: int) -> list[tuple[CachedFrame, CachedView, int]]:
    """(frame, view, instant): as many neighbouring cameras of every frame as fit, newest frame first."""
    order = sorted({view.camera for view in frames[0].views})
    first = int(random.integers(len(order)))
    chosen = (order[first:] + order[:first])[:max(1, views // len(frames))]
    found = [(frame, view, instant) for instant, frame in enumerate(frames) for view in frame.views
             if view.camera in chosen]
    return found[:views]


def _taken(random: Generator, frame: CachedFrame, view: CachedView, size: tuple[int, int]) -> _Taken:
    """A view at ``size``: as much of it as the shape allows, cut at a random place, with its truth."""
    height, width = size
    rows, columns = view.mask.shape
    scale = max(height / rows, width / columns)
    resized = (max(round(rows * scale), height), max(round(columns * scale), width))
    top, left = (int(random.integers(there - wanted + 1)) for there, wanted in zip(resized, size, strict=True))
    cut = np.s_[top:top + height, left:left + width]
    shrinks = scale < 1.0
    image = cv2.resize(view.image, resized[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    intrinsics = scale_intrinsics(view.intrinsics, resized[1] / columns, resized[0] / rows)
    intrinsics[:2, 2] -= (left, top)
    picked = np.ix_(_nearest(height, top, rows, resized[0]), _nearest(width, left, columns, resized[1]))
    if view.depth is not None:
        depth = view.depth[picked]
    elif frame.points is not None:
        depth = lidar_depth(frame.points, view.T_base_camera, intrinsics, size)
    else:
        depth = np.full(size, np.nan, dtype=np.float32)
    return _Taken(np.ascontiguousarray(image[cut], dtype=np.uint8), view.mask[picked], depth, intrinsics)


def _nearest(count: int, start: int, given: int, resized: int) -> NDArray[np.intp]:
    """Old pixel nearest to each of ``count`` new ones from ``start`` on, where ``given`` pixels became ``resized``."""
    return np.floor((np.arange(count) + start + 0.5) * given / resized).astype(np.intp)


def _pose(frame: CachedFrame, view: CachedView, newest: Matrix | None) -> Matrix:
    """Camera into ``base_link`` of the newest instant."""
    if newest is None or frame.T_odom_base is None:
        return view.T_base_camera
    return inverse(newest) @ frame.T_odom_base @ view.T_base_camera


def _sources(random: Generator, place: int, taken: list[_Taken], poses: list[Matrix],
             size: tuple[int, int]) -> NDArray[np.int64]:
    """(S,) best sources of a view, -1 = none; now and then none at all, so that context is learned too."""
    found = np.full(_SOURCES, -1, dtype=np.int64)
    others = [other for other in range(len(taken)) if other != place]
    if random.random() >= _NO_SOURCES:
        frusta = [Frustum(one.intrinsics, size) for one in taken]
        best = best_sources(frusta[place], [frusta[other] for other in others],
                            [inverse(poses[other]) @ poses[place] for other in others], _SOURCES)
        found[:len(best)] = [others[index] for index, _ in best]
    return found
