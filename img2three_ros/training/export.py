"""What is kept with trained weights: how they were made."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .checkpoint import Progress


def made_by(progress: Progress, config: Mapping[str, Any], scores: Mapping[str, float]) -> dict[str, str]:
    """What made some weights, to be kept with them."""
    known = {name: round(value, 5) for name, value in scores.items() if math.isfinite(value)}
    return {"steps": str(progress.step), "hours": f"{progress.seconds / 3600.0:.3f}", "groups": str(progress.groups),
            "training": json.dumps(config), "held_out": json.dumps(known), "commit": commit(), "hardware": hardware()}


def commit() -> str:
    """The commit of the source this runs from, '+' if it was changed since; 'unknown' outside a git checkout."""
    folder = Path(__file__).resolve().parent
    try:
        head = subprocess.run(("git", "rev-parse", "--short=12", "HEAD"), cwd=folder, capture_output=True, text=True,
                              timeout=10, check=True).stdout.strip()
        changed = subprocess.run(("git", "status", "--porcelain", "-uno"), cwd=folder, capture_output=True, text=True,
                                 timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+" if changed else "")


def hardware() -> str:
    """The GPUs, or the processor and the threads of all processes of a torchrun."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    threads = torch.get_num_threads() * int(os.environ.get("WORLD_SIZE", "1"))
    return f"{platform.processor() or platform.machine()}, {threads} threads"
