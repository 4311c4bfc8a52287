"""ROS in the test process, and a namespace of its own for every test."""

import itertools

import pytest

rclpy = pytest.importorskip("rclpy", reason="the nodes need ROS 2")

_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def namespace() -> str:
    return f"/test_{next(_numbers)}"
