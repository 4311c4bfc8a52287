"""``img2three doctor`` over the real middleware: what is wrong is named with its remedy, what is right passes."""

import subprocess
import sys

import pytest

pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

from vehicle import SECOND, Process, Ticker, Vehicle

from img2three_ros.ingest.camera_rig import CameraRig, RigCamera
from img2three_ros.ingest.rig import save_rig
from img2three_ros.nodes.doctor import shared_memory
from img2three_ros.nodes.doctor_findings import Heard, Level, image_findings, memory_findings, near

DOCTOR = [sys.executable, "-c", "from img2three_ros.cli import main; main()", "doctor"]


def rig_file(tmp_path, namespace, cameras, **changes):
    """A rig file whose topics are those of a ``Vehicle`` unless changed."""
    private = f"{namespace}/img2three/input"
    rig = CameraRig(tuple(RigCamera(name, changes.get(name, f"{private}/{name}/image"), f"{private}/{name}/camera_info")
                          for name in cameras), odometry_topic=changes.get("odometry", f"{private}/odometry"))
    save_rig(tmp_path / "rig.yaml", rig)
    return str(tmp_path / "rig.yaml")


def examine(vehicle, tick, tmp_path, *arguments, expected):
    with Process([*DOCTOR, "--seconds", "4", *arguments], tmp_path / "doctor.log", COLUMNS="400") as process:
        vehicle.wait(lambda: process.popen.poll() is not None, 60, every=tick)
        assert process.popen.returncode == expected, process.text
        return process.text


def test_a_sound_vehicle_passes_with_and_without_a_rig_file(namespace, tmp_path):
    vehicle = Vehicle(namespace, ("front", "left"), image_topic=namespace + "/camera/{camera}/image_raw",
                      info_topic=namespace + "/camera/{camera}/camera_info", odometry_topic=namespace + "/odom")
    vehicle.place_cameras()
    text = examine(vehicle, Ticker(vehicle), tmp_path, expected=0)
    vehicle.destroy_node()
    for word in ("front", "left", "160x96 rgb8", "CameraInfo", "front_optical", f"{namespace}/odom"):
        assert word in text
    assert "error" not in text, text  # warnings of late images are the machine's when it is busy


def test_every_fault_is_named_with_its_camera_and_remedy(namespace, tmp_path):
    cameras = ("front", "left", "right", "rear", "roof")
    vehicle = Vehicle(namespace, cameras)
    vehicle.place_cameras(qos=10)  # not latched
    tick = Ticker(vehicle)

    def behind(image, info):
        image.header.stamp.sec -= 3

    def attic(image, info):
        image.header.frame_id = "right_optikal"

    def halved(image, info):
        info.width, info.height, info.k[2], info.k[5] = 80, 48, 39.5, 23.5

    def pigeon(image, info):
        image.encoding = "pigeon8"

    tick.options["changes"] = {"left": behind, "right": attic, "roof": halved, "front": pigeon}
    private = f"{namespace}/img2three/input"
    rig = rig_file(tmp_path, namespace, cameras, rear=f"{private}/rear/imgae", odometry=f"{private}/odometri")

    def every():
        vehicle.tf_static.publish(vehicle.static)
        tick()

    text = examine(vehicle, every, tmp_path, "--rig", rig, expected=1)
    vehicle.destroy_node()
    for words in (("front", "pigeon8"), ("left", " 3.", "behind", "PTP"), ("right_optikal", "no transform connects"),
                  ("rear", "nobody publishes", f"did you mean {private}/rear/image"),
                  ("images are 160x96, CameraInfo says 80x48",),
                  ("/tf_static", "QoS", "does not fit", "transient local"),
                  ("odometri", f"did you mean {private}/odometry")):
        assert any(all(word in line for word in words) for line in blocks(text)), (words, "\n".join(blocks(text)))


def blocks(text):
    """Each finding as one line, with the name of its subject in front."""
    subject, found = "", []
    for line in text.splitlines():
        if line.startswith("  "):
            found.append(f"{subject} {line.strip()}")
        else:
            subject = line.split("  ")[0]
    return found


