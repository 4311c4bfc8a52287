"""States of the node: what is said when cameras, results or transitions fail; figures of cameras and outputs."""

import signal
import sys
import time

import numpy as np
import pytest

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import LivelinessPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from test_live_node import CAMERAS, FAST, call, driving
from vehicle import FAKE_NODE, REAL_NODE, Process, Ticker, Vehicle, busy, node_command, ns

from img2three_ros.nodes.camera_watch import CameraWatch
from img2three_ros.nodes.input_age import FAR
from img2three_ros.nodes.mailbox import Mailbox
from img2three_ros.nodes.parameters import StatusConfig
from img2three_ros.nodes.rate_limit import RateLimit
from img2three_ros.nodes.status import CameraReport, Monitor, State, judge, judge_camera, report
from img2three_ros.structures import Frame, OccupancyVolume, PointCloud, Reconstruction

SECOND = 1_000_000_000


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def camera(name, silent=0.1, **values):
    return CameraReport(name, f"/{name}", silent, 10, 10, 0, {}, **values)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def monitor(clock):
    made = Monitor(clock)
    made.activated(True)
    clock.now += 10.0
    return made


def publish(monitor, missing=(), topics=("points",)):
    empty = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
    volume = OccupancyVolume(np.full((1, 1, 1), -1, np.int8), np.full((1, 1, 1), 0.5, np.float32), np.zeros(3), 1.0)
    frame = Frame(SECOND, (), ("front", "left"), np.eye(4))
    result = Reconstruction(SECOND, "base_link", empty, empty, volume, (), ("front", "left"), tuple(missing), {})
    monitor.published(frame, result, 0.2, 0.1, topics)


def state(monitor, *cameras, **options):
    health = judge(monitor.snapshot(), cameras or (camera("front"), camera("left")), StatusConfig(), **options)
    return health.state, health.sentence()


def test_the_worst_of_what_holds_is_the_state(monitor, clock):
    assert state(monitor)[0] is State.STALE  # nothing published yet
    publish(monitor)
    assert state(monitor) == (State.OK, "OK")
    found, sentence = state(monitor, camera("front"), camera("left", silent=3.0))
    assert found is State.DEGRADED and "'left' silent for 3.0 s" in sentence
    found, sentence = state(monitor, camera("front"), camera("left", trouble="its clock is off"))
    assert found is State.DEGRADED and "clock is off" in sentence
    found, sentence = state(monitor, camera("front"), camera("left", disabled=True))
    assert found is State.DEGRADED and "'left' is disabled" in sentence
    found, sentence = state(monitor, camera("front", silent=3.0), camera("left"), required=("front",))
    assert found is State.ERROR and "required camera front" in sentence
    found, sentence = state(monitor, camera("front"), camera("left", silent=None), min_cameras=2)
    assert found is State.ERROR and "only 1 of 2 cameras" in sentence
    found, sentence = state(monitor, camera("front", silent=3.0), camera("left", silent=3.0))
    assert found is State.STALE and "no fresh image from any camera" in sentence
    found, sentence = state(monitor, standstill=4.0)
    assert found is State.DEGRADED and "stood still for 4.0 s" in sentence
    clock.now += 6.0
    assert state(monitor)[0] is State.STALE
    publish(monitor)
    assert state(monitor)[0] is State.OK
    monitor.error("RuntimeError: out of memory", failed=True)
    found, sentence = state(monitor)
    assert found is State.ERROR and "out of memory" in sentence
    monitor.activated(False)
    assert state(monitor)[0] is State.INACTIVE


def test_late_results_and_a_reconstruction_that_does_not_end_are_said(monitor, clock):
    publish(monitor)
    monitor.late(3.0, 1.0)
    monitor.late(3.5, 1.0)
    found, sentence = state(monitor)
    assert found is State.DEGRADED and "last 2 results" in sentence and "3.50 s" in sentence
    publish(monitor)
    assert state(monitor)[0] is State.OK
    monitor.begun()
    clock.now += 7.0
    found, sentence = state(monitor)
    assert found is State.STALE and "under way for 7.0 s" in sentence
    monitor.ended()
    assert "under way" not in state(monitor)[1]


