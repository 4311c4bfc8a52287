"""The record of a training: metrics.csv always; TensorBoard where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

COLUMNS = ("step", "seconds", "images_per_second", "waiting", "learning_rate", "gradient_norm", "total")


class Journal:
    """Rows of ``COLUMNS``, the parts of the loss and the scores in <folder>/metrics.csv, and the same as TensorBoard
    scalars and pictures.

    step: where training goes on; rows after it, of work that was lost in a crash, are dropped.
    """

    def __init__(self, folder: Path, step: int, parts: Sequence[str], scores: Sequence[str]) -> None:
        self._columns = (*COLUMNS, *parts, *(f"val_{name}" for name in scores))
        self._path = folder / "metrics.csv"
        kept = []
        if self._path.is_file():
            with self._path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
        self._folder, self._board = folder, _board(folder, step)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row; columns that are not given stay empty."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow({name: f"{value:.6g}" if name != "step" else int(value)
                                                    for name, value in row.items()})
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    tag = f"validation/{name[4:]}" if name.startswith("val_") else f"training/{name}"
                    self._board.add_scalar(tag, value, int(row["step"]))

    def show(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Keep the newest picture (H, W, 3) RGB of this name as PNG, and all of them in TensorBoard."""
        cv2.imwrite(str(self._folder / f"{name}.png"), image[..., ::-1])
        if self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush what TensorBoard holds back."""
        if self._board is not None:
            self._board.close()


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
