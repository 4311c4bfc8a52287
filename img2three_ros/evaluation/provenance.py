"""Where figures come from: enough to make them again."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..config import Config, settings
from ..runtime.engine_folder import file_sha256
from .results import RunInfo

PACKAGES = ("img2three_ros", "torch", "numpy", "opencv-python", "opencv-python-headless", "scipy", "rosbags")


def run_info(bag: Path, config: Config, device: str, frames: str, command: str) -> RunInfo:
    """Bag with the digests of its files, the whole configuration, versions, command and time (UTC)."""
    return RunInfo(
        bag=str(bag), bag_sha256=file_digests(bag), weights_sha256=weights_digest(config),
        engine=config.engine, device=device, frames=frames, command=command,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"), versions=versions(),
        config={leaf.path: leaf.value for leaf in settings(config)})


def file_digests(bag: Path) -> dict[str, str]:
    """SHA-256 of each file of a bag (a folder or a single file), by name."""
    files = sorted(path for path in bag.iterdir() if path.is_file()) if bag.is_dir() else [bag]
    return {path.name: file_sha256(path) for path in files}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the figures; packages that are not installed are left out."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def weights_digest(config: Config) -> dict[str, str]:
    """Of the files the engine read, if it reads any."""
    named = {"pointmap": config.pointmap.checkpoint, "mapanything": config.mapanything.model}.get(config.engine, "")
    if named and (files := Path(named).expanduser()).exists():
        return file_digests(files)
    if config.engine != "scene":
        return {}
    from ..reconstruction.scene_engine import space_weights_file, weights_file

    space = file_digests(space_weights_file(config.scene.space_weights)) if config.scene.space else {}
    return {**file_digests(weights_file(config.scene.weights)), **space}
