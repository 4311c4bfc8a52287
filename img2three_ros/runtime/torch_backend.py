"""torch itself behind the seam: always there, and in float32 the truth that the others are held against."""

from __future__ import annotations

import torch
from torch import Tensor

from ..structures import InputError
from .parts import Part

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """A part of a network, run by torch where its weights are. Takes other batches and sizes than its own, too.

    Lower precisions are torch's autocast: what it computes in them comes out in them.
    """

    name = "torch"

    def __init__(self, part: Part, precision: str) -> None:
        """Raises InputError('backend') for a precision that torch does not have."""
        if precision not in _TYPES:
            raise InputError("backend", f"torch runs networks in {', '.join(_TYPES)}, not in {precision}")
        if precision == "fp16" and part.device.type == "cpu":
            raise InputError("backend", "torch on a CPU runs networks in fp32 or bf16, not in fp16")
        self.precision = precision
        self._part: Part | None = part

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._part is None:
            raise InputError("backend", "this backend was closed")
        with arithmetic(self.precision, self._part.device):
            return tuple(self._part.module(*inputs))

    def close(self) -> None:
        self._part = None


def arithmetic(precision: str, device: torch.device) -> torch.autocast:
    """The context in which torch computes in a precision: fp32, bf16 or fp16."""
    return torch.autocast(device.type, _TYPES[precision], enabled=precision != "fp32")
