"""Where a training stands, on disk: replaced as a whole, never left half written."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..structures import InputError

Values = Mapping[str, Any]


@dataclass
class Progress:
    """step: steps done. seconds: spent training. groups: view groups made. best: lowest validation error so far."""

    step: int = 0
    seconds: float = 0.0
    groups: int = 0
    best: float = float("inf")


def save_training(path: Path, progress: Progress, network: nn.Module, average: nn.Module,
                  optimizer: torch.optim.Optimizer, config: Values) -> None:
    """Write everything the next step depends on. Random numbers need no state: they follow from seed and step."""
    content = {"progress": asdict(progress), "network": network.state_dict(), "average": average.state_dict(),
               "optimizer": optimizer.state_dict(), "config": dict(config)}
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def load_training(path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer,
                  ) -> tuple[Progress, Values]:
    """Fill network, average and optimizer from a file of ``save_training``; where it stood, and its settings.

    Raises InputError('checkpoint') for a file that is damaged or of another network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(content["network"])
        average.load_state_dict(content["average"])
        optimizer.load_state_dict(content["optimizer"])
        return Progress(**content["progress"]), content["config"]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError("checkpoint", f"training cannot go on from '{path}': {error}") from error
