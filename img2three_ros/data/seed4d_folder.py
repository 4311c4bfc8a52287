"""Scenes from folders in the layout of SEED4D and 6Img-to-3D: what a vehicle's cameras see, and views around it.

    <scene>/nuscenes*/transforms/transforms_ego.json      the vehicle's own cameras
    <scene>/sphere*/transforms/transforms_ego[_train].json views from outside
    file_path, depth_file_path                             relative to the folder of the json

``transform_matrix`` maps an OpenGL camera (x right, y up, looking along -z) into a world fixed to the vehicle on the
ground with x down, y ahead and z to the right; depth is 16 bit PNG, millimetres along the optical axis, 65.535 m = that
far or farther (taken for the sky), 0 = unknown; intrinsics stand at the top of the json or with each frame. All views
are pinholes of one instant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from ..geometry.overlap import Frustum, best_sources
from ..geometry.transforms import apply, inverse
from ..structures import InputError, Matrix
from .scene_sample import NO_LABEL, SceneSample, patch_pixels
from .view_group import ViewGroup

_BASE_WORLD = np.array([[0.0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
_OPENGL_OPTICAL = np.diag((1.0, -1.0, -1.0, 1.0))
_NOTHING = 65535
_SOURCES = 3
_MARGIN = 0.3  # metres before and behind a surface that are neither free nor occupied
_BEHIND = 0.4


@dataclass(frozen=True)
class Seed4dScene:
    """One instant of one vehicle: the json files of its own cameras and of the views from outside."""

    own: Path
    outside: Path

    @property
    def place(self) -> str:
        """The spawn point, or the scene's folder where there is none: instants of one place look alike."""
        folders = self.own.parts
        point = next((number for number, name in enumerate(folders) if name.startswith("spawn_point")), None)
        return "/".join(folders[:point + 1]) if point is not None else str(self.own.parents[2])


@dataclass(frozen=True, eq=False)
class PosedImage:
    """image: (H, W, 3) uint8 RGB. depth: (H, W) float32 metres along the optical axis, NaN = unknown, inf = beyond
    65.5 m. intrinsics: (3, 3) float64. T_base_camera: (4, 4) float64, optical frame into ``base_link``."""

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    intrinsics: Matrix
    T_base_camera: Matrix


def find_seed4d_scenes(root: Path) -> list[Seed4dScene]:
    """All scenes below ``root``, in the order of their paths.

    Raises InputError('dataset') if there is none.
    """
    found = []
    for own in sorted(root.rglob("transforms/transforms_ego.json")):
        rig = own.parent.parent
        if not rig.name.startswith("nuscenes"):
            continue
        outside = [path for sphere in sorted(rig.parent.glob("sphere*"))
                   for name in ("transforms_ego_train.json", "transforms_ego.json")
                   if (path := sphere / "transforms" / name).is_file()]
        if outside:
            found.append(Seed4dScene(own, outside[0]))
    if not found:
        raise InputError("dataset", f"'{root}' holds no scene: expected <scene>/nuscenes*/transforms/"
                         "transforms_ego.json and <scene>/sphere*/transforms/transforms_ego.json")
    return found


def posed_frames(path: Path) -> list[tuple[Mapping[str, Any], Matrix, Matrix]]:
    """Of each frame of a json: its entry, intrinsics (3, 3) and ``T_base_camera`` (4, 4), without reading images.

    Raises InputError('dataset') naming the file and what is wrong.
    """
    try:
        tree = json.loads(path.read_text())
        found: list[tuple[Mapping[str, Any], Matrix, Matrix]] = []
        for frame in tree["frames"]:
            known = {**tree, **frame}
            intrinsics = np.array([[float(known["fl_x"]), 0.0, float(known["cx"])],
                                   [0.0, float(known["fl_y"]), float(known["cy"])], [0.0, 0.0, 1.0]])
            pose = np.array(frame["transform_matrix"], dtype=np.float64)
            missing = [name for name in ("file_path", "depth_file_path") if name not in frame]
            if missing:
                raise ValueError(f"frame {len(found)} has no {missing[0]}")
            if pose.shape != (4, 4):
                raise ValueError(f"transform_matrix of '{frame.get('file_path')}' is {pose.shape}, not (4, 4)")
            found.append((frame, intrinsics, _BASE_WORLD @ pose @ _OPENGL_OPTICAL))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError("dataset", f"'{path}' cannot be read: {type(error).__name__}: {error}") from error
    if not found:
        raise InputError("dataset", f"'{path}' has no frames")
    return found


