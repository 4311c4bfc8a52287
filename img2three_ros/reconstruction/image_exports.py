"""A scene made from images, as files that other programs read, and in words.

points.ply, scene.glb      the cloud; the cloud, or surfaces, with the cameras' frusta
colmap/                    COLMAP text model
transforms.json            nerfstudio, instant-ngp
images/                    the images upright (of recordings undistorted), to which the two belong
depth/                     NAME.npy and NAME.png, at the network's size
confidence/                NAME.npy, of every pixel of the same size; 1 = knows nothing
reconstruction.json        what depth belongs to: intrinsics at that size, crop; unit, loss, notes
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..fileio.cloud_files import write_cloud
from ..fileio.colmap_text import SparsePoints, write_colmap
from ..fileio.depth_files import write_array, write_depth
from ..fileio.folders import make_folder
from ..fileio.image_files import copy_upright, write_image
from ..fileio.posed_image import PosedImage
from ..fileio.scene_files import SurfacePatch, surface_patch, write_scene_glb
from ..fileio.transforms_json import write_transforms
from ..structures import InputError
from .image_scene import ImageScene

_SPARSE = 100_000  # points of the COLMAP model
_FRUSTUM = 0.06  # of the median depth: how deep frusta are drawn


def export_images(folder: Path, result: ImageScene, most_points: int, progress: Callable[..., None],
                  mesh: bool = False) -> str:
    """Write everything into the folder; the summary, in lines. mesh: the GLB holds a surface of each image, not points.

    Raises InputError('output').
    """
    make_folder(folder)
    names = _names([image.path for image in result.images])
    posed = [PosedImage(f"images/{name}", image.original, result.intrinsics(number), result.scene.cameras[number])
             for number, (name, image) in enumerate(zip(names, result.images, strict=True))]
    steps = len(names) + 4
    for number, (name, image) in enumerate(zip(names, result.images, strict=True)):
        if image.whole is None:
            copy_upright(image.path, folder / "images" / name)
        else:
            write_image(folder / "images" / name, image.whole)
        stem = Path(name).stem
        write_depth(folder / "depth" / stem, result.depth(number))
        write_array(folder / "confidence" / f"{stem}.npy", result.scene.confidence[number])
        progress(number + 1, steps)
    cloud, _, _ = result.cloud(most_points)
    write_cloud(folder / "points.ply", cloud)
    progress(len(names) + 1, steps)
    write_scene_glb(folder / "scene.glb", surfaces(result, most_points) if mesh else cloud, posed,
                    _FRUSTUM * median_depth(result), result.in_base)
    progress(len(names) + 2, steps)
    sparse, owner, pixels = result.cloud(_SPARSE)
    whole = np.concatenate([image.original_pixels(pixels[owner == number])
                            for number, image in enumerate(result.images)])
    without_folder = [PosedImage(name, one.size, one.intrinsics, one.T_world_camera)
                      for name, one in zip(names, posed, strict=True)]
    write_colmap(folder / "colmap", without_folder, SparsePoints(sparse.points, sparse.colours, owner, whole))
    progress(len(names) + 3, steps)
    write_transforms(folder / "transforms.json", posed, "points.ply")
    _write_report(folder / "reconstruction.json", result, names)
    progress(steps, steps)
    return summary(folder, result, len(cloud))


def surfaces(result: ImageScene, most_corners: int) -> list[SurfacePatch]:
    """The kept pixels of every image as triangles, coarser where there would be more corners."""
    step = max(1, int(np.ceil((sum(int(kept.sum()) for kept in result.kept) / most_corners) ** 0.5)))
    return [surface_patch(result.scene.points(number), result.depth(number), image.pixels, step)
            for number, image in enumerate(result.images)]


def median_depth(result: ImageScene) -> float:
    """Of the kept pixels, world units."""
    depth = [own[kept] for own, kept in zip(result.scene.depth, result.kept, strict=True)]
    return float(np.median(np.concatenate(depth)))


def summary(folder: Path, result: ImageScene, points: int) -> str:
    """Frame, unit, residual, focals and notes."""
    scene = result.scene
    lines = [f"{folder}: {len(result.images)} images, {result.pairs} pairs, {points} points",
             *result.about, f"world: {result.world}", f"unit: {result.unit}",
             f"residual: {scene.loss:.6f} (mean weighted distance between pairs and scene, pair units); pairs lie "
             f"{100 * result.misfit:.1f} % of their distance off the scene; {int((~scene.pair_used).sum())} pairs left "
             f"out; aligned in {scene.seconds:.1f} s"]
    for number, image in enumerate(result.images):
        focal, position = result.intrinsics(number)[0, 0], scene.cameras[number][:3, 3]
        lines.append(f"image {number}: {image.path.name}, focal {focal:.1f} px of {image.original[1]} x "
                     f"{image.original[0]}, at {position[0]:.2f} {position[1]:.2f} {position[2]:.2f}, "
                     f"{100 * result.kept[number].mean():.0f} % of its pixels kept")
        if number in scene.pose_deviation:
            degrees, metres = scene.pose_deviation[number]
            lines[-1] += f", {degrees:.2f} deg and {metres:.3f} {'m' if scene.metric else 'units'} off its known pose"
    return "\n".join([*lines, *(f"note: {note}" for note in scene.notes)])


def _write_report(path: Path, result: ImageScene, names: Sequence[str]) -> None:
    scene = result.scene
    images: list[dict[str, object]] = [
              {"name": name, "source": str(image.path), "depth": f"depth/{Path(name).stem}.npy",
               "depth_intrinsics": scene.intrinsics[number].tolist(),
               "intrinsics": result.intrinsics(number).tolist(), "size": list(image.original[::-1]),
               "resized": list(image.resized[::-1]), "crop_corner": list(image.corner[::-1]),
               "T_world_camera": scene.cameras[number].tolist()}
              for number, (name, image) in enumerate(zip(names, result.images, strict=True))]
    for number, (degrees, metres) in scene.pose_deviation.items():
        images[number]["off_known_pose"] = {"degrees": degrees, "distance": metres}
    content = {"unit": "metre" if scene.metric else "arbitrary", "unit_source": result.unit, "world": result.world,
               "loss": scene.loss, "misfit": result.misfit, "pairs": result.pairs,
               "pairs_left_out": int((~scene.pair_used).sum()), "scales": [asdict(scale) for scale in result.scales],
               "about": list(result.about), "notes": list(scene.notes), "images": images}
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError("output", f"'{path}' cannot be written: {error.strerror or error}") from error


def _names(paths: Sequence[Path]) -> list[str]:
    """File names without white space, different from each other even without their endings."""
    plain = [re.sub(r"\s+", "_", path.name) for path in paths]
    alone = len({Path(name).stem.lower() for name in plain}) == len(plain)
    return plain if alone else [f"{number:04d}_{name}" for number, name in enumerate(plain)]
