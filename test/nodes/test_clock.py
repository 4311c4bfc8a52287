"""The clock of the node: /clock that jumps, loops or stands still, over the real middleware."""

import time

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from rosgraph_msgs.msg import Clock
from test_live_node import driving
from vehicle import SECOND, Ticker, as_time, ns

from img2three_ros.nodes.time_watch import TimeWatch


def test_a_clock_that_loops_jumps_or_stands_still(namespace, tmp_path):
    with driving(namespace, tmp_path, "use_sim_time:=true", "status.stale_after:=2.0") as (vehicle, process):
        clock = vehicle.create_publisher(Clock, "/clock", 10)
        tick = Ticker(vehicle, start=1000 * SECOND)

        def play():
            clock.publish(Clock(clock=as_time(tick.stamp + SECOND // 10)))
            tick()

        def resets():
            return vehicle.status.get("last_output.notes", "").split(";")[0]

        # Images may come, and be used, before the node has found /clock.
        vehicle.wait(lambda: vehicle.status["state"] == "OK"
                     and vehicle.status["images.front.latency_ms"] != "unknown", every=play)
        assert vehicle.status["clock_jumps"] == "0"  # the first /clock is no jump
        for count, (jump, words) in enumerate(((-20, "-19.9"), (300, "+300.1"), (-290, "-289.9")), start=1):
            before, begin = resets(), len(tick.sent)
            tick.stamp += jump * SECOND
            vehicle.wait(lambda count=count: vehicle.status["clock_jumps"] == str(count), every=play)
            assert words in vehicle.status["last_time_jump"]
            vehicle.wait(lambda before=before: resets() != before, every=play)
            vehicle.wait(lambda: vehicle.status["state"] == "OK", every=play)
            first = next(stamp for message in vehicle.heard["points"]
                         if (stamp := ns(message.header.stamp)) in set(tick.sent[begin:]))
            assert first in tick.sent[begin:begin + 4]
        assert vehicle.status["time_jumps"] == "0" and "everything is reset" in process.text
        # /clock stands still, the cameras go on: they are still put together, and it is said.
        before = len(vehicle.heard["points"])
        tick.options["skip"] = ("left",)
        vehicle.wait(lambda: "stood still" in vehicle.sentence and len(vehicle.heard["points"]) >= before + 3,
                     every=tick)
        # Everything is paused: nothing is published, and that is the state.
        vehicle.wait(lambda: vehicle.status["state"] == "STALE" and "no fresh image" in vehicle.sentence)
        tick.options["skip"] = ()
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=play)


@pytest.fixture
def node():
    made = Node("clocks", parameter_overrides=[Parameter("use_sim_time", value=True)])
    yield made
    made.destroy_node()


def set_clock(node, publisher, stamp):
    publisher.publish(Clock(clock=as_time(stamp)))
    end = time.monotonic() + 10
    while node.get_clock().now().nanoseconds != stamp:
        assert time.monotonic() < end
        rclpy.spin_once(node, timeout_sec=0.02)


def test_jumps_are_told_by_how_much_and_images_wait_no_longer_than_steady_time(node):
    jumps = []
    watch = TimeWatch(node, 0.5, 5.0, jumps.append)
    publisher = node.create_publisher(Clock, "/clock", 10)
    base = 5000 * SECOND
    for stamp in (base, base + SECOND, base + SECOND - SECOND // 10, base + 4 * SECOND):
        set_clock(node, publisher, stamp)
        assert watch.waiting() >= stamp
    assert jumps == []  # the first, a step, a little back, three seconds on
    set_clock(node, publisher, base + 60 * SECOND)
    set_clock(node, publisher, base)
    assert jumps == [pytest.approx(56.0), pytest.approx(-60.0)]
    first = watch.waiting()
    assert watch.standstill() == 0.0
    time.sleep(1.3)
    assert watch.standstill() > 1.2
    assert 0.2 < (watch.waiting() - first) / SECOND < 60.0
    paused = watch.waiting()
    set_clock(node, publisher, base + SECOND // 10)
    assert watch.standstill() == 0.0 and watch.waiting() >= paused  # never back without a jump
