"""What the reporter says when a device fails, and when QoS does not fit and then does."""

import time

import pytest

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from fake_reconstruction import FakePipeline
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from img2three_ros.nodes.complaints import Complaints
from img2three_ros.nodes.parameters import NodeConfig
from img2three_ros.nodes.qos import reliable_qos, sensor_qos, subscribe
from img2three_ros.nodes.reconstruction_node import ReconstructionNode
from img2three_ros.nodes.reporter import Reporter
from img2three_ros.nodes.spin import handle_one
from img2three_ros.nodes.time_watch import TimeWatch


@pytest.fixture
def node(namespace):
    made = Node("img2three", namespace=namespace)
    yield made
    made.destroy_node()


def reporter_of(node, said):
    return Reporter(node, NodeConfig(), Complaints(said.append), TimeWatch(node, 0.5, 5.0, said.append))


def until(node, condition):
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        handle_one(node, 0.05)


def test_a_gpu_that_does_not_answer_is_reported_and_breaks_no_report(node):
    said = []
    reporter = reporter_of(node, said)

    def broken(device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    reporter.engine_loaded({"device": "cuda:0"}, broken)
    reporter.publish()
    assert "illegal memory access" in reporter._facts()["device_problem"]
    assert len(said) == 1 and "illegal memory access" in said[0]


def test_a_timer_that_raises_does_not_end_the_node(monkeypatch):
    calls = []

    def broken(reporter):
        calls.append(1)
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(Reporter, "publish", broken)
    made = ReconstructionNode(FakePipeline)
    try:
        until(made, lambda: calls)
    finally:
        made.destroy_node()


def test_qos_that_does_not_fit_is_named_until_it_does(node, namespace):
    reporter, topic, heard = reporter_of(node, []), f"{namespace}/camera_info", []
    other = Node("driver", namespace=namespace)
    try:
        subscribe(node, CameraInfo, topic, heard.append, reliable_qos(), reporter.incompatible)
        publisher = other.create_publisher(CameraInfo, topic, sensor_qos())
        until(node, lambda: topic in reporter._facts()["incompatible_qos"])
        other.destroy_publisher(publisher)
        publisher = other.create_publisher(CameraInfo, topic, reliable_qos())
        until(node, lambda: publisher.publish(CameraInfo()) or heard)
        until(node, lambda: not reporter._facts()["incompatible_qos"])
        assert reporter._facts()[f"rejected.{topic.lstrip('/')}.incompatible_qos"] == "1"  # it stays counted
    finally:
        other.destroy_node()
