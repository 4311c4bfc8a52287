"""The parts of the benchmark that need ROS: publishing to a real listener, and the node with restless cameras."""

import pytest

from img2three_ros.evaluation.benchmark import apart
from img2three_ros.evaluation.benchmark_input import camera_names, simulated_recording
from img2three_ros.evaluation.benchmark_run import Request, measure
from img2three_ros.nodes import benchmark_live
from img2three_ros.nodes.benchmark_publishing import measure_cloud, open_publisher

SETTINGS = {"engine": "sweep", "threads": 1, "prepare.pixels": 4096}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    cache = pytest.MonkeyPatch()
    cache.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield simulated_recording(width=96, height=64, instants=3)
    cache.undo()


def test_messages_are_built_and_published_to_a_listener(recording):
    names = camera_names(recording, (1,))[0]
    found = apart(measure, Request(recording, names, SETTINGS, frames=2, publisher=open_publisher))
    assert found.stages["build_messages"].median_ms > 0.0 and found.stages["publish"].median_ms > 0.0


def test_a_large_cloud_reaches_its_listener(recording):
    found = apart(measure_cloud, recording, ("front",), {})
    assert found["points"] == 640_000 and 0.0 < found["fastest_ms"] <= found["median_ms"]


def test_the_node_and_its_pipeline_share_the_processor_time(recording):
    found = apart(benchmark_live.measure_live, recording, camera_names(recording, (1,))[0], SETTINGS)
    assert found["frames"] >= 8 and found["pipeline_cpu_s"] > 0.0 and found["executor_and_dds_cpu_s"] > 0.0
    whole = found["pipeline_cpu_s"] + found["executor_and_dds_cpu_s"]
    assert found["overhead"] == pytest.approx(found["executor_and_dds_cpu_s"] / whole)
