"""Pairs and scenes as .npz files, in the layout of ``img2three align``.

In: ``edges`` (E, 2), ``pred1_pts3d`` and ``pred2_pts3d_in_other_view`` (E, H, W, 3), ``pred1_conf`` and ``pred2_conf``
(E, H, W), and optionally ``gt_K`` (n, 3, 3) and ``gt_c2w`` (n, 4, 4), metres. Out: ``c2w`` (n, 4, 4), ``K`` (n, 3, 3),
``depth`` and ``conf`` (n, H, W), ``pw`` (E, 4, 4), ``pair_residual`` and ``pair_used`` (E,), ``loss``, ``seconds``,
``metric``, ``notes``.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..structures import InputError, Matrix
from .pairs import PairPointmaps
from .scene import AlignedScene

_CLOUDS = ("pred1_pts3d", "pred2_pts3d_in_other_view")
_CONFIDENCES = ("pred1_conf", "pred2_conf")


@dataclass(frozen=True, eq=False)
class PairFile:
    """What a file holds. intrinsics: (n, 3, 3) or None; cameras: (n, 4, 4) T_world_camera, metres, or None."""

    pairs: PairPointmaps
    intrinsics: Matrix | None
    cameras: Matrix | None


def read_pairs(path: Path, device: torch.device | str = "cpu") -> PairFile:
    """Raises InputError('file') if the file is not such an archive, and names what is missing or has a wrong shape."""
    arrays = _arrays(path)
    missing = [name for name in ("edges", *_CLOUDS, *_CONFIDENCES) if name not in arrays]
    if missing:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise InputError("file", f"'{path}' lacks {', '.join(missing)}; it holds {held}")
    edges = arrays["edges"]
    if edges.ndim != 2 or edges.shape[1] != 2 or not np.issubdtype(edges.dtype, np.integer):
        raise InputError("file", f"'{path}': edges must be whole numbers of shape (E, 2), not {edges.dtype} "
                         f"{edges.shape}")
    for cloud, confidence in zip(_CLOUDS, _CONFIDENCES, strict=True):
        _check_shapes(path, arrays, cloud, confidence, len(edges))
    tensors = [torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.float32)).to(device)
               for name in (_CLOUDS[0], _CONFIDENCES[0], _CLOUDS[1], _CONFIDENCES[1])]
    pairs = PairPointmaps(tuple((int(i), int(j)) for i, j in edges), *tensors)
    return PairFile(pairs, _known(path, arrays, "gt_K", (pairs.images, 3, 3)),
                    _known(path, arrays, "gt_c2w", (pairs.images, 4, 4)))


def write_scene(path: Path, scene: AlignedScene) -> None:
    """Images must have one size. Raises InputError('file') if the file cannot be written."""
    if len({depth.shape for depth in scene.depth}) != 1:
        raise InputError("file", f"'{path}': images of several sizes do not fit into one array of depths")
    try:
        with path.open("wb") as file:
            np.savez(file, c2w=scene.cameras, K=scene.intrinsics, depth=np.stack(scene.depth),
                     conf=np.stack(scene.confidence), pw=scene.pair_similarity, pair_residual=scene.pair_residual,
                     pair_used=scene.pair_used, loss=np.float64(scene.loss), seconds=np.float64(scene.seconds),
                     metric=np.bool_(scene.metric), notes=np.array(scene.notes, dtype=np.str_))
    except OSError as error:
        raise InputError("file", f"'{path}' cannot be written: {error.strerror or error}") from error


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.lib.npyio.NpzFile):
            with archive:
                return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError("file", f"there is no file '{path}'") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError("file", f"'{path}' is no .npz archive of plain arrays that can be read") from error
    raise InputError("file", f"'{path}' is a single array (.npy), not an archive of pairs (.npz)")


def _check_shapes(path: Path, arrays: dict[str, NDArray[np.generic]], cloud: str, confidence: str, count: int) -> None:
    points, trust = arrays[cloud], arrays[confidence]
    if points.ndim != 4 or points.shape[3] != 3 or len(points) != count:
        raise InputError("file", f"'{path}': {cloud} must have the shape ({count}, H, W, 3), not {points.shape}")
    if trust.shape != points.shape[:3]:
        raise InputError("file", f"'{path}': {confidence} must have the shape {points.shape[:3]}, not {trust.shape}")
    for name, array in ((cloud, points), (confidence, trust)):
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError("file", f"'{path}': {name} must be floating point, not {array.dtype}")


def _known(path: Path, arrays: dict[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]) -> Matrix | None:
    if name not in arrays:
        return None
    if arrays[name].shape != shape:
        raise InputError("file", f"'{path}': {name} must have the shape {shape}, not {arrays[name].shape}")
    if not np.issubdtype(arrays[name].dtype, np.floating) and not np.issubdtype(arrays[name].dtype, np.integer):
        raise InputError("file", f"'{path}': {name} must be numbers, not {arrays[name].dtype}")
    return arrays[name].astype(np.float64)
