"""``transforms.json``: cameras in the convention of nerfstudio and instant-ngp.

Camera to world with OpenGL axes (x right, y up, z backward), the world untouched; pixels are counted from the corner of
the first, so that its centre is 0.5.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..structures import InputError
from .posed_image import PosedImage

OPENGL_FROM_OPTICAL = np.diag([1.0, -1.0, -1.0, 1.0])


def write_transforms(path: Path, images: Sequence[PosedImage], cloud: str | None = None) -> None:
    """Image names and cloud (a PLY in the same world) are relative to the file. Raises InputError('output')."""
    frames = []
    for image in images:
        K = image.intrinsics
        frames.append({
            "file_path": image.name, "w": image.size[1], "h": image.size[0], "fl_x": K[0, 0], "fl_y": K[1, 1],
            "cx": K[0, 2] + 0.5, "cy": K[1, 2] + 0.5,
            "transform_matrix": (image.T_world_camera @ OPENGL_FROM_OPTICAL).tolist()})
    content: dict[str, object] = {"camera_model": "OPENCV", "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    if cloud is not None:
        content["ply_file_path"] = cloud
    try:
        path.write_text(json.dumps({**content, "frames": frames}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error.strerror or error}") from error
