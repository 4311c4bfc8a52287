"""Where training runs: one process or several, CPU or CUDA."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from torch import Tensor, distributed

from ..structures import InputError
from .settings import TrainingConfig

_PATIENCE = timedelta(hours=2)
"""The other processes wait this long while the first one validates."""


@dataclass(frozen=True)
class Processes:
    """This process among all of a torchrun; gradients and stops are shared by ``torch.distributed``."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and lines."""
        return self.rank == 0

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one message."""
        found = list(tensors)
        if self.count == 1 or not found:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in found])
        distributed.all_reduce(flat)
        for tensor, part in zip(found, flat.split([tensor.numel() for tensor in found]), strict=True):
            tensor.copy_(part.reshape(tensor.shape))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        votes = torch.tensor([float(flag)], device=self.device)
        self.sum_([votes])
        return bool(votes.item() > 0.0)


@contextlib.contextmanager
def processes(config: TrainingConfig) -> Iterator[Processes]:
    """The process group that torchrun's environment describes (gloo on CPUs, NCCL on GPUs); alone without it."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = _device(config, int(os.environ.get("LOCAL_RANK", "0")))
    if config.threads:
        torch.set_num_threads(config.threads)
    if count == 1:
        yield Processes(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(rank, count, device)
        distributed.barrier()  # none tears its connections down while another still uses them
    finally:
        distributed.destroy_process_group()


def _device(config: TrainingConfig, local_rank: int) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("parameter", "device = 'cuda', but torch finds no CUDA device here")
    if config.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    torch.cuda.set_per_process_memory_fraction(config.gpu_memory, device)
    torch.backends.cudnn.benchmark = True
    return device
