"""Reconstruction -> messages, read back field by field; and the health of the node without ROS."""

from array import array

import numpy as np
import pytest
from fake_reconstruction import fake_result
from rclpy.time import Time

from img2three_ros.config import OccupancyConfig
from img2three_ros.fileio.occupancy_grid import OccupancyGridConfig, occupancy_grid_values
from img2three_ros.fileio.point_cloud2 import dense_cloud, observed_voxels, obstacle_cloud, occupied_voxels, read_cloud
from img2three_ros.nodes.conversions import bounds_message, byte_array, cloud_message, grid_message, stamp_ns
from img2three_ros.nodes.input_age import InputAge
from img2three_ros.nodes.mailbox import MailboxCounts
from img2three_ros.nodes.parameters import StatusConfig
from img2three_ros.nodes.status import CameraReport, Monitor, State, judge, judge_camera, report
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, Frame, OccupancyVolume, PointCloud

STAMP = 1_700_000_000_123_456_789


def test_dense_cloud_read_back():
    cloud = PointCloud(np.array([[1, 2, 3], [4, np.nan, 6]], np.float32), np.array([[255, 1, 2], [3, 4, 5]], np.uint8),
                       np.array([0.25, 1.0], np.float32))
    message = cloud_message(dense_cloud(cloud), STAMP, "base_link")
    assert stamp_ns(message.header.stamp) == STAMP and message.header.frame_id == "base_link"
    assert isinstance(message.data, array) and len(message.data) == message.row_step == 2 * message.point_step
    assert not message.is_dense and message.height == 1 and message.width == 2
    points = read_cloud(message)
    assert points["x"].tolist() == [1, 4] and points["confidence"].tolist() == [0.25, 1.0]
    assert points["rgb"].view(np.uint32).tolist() == [0xFF0102, 0x030405]
    finite = cloud_message(obstacle_cloud(cloud), STAMP, "base_link")
    assert finite.width == 1 and finite.is_dense


def test_empty_clouds_are_valid():
    nothing = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
    volume = column_volume([(UNKNOWN, UNKNOWN)])
    for layout in (dense_cloud(nothing), obstacle_cloud(nothing), occupied_voxels(volume), observed_voxels(volume)):
        message = cloud_message(layout, STAMP, "base_link")
        assert message.width == 0 and len(message.data) == 0 and message.fields


def test_bytes_of_a_view_that_is_not_contiguous():
    data = np.arange(12, dtype=np.uint16).reshape(3, 4)[:, ::2]
    assert byte_array(data).tobytes() == np.ascontiguousarray(data).tobytes()


def column_volume(columns) -> OccupancyVolume:
    """One row of cells; each column lists the states from z = 0 upwards, 1 m voxels."""
    state = np.array(columns, np.int8).T[:, None, :]
    probability = np.select([state == OCCUPIED, state == FREE], [0.8, 0.1], 0.5).astype(np.float32)
    return OccupancyVolume(state, probability, np.array((10.0, 20.0, 0.0)), 1.0)


def test_grid_dialects_and_unknown_is_never_free():
    # In the band 0..2 m: free; unknown; occupied; half free; free only above the band.
    volume = column_volume([(FREE, FREE, OCCUPIED), (UNKNOWN, UNKNOWN, FREE), (FREE, OCCUPIED, FREE),
                            (FREE, UNKNOWN, FREE), (UNKNOWN, UNKNOWN, FREE)])
    band = {"min_height": 0.0, "max_height": 2.0}
    ros = occupancy_grid_values(volume, OccupancyGridConfig(min_free_share=1.0, **band))
    assert ros.tolist() == [[0, -1, 100, -1, -1]]
    some = occupancy_grid_values(volume, OccupancyGridConfig(min_free_share=0.5, **band))
    assert some.tolist() == [[0, -1, 100, 0, -1]]
    autoware = occupancy_grid_values(volume, OccupancyGridConfig("autoware", min_free_share=1.0, **band))
    assert autoware.tolist() == [[10, 50, 80, 50, 50]]
    message = grid_message(volume, STAMP, "base_link", OccupancyGridConfig(min_free_share=1.0, **band))
    assert message.data.tolist() == [0, -1, 100, -1, -1]
    assert (message.info.width, message.info.height, message.info.resolution) == (5, 1, 1.0)
    assert (message.info.origin.position.x, message.info.origin.position.y) == (10.0, 20.0)


def test_bounds_are_the_box_of_the_grid():
    marker = bounds_message(OccupancyConfig(x_min=-10.0, x_max=30.0, y_min=-5.0, y_max=5.0, z_min=-1.0, z_max=3.0),
                            "base_link")
    assert (marker.pose.position.x, marker.pose.position.y, marker.pose.position.z) == (10.0, 0.0, 1.0)
    assert (marker.scale.x, marker.scale.y, marker.scale.z) == (40.0, 10.0, 4.0)


