"""What a benchmark runs on: a recording, or a simulated one that is made once; and the machine it runs on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..fileio.rosbag import BagReader
from ..ingest.bag_topics import find_cameras
from ..structures import InputError

WIDTH, HEIGHT = 1936, 1216
INSTANTS = 6
_EDITION = 1
"""Of the simulated recording; another number makes it anew."""


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/img2three`` or ``~/.cache/img2three``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "img2three"


def simulated_recording(progress: Callable[..., None] | None = None, width: int = WIDTH, height: int = HEIGHT,
                        instants: int = INSTANTS) -> Path:
    """A rosbag2 of six simulated JPEG cameras, 10 Hz, 8 m/s, with next to no LiDAR; made at the first call and kept
    in the cache folder."""
    from ..simulation.recording import record
    from ..simulation.settings import SimulationConfig

    kept = cache_folder() / "benchmark" / f"street-{width}x{height}-{instants}-v{_EDITION}"
    if (kept / "metadata.yaml").is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        made = Path(folder) / kept.name
        config = SimulationConfig(width=width, height=height, lidar_rings=4, lidar_step=5.0)
        record(made, instants / 10.0, seed=4, config=config, progress=progress)
        shutil.rmtree(kept, ignore_errors=True)
        made.rename(kept)
    return kept


def camera_names(bag: Path, counts: Sequence[int]) -> list[tuple[str, ...]]:
    """The first so many cameras of a bag, for each count. Raises InputError if it has fewer."""
    with BagReader(bag) as reader:
        names = find_cameras(reader, None, None).names
    for count in counts:
        if not 1 <= count <= len(names):
            raise InputError("parameter", f"--cameras {count}: '{bag}' has {len(names)} ({', '.join(names)}); give "
                             f"numbers from 1 to {len(names)}")
    return [tuple(names[:count]) for count in counts]


def processor() -> str:
    """Name and number of the processors this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {usable} cores"