def test_figures_of_outputs_and_cameras_are_reported(monitor, clock):
    for _ in range(5):
        publish(monitor, topics=("points",))
        clock.now += 0.5
    watch = CameraWatch(clock)
    for index in range(5):
        watch.seen("front", 50 * SECOND + index * SECOND // 5, 50 * SECOND + index * SECOND // 5 + 30_000_000)
        clock.now += 0.2
    assert watch.rate("front") == pytest.approx(5.0) and watch.latency("front") == pytest.approx(0.03)
    assert watch.silent("front") == pytest.approx(0.2) and watch.silent("left") is None
    one = camera("front", rate=watch.rate("front"), latency=watch.latency("front"), lag=0.012,
                 last_stamp=watch.last_stamp("front"))
    values = report(judge(monitor.snapshot(), [one], StatusConfig()), monitor.snapshot(), [one],
                    Mailbox().counts(), {})
    assert values["outputs.points.rate_hz"] == "2.00" and "outputs.occupancy_grid.rate_hz" not in values
    assert values["images.front.rate_hz"] == "5.00" and values["images.front.latency_ms"] == "30.0"
    assert values["images.front.last_stamp_ns"] == str(50 * SECOND + 4 * SECOND // 5)
    assert values["images.front.lag_ms"] == "12.0"
    watch.jumped()
    assert watch.latency("front") is None and watch.last_stamp("front") == 0 and watch.silent("front") is not None


def test_stamps_of_the_future_are_named_and_stamps_of_another_clock_give_no_latency(clock):
    watch = CameraWatch(clock)
    watch.seen("front", 100 * SECOND, 90 * SECOND)
    assert "10.00 s ahead of the clock of this node" in watch.problem("front")
    watch.seen("left", 100 * SECOND, 100 * SECOND + 2 * FAR)
    watch.seen("right", 0, 100 * SECOND)
    assert watch.problem("left") == "" and watch.latency("left") is None and watch.latency("right") is None
    assert judge_camera(camera("front", trouble=watch.problem("front")), StatusConfig()).state is State.DEGRADED


def test_the_rate_is_limited_by_stamps_and_a_jump_frees_it():
    limit = RateLimit()
    stamps = [index * SECOND // 10 for index in range(100)]
    assert sum(limit.allows(stamp, 2.0) for stamp in stamps) == 20
    assert all(limit.allows(stamp, 0.0) for stamp in stamps)
    assert limit.allows(99 * SECOND, 2.0) and limit.allows(5 * SECOND, 2.0) and not limit.allows(5 * SECOND + 1, 2.0)
    limit.reset()
    assert limit.allows(5 * SECOND + 2, 2.0)


def double(name, value):
    return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value))


def set_all(vehicle, *parameters):
    request = SetParametersAtomically.Request(parameters=list(parameters))
    return call(vehicle, SetParametersAtomically, "set_parameters_atomically", request).result


def test_late_results_are_not_published_and_settings_change_while_running(namespace, tmp_path):
    names = ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=["left"])
    with driving(namespace, tmp_path, environment={"FAKE_DELAY": "0.3"}) as (vehicle, _process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        assert float(vehicle.status["images.front.rate_hz"]) > 1.0 and vehicle.status["incompatible_qos"] == ""
        vehicle.wait(lambda: float(vehicle.status.get("outputs.points.rate_hz", 0)) > 0.2, every=tick)
        assert set_all(vehicle, double("max_output_delay", 0.1)).successful
        vehicle.wait(lambda: "not published" in vehicle.sentence and
                     int(vehicle.status.get("frames.rejected.late_output", 0)) >= 2, every=tick)
        published = len(vehicle.heard["points"])
        vehicle.wait(lambda: int(vehicle.status["frames.rejected.late_output"]) >= 5, every=tick)
        assert len(vehicle.heard["points"]) == published
        grid = [double("occupancy.x_max", 20.0), double("max_output_delay", 0.0), double("max_rate", 1.0)]
        assert set_all(vehicle, *grid, Parameter(name="disabled_cameras", value=names)).successful
        vehicle.wait(lambda: "'left' is disabled" in vehicle.sentence, every=tick)
        vehicle.wait(lambda: vehicle.status["cameras.contributing"] == "front,right", every=tick)
        assert vehicle.status["voxel_grid.size_voxels"].startswith("150,")
        assert int(vehicle.status["frames.rejected.max_rate"]) > 0
        assert int(vehicle.status["images.left.dropped.disabled"]) > 0
        refused = set_all(vehicle, double("occupancy.x_max", 900.0), double("occupancy.y_max", 900.0))
        assert not refused.successful and "million voxels" in refused.reason


def test_outputs_promise_a_deadline_and_liveliness_and_match_who_asks_for_neither(namespace, tmp_path):
    missed, lost = [], []
    asked = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, deadline=Duration(seconds=0.6),
                       liveliness=LivelinessPolicy.AUTOMATIC, liveliness_lease_duration=Duration(seconds=1.0))
    events = SubscriptionEventCallbacks(deadline=missed.append, liveliness=lost.append)
    with driving(namespace, tmp_path, "promises.deadline:=0.5", "promises.lease:=1.0") as (vehicle, process):
        heard = []
        vehicle.create_subscription(PointCloud2, f"{vehicle.node}/output/points", heard.append, asked,
                                    event_callbacks=events)
        tick = Ticker(vehicle)
        vehicle.wait(lambda: len(heard) >= 3 and len(vehicle.heard["points"]) >= 3, every=tick)
        vehicle.wait(lambda: missed != [], 10)  # nothing is sent, nothing comes
        process.popen.kill()
        vehicle.wait(lambda: any(event.alive_count == 0 for event in lost), 20)