def posed_image(path: Path, frame: Mapping[str, Any], intrinsics: Matrix, T_base_camera: Matrix) -> PosedImage:
    """An image of ``path`` with its depth.

    Raises InputError('dataset') naming a picture that is missing or damaged.
    """
    image = _picture(path.parent / frame["file_path"], cv2.IMREAD_COLOR)[..., ::-1]
    raw = _picture(path.parent / frame["depth_file_path"], cv2.IMREAD_UNCHANGED)
    if raw.shape != image.shape[:2]:
        raise InputError("dataset", f"depth '{path.parent / frame['depth_file_path']}' is {raw.shape}, its image "
                         f"{image.shape[:2]}")
    depth = np.where(raw >= _NOTHING, np.inf, np.where(raw == 0, np.nan, raw / np.float32(1000.0))).astype(np.float32)
    return PosedImage(np.ascontiguousarray(image), depth, intrinsics, T_base_camera)


def scaled(view: PosedImage, size: tuple[int, int]) -> PosedImage:
    """The view with images of ``size`` (height, width) and intrinsics to match; depth of the nearest pixel."""
    height, width = view.depth.shape
    if size == (height, width):
        return view
    scale = np.diag((size[1] / width, size[0] / height, 1.0))
    centre = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    depth = np.asarray(cv2.resize(view.depth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.float32)
    image = np.asarray(cv2.resize(view.image, size[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return PosedImage(image, depth, np.linalg.inv(centre) @ scale @ centre @ view.intrinsics, view.T_base_camera)


def _picture(path: Path, mode: int) -> NDArray[Any]:
    picture = cv2.imread(str(path), mode)
    if picture is None:
        raise InputError("dataset", f"picture '{path}' is missing or damaged")
    return picture


@dataclass(frozen=True)
class Seed4dScenes:
    """Scene samples of a folder. What is occupied is known where depth shows it: no more is in these data.

    points, rays: number in a sample; outside: views from outside a sample takes them from; patches: of ``patch`` x
    ``patch`` pixels, from as many of these views.
    """

    scenes: tuple[Seed4dScene, ...]
    points: int = 16384
    rays: int = 4096
    outside: int = 4
    patches: int = 2
    patch: int = 24
    seed: int = 0

    def group(self, index: int, size: tuple[int, int], views: int) -> SceneSample:
        """Sample ``index``: up to ``views`` of the vehicle's cameras in images of ``size`` (height, width)."""
        scene = self.scenes[index % len(self.scenes)]
        random = np.random.default_rng((self.seed, 40, index))
        own_frames, all_outside = posed_frames(scene.own)[:views], posed_frames(scene.outside)
        own = [posed_image(scene.own, *frame) for frame in own_frames]  # truth at full resolution
        chosen = random.choice(len(all_outside), min(self.outside, len(all_outside)), replace=False)
        outside = [posed_image(scene.outside, *all_outside[int(number)]) for number in chosen]
        points, occupied = _points(random, own + outside, self.points)
        hidden = ~np.any([_shows(view, points) for view in own], axis=0)
        rays = [_rays(random, own, self.rays // 4), _rays(random, outside, self.rays - self.rays // 4)]
        patches = [_rays_at(view, patch_pixels(random, ~np.isnan(view.depth), self.patch))
                   for view in outside[:self.patches]]
        origins, directions, colour, distance = (np.concatenate(parts).astype(np.float32)
                                                 for parts in zip(*rays, *patches, strict=True))
        mine = np.arange(len(distance)) < len(rays[0][0])
        numbers = np.arange(sum(len(part[0]) for part in rays), len(distance)).reshape(-1, self.patch, self.patch)
        label = np.full(len(points), NO_LABEL, dtype=np.uint8)
        tensors = map(torch.from_numpy, (points.astype(np.float32), occupied, hidden, label, origins, directions,
                                         colour, distance, mine, numbers))
        small = [scaled(view, size) for view in own]
        return SceneSample(_group(small), torch.eye(4, dtype=torch.float64)[None], *tensors)


def _group(own: list[PosedImage]) -> ViewGroup:
    frusta = [Frustum(view.intrinsics, view.depth.shape) for view in own]
    sources = np.full((len(own), _SOURCES), -1, dtype=np.int64)
    for place, view in enumerate(own):
        others = [number for number in range(len(own)) if number != place]
        poses = [inverse(own[number].T_base_camera) @ view.T_base_camera for number in others]
        best = best_sources(frusta[place], [frusta[number] for number in others], poses, _SOURCES)
        sources[place, :len(best)] = [others[number] for number, _ in best]
    depth = torch.from_numpy(np.stack([view.depth for view in own]))
    return ViewGroup(
        images=torch.from_numpy(np.stack([view.image for view in own])).permute(0, 3, 1, 2).contiguous(),
        intrinsics=torch.from_numpy(np.stack([view.intrinsics for view in own])).float(),
        T_base_camera=torch.from_numpy(np.stack([view.T_base_camera for view in own])),
        mask=torch.ones_like(depth, dtype=torch.bool), depth=depth, moving=torch.zeros_like(depth, dtype=torch.bool),
        sources=torch.from_numpy(sources), instant=torch.zeros(len(own), dtype=torch.int64),
        camera=torch.arange(len(own)))


def _directions(view: PosedImage, pixel: NDArray[np.intp]) -> NDArray[np.float64]:
    """(N, 3) optical, z = 1."""
    v, u = np.divmod(pixel, view.depth.shape[1])
    rays: NDArray[np.float64] = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(view.intrinsics).T
    return rays


def _points(random: Generator, views: list[PosedImage], count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Points that some view shows to be free, or just behind a surface, and which of them are occupied."""
    found, occupied = [], []
    for number, view in enumerate(views):
        wanted = count * (number + 1) // len(views) - count * number // len(views)
        usable = np.flatnonzero(np.isfinite(view.depth.ravel()))
        if not len(usable):
            continue
        pixel = random.choice(usable, wanted)
        depth = view.depth.ravel()[pixel].astype(np.float64)
        behind = random.random(wanted) < 0.4
        free = random.random(wanted) * np.maximum(depth - _MARGIN, 0.05)
        along = np.where(behind, depth + random.uniform(0.02, _BEHIND, wanted), free)
        found.append(apply(view.T_base_camera, _directions(view, pixel) * along[:, None]))
        occupied.append(behind)
    if not found:
        raise InputError("dataset", "no view of the scene has any depth")
    return np.concatenate(found), np.concatenate(occupied)


def _shows(view: PosedImage, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) bool: a point lies in the view, before its surface or up to _BEHIND behind it."""
    height, width = view.depth.shape
    local = apply(inverse(view.T_base_camera), points)
    pixels = local @ view.intrinsics.T
    ahead = local[:, 2] > 0.05
    u, v = (np.rint(pixels[:, axis] / np.where(ahead, local[:, 2], 1.0)) for axis in (0, 1))
    inside = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    place = (np.where(inside, v, 0) * width + np.where(inside, u, 0)).astype(np.intp)
    surface = np.nan_to_num(view.depth.ravel()[place], nan=0.0, posinf=np.inf)
    return np.asarray(inside & (local[:, 2] <= surface + _BEHIND))


def _rays(random: Generator, views: list[PosedImage], count: int) -> tuple[NDArray[np.float64], ...]:
    """Origins, directions, colours and distances of random pixels with known depth."""
    parts = []
    for number, view in enumerate(views):
        wanted = count * (number + 1) // len(views) - count * number // len(views)
        usable = np.flatnonzero(~np.isnan(view.depth.ravel()))
        parts.append(_rays_at(view, random.choice(usable, wanted) if len(usable) else np.zeros(0, dtype=np.intp)))
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def _rays_at(view: PosedImage, pixel: NDArray[np.intp]) -> tuple[NDArray[np.float64], ...]:
    ray = _directions(view, pixel)
    length = np.linalg.norm(ray, axis=1)
    return (np.broadcast_to(view.T_base_camera[:3, 3], (len(pixel), 3)),
            (ray / length[:, None]) @ view.T_base_camera[:3, :3].T, view.image.reshape(-1, 3)[pixel] / 255.0,
            view.depth.ravel()[pixel] * length)
