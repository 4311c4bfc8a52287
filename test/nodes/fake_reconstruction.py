"""The live node with a pipeline that does nothing but take time, or fail: what surrounds it is under test.

Run as a program; FAKE_LOAD and FAKE_DELAY (s), FAKE_FAIL (a count of frames that fail first), FAKE_UNSOUND (the
warm-up gives points that are not finite), FAKE_BREAK_ONCE (loading fails the first time) and FAKE_SHUTDOWN (ROS is
shut down while the first result is published) in the environment.
"""

import os
import sys
import time

import numpy as np
import rclpy

from img2three_ros.config import Config
from img2three_ros.nodes import reconstruction_node
from img2three_ros.nodes.outputs import Outputs
from img2three_ros.nodes.reconstruction_node import start
from img2three_ros.nodes.spin import run_node
from img2three_ros.structures import Frame, OccupancyVolume, PointCloud, Reconstruction

POINTS = 50


class FakePipeline:
    device = "fake"

    def __init__(self, config: Config) -> None:
        time.sleep(float(os.environ.get("FAKE_LOAD", "0")))
        if os.environ.pop("FAKE_BREAK_ONCE", ""):
            raise RuntimeError("out of memory")
        self.config = config
        self.failures_left = int(os.environ.get("FAKE_FAIL", "0"))
        self.resets = 0

    def process(self, frame: Frame) -> Reconstruction:
        if frame.stamp == 1:  # the warm-up
            result = fake_result(frame)
            if os.environ.get("FAKE_UNSOUND"):
                result.cloud.points[0, 0] = np.nan
            return result
        time.sleep(float(os.environ.get("FAKE_DELAY", "0")))
        if self.failures_left > 0:
            self.failures_left -= 1
            raise RuntimeError("the engine broke")
        return fake_result(frame, self.resets, self.config.occupancy.decay)

    def observe(self, frame: Frame) -> None:
        pass

    def reset(self) -> None:
        self.resets += 1

    def reconfigure(self, config: Config) -> None:
        self.config = config


def fake_result(frame: Frame, resets: int = 0, decay: float = 0.0) -> Reconstruction:
    """Points on a line, one occupied and one free voxel; notes tell of resets and decay."""
    points = np.stack([np.arange(POINTS), np.zeros(POINTS), np.ones(POINTS)], axis=1).astype(np.float32)
    cloud = PointCloud(points, np.full((POINTS, 3), (10, 20, 30), np.uint8), np.full(POINTS, 0.5, np.float32))
    state = np.full((4, 6, 8), -1, np.int8)
    state[2, 3, 4], state[:, 1, 1] = 1, 0
    probability = np.where(state == 1, 0.9, np.where(state == 0, 0.1, 0.5)).astype(np.float32)
    volume = OccupancyVolume(state, probability, np.array((-4.0, -3.0, -1.0)), 1.0)
    return Reconstruction(frame.stamp, frame.base_frame, cloud, cloud.select(np.arange(10)), volume, (),
                          frame.present, frame.missing, {"fake": 1.0}, (f"resets={resets}", f"decay={decay}"))


class LastOutputs(Outputs):
    def publish(self, *arguments):
        rclpy.shutdown()
        return super().publish(*arguments)


if __name__ == "__main__":
    if os.environ.get("FAKE_SHUTDOWN"):
        reconstruction_node.Outputs = LastOutputs
    sys.exit(run_node(lambda: start(FakePipeline)))
