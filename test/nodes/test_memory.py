"""The real engine in a real node: cleanup gives the memory back, and the status names engine, device and weights."""

import time

import psutil
import pytest

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from lifecycle_msgs.msg import Transition
from test_live_node import CAMERAS, FAST
from test_states import change
from vehicle import REAL_NODE, Process, Vehicle, node_command

from img2three_ros.reconstruction.engine_facts import file_hash, memory_facts

MEGABYTE = 2**20


@pytest.mark.slow
def test_cleanup_gives_the_memory_back(namespace, tmp_path):
    vehicle = Vehicle(namespace, CAMERAS)
    command = node_command(namespace, *FAST, "autostart:=false", "prepare.pixels:=16384", "threads:=1",
                           "runtime.backend:=torch", command=REAL_NODE)
    # Blocks of their own go back as they are freed: otherwise glibc's heap ends on one of two levels, 45 MB apart.
    with Process(command, tmp_path / "node.log", OMP_NUM_THREADS="1", MALLOC_MMAP_THRESHOLD_="65536") as process:
        vehicle.wait(lambda: bool(vehicle.status), 60)
        memory, loaded = psutil.Process(process.popen.pid), []
        unloaded = []
        for _ in range(4):
            assert change(vehicle, Transition.TRANSITION_CONFIGURE, timeout=120), process.text
            loaded.append(memory.memory_info().rss)
            vehicle.wait(lambda: vehicle.status.get("scene.weights.sha256", "") != "", 20)
            status = dict(vehicle.status)
            assert change(vehicle, Transition.TRANSITION_CLEANUP, timeout=60)
            time.sleep(0.2)
            unloaded.append(memory.memory_info().rss)
        assert status["device"] == "cpu" and status["engine"] == "scene" and status["backend"]
        assert len(status["scene.weights.sha256"]) == 16 and "gpu_memory.allocated_mb" not in status
    vehicle.destroy_node()
    # The first time loads libraries, which stay; after that every cycle ends where the one before it did.
    figures, full = ([round(one / MEGABYTE) for one in series] for series in (unloaded, loaded))
    print(f"RSS after cleanup, MB: {figures}; configured: {full}")
    assert unloaded[-1] - unloaded[1] < 12 * MEGABYTE, figures
    assert min(unloaded[1:]) < min(loaded[1:]), (figures, full)


def test_hashes_are_of_the_content(tmp_path):
    one = tmp_path / "one.safetensors"
    one.write_bytes(b"abc")
    assert file_hash(one) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"abc")
    before = file_hash(folder)
    (folder / "a").rename(folder / "b")
    assert file_hash(folder) != before
    assert memory_facts("cpu") == {}
