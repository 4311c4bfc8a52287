"""What a training needs to know of what it trains: the loop does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Sample = TypeVar("Sample")
Ready = TypeVar("Ready")
Made = TypeVar("Made", covariant=True)
Arithmetic = Callable[[], AbstractContextManager[object]]
"""The arithmetic that was chosen, bf16 or not, as a context to compute in."""


class SampleSource(Protocol[Made]):
    """Endless samples, each a function of its number; can be pickled for other processes."""

    def group(self, index: int, size: tuple[int, int], views: int) -> Made:
        """Sample number ``index``: images of size (height, width), as many as ``views`` means."""


class Task(ABC, Generic[Sample, Ready]):
    """One kind of samples, network and loss. A sample is made ready once, and used as often as the settings say.

    parts: of the loss, by name. scores: of validation, by name; the first should fall, and where it is lowest the
    weights are best.
    """

    parts: Sequence[str]
    scores: Sequence[str]

    @staticmethod
    @abstractmethod
    def to_arrays(sample: Sample) -> dict[str, object]:
        """A sample as numpy arrays by name: these travel between processes."""

    @staticmethod
    @abstractmethod
    def from_arrays(arrays: dict[str, object]) -> Sample:
        """The reverse."""

    @abstractmethod
    def ready(self, sample: Sample, device: torch.device, arithmetic: Arithmetic) -> Ready:
        """The sample on a device, with everything that is the same each time it is used."""

    @abstractmethod
    def augmented(self, ready: Ready, mirror: bool, light: int, strength: float) -> Ready:
        """Mirrored or not, in another light: drawn by the seed ``light``, 0 strength = the light it has."""

    @abstractmethod
    def images(self, ready: Ready) -> int:
        """How many images it has."""

    @abstractmethod
    def loss(self, network: nn.Module, samples: list[Ready], arithmetic: Arithmetic,
             ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean loss of the samples, and its ``parts`` (detached)."""

    @abstractmethod
    def validate(self, network: nn.Module, samples: Sequence[Sample], device: torch.device,
                 arithmetic: Arithmetic) -> dict[str, float]:
        """``scores`` of held-out samples; NaN where nothing counts."""

    @abstractmethod
    def picture(self, network: nn.Module, sample: Sample, device: torch.device,
                arithmetic: Arithmetic) -> NDArray[np.uint8]:
        """(H, W, 3) RGB: what the network makes of a sample."""

    @abstractmethod
    def said(self, scores: Mapping[str, float]) -> str:
        """The scores as a line."""

    @abstractmethod
    def export(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """Write the weights as they ship."""
