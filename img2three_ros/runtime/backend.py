"""The seam: a network with fixed shapes that somebody runs.

torch (``torch_backend``), ONNX Runtime (``onnxruntime_backend``) and TensorRT (``tensorrt_backend``) stand behind it;
``choose_backend`` takes one, and only after its self-test (``self_test``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Progress = Callable[[str], None]
"""Takes one plain sentence about what is being done, for the log."""


class Backend(Protocol):
    """A network with fixed shapes, ready to run. Not thread-safe."""

    @property
    def name(self) -> str:
        """torch, onnxruntime or tensorrt; with the provider in brackets where there are several."""
        ...

    @property
    def precision(self) -> str:
        """fp32, bf16, fp16 or int8: the arithmetic inside. What comes in and goes out is as the network says."""
        ...

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the network in their order, on the device of the inputs, for inputs of the fixed shapes.

        What is returned stays valid until the caller drops it: memory of its own, never written to again.
        Raises InputError('backend') if the inputs are of other shapes or types, or if running fails.
        """
        ...

    def close(self) -> None:
        """Give memory back; the backend cannot be called again. May be called twice."""
        ...