def test_the_simulated_vehicle_is_sound(namespace, tmp_path):
    from test_simulated_vehicle_node import TINY

    values = {**TINY, "rate": 2.5, "period": 4.0}
    parameters = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "img2three_ros.nodes.simulated_vehicle_node", "--ros-args", "-r",
               f"__ns:={namespace}", *parameters]
    watcher = Vehicle(namespace, ())
    images = []
    from sensor_msgs.msg import Image

    watcher.create_subscription(Image, f"{namespace}/camera/front/image_raw", images.append, 5)
    with Process(command, tmp_path / "vehicle.log", OMP_NUM_THREADS="1"):
        watcher.wait(lambda: len(images) >= 2, 90)
        text = examine(watcher, None, tmp_path, expected=0)
    watcher.destroy_node()
    assert all(name in text for name in ("front", "back_left", "64x48 bgr8", f"{namespace}/odom")), text


def test_nobody_there_is_an_error_for_scripts(tmp_path):
    result = subprocess.run([*DOCTOR, "--seconds", "0.5", "--rig", "/nowhere/rig.yaml"], capture_output=True, text=True,
                            timeout=60, check=False)
    assert result.returncode == 2 and "/nowhere/rig.yaml" in result.stderr


def test_lost_and_slow_images_are_seen_in_the_stamps():
    heard = Heard(RigCamera("front", "/front/image"))
    heard.published = {"/front/image": ("sensor_msgs/msg/Image",)}
    heard.stamps = [SECOND * index for index in range(10)]
    heard.arrivals = [float(index) for index in range(10)]
    (slow,) = image_findings(heard, {}, 5.0)
    assert slow.level is Level.WARNING and "1.0 images per second" in slow.text
    heard.stamps = [SECOND // 10 * index for index in range(40) if index % 4]
    (lost,) = image_findings(heard, {}, 5.0)
    assert "23% of its images seem to be lost" in lost.text  # 9 of the 39 instants between the first and the last


def test_names_that_nearly_match_are_offered():
    topics = {"/camera/front/image_raw": ("sensor_msgs/msg/Image",), "/camera/front/camera_info": ("other",)}
    assert near("/camera/frnt/image_raw", topics, ("sensor_msgs/msg/Image",)) == \
        "; did you mean /camera/front/image_raw?"
    assert near("/radar", {}, ("sensor_msgs/msg/Image",)) == "; no topic of this type exists"


def test_shared_memory_too_small_for_the_images_is_named(tmp_path):
    profile = tmp_path / "profile.xml"
    profile.write_text("<dds><segment_size>1000000</segment_size></dds>")
    found, segment, free = shared_memory({"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)})
    assert (found, segment) == (str(profile), 1_000_000) and free > 0
    assert memory_findings(found, segment, 2**30, 100)[0].level is Level.OK
    (small,) = memory_findings(found, segment, 2**30, 4_000_000)
    assert small.level is Level.WARNING and "fastdds_shared_memory.xml" in small.text
    (full,) = memory_findings("", None, 2**20, 100)
    assert "shm-size" in full.text
    (broken,) = memory_findings("/nowhere.xml", None, 2**30, 100)
    assert broken.level is Level.ERROR


def test_images_that_repeat_a_stamp_count_once():
    heard = Heard(RigCamera("front", "/front/image"))
    heard.published = {"/front/image": ("sensor_msgs/msg/Image",)}
    for index in range(40):  # each image twice
        heard.arrivals.append(index / 20)
        heard.add_stamp(SECOND + index // 2 * (SECOND // 10), 0)
    assert heard.rate() == pytest.approx(10.0) and heard.loss() == 0.0 and len(heard.stamps) == 20
    (twice,) = image_findings(heard, {}, 2.0)
    assert twice.level is Level.WARNING and twice.text.startswith("20 of 40 images have the stamp of an earlier one")
    still = Heard(RigCamera("front", "/front/image"), heard.published)
    for index in range(21):  # a driver that never stamps anew
        still.arrivals.append(index / 10)
        still.add_stamp(SECOND, 0)
    assert still.rate() == pytest.approx(10.0)
    (stands,) = image_findings(still, {}, 2.0)
    assert stands.level is Level.ERROR and "20 of 21" in stands.text
