"""An image encoder behind the seam: one backend for each size of images, chosen at its first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import RuntimeConfig
from ..runtime.backend import Backend
from ..runtime.choose_backend import Chosen, Load, choose_backend, close, in_words, torch_precision
from ..runtime.parts import Part, Size
from ..runtime.self_test import DepthCheck
from ..runtime.torch_backend import TorchBackend

log = logging.getLogger("img2three_ros.runtime")
"""Says at level info what runs where and why, at level warning what had to be refused."""


MakePart = Callable[[Size, int], Part]
"""The encoder for so many images of a size at once."""
MakeCheck = Callable[[Size, int], DepthCheck]


@dataclass(eq=False)
class _Ready:
    """What encodes images of one size, ``part.inputs[0].shape[0]`` at once."""

    part: Part
    backend: Backend


class BackedEncoder:
    """Images -> what the encoder gives of each. Not thread-safe.

    A backend that fails while it runs is given up for torch, in the precision of the rest of the network and without
    another self-test, as a frame is waiting. troubles: plain sentences on whatever had to be refused
    so far, for the notes of every result. why: for each size, what was chosen and why.
    """

    def __init__(self, part: MakePart, check: MakeCheck | None, config: RuntimeConfig, device: torch.device,
                 load: Load | None = None) -> None:
        self.troubles: tuple[str, ...] = ()
        self.why: tuple[str, ...] = ()
        self._part, self._check, self._config, self._device, self._load = part, check, config, device, load
        self._ready: dict[Size, _Ready] = {}

    @property
    def backend(self) -> str:
        """What runs now, with its precision ('onnxruntime fp32'); where sizes of images differ in it, all of them by
        name. May be read from another thread."""
        running = {f"{ready.backend.name} {ready.backend.precision}" for ready in list(self._ready.values())}
        return ", ".join(sorted(running)) or "chosen at the first image"

    def outputs(self, images: Sequence[Tensor], cameras: Mapping[Size, int] | None = None) -> list[tuple[Tensor, ...]]:
        """Outputs (1, ...) of each image (3, H, W), as ``part`` wants them; sizes may differ.

        cameras: of each size, how many the rig has, whether or not they all give an image now; a GPU takes so many
        together. None = those of the first call.
        """
        found: dict[int, tuple[Tensor, ...]] = {}
        for size, rows in _by_size(images).items():
            at_once = self._at_once(size, len(rows), (cameras or {}).get(size, 0))
            for start in range(0, len(rows), at_once):
                chunk = rows[start:start + at_once]
                batch = torch.stack([images[row] for row in chunk])
                several = self._run(_filled(batch, at_once), size)
                found |= {row: tuple(one[place:place + 1] for one in several) for place, row in enumerate(chunk)}
        return [found[row] for row in range(len(images))]

    def _at_once(self, size: Size, count: int, cameras: int) -> int:
        """How many of ``count`` images go through together: what the backend was made for; torch takes any."""
        ready = self._ready.get(size)
        if ready is None:
            return self._batch(max(count, cameras))
        if ready.backend.name == "torch":
            return self._batch(count)
        return ready.part.inputs[0].shape[0]

    def _batch(self, count: int) -> int:
        """Larger batches leave the caches of a CPU; a GPU takes all cameras of a rig together."""
        return 1 if self._device.type == "cpu" else count

    def _run(self, batch: Tensor, size: Size) -> tuple[Tensor, ...]:
        ready = self._ready.get(size)
        if ready is None:
            ready = self._ready[size] = self._chosen(len(batch), size)
        try:
            return ready.backend(batch)
        except Exception as error:  # whatever a library raises, and a GPU without memory
            if ready.backend.name == "torch":
                raise
            self._give_up(ready, in_words(error))
        return ready.backend(batch)  # here, where the error no longer holds memory of the device

    def _give_up(self, ready: _Ready, why: str) -> None:
        close(ready.backend)
        precision = torch_precision(self._config.precision, self._device)
        ready.backend = TorchBackend(ready.part, precision)
        self._complain(f"{ready.part.network} goes on in torch {precision}, without a self-test: {why}")

    def _chosen(self, batch: int, size: Size) -> _Ready:
        part = self._part(size, batch)
        depth = None if self._check is None else self._check(size, batch)
        chosen: Chosen = choose_backend(part, self._config, depth, log.info, self._load)
        log.info(chosen.why)
        self.why = (*self.why, chosen.why)
        for trouble in chosen.troubles:
            self._complain(trouble)
        return _Ready(part, chosen.backend)

    def _complain(self, trouble: str) -> None:
        if trouble not in self.troubles:
            log.warning(trouble)
            self.troubles = (*self.troubles, trouble)


def _by_size(images: Sequence[Tensor]) -> dict[Size, list[int]]:
    sizes: dict[Size, list[int]] = {}
    for row, image in enumerate(images):
        sizes.setdefault((int(image.shape[1]), int(image.shape[2])), []).append(row)
    return sizes


def _filled(batch: Tensor, count: int) -> Tensor:
    """A batch of ``count``: black images stand in for cameras that gave none."""
    if len(batch) == count:
        return batch
    return torch.cat((batch, batch.new_zeros(count - len(batch), *batch.shape[1:])))
