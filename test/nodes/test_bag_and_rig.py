"""A recording played by our own player, the node placed by a rig file without TF, and the whole thing at once."""

import signal
import sys
import time

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rosbags.rosbag2 import StoragePlugin, Writer
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from vehicle import HEIGHT, REAL_NODE, SECOND, WIDTH, Process, Ticker, Vehicle, node_command, ns, textured

from img2three_ros.fileio import messages
from img2three_ros.fileio.rosbag import BagWriter
from img2three_ros.geometry.transforms import T_BASE_OPTICAL, from_xyz_rpy
from img2three_ros.ingest.rig import CameraRig, RigCamera, save_rig
from img2three_ros.simulation.events import encode_jpeg
from img2three_ros.structures import CameraCalibration

START = 1_600_000_000 * SECOND
CAMERAS = ("front", "left")
CALIBRATION = CameraCalibration(WIDTH, HEIGHT, np.array([[120.0, 0, 79.5], [0, 120.0, 47.5], [0, 0, 1]]))
PLACES = {name: from_xyz_rpy((1.0, 0.3 * index, 1.5)) @ T_BASE_OPTICAL for index, name in enumerate(CAMERAS)}


def write_bag(path, instants=12, storage="mcap"):
    """Two cameras at 10 Hz, odometry and latched /tf_static."""
    with BagWriter(path, storage) as bag:
        bag.write("/tf_static", messages.transform_message(
            {("base_link", f"{name}_optical"): place for name, place in PLACES.items()}, START), START)
        for index in range(instants):
            stamp = START + index * SECOND // 10
            pose = from_xyz_rpy((0.5 * index, 0.0, 0.0))
            bag.write("/odom", messages.odometry_message(stamp, "odom", "base_link", pose), stamp)
            for number, name in enumerate(CAMERAS):
                frame = f"{name}_optical"
                jpeg = encode_jpeg(textured(number, stamp), 90)
                bag.write(f"/camera/{name}/camera_info",
                          messages.camera_info_message(stamp, frame, CALIBRATION), stamp)
                bag.write(f"/camera/{name}/image_raw/compressed",
                          messages.compressed_image_message(stamp, frame, jpeg), stamp)
    return path