def change(vehicle, transition, timeout=20.0):
    request = ChangeState.Request()
    request.transition.id = transition
    return call(vehicle, ChangeState, "change_state", request, timeout).success


def label(vehicle):
    return call(vehicle, GetState, "get_state", GetState.Request()).current_state.label


def test_an_engine_that_fails_its_self_test_is_not_activated(namespace, tmp_path):
    with Process(node_command(namespace, *FAST), tmp_path / "node.log", FAKE_UNSOUND="1") as process:
        assert process.popen.wait(30) == 1
        assert "self-test" in process.text and "points are not finite" in process.text
        assert "Traceback" not in process.text


def test_an_error_in_a_transition_goes_to_error_processing_and_the_node_can_be_configured_anew(namespace, tmp_path):
    vehicle = Vehicle(namespace, CAMERAS)
    with Process(node_command(namespace, *FAST, "autostart:=false"), tmp_path / "node.log",
                 FAKE_BREAK_ONCE="1") as process:
        assert not change(vehicle, Transition.TRANSITION_CONFIGURE) and label(vehicle) == "unconfigured"
        assert "RuntimeError: out of memory" in process.text and "everything was let go" in process.text
        vehicle.wait(lambda: "out of memory" in vehicle.status.get("last_error", ""))
        assert change(vehicle, Transition.TRANSITION_CONFIGURE) and label(vehicle) == "inactive"
        assert change(vehicle, Transition.TRANSITION_ACTIVATE) and label(vehicle) == "active"
    vehicle.destroy_node()


@pytest.mark.parametrize("word", ["SIGINT", "SIGTERM"])
def test_clean_exit_while_the_engine_loads(namespace, tmp_path, word):
    with Process(node_command(namespace, *FAST, command=FAKE_NODE), tmp_path / "node.log", FAKE_LOAD="60") as process:
        vehicle = Vehicle(namespace, ())
        vehicle.wait(lambda: vehicle.count_publishers(f"{vehicle.node}/status") > 0, 30)
        vehicle.destroy_node()
        time.sleep(0.5)
        begin = time.monotonic()
        process.popen.send_signal(getattr(signal, word))
        assert process.popen.wait(10) == 0
        assert time.monotonic() - begin < busy(2.0) and "Traceback" not in process.text


