"""The live node in a process of its own, over Fast DDS, with a pipeline that takes no time."""

import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from std_srvs.srv import Trigger
from vehicle import SECOND, Process, Ticker, Vehicle, busy, node_command, ns

CAMERAS = ("front", "left", "right")
FAST = ("cameras:=[front, left, right]", "status.period:=0.2", "status.camera_timeout:=0.6", "sync.max_wait:=0.15",
        "sync.lost_after:=0.3")


@contextmanager
def driving(namespace, tmp_path, *parameters, cameras=CAMERAS, environment=None, place=True, **options):
    """A vehicle and an active node."""
    vehicle = Vehicle(namespace, cameras, **options)
    try:
        if place:
            vehicle.place_cameras()
        with Process(node_command(namespace, *FAST, *parameters), tmp_path / "node.log",
                     **(environment or {})) as process:
            vehicle.wait_active()
            yield vehicle, process
    finally:
        vehicle.destroy_node()


def call(vehicle, kind, name, request, timeout=10.0):
    client = vehicle.create_client(kind, f"{vehicle.node}/{name}")
    assert client.wait_for_service(timeout)
    future = client.call_async(request)
    vehicle.wait(future.done, timeout)
    vehicle.destroy_client(client)
    return future.result()


def fields(message):
    return [field.name for field in message.fields]


def test_outputs_status_and_counters(namespace, tmp_path):
    with driving(namespace, tmp_path) as (vehicle, _process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: all(len(vehicle.heard[topic]) >= 5 for topic in vehicle.heard), every=tick)
        for topic, messages in vehicle.heard.items():
            assert {message.header.frame_id for message in messages} == {"base_link"}, topic
            stamps = [ns(message.header.stamp) for message in messages]
            assert set(stamps) <= set(tick.sent) and stamps == sorted(set(stamps)), topic
        points, obstacles, voxels, observed = (vehicle.heard[topic][-1] for topic in (
            "points", "obstacle_points", "occupied_voxels", "observed_voxels"))
        assert fields(points) == ["x", "y", "z", "rgb", "confidence"] and points.width == 50
        assert fields(obstacles) == ["x", "y", "z", "intensity"] and obstacles.width == 10 and obstacles.is_dense
        assert fields(voxels) == ["x", "y", "z", "occupancy", "label"] and voxels.width == 1
        assert fields(observed) == ["x", "y", "z", "state", "occupancy"] and observed.width == 5
        assert np.frombuffer(voxels.data, np.float32, 3).tolist() == [0.5, 0.5, 1.5]
        grid = vehicle.heard["occupancy_grid"][-1]
        cells = np.array(grid.data).reshape(grid.info.height, grid.info.width)
        assert cells.shape == (6, 8) and cells[3, 4] == 100 and cells[1, 1] == 0 and cells[0, 0] == -1
        assert (grid.info.origin.position.x, grid.info.origin.position.y) == (-4.0, -3.0)

        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        assert vehicle.status["cameras.contributing"] == "front,left,right"
        assert vehicle.status["cameras.missing"] == "" and vehicle.status["last_output.ego_motion"] == "true"
        assert float(vehicle.status["latency.receive_to_publish.median_ms"]) > 0
        vehicle.spin(1.0)
        frames = vehicle.frames()
        assert frames["received"] == len(tick.sent)
        assert frames["received"] == frames["processed"] + frames["replaced"] + frames["rejected"]
        for camera in CAMERAS:
            assert int(vehicle.status[f"images.{camera}.received"]) == len(tick.sent)
        assert {name.split("camera ")[-1] for name in vehicle.diagnostics} >= set(CAMERAS)


