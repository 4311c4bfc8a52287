"""The benchmark on a tiny recording: what is in the JSON, that stages add up, and the common way it compares with."""

import json
import time

import numpy as np
import pytest
import torch
from small_networks import depth_weights, scene_weights

from img2three_ros.evaluation.benchmark import BenchmarkOptions, as_json, run_benchmark, save_json
from img2three_ros.evaluation.benchmark_common import common_image, exact_sets, example_cloud, packed_point_by_point
from img2three_ros.evaluation.benchmark_input import camera_names, simulated_recording
from img2three_ros.evaluation.benchmark_run import NETWORK, Request, _at_fixed_rate, measure
from img2three_ros.fileio.messages import compressed_image_message
from img2three_ros.fileio.point_cloud2 import dense_cloud
from img2three_ros.runtime.choose_backend import torch_precision
from img2three_ros.structures import CameraCalibration, InputError, PointCloud


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    cache = pytest.MonkeyPatch()
    cache.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield simulated_recording(width=160, height=96, instants=3)
    cache.undo()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {"scene.weights": depth_weights(folder), "scene.space_weights": scene_weights(folder), "threads": 1,
            "prepare.pixels": 7680, "runtime.backend": "torch"}


def test_the_simulated_recording_is_made_once(recording):
    made = (recording / "metadata.yaml").stat().st_mtime_ns
    assert simulated_recording(width=160, height=96, instants=3) == recording
    assert (recording / "metadata.yaml").stat().st_mtime_ns == made


def test_stages_add_up_to_the_total(recording, tiny):
    names = camera_names(recording, (2,))[0]
    found = measure(Request(recording, names, tiny, frames=3))
    assert found.cameras == names and found.image_size == (160, 96) and found.frames == 3
    assert {"decode", "undistort_resize", "copy", *NETWORK, "points", "fuse", "other"} <= set(found.stages)
    assert "reconstruct" not in found.stages and "publish" not in found.stages
    assert all(spread.p95_ms >= spread.median_ms >= 0.0 for spread in found.stages.values())
    assert found.stages["other"].median_ms < 0.3 * found.total.median_ms
    longest = max(found.network.p95_ms, found.rest.p95_ms)
    assert longest < found.total.p95_ms <= found.network.p95_ms + found.rest.p95_ms + 1.0
    assert found.throughput_hz == pytest.approx(1000.0 / found.total.median_ms, rel=0.9)
    assert found.gpu_memory_mb is None and found.memory_mb > 50.0


def test_an_engine_without_parts_is_measured_whole(recording):
    names = camera_names(recording, (1,))[0]
    found = measure(Request(recording, names, {"engine": "sweep", "threads": 1, "prepare.pixels": 4096}, frames=2))
    assert found.stages["reconstruct"].median_ms == found.network.median_ms > 0.0
    assert "encode" not in found.stages and found.rest.median_ms > 0.0


def extra_measurement(bag, cameras, overrides):
    return {"cameras": len(cameras), "bag": bag.name}


def impossible_measurement(bag, cameras, overrides):
    raise InputError("no_listener", "nobody listens")


def test_the_json_says_what_was_measured(recording, tiny, tmp_path):
    options = BenchmarkOptions(recording, (1,), tiny, frames=2, extra={"something": extra_measurement,
                                                                     "nothing": impossible_measurement},
                               command="img2three benchmark")
    result = run_benchmark(options)
    save_json(result, tmp_path / "made" / "benchmark.json")
    found = json.loads((tmp_path / "made" / "benchmark.json").read_text())
    assert found == json.loads(json.dumps(as_json(result), default=str))
    assert found["backend"] == f"torch {torch_precision('auto', torch.device('cpu'))}"
    assert found["device"] and found["engine"] == "scene"
    assert set(found["bag_sha256"]) == {path.name for path in recording.iterdir()}
    assert set(found["weights_sha256"]) == {"small.safetensors", "small_space.safetensors"}
    assert all(len(value) == 64 for value in found["weights_sha256"].values())
    assert found["stages"]["decode"]["median_ms"] > 0.0 and found["stages"]["match"]["p95_ms"] > 0.0
    assert 0.0 < found["network"]["median_ms"] < found["total"]["median_ms"]
    assert found["common_way"]["images"]["ratio"] > 0.0 and found["common_way"]["cloud"]["ratio"] > 10.0
    assert found["something"] == {"cameras": 1, "bag": recording.name}
    assert found["nothing"] == {"not_measured": "nobody listens"}
    assert found["publishing"].startswith("not measured") and len(found["runs"]) == 1
    assert found["versions"]["torch"] and found["config"]["runtime.backend"] == "torch"


class SlowLoop:
    def advance(self):
        time.sleep(0.03)

    def work(self):
        time.sleep(0.15)


def test_at_a_fixed_rate_the_newest_frame_is_taken():
    latencies, replaced = _at_fixed_rate(SlowLoop(), 4)
    assert len(latencies) == 4 and min(latencies) >= 150.0
    assert 0.1 < replaced < 0.9


def test_structured_clouds_hold_the_bytes_of_the_point_by_point_way():
    cloud = example_cloud(500)
    points = cloud.points.copy()
    points[7] = np.nan
    cloud = PointCloud(points, cloud.colours, cloud.confidence)
    assert dense_cloud(cloud).data.tobytes() == packed_point_by_point(cloud)


def test_equal_stamps_join_only_what_is_triggered_together():
    cameras = ("front", "left", "right")
    together = [(camera, stamp) for stamp in range(0, 500, 100) for camera in cameras]
    apart = [(camera, stamp + 3 * index) for stamp in range(0, 500, 100) for index, camera in enumerate(cameras)]
    lost = [pair for pair in together if pair != ("left", 200)]
    assert (exact_sets(together, cameras), exact_sets(apart, cameras), exact_sets(lost, cameras)) == (5, 0, 4)


def test_the_common_way_gives_the_same_image():
    from img2three_ros.ingest.images import decode_image

    v, u = np.mgrid[:192, :320]
    picture = np.stack((u * 255 // 320, v * 255 // 192, (u + v) % 64 + 90), axis=-1).astype(np.uint8)
    import cv2

    message = compressed_image_message(1, "front", cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes())
    calibration = CameraCalibration(320, 192, np.array(((200.0, 0, 159.5), (0, 200.0, 95.5), (0, 0, 1))))
    tensor = common_image(message, calibration, 320 * 192)
    assert np.array_equal((tensor.numpy() * 255.0).round().transpose(1, 2, 0), decode_image(message, "front"))


def test_too_many_cameras_are_an_error_that_names_them(recording):
    with pytest.raises(InputError, match=r"--cameras 7: .* has 6"):
        camera_names(recording, (1, 7))


