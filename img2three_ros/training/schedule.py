"""Learning rate over the steps, groups of parameters, and the moving average of the weights."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from .settings import OptimizerConfig

_ENCODER = "encoder.backbone."
_MATCHING = re.compile(r"encoder\.describe\.|sweep\.|.*\.log_sharpness")


def learning_rate_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """Factor on the peak for ``step`` (from 0) of ``steps``: linear warm-up, then half a cosine down to the floor."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = min((step - config.warmup) / max(steps - 1 - config.warmup, 1), 1.0)
    return config.floor + (1.0 - config.floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW with groups of parameters: pretrained encoder, matching or rest, each of them weights (decayed) and biases
    and norms (not).

    Each group's ``peak`` is its learning rate at the top of the schedule.
    """
    groups = []
    for part, factor in (("encoder", config.encoder), ("matching", config.matching), ("rest", 1.0)):
        for decays in (True, False):
            chosen = [parameter for name, parameter in network.named_parameters() if parameter.requires_grad
                      and _part(name) == part and (parameter.ndim > 1) == decays]
            peak = config.learning_rate * factor
            if chosen:
                groups.append({"params": chosen, "lr": peak, "peak": peak,
                               "weight_decay": config.weight_decay if decays else 0.0})
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), foreach=True)


def _part(name: str) -> str:
    return "encoder" if name.startswith(_ENCODER) else "matching" if _MATCHING.match(name) else "rest"


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Apply a factor to every group's peak; the rate of the last group (neither encoder nor matching)."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return float(optimizer.param_groups[-1]["lr"])


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move the average towards the network; over the first steps faster, so that the start is forgotten."""
    weight = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), weight)
    for kept, current in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(current)
