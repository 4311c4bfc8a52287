"""A cloud, or the surfaces that images show, together with the cameras that saw them, as GLB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..structures import InputError, PointCloud
from .folders import make_folder
from .posed_image import PosedImage

# glTF is y-up with z towards the viewer: what the first camera sees as down is down; in a base frame z is up and x
# points away from the viewer. Stored points keep their values.
_Y_UP_FROM_OPTICAL = np.diag([1.0, -1.0, -1.0, 1.0])
_Y_UP_FROM_BASE = np.array([[0.0, -1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
_EDGES = np.array([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)])
_COLOUR = (230, 60, 40, 255)
_STEEP, _JUMP = 0.06, 0.3


@dataclass(frozen=True, eq=False)
class SurfacePatch:
    """What one image shows as triangles. points: (N, 3) world; colours: (N, 3) uint8 RGB; faces: (F, 3) of points."""

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    faces: NDArray[np.int64]


def write_scene_glb(path: Path, scene: PointCloud | Sequence[SurfacePatch], images: Sequence[PosedImage],
                    frustum_depth: float, in_base: bool = False) -> None:
    """Points as node ``cloud``, or surfaces as nodes ``surface_N``, and each camera's frustum as lines, node
    ``camera_N``, from 0, in the world's numbers.

    frustum_depth: how deep the frusta are drawn, world units. in_base: the world is a base frame (x forward, z up), not
    an optical frame. Raises InputError('output').
    """
    import trimesh

    make_folder(path.parent)
    whole = trimesh.Scene()
    upright = _Y_UP_FROM_BASE if in_base else _Y_UP_FROM_OPTICAL
    if isinstance(scene, PointCloud):
        shapes = {"cloud": trimesh.PointCloud(scene.points, colors=_opaque(scene.colours))}
    else:
        shapes = {f"surface_{number}": trimesh.Trimesh(patch.points, patch.faces, vertex_colors=_opaque(patch.colours),
                                                       process=False)
                  for number, patch in enumerate(scene) if len(patch.faces)}
    for name, shape in shapes.items():
        whole.add_geometry(shape, node_name=name, geom_name=name, transform=upright)
    for index, image in enumerate(images):
        corners = frustum_corners(image, frustum_depth)
        lines = trimesh.load_path(corners[_EDGES])
        lines.colors = np.tile(np.array(_COLOUR, np.uint8), (len(lines.entities), 1))
        whole.add_geometry(lines, node_name=f"camera_{index}", geom_name=f"camera_{index}", transform=upright)
    try:
        path.write_bytes(whole.export(file_type="glb"))
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error.strerror or error}") from error


def surface_patch(points: NDArray[np.float32], depth: NDArray[np.float32], colours: NDArray[np.uint8],
                  step: int = 1) -> SurfacePatch:
    """Triangles between neighbouring pixels of one image, cut where depth jumps, facing the camera.

    points: (H, W, 3) world; depth: (H, W), NaN = no point; colours: (H, W, 3). step: corners are so many pixels apart.
    """
    points, depth, colours = points[::step, ::step], depth[::step, ::step], colours[::step, ::step]
    across, down = _joined(depth), _joined(depth.T).T
    diagonal = np.isfinite(depth[:-1, 1:]) & np.isfinite(depth[1:, :-1])
    number = np.full(depth.shape, -1)
    upper = across[:-1] & down[:, :-1] & diagonal  # corners (r, c), (r, c + 1), (r + 1, c)
    lower = across[1:] & down[:, 1:] & diagonal
    used = np.zeros(depth.shape, dtype=bool)
    for row, column, triangles in ((0, 0, upper), (0, 1, upper | lower), (1, 0, upper | lower), (1, 1, lower)):
        used[row:row + triangles.shape[0], column:column + triangles.shape[1]] |= triangles
    number[used] = np.arange(int(used.sum()))
    corner, right, below, far = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    # Rows run down and columns to the right: seen from the camera this order is counter-clockwise.
    faces = np.concatenate((np.stack((corner[upper], below[upper], right[upper]), 1),
                            np.stack((right[lower], below[lower], far[lower]), 1)))
    return SurfacePatch(points[used], colours[used], faces.astype(np.int64))


def _joined(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W - 1) bool: whether a pixel and its right neighbour lie on one surface.

    A plane is linear in inverse depth, so the steps along it are alike, however steep it is seen: the road far away is
    whole. A larger step that its neighbours on both sides do not repeat is an edge.
    """
    inverse = 1.0 / np.where(depth > 0, depth, np.nan).astype(np.float64)
    step = np.diff(inverse, axis=1)
    with np.errstate(invalid="ignore"):
        relative = np.abs(step) / np.fmax(inverse[:, :-1], inverse[:, 1:])
        alike = np.abs(np.diff(step, axis=1)) < 0.5 * np.fmax(np.abs(step[:, :-1]), np.abs(step[:, 1:]))
        repeated = np.zeros(step.shape, dtype=bool)
        repeated[:, 1:-1] = alike[:, :-1] & alike[:, 1:]
        return np.asarray((relative < _STEEP) | ((relative < _JUMP) & repeated))


def _opaque(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.hstack((colours, np.full((len(colours), 1), 255, np.uint8)))


def frustum_corners(image: PosedImage, depth: float) -> NDArray[np.float64]:
    """(5, 3) world: the camera's centre, then the corners of its image at this depth, clockwise from upper left."""
    height, width = image.size
    pixels = np.array([(-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)])
    rays = np.column_stack((pixels, np.ones(4))) @ np.linalg.inv(image.intrinsics).T
    corners = np.vstack((np.zeros((1, 3)), depth * rays))
    pose = image.T_world_camera
    return np.asarray(corners @ pose[:3, :3].T + pose[:3, 3])