def wait_for(process, text, seconds=60.0):
    end = time.monotonic() + seconds
    while text not in process.text:
        assert process.popen.poll() is None and time.monotonic() < end, process.text
        time.sleep(0.02)


@pytest.mark.parametrize("word", ["SIGINT", "SIGTERM"])
def test_clean_exit_while_the_real_engine_loads(namespace, tmp_path, word):
    pytest.importorskip("onnxruntime")
    command = node_command(namespace, *FAST, "runtime.backend:=onnxruntime", command=REAL_NODE)
    with Process(command, tmp_path / "node.log") as process:
        wait_for(process, "runs in onnxruntime")  # said in the middle of loading
        begin = time.monotonic()
        process.popen.send_signal(getattr(signal, word))
        assert process.popen.wait(10) == 0, process.text
        assert time.monotonic() - begin < busy(2.0) and "Traceback" not in process.text


@pytest.mark.parametrize("word", ["SIGINT", "SIGTERM"])
def test_a_node_that_hangs_without_looking_at_ros_ends_all_the_same(tmp_path, word):
    hanging = "import time, rclpy; from img2three_ros.nodes.spin import run_node; run_node(lambda: (" \
              "print('here', flush=True), time.sleep(60)))"
    with Process([sys.executable, "-c", hanging], tmp_path / "node.log") as process:
        wait_for(process, "here")
        begin = time.monotonic()
        process.popen.send_signal(getattr(signal, word))
        assert process.popen.wait(10) == 0, process.text
        assert time.monotonic() - begin < busy(2.0)


def test_a_signal_before_ros_is_up_is_not_lost(tmp_path):
    early = "import os, signal, rclpy; from img2three_ros.nodes import spin; begin = rclpy.init\n" \
            "def init(**options): os.kill(os.getpid(), signal.SIGINT); begin(**options)\n" \
            "rclpy.init = init; raise SystemExit(spin.run_node(lambda: print('made')))"
    with Process([sys.executable, "-c", early], tmp_path / "node.log") as process:
        assert process.popen.wait(30) == 0, process.text
        assert "made" not in process.text and "Traceback" not in process.text


def test_a_result_that_comes_after_the_end_of_ros_is_no_error(namespace, tmp_path):
    with driving(namespace, tmp_path, environment={"FAKE_SHUTDOWN": "1"}) as (vehicle, process):
        vehicle.wait(lambda: process.popen.poll() is not None, 10, every=Ticker(vehicle))
        assert process.popen.returncode == 0 and "Traceback" not in process.text
        assert not vehicle.heard["points"]


def test_clean_exit_of_a_busy_executor(namespace, tmp_path):
    with driving(namespace, tmp_path, environment={"FAKE_DELAY": "0.2"}) as (vehicle, process):
        tick = Ticker(vehicle)
        vehicle.wait(lambda: len(tick.sent) >= 60, every=tick, period=0.005)
        process.popen.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        vehicle.wait(lambda: process.popen.poll() is not None, 10, every=tick, period=0.005)
        assert process.popen.returncode == 0 and time.monotonic() - begin < busy(2.0)
        assert "Traceback" not in process.text
    assert ns(vehicle.heard["points"][-1].header.stamp) in tick.sent


def test_a_required_camera_that_publishes_what_cannot_be_used_is_an_error_until_a_frame_succeeds(monitor, clock):
    publish(monitor)
    monitor.lacks("frame at 1 ns has no usable image of front (required_cameras)")
    assert state(monitor)[0] is State.ERROR and "no usable image of front" in state(monitor)[1]
    clock.now += 60.0  # it stays an error when outputs are old, too
    assert state(monitor)[0] is State.ERROR
    assert state(monitor, camera("front", 30.0), camera("left", 30.0))[0] is State.STALE
    publish(monitor)
    assert state(monitor)[0] is State.OK