def camera(name, silent=0.1, problem=""):
    return CameraReport(name, f"/{name}", silent, 10, 9, 0, {"late": 1}, problem)


def monitor_at(published_at=100.0, now=100.2, missing=(), pose=True):
    clock = [0.0]
    monitor = Monitor(clock=lambda: clock[0])
    monitor.activated(True)
    clock[0] = published_at
    frame = Frame(STAMP, (), ("front", "left"), np.eye(4) if pose else None)
    result = fake_result(frame)
    result = type(result)(**{**vars(result), "missing": missing, "cameras": ("front",)})
    monitor.published(frame, result, 0.2, 0.1)
    clock[0] = now
    return monitor


@pytest.mark.parametrize("monitor, cameras, options, state", [
    (monitor_at(), [camera("front"), camera("left")], {}, State.OK),
    (monitor_at(), [camera("front"), camera("left", 3.0)], {}, State.DEGRADED),
    (monitor_at(missing=("left",)), [camera("front"), camera("left")], {}, State.DEGRADED),
    (monitor_at(pose=False), [camera("front"), camera("left")], {}, State.DEGRADED),
    (monitor_at(now=106.0), [camera("front"), camera("left")], {}, State.STALE),
    (monitor_at(), [camera("front"), camera("left", None)], {"required": ("left",)}, State.ERROR),
    (monitor_at(), [camera("front"), camera("left", None)], {"min_cameras": 2}, State.ERROR),
    (monitor_at(now=106.0), [camera("front", 6.0), camera("left", 6.0)], {"required": ("left",)}, State.STALE),
    (Monitor(), [camera("front")], {}, State.INACTIVE),
])
def test_health(monitor, cameras, options, state):
    health = judge(monitor.snapshot(), cameras, StatusConfig(), **options)
    assert health.state == state
    assert bool(health.reasons) == (state != State.OK)


class StoppedClock:
    def __init__(self, seconds):
        self.seconds = seconds

    def now(self):
        return Time(nanoseconds=round(self.seconds * 1e9))


def test_age_of_images():
    said = []
    age = InputAge(StoppedClock(1000.0), said.append)
    second = 10**9
    assert age.refuses("/front", 999 * second, 2.0) is None
    assert age.refuses("/front", 990 * second, 2.0)[0] == "too_old"
    assert age.refuses("/front", 1002 * second, 2.0)[0] == "future_stamp"
    assert age.refuses("/front", 990 * second, 0.0) is None and not said
    assert age.refuses("/front", 900 * second, 0.0) is None  # far away: said once
    assert age.refuses("/front", 900 * second, 0.0) is None
    assert len(said) == 1 and "use_sim_time" in said[0]
    assert InputAge(StoppedClock(0.0), said.append).refuses("/front", 5 * second, 2.0) is None


def test_failure_is_an_error_until_a_frame_succeeds():
    monitor = monitor_at()
    cameras = [camera("front"), camera("left")]
    monitor.error("RuntimeError: broke", failed=True)
    assert judge(monitor.snapshot(), cameras, StatusConfig()).state == State.ERROR
    frame = Frame(STAMP, (), (), np.eye(4))
    monitor.published(frame, fake_result(frame), 0.1, 0.1)
    assert judge(monitor.snapshot(), cameras, StatusConfig()).state == State.OK


def test_report_has_the_figures():
    snapshot = monitor_at().snapshot()
    cameras = [camera("front"), camera("left", None, "nobody publishes /left")]
    health = judge(snapshot, cameras, StatusConfig())
    values = report(health, snapshot, cameras, MailboxCounts(10, 6, 2, {"reset": 1}, 1), {"engine": "sweep"})
    assert values["state"] == "DEGRADED" and values["cameras.expected"] == "front,left"
    assert values["latency.stamp_to_publish.median_ms"] == "200.0"
    assert values["latency.receive_to_publish.p95_ms"] == "100.0"
    assert (values["frames.rejected"], values["frames.rejected.reset"], values["frames.pending"]) == ("1", "1", "1")
    assert values["images.front.dropped.late"] == "1" and values["images.left.silent_s"] == "never seen"
    assert values["engine"] == "sweep" and values["last_output.stamp_ns"] == str(STAMP)
    assert "nobody publishes /left" in health.sentence()
    assert judge_camera(cameras[1], StatusConfig()).state == State.STALE
    assert judge_camera(cameras[0], StatusConfig()).state == State.OK
