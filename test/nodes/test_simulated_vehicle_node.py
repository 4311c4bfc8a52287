"""The simulated vehicle as a process: what a real one would publish, repeating without a jump."""

import signal
import sys
import time
from itertools import pairwise

import pytest
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image
from vehicle import Process, Vehicle, ns

from img2three_ros.nodes.simulated_vehicle_node import SimulatedVehicleConfig
from img2three_ros.structures import InputError

TINY = {"period": 4.0, "speed": 15.0, "rate": 1.0, "width": 64, "height": 48, "lidar": "false", "shadows": "false",
        "traffic": 0.0, "image_transport": "raw", "odometry_rate": 20.0}


def test_publishes_live_and_repeats_without_a_jump(namespace, tmp_path):
    parameters = [part for name, value in TINY.items() for part in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "img2three_ros.nodes.simulated_vehicle_node", "--ros-args", "-r",
               f"__ns:={namespace}", *parameters]
    vehicle = Vehicle(namespace, ())
    images, infos, odometry = [], [], []
    vehicle.create_subscription(Image, f"{namespace}/camera/front/image_raw", lambda message: images.append(
        (time.time_ns(), message)), 20)
    vehicle.create_subscription(CameraInfo, f"{namespace}/camera/back_left/camera_info", infos.append, 20)
    vehicle.create_subscription(Odometry, f"{namespace}/odom", odometry.append, 100)
    with Process(command, tmp_path / "vehicle.log", OMP_NUM_THREADS="1") as process:
        vehicle.wait(lambda: len(images) >= 5, 90)  # more than a lap
        process.popen.send_signal(signal.SIGINT)
        assert process.popen.wait(5) == 0
    vehicle.destroy_node()
    received, image = images[-1]
    assert (image.width, image.height, image.encoding) == (64, 48, "bgr8")
    assert image.header.frame_id == "front_optical_frame"
    assert 0 <= received - ns(image.header.stamp) < 2e9  # live: stamped now
    assert infos[-1].k[0] > 0 and infos[-1].header.frame_id == "back_left_optical_frame"
    places = [message.pose.pose.position.x for message in odometry]
    assert places[-1] - places[0] > 50.0
    assert max(later - earlier for earlier, later in pairwise(places)) < 1.5  # 0.75 m each


def test_a_drive_that_would_jump_is_refused():
    with pytest.raises(InputError, match="period"):
        SimulatedVehicleConfig(period=4.0, speed=8.0)
    SimulatedVehicleConfig(period=4.0, speed=0.0)