def test_slow_reconstruction_delays_no_subscription_and_newest_wins(namespace, tmp_path):
    with driving(namespace, tmp_path, environment={"FAKE_DELAY": "0.45"}) as (vehicle, _process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: len(tick.sent) >= 30, every=tick, period=0.06)
        vehicle.spin(1.5)
        frames = vehicle.frames()
        assert frames["received"] == 30 and frames["pending"] == 0
        assert frames["replaced"] > 10
        assert frames["received"] == frames["processed"] + frames["replaced"] + frames["rejected"]
        for camera in CAMERAS:
            counts = {key: vehicle.status[f"images.{camera}.{key}"] for key in ("received", "used", "dropped",
                                                                               "waiting")}
            assert int(counts["received"]) == 30
            assert int(counts["used"]) + int(counts["dropped"]) + int(counts["waiting"]) == 30
        assert ns(vehicle.heard["points"][-1].header.stamp) == tick.sent[-1]


def test_lost_camera_is_degraded_and_the_others_go_on(namespace, tmp_path):
    with driving(namespace, tmp_path) as (vehicle, _process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        tick.options["skip"] = ("front",)  # the reference camera
        vehicle.wait(lambda: vehicle.status["state"] == "DEGRADED" and
                     vehicle.status["cameras.contributing"] == "left,right", every=tick)
        before = len(vehicle.heard["points"])
        vehicle.wait(lambda: len(vehicle.heard["points"]) >= before + 5, every=tick)
        assert vehicle.status["cameras.missing"] == "front"
        tick.options["skip"] = ()
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        vehicle.wait(lambda: vehicle.status["state"] == "STALE" or vehicle.status["state"] == "ERROR", timeout=10)


def test_required_camera_lost_is_an_error(namespace, tmp_path):
    with driving(namespace, tmp_path, "required_cameras:=[front]") as (vehicle, _process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        tick.options["skip"] = ("front",)
        vehicle.wait(lambda: vehicle.status["state"] == "ERROR", every=tick)
        vehicle.wait(lambda: int(vehicle.status.get("frames.rejected.required_camera", 0)) > 0, every=tick)


def wrong_encoding(image, info):
    image.encoding = "rgb7"


def short_data(image, info):
    image.data = image.data[:100]


def zero_stamp(image, info):
    image.header.stamp.sec = image.header.stamp.nanosec = 0


def other_size(image, info):
    info.width //= 2
    info.height //= 2
    info.k[2] /= 2
    info.k[5] /= 2


def unknown_frame(image, info):
    image.header.frame_id = "attic"


def nan_intrinsics(image, info):
    info.k[0] = float("nan")


def dropped_of_others(vehicle, reasons) -> dict[str, str]:
    """What the status counts of the cameras that send nothing wrong."""
    return {key: value for key, value in vehicle.status.items()
            if key.startswith(("images.front.dropped.", "images.right.dropped.")) and key.rsplit(".", 1)[-1] in reasons}


def test_bad_images_are_counted_and_named_and_cost_nothing_else(namespace, tmp_path):
    cases = {"encoding": wrong_encoding, "short_data": short_data, "zero_stamp": zero_stamp,
             "size_mismatch": other_size, "no_transform": unknown_frame}
    with driving(namespace, tmp_path) as (vehicle, process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        others = dropped_of_others(vehicle, cases)  # what came before the transforms
        for reason, change in cases.items():
            tick.options["changes"] = {"left": change}
            before = len(vehicle.heard["points"])
            vehicle.wait(lambda reason=reason: int(vehicle.status.get(f"images.left.dropped.{reason}", 0)) >= 2
                         and vehicle.status["state"] == "DEGRADED", every=tick)
            vehicle.wait(lambda before=before: len(vehicle.heard["points"]) >= before + 3, every=tick)
        tick.options["changes"] = {}
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        assert dropped_of_others(vehicle, cases) == others
        # "attic" may be silent: the same reason was named a moment ago, if images came before the first transforms
        vehicle.wait(lambda: all(word in process.text for word in ("rgb7", "stamp is 0", "80x48")), every=tick)


def test_nan_intrinsics_are_refused(namespace, tmp_path):
    with driving(namespace, tmp_path) as (vehicle, process):
        tick = Ticker(vehicle, changes={"left": nan_intrinsics})
        vehicle.wait(lambda: vehicle.status.get("cameras.contributing") == "front,right", every=tick)
        vehicle.wait(lambda: int(vehicle.status.get("rejected.messages.camera_info", 0)) > 0, every=tick)
        assert int(vehicle.status["images.left.dropped.no_camera_info"]) > 0
        vehicle.wait(lambda: "nan" in process.text, every=tick)


def test_failure_of_the_engine_is_reported_and_survived(namespace, tmp_path):
    with driving(namespace, tmp_path, environment={"FAKE_FAIL": "4"}) as (vehicle, process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: "ERROR" in vehicle.states, every=tick, period=0.3)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick, period=0.1)
        assert vehicle.status["frames.rejected.failure"] == "4"
        assert vehicle.status["last_error"] == "RuntimeError: the engine broke"
        assert "the engine broke" in process.text
        assert vehicle.status["last_output.notes"].startswith("resets=6")  # warm-up, start, one for each failure


def test_time_going_back_resets_and_goes_on(namespace, tmp_path):
    with driving(namespace, tmp_path) as (vehicle, _process):
        tick = Ticker(vehicle, start=1000 * SECOND)
        vehicle.wait(lambda: len(vehicle.heard["points"]) >= 5, every=tick)
        resets = vehicle.status["last_output.notes"].split(";")[0]
        tick.stamp = 995 * SECOND
        begin = len(tick.sent)
        vehicle.wait(lambda: ns(vehicle.heard["points"][-1].header.stamp) in tick.sent[begin + 3:], every=tick)
        vehicle.wait(lambda: vehicle.status["time_jumps"] == "1", every=tick)
        vehicle.wait(lambda: vehicle.status["last_output.notes"].split(";")[0] != resets, every=tick)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        assert call(vehicle, Trigger, "reset", Trigger.Request()).success


def test_lifecycle(namespace, tmp_path):
    vehicle = Vehicle(namespace, CAMERAS)
    vehicle.place_cameras()

    def change(transition):
        request = ChangeState.Request()
        request.transition.id = transition
        return call(vehicle, ChangeState, "change_state", request).success

    def state():
        return call(vehicle, GetState, "get_state", GetState.Request()).current_state.label

    with Process(node_command(namespace, *FAST, "autostart:=false"), tmp_path / "node.log"):
        assert state() == "unconfigured"
        assert change(Transition.TRANSITION_CONFIGURE) and state() == "inactive"
        for _ in range(2):
            assert change(Transition.TRANSITION_ACTIVATE) and state() == "active"
            vehicle.wait_active()
            tick, before = Ticker(vehicle), len(vehicle.heard["points"])
            vehicle.wait(lambda before=before: len(vehicle.heard["points"]) > before, every=tick)
            assert change(Transition.TRANSITION_DEACTIVATE) and state() == "inactive"
            vehicle.wait(lambda: vehicle.status["state"] == "INACTIVE")
            assert not any(publisher.get_subscription_count() for publisher in vehicle.images.values())
        assert change(Transition.TRANSITION_CLEANUP) and state() == "unconfigured"
        assert change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN) and state() == "finalized"
    vehicle.destroy_node()


def test_parameters_change_together_or_not_at_all(namespace, tmp_path):
    def double(name, value):
        return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value))

    with driving(namespace, tmp_path) as (vehicle, _process):
        def set_all(*parameters):
            request = SetParametersAtomically.Request(parameters=list(parameters))
            return call(vehicle, SetParametersAtomically, "set_parameters_atomically", request).result

        assert set_all(double("occupancy.decay", 0.25)).successful
        tick = Ticker(vehicle)
        vehicle.wait(lambda: "decay=0.25" in vehicle.status.get("last_output.notes", ""), every=tick)
        refused = set_all(double("occupancy.decay", 0.5), double("occupancy_grid.max_height", -1.0))
        assert not refused.successful and "occupancy_grid.max_height" in refused.reason
        assert not set_all(double("occupancy.voxel_size", 0.2)).successful  # read-only
        before = len(vehicle.heard["points"])
        vehicle.wait(lambda: len(vehicle.heard["points"]) > before + 3, every=tick)
        assert "decay=0.25" in vehicle.status["last_output.notes"]


