import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = {"build", "install", "log", "dist", "output", "demo_output"}


def not_source(folder: str, names: list[str]) -> set[str]:
    """The names in a folder that git would not hold: caches everywhere, builds and outputs at the root."""
    caches = {name for name in names if name.startswith(".") or name.endswith(("__pycache__", ".egg-info"))}
    return caches | (BUILT & set(names) if Path(folder) == ROOT else set())


@pytest.fixture(scope="session")
def copy_source():
    """copy_source(folder) -> folder/img2three_ros, a copy of the tree without builds and caches."""

    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(ROOT, folder / "img2three_ros", ignore=not_source))

    return copy


@pytest.fixture(scope="session")
def build_environment() -> dict[str, str]:
    """The environment without what another build or a shell's ROS could have put there.

    LD_LIBRARY_PATH and the wheels' guard variable stay: every Python started here uses this one's ROS wheels.
    """
    foreign = ("AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH", "CMAKE_PREFIX_PATH", "PYTHONPATH", "VIRTUAL_ENV")
    return {key: value for key, value in os.environ.items() if key not in foreign}