def write_strange_bag(path):
    """A topic of a type that is not installed, beside an ordinary one."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        strange = bag.add_connection("/strange", "nobody_msgs/msg/Thing", msgdef="int32 x\n",
                                     rihs01="RIHS01_" + 64 * "0")
        odometry = bag.add_connection("/odom", "nav_msgs/msg/Odometry", typestore=messages.typestore())
        message = messages.odometry_message(START, "odom", "base_link", np.eye(4))
        for number in range(3):
            bag.write(strange, START + number, b"\x00\x01\x00\x00\x07\x00\x00\x00")
            bag.write(odometry, START + number, messages.typestore().serialize_cdr(message, "nav_msgs/msg/Odometry"))
    return path


def player_command(bag, *options, namespace):
    """The player, with every topic of the bag moved into a namespace."""
    topics = ["/odom", *(f"/camera/{name}/{rest}" for name in CAMERAS
                         for rest in ("camera_info", "image_raw/compressed"))]
    remaps = [part for topic in topics for part in ("-r", f"{topic}:={namespace}{topic}")]
    return [sys.executable, "-m", "img2three_ros.nodes.bag_player_node", str(bag), *options, "--ros-args", *remaps]


def rig_file(path, namespace, placed=True):
    cameras = tuple(RigCamera(
        name, f"{namespace}/camera/{name}/image_raw/compressed", f"{namespace}/camera/{name}/camera_info", True,
        f"{name}_optical", PLACES[name] if placed else None, CALIBRATION if placed else None) for name in CAMERAS)
    save_rig(path, CameraRig(cameras, "base_link", "odom", f"{namespace}/odom"))
    return path


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_player_plays_a_recording_with_clock(namespace, tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage=storage)
    vehicle = Vehicle(namespace, ())
    clocks, images, odometry = [], [], []
    vehicle.create_subscription(Clock, "/clock", lambda message: clocks.append(ns(message.clock)), 10)
    vehicle.create_subscription(CompressedImage, f"{namespace}/camera/front/image_raw/compressed", images.append, 50)
    vehicle.create_subscription(Odometry, f"{namespace}/odom", odometry.append, 50)
    command = player_command(bag, "--rate", "2.0", "--wait-for-subscribers", "10", namespace=namespace)
    with Process(command, tmp_path / "player.log") as process:
        vehicle.wait(lambda: process.popen.poll() is not None, 30)
        vehicle.spin(0.3)
        assert process.popen.returncode == 0, process.text
    vehicle.destroy_node()
    assert [ns(image.header.stamp) for image in images] == [START + index * SECOND // 10 for index in range(12)]
    assert bytes(images[3].data) == encode_jpeg(textured(0, START + 3 * SECOND // 10), 90)
    assert [message.pose.pose.position.x for message in odometry] == [0.5 * index for index in range(12)]
    assert clocks == sorted(clocks) and clocks[0] >= START and clocks[-1] == START + 11 * SECOND // 10
    assert len(clocks) > 30  # it ticks between messages too


def test_player_options_and_errors(namespace, tmp_path):
    bag = write_bag(tmp_path / "bag")
    vehicle = Vehicle(namespace, ())
    images = []
    vehicle.create_subscription(CompressedImage, f"{namespace}/camera/front/image_raw/compressed", images.append, 50)
    command = player_command(bag, "--loop", "--start", "1.0", "--topics", "/camera/front/image_raw/compressed",
                             "/nowhere", namespace=namespace)
    with Process(command, tmp_path / "player.log") as process:
        vehicle.wait(lambda: len(images) >= 6, 20)
        process.popen.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.popen.wait(5) == 0 and time.monotonic() - begin < 2.0
        assert "'/nowhere' is not in the bag" in process.text
    vehicle.destroy_node()
    assert {ns(image.header.stamp) for image in images} == {START + index * SECOND // 10 for index in (10, 11)}
    with Process(player_command(tmp_path / "no_bag", namespace=namespace), tmp_path / "missing.log") as process:
        assert process.popen.wait(15) == 1
        assert "no bag at" in process.text and "Traceback" not in process.text


def test_player_leaves_out_types_that_are_not_installed(namespace, tmp_path):
    bag = write_strange_bag(tmp_path / "bag")
    vehicle = Vehicle(namespace, ())
    odometry = []
    vehicle.create_subscription(Odometry, f"{namespace}/odom", odometry.append, 50)
    with Process(player_command(bag, namespace=namespace), tmp_path / "player.log") as process:
        vehicle.wait(lambda: len(odometry) == 3 and process.popen.poll() is not None, 20)
        assert process.popen.returncode == 0
        assert "/strange" in process.text and "nobody_msgs/msg/Thing is not installed" in process.text
    vehicle.destroy_node()


def test_rig_file_places_the_cameras_without_tf(namespace, tmp_path):
    rig = rig_file(tmp_path / "rig.yaml", namespace)
    vehicle = Vehicle(namespace, CAMERAS, compressed=True, image_topic=namespace + "/camera/{camera}/image_raw",
                      info_topic=namespace + "/camera/{camera}/camera_info", odometry_topic=namespace + "/odom")
    with Process(node_command(namespace, f"rig_file:={rig}", "status.period:=0.2"), tmp_path / "node.log"):
        vehicle.wait_active()
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
        assert vehicle.status["cameras.contributing"] == "front,left"
        assert vehicle.status["images.left.topic"] == f"{namespace}/camera/left/image_raw/compressed"
    vehicle.destroy_node()


def test_remapping_the_image_moves_compressed_and_camera_info(namespace, tmp_path):
    pytest.importorskip("tf2_msgs")
    vehicle = Vehicle(namespace, ("front",), compressed=True, image_topic=namespace + "/cam/{camera}/picture",
                      info_topic=namespace + "/cam/{camera}/camera_info")
    vehicle.place_cameras()
    remaps = [f"~/input/front/image:={namespace}/cam/front/picture"]
    command = node_command(namespace, "cameras:=[front]", "status.period:=0.2", remaps=remaps)
    with Process(command, tmp_path / "node.log"):
        vehicle.wait_active()
        tick = Ticker(vehicle)
        vehicle.wait(lambda: vehicle.status["state"] == "OK", every=tick)
    vehicle.destroy_node()


def test_real_engine_on_a_looped_recording_with_sim_time(namespace, tmp_path):
    """Player and node as processes, the true engine, two laps: the jump of /clock resets and outputs go on."""
    pytest.importorskip("tf2_msgs")
    bag, rig = write_bag(tmp_path / "bag"), rig_file(tmp_path / "rig.yaml", namespace, placed=False)
    vehicle = Vehicle(namespace, ())
    parameters = (f"rig_file:={rig}", "engine:=sweep", "use_sim_time:=true", "prepare.pixels:=4096",
                  "sweep.planes:=8", "threads:=1", "occupancy.voxel_size:=1.0", "keyframes.count:=1",
                  "status.period:=0.2")
    with Process(node_command(namespace, *parameters, command=REAL_NODE), tmp_path / "node.log") as node:
        vehicle.wait(lambda: vehicle.status.get("state", "INACTIVE") != "INACTIVE", 60)
        with Process(player_command(bag, "--loop", "--rate", "0.5", namespace=namespace), tmp_path / "player.log"):
            vehicle.wait(lambda: int(vehicle.status.get("time_jumps", 0)) >= 1 or "clock jumped" in node.text, 60)
            before = len(vehicle.heard["points"])
            vehicle.wait(lambda: len(vehicle.heard["points"]) >= before + 2, 40)
        frames = vehicle.frames()
        assert frames["received"] == frames["processed"] + frames["replaced"] + frames["rejected"] + frames["pending"]
        assert all(vehicle.heard[topic] for topic in ("points", "obstacle_points", "occupied_voxels",
                                                      "observed_voxels", "occupancy_grid"))
        assert vehicle.heard["points"][-1].width > 0
        assert {ns(message.header.stamp) for message in vehicle.heard["points"]} <= {
            START + index * SECOND // 10 for index in range(12)}
        assert vehicle.status["engine"] == "sweep" and vehicle.status["device"]
        node.popen.send_signal(signal.SIGINT)
        assert node.popen.wait(5) == 0
    vehicle.destroy_node()


def test_images_without_clock_are_named(namespace, tmp_path):
    rig = rig_file(tmp_path / "rig.yaml", namespace)
    vehicle = Vehicle(namespace, CAMERAS, compressed=True, image_topic=namespace + "/camera/{camera}/image_raw",
                      info_topic=namespace + "/camera/{camera}/camera_info", odometry_topic=namespace + "/odom")
    parameters = (f"rig_file:={rig}", "use_sim_time:=true", "status.period:=0.2", "status.camera_timeout:=0.3")
    with Process(node_command(namespace, *parameters), tmp_path / "node.log") as process:
        vehicle.wait_active()
        vehicle.wait(lambda: "nobody publishes /clock" in process.text, every=Ticker(vehicle))
        assert vehicle.heard["points"]  # complete sets need no time to be given out
    vehicle.destroy_node()
