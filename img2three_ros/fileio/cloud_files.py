"""Coloured clouds as PLY, PCD or GLB, through trimesh and open3d (both imported only here, when used)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..structures import InputError, PointCloud
from .folders import make_folder

# glTF is y-up, ROS is z-up: the node turns the scene upright, the stored points keep their coordinates.
_Y_UP_FROM_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])

_ENDINGS = (".ply", ".glb", ".pcd")


def write_cloud(path: Path | str, cloud: PointCloud) -> None:
    """Write a cloud (metres, RGB) as binary ``.ply``, binary ``.pcd`` or ``.glb``, by the ending of the path.

    Raises InputError: ``output`` for another ending or an empty cloud, ``dependency`` if a package is missing.
    """
    path = Path(path)
    check_cloud_path(path)
    if len(cloud) == 0:
        raise InputError("output", f"'{path}' would be an empty cloud: no point passed the limits (see cloud.*)")
    make_folder(path.parent)
    writers = {".ply": _write_with_trimesh, ".glb": _write_glb, ".pcd": _write_pcd}
    try:
        writers[path.suffix.lower()](path, cloud)
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error}; choose another output") from error
    except ImportError as error:
        raise InputError("dependency", f"writing '{path}' needs the Python package '{error.name}': "
                         f"pip install {'open3d' if error.name == 'open3d' else error.name}") from error


def check_cloud_path(path: Path | str) -> None:
    """Raises InputError('output') for an ending that ``write_cloud`` does not know; ask before the work is done."""
    if Path(path).suffix.lower() not in _ENDINGS:
        raise InputError("output", f"'{path}' must end in {', '.join(_ENDINGS)}")


def _trimesh_cloud(cloud: PointCloud) -> Any:
    import trimesh

    opaque = np.full((len(cloud), 1), 255, np.uint8)
    return trimesh.PointCloud(cloud.points, colors=np.hstack((cloud.colours, opaque)))


def _write_with_trimesh(path: Path, cloud: PointCloud) -> None:
    path.write_bytes(_trimesh_cloud(cloud).export(file_type="ply"))


def _write_glb(path: Path, cloud: PointCloud) -> None:
    import trimesh

    scene = trimesh.Scene()
    scene.add_geometry(_trimesh_cloud(cloud), node_name="cloud", geom_name="cloud", transform=_Y_UP_FROM_Z_UP)
    path.write_bytes(scene.export(file_type="glb"))


def _write_pcd(path: Path, cloud: PointCloud) -> None:
    import open3d

    points = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(cloud.points.astype(np.float64)))
    points.colors = open3d.utility.Vector3dVector(cloud.colours.astype(np.float64) / 255.0)
    if not open3d.io.write_point_cloud(path, points):
        raise InputError("output", f"'{path}' cannot be written")
