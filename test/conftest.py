"""What every test shares: a private ROS domain, the shared-memory transport, and the recordings when present."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from img2three_ros.config import set_thread_waiting

ROOT = Path(__file__).resolve().parents[1]

# One domain per test run, so that runs side by side never hear each other. Domains above 101 would use
# ports that Linux also hands out to ordinary sockets.
os.environ["ROS_DOMAIN_ID"] = str(30 + os.getpid() % 70)
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds_shared_memory.xml"))
os.environ.setdefault("OMP_NUM_THREADS", "2")
set_thread_waiting()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of recordings and references that lies beside the repository (or IMG2THREE_SHARED)."""
    folder = Path(os.environ.get("IMG2THREE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (IMG2THREE_SHARED names another place)")
    return folder


@pytest.fixture(scope="session")
def realdata(shared_dir: Path) -> Callable[[str], Path]:
    """realdata("kitti_stereo") -> the folder of that rosbag2; skips the test where it is absent."""

    def find(name: str) -> Path:
        bag = shared_dir / "realdata" / name
        if not bag.is_dir():
            pytest.skip(f"no recording {bag}")
        return bag

    return find


@pytest.fixture(scope="session", autouse=True)
def limited_torch_threads() -> None:
    """Keeps torch from taking more threads than a test machine has to spare."""
    import torch

    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is exported or built is kept for this run alone, also by the processes it starts."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
