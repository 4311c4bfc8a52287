"""A cloud together with the cameras that saw it, as GLB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..structures import InputError, PointCloud
from .folders import make_folder
from .posed_image import PosedImage

# glTF is y-up with z towards the viewer: what the first camera sees as down is down. Stored points keep their values.
_Y_UP_FROM_OPTICAL = np.diag([1.0, -1.0, -1.0, 1.0])
_EDGES = np.array([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)])
_COLOUR = (230, 60, 40, 255)


def write_scene_glb(path: Path, cloud: PointCloud, images: Sequence[PosedImage], frustum_depth: float) -> None:
    """Points as node ``cloud`` and each camera's frustum as lines, node ``camera_N`` from 0, in the world's numbers.

    frustum_depth: how deep the frusta are drawn, world units. Raises InputError('output').
    """
    import trimesh

    make_folder(path.parent)
    scene = trimesh.Scene()
    opaque = np.full((len(cloud), 1), 255, np.uint8)
    points = trimesh.PointCloud(cloud.points, colors=np.hstack((cloud.colours, opaque)))
    scene.add_geometry(points, node_name="cloud", geom_name="cloud", transform=_Y_UP_FROM_OPTICAL)
    for index, image in enumerate(images):
        corners = frustum_corners(image, frustum_depth)
        lines = trimesh.load_path(corners[_EDGES])
        lines.colors = np.tile(np.array(_COLOUR, np.uint8), (len(lines.entities), 1))
        scene.add_geometry(lines, node_name=f"camera_{index}", geom_name=f"camera_{index}",
                           transform=_Y_UP_FROM_OPTICAL)
    try:
        path.write_bytes(scene.export(file_type="glb"))
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error.strerror or error}") from error


def frustum_corners(image: PosedImage, depth: float) -> NDArray[np.float64]:
    """(5, 3) world: the camera's centre, then the corners of its image at this depth, clockwise from upper left."""
    height, width = image.size
    pixels = np.array([(-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)])
    rays = np.column_stack((pixels, np.ones(4))) @ np.linalg.inv(image.intrinsics).T
    corners = np.vstack((np.zeros((1, 3)), depth * rays))
    pose = image.T_world_camera
    return np.asarray(corners @ pose[:3, :3].T + pose[:3, 3])
