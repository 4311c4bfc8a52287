"""Still images: which files are images, their pixels as they are meant to be seen, and upright copies of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import InputError
from .folders import make_folder

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 97]


@dataclass(frozen=True, eq=False)
class StillImage:
    """pixels: (H, W, 3) uint8 RGB, upright. turned: whether the file stores them otherwise (EXIF orientation)."""

    path: Path
    pixels: NDArray[np.uint8]
    turned: bool


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """Image files in the order given; a folder stands for the images in it, by name (2 before 10).

    Raises InputError('image') for a path that there is not, a folder without images, and a file given twice.
    """
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError("image", f"there is no file or folder '{path}'")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted((file for file in path.iterdir() if looks_like_image(file)), key=_by_number)
        if not inside:
            raise InputError("image", f"folder '{path}' holds no image ({', '.join(IMAGE_ENDINGS)})")
        found += inside
    seen: set[Path] = set()
    for path in found:
        if path.resolve() in seen:
            raise InputError("image", f"image '{path}' is given twice: two views from one place show no depth")
        seen.add(path.resolve())
    return found


def looks_like_image(path: Path) -> bool:
    """By its ending; hidden files are none."""
    return path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".") and path.is_file()


def read_image(path: Path) -> StillImage:
    """Raises InputError('image') if the file is no image that can be read whole."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError("image", f"image '{path}' cannot be read: {error.strerror or error}") from error
    upright = _decoded(data, cv2.IMREAD_COLOR)
    if upright is None:
        raise InputError("image", f"'{path}' is no image that can be read ({len(data)} bytes): damaged, or of a kind "
                         f"that is not known ({', '.join(IMAGE_ENDINGS)} are)")
    stored = _decoded(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    turned = stored is None or not np.array_equal(upright, stored)
    return StillImage(path, np.ascontiguousarray(upright[..., ::-1]), turned)


def copy_upright(path: Path, target: Path) -> None:
    """The file itself where its pixels are stored upright, else a JPEG or PNG of the turned pixels, as target ends.

    Raises InputError('image'), InputError('output').
    """
    make_folder(target.parent)
    image = read_image(path)
    if target.exists() and target.samefile(path):
        if image.turned:
            raise InputError("output", f"an upright copy of '{path}' would replace it: choose another output")
        return
    try:
        if not image.turned and target.suffix.lower() == path.suffix.lower():
            shutil.copyfile(path, target)
        elif not cv2.imwrite(str(target), image.pixels[..., ::-1], _QUALITY):
            raise OSError("the image library refused it")
    except (OSError, cv2.error) as error:
        raise InputError("output", f"'{target}' cannot be written: {error}") from error


def write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """(H, W, 3) uint8 RGB as the path ends. Raises InputError('output')."""
    make_folder(path.parent)
    try:
        quality = _QUALITY if path.suffix.lower() in (".jpg", ".jpeg") else []
        if not cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]), quality):
            raise OSError("the image library refused it")
    except (OSError, cv2.error) as error:
        raise InputError("output", f"'{path}' cannot be written: {error}") from error


def _decoded(data: NDArray[np.uint8], how: int) -> NDArray[np.uint8] | None:
    try:
        pixels = cv2.imdecode(data, how) if len(data) else None
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Key under which numbers in names count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]
