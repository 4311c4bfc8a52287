"""A recorded drive read with the standard reader, and the prerendered loop."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from rosbags.typesys import Stores, get_typestore

from img2three_ros.fileio.messages import stamp_ns
from img2three_ros.simulation.events import ImageEvent, LidarEvent, OdometryEvent, events, prerender, repeat
from img2three_ros.simulation.recording import RecordingSummary, record
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle
from img2three_ros.structures import InputError

CONFIG = SimulationConfig(seed=1, width=96, height=64, lidar_rings=8, lidar_step=3.0, view_range=40.0)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RecordingSummary:
    return record(tmp_path_factory.mktemp("drive") / "bag", 0.3, config=CONFIG, truth_depth=True)


def test_bag_holds_the_topics_of_a_real_recording(recorded):
    with AnyReader([recorded.path], default_typestore=get_typestore(Stores.ROS2_KILTED)) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        latched = next(c for c in reader.connections if c.topic == "/tf_static").ext.offered_qos_profiles
    assert counts == recorded.messages
    for camera in ("front", "front_left", "front_right", "back", "back_left", "back_right"):
        assert counts[f"/camera/{camera}/image_raw/compressed"] == counts[f"/camera/{camera}/camera_info"] == 3
        assert counts[f"/truth/{camera}/depth"] == 3
    assert counts["/lidar/points"] == 3 and counts["/tf_static"] == 1 and counts["/odom"] == counts["/tf"] == 21
    assert latched[0].durability == QosDurability.TRANSIENT_LOCAL
    assert 1.0 < recorded.distance < 4.0


def test_messages_say_what_the_vehicle_was(recorded):
    vehicle = SimulatedVehicle(CONFIG)
    with AnyReader([recorded.path], default_typestore=get_typestore(Stores.ROS2_KILTED)) as reader:
        found = [(c.topic, time, reader.deserialize(data, c.msgtype)) for c, time, data in reader.messages()]
    assert found[0][0] == "/tf_static"
    assert [time for _, time, _ in found] == sorted(time for _, time, _ in found)
    frames = {transform.child_frame_id for transform in found[0][2].transforms}
    assert frames == {f"{name}_optical_frame" for name in vehicle.camera_names} | {"lidar"}
    image = next(m for topic, _, m in found if topic == "/camera/back/image_raw/compressed")
    truth = vehicle.render("back", stamp_ns(image.header.stamp))
    decoded = cv2.imdecode(image.data, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decoded.astype(int) - truth.image).mean() < 4.0
    depth = next(m for topic, _, m in found if topic == "/truth/back/depth")
    assert np.array_equal(depth.data.view(np.float32).reshape(64, 96), truth.depth, equal_nan=True)
    assert depth.header.frame_id == "back_optical_frame" and depth.encoding == "32FC1"
    odometry = next(m for topic, _, m in found if topic == "/odom")
    position = odometry.pose.pose.position
    assert [position.x, position.y] == pytest.approx(vehicle.pose(stamp_ns(odometry.header.stamp))[:2, 3])
    lidar = next(m for topic, _, m in found if topic == "/lidar/points")
    points = lidar.data.view(np.float32).reshape(-1, 3)
    assert np.array_equal(points, vehicle.lidar(stamp_ns(lidar.header.stamp)))


def test_an_existing_output_is_not_overwritten(recorded):
    with pytest.raises(InputError, match="exists"):
        record(recorded.path, 0.1, config=CONFIG)
    with pytest.raises(InputError, match="seconds"):
        record(Path("/nonexistent/never"), 0.0, config=CONFIG)


def test_events_come_in_order_and_report_progress():
    seen: list[tuple[int, int]] = []
    vehicle = SimulatedVehicle(CONFIG)
    found = list(events(vehicle, 0.2, progress=lambda done, total: seen.append((done, total))))
    stamps = [event.stamp for event in found]
    assert stamps == sorted(stamps) and seen == [(1, 2), (2, 2)]
    assert sum(isinstance(event, ImageEvent) for event in found) == 12
    assert sum(isinstance(event, LidarEvent) for event in found) == 2
    images = [event.stamp for event in found if isinstance(event, ImageEvent)]
    odometry = [event.stamp for event in found if isinstance(event, OdometryEvent)]
    assert odometry[0] < images[0] and odometry[-1] > images[-1]


def test_several_processes_deliver_the_same():
    vehicle = SimulatedVehicle(CONFIG)
    alone, shared = prerender(vehicle, 0.2), prerender(vehicle, 0.2, processes=2)
    assert [event.stamp for event in alone] == [event.stamp for event in shared]
    for one, other in zip(alone, shared, strict=True):
        if isinstance(one, ImageEvent):
            assert isinstance(other, ImageEvent) and one.camera == other.camera and one.jpeg == other.jpeg
        elif isinstance(one, LidarEvent):
            assert isinstance(other, LidarEvent) and np.array_equal(one.points, other.points)


def test_a_loop_of_one_period_has_no_seam():
    config = SimulationConfig(seed=1, width=32, height=32, period=4.0, rate=1.0, lidar_rings=4, lidar_step=5.0,
                              view_range=20.0, shadows=False)
    vehicle = SimulatedVehicle(config)
    laps = list(itertools.islice(repeat(prerender(vehicle, 4.0), vehicle, 4.0), 480))
    odometry = [event for event in laps if isinstance(event, OdometryEvent)]
    gaps = np.diff([event.stamp for event in odometry])
    assert gaps.min() > 0 and set(gaps) == {20_000_000}
    assert odometry[-1].stamp > vehicle.stamp(0) + 7_000_000_000
    for event in odometry[::23]:
        assert event.T_odom_base == pytest.approx(vehicle.pose(event.stamp), abs=1e-6)