def test_compressed_images_are_found_and_latched_tf_must_be_latched(namespace, tmp_path):
    with driving(namespace, tmp_path, compressed=True) as (vehicle, process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        assert vehicle.status["images.front.topic"].endswith("/input/front/image/compressed")
        vehicle.place_cameras(qos=10)  # a second publisher of /tf_static, not latched
        vehicle.wait(lambda: "QoS does not fit in DURABILITY" in process.text, every=tick)
        vehicle.wait(lambda: any(key.endswith("incompatible_qos") for key in vehicle.status), every=tick)


def test_twelve_cameras_and_motion_from_tf(namespace, tmp_path):
    names = tuple(f"camera_{number}" for number in range(12))
    with driving(namespace, tmp_path, f"cameras:=[{', '.join(names)}]", cameras=names,
                 motion_by_tf=True) as (vehicle, _process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick, period=0.2)
        assert vehicle.status["cameras.contributing"] == ",".join(names)
        assert vehicle.status["last_output.ego_motion"] == "true"


def test_one_grey_camera_without_motion(namespace, tmp_path):
    def grey(image, info):
        image.encoding, image.step, image.data = "mono8", image.width, image.data[:image.width * image.height]

    with driving(namespace, tmp_path, "cameras:=[front]", cameras=("front",)) as (vehicle, _process):
        tick = Ticker(vehicle, changes={"front": grey})
        vehicle.move = lambda stamp, x: None
        vehicle.wait(lambda: len(vehicle.heard["points"]) >= 3 and "ego motion" in vehicle.sentence, every=tick)
        assert vehicle.status["state"] == "DEGRADED" and vehicle.status["cameras.missing"] == ""


def test_camera_that_never_appears_is_named_with_the_remedy(namespace, tmp_path):
    with driving(namespace, tmp_path, "cameras:=[front, left, right, rear]") as (vehicle, process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "DEGRADED", every=tick)
        vehicle.wait(lambda: "remap ~/input/rear/image" in process.text, every=tick)
        assert vehicle.status["cameras.missing"] == "rear"


def shared_memory_of(pid: str) -> set[str]:
    """Large segments of Fast DDS that a process has mapped."""
    try:
        lines = Path("/proc", pid, "maps").read_text().splitlines()
    except OSError:
        return set()
    return {found for line in lines for found in re.findall(r"/dev/shm/fastdds_[0-9a-f]{16}$", line)}


@pytest.mark.parametrize("word", ["SIGINT", "SIGTERM"])
def test_clean_exit_in_the_middle_of_a_reconstruction(namespace, tmp_path, word):
    with driving(namespace, tmp_path, environment={"FAKE_DELAY": "30"}) as (vehicle, process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["frames.pending"] == "2", every=tick)
        segments = shared_memory_of(str(process.popen.pid))
        begin = time.monotonic()
        process.popen.send_signal(getattr(signal, word))
        assert process.popen.wait(5) == 0
        assert time.monotonic() - begin < busy(2.0)
        assert "Traceback" not in process.text
        in_use = set().union(*(shared_memory_of(folder.name) for folder in Path("/proc").glob("[0-9]*")))
        assert [name for name in segments - in_use if Path(name).exists()] == []


@pytest.mark.parametrize("parameters, words", [
    (["occupancy.voxel_sise:=0.2"], ["occupancy.voxel_sise", "occupancy.voxel_size"]),
    (["occupancy.voxel_size:=-1.0"], ["occupancy.voxel_size", "outside"]),
    ([], ["no cameras", "rig_file"]),
    (["rig_file:=/nowhere/rig.yaml"], ["/nowhere/rig.yaml"]),
    (["cameras:=[front]", "sync.reference:=left"], ["sync.reference", "left"]),
])
def test_parameters_that_cannot_be_used_end_the_start(namespace, tmp_path, parameters, words):
    with Process(node_command(namespace, *parameters), tmp_path / "node.log") as process:
        assert process.popen.wait(20) == 1
        assert all(word in process.text for word in words), process.text
        assert "Traceback" not in process.text
