"""Images at the size that a pointmap network takes, and the way back to the pixels of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..fileio.image_files import read_image
from ..models.pointmap_config import PATCH
from ..structures import InputError, Matrix

_MOST_STRETCH = 12.0  # of the sides; what is left of the short one could not be cropped to a multiple of 16


@dataclass(frozen=True, eq=False)
class FittedImage:
    """pixels: (h, w, 3) uint8 RGB, both sides multiples of 16. original: (height, width) of the upright file.

    resized: (height, width) between the two steps. corner: (row, column) in it where the crop begins.
    whole: (H, W, 3) uint8 RGB, where it comes from no file that could be copied; ``path`` is then only its name.
    """

    path: Path
    pixels: NDArray[np.uint8]
    original: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    whole: NDArray[np.uint8] | None = None

    def original_intrinsics(self, intrinsics: Matrix) -> Matrix:
        """K (3, 3) of the pixels here as K of the whole file; u -> (u + column + 0.5) / scale - 0.5, exactly."""
        return np.linalg.inv(self._here_from_original()) @ intrinsics

    def fitted_intrinsics(self, intrinsics: Matrix) -> Matrix:
        """K (3, 3) of the whole file as K of the pixels here; the inverse of ``original_intrinsics``."""
        return self._here_from_original() @ intrinsics

    def original_pixels(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 2) u, v here as u, v in the whole file."""
        here = np.column_stack((pixels, np.ones(len(pixels))))
        return np.asarray((here @ np.linalg.inv(self._here_from_original()).T)[:, :2])

    def tensor(self, device: torch.device) -> Tensor:
        """(3, h, w) from -1 to 1."""
        return torch.from_numpy(self.pixels).to(device).permute(2, 0, 1).float() / 127.5 - 1.0

    def _here_from_original(self) -> Matrix:
        matrix = np.eye(3)
        for axis, side in ((0, 1), (1, 0)):
            scale = self.resized[side] / self.original[side]
            matrix[axis, axis], matrix[axis, 2] = scale, 0.5 * scale - 0.5 - self.corner[side]
        return matrix


def fit_image(path: Path, pixels: NDArray[np.uint8], side: int) -> FittedImage:
    """Resize the long side to ``side`` (a multiple of 16), crop both to multiples of 16 around the centre.

    Raises InputError('image') for an image so long and narrow that nothing would be left of it.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    resized = (max(1, round(height * scale)), max(1, round(width * scale)))
    cropped = tuple(length // PATCH * PATCH for length in resized)
    if min(cropped) < PATCH or max(height, width) > _MOST_STRETCH * min(height, width):
        raise InputError("image", f"image '{path}' of {width} x {height} pixels is too narrow for a pointmap network, "
                         f"whose images are {side} pixels long and at least {PATCH} wide")
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(pixels, resized[::-1], interpolation=how), np.uint8)
    top, left = ((length - kept) // 2 for length, kept in zip(resized, cropped, strict=True))
    return FittedImage(path, np.ascontiguousarray(small[top:top + cropped[0], left:left + cropped[1]]),
                       (height, width), resized, (top, left))


def fit_mask(image: FittedImage, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (H, W) of the whole image for the pixels of the fitted one: False if any part of a pixel is."""
    small = np.asarray(cv2.resize(usable.astype(np.uint8) * 255, image.resized[::-1], interpolation=cv2.INTER_AREA))
    (top, left), (height, width) = image.corner, image.pixels.shape[:2]
    return np.asarray(small[top:top + height, left:left + width] == 255)


def read_fitted(paths: Sequence[Path], side: int, progress: Callable[..., None]) -> list[FittedImage]:
    """Read, turn upright and fit every image. Raises InputError('image')."""
    images = []
    for number, path in enumerate(paths):
        images.append(fit_image(path, read_image(path).pixels, side))
        progress(number + 1, len(paths))
    return images
