"""Frames and scans of recordings: discovered topics, every frame, clear errors, and the real ones when present."""

import numpy as np
import pytest
from ingest_samples import (
    CALIBRATION,
    LIDAR_POINTS,
    PERIOD,
    SPEED,
    START,
    T_BASE_CAMERA,
    T_BASE_LIDAR,
    info_message,
    jpeg,
    pixels,
    pose,
    raw_image,
    write_bag,
)

from img2three_ros.fileio.messages import (
    compressed_image_message,
    odometry_message,
    point_cloud_message,
    transform_message,
)
from img2three_ros.fileio.rosbag import BagReader, BagWriter
from img2three_ros.ingest.bag_frames import BagSummary, read_frames, read_lidar
from img2three_ros.ingest.bag_topics import camera_info_topic, camera_names, find_cameras
from img2three_ros.ingest.rig import CameraRig, RigCamera, rig_from_bag, save_rig
from img2three_ros.structures import InputError


@pytest.mark.parametrize("compressed", [True, False])
def test_every_frame_with_poses(tmp_path, compressed):
    summary = BagSummary()
    bag = write_bag(tmp_path / "bag", instants=5, compressed=compressed)
    frames = list(read_frames(bag, summary=summary))
    assert [frame.stamp for frame in frames] == [START + index * PERIOD for index in range(5)]
    assert all(frame.present == ("front", "back") for frame in frames)
    assert np.isclose(frames[4].T_odom_base[0, 3], SPEED * 0.4)
    assert np.allclose(frames[0].images[1].T_base_camera, T_BASE_CAMERA["back"])
    assert np.abs(frames[3].images[0].image.astype(int) - pixels(3)).mean() < (3 if compressed else 1e-9)
    assert (summary.expected, summary.frames) == (5, 5)
    assert all((count.received, count.used) == (5, 5) for count in summary.cameras.values())


def test_reading_twice_gives_the_same(tmp_path):
    bag = write_bag(tmp_path / "bag", skip={(1, "back"), (2, "front")})
    first, second = list(read_frames(bag)), list(read_frames(bag))
    assert [(frame.stamp, frame.present) for frame in first] == [(frame.stamp, frame.present) for frame in second]
    for one, other in zip(first, second, strict=True):
        assert all(np.array_equal(a.image, b.image) for a, b in zip(one.images, other.images, strict=True))


def test_a_camera_lost_in_the_middle(tmp_path):
    skip = {(index, "back") for index in range(3, 30)}
    frames = list(read_frames(write_bag(tmp_path / "bag", instants=30, skip=skip)))
    assert len(frames) == 30
    assert frames[2].missing == () and all(frame.missing == ("back",) for frame in frames[3:])


def test_a_reference_camera_lost_in_the_middle(tmp_path):
    skip = {(index, "front") for index in range(5, 25)}
    frames = list(read_frames(write_bag(tmp_path / "bag", instants=30, skip=skip)))
    assert [frame.stamp for frame in frames] == [START + index * PERIOD for index in range(30)]
    assert all(frame.present == ("back",) for frame in frames[5:25])


def test_chosen_cameras_and_rig_files(tmp_path):
    bag = write_bag(tmp_path / "bag")
    assert [frame.expected_cameras for frame in read_frames(bag, cameras=["back"])] == [("back",)] * 3
    topic = "/camera/back/image_raw/compressed"
    assert next(iter(read_frames(bag, cameras=[topic, "front"]))).expected_cameras == ("back", "front")
    save_rig(tmp_path / "rig.yaml", rig_from_bag(bag))
    assert len(list(read_frames(bag, rig=tmp_path / "rig.yaml"))) == 3
    with pytest.raises(InputError, match=r"no camera 'rear'; cameras: front, back"):
        list(read_frames(bag, cameras=["rear"]))


def test_a_rig_file_replaces_tf_and_camera_info(tmp_path):
    bag = write_bag(tmp_path / "bag", tf=False, info=False)
    with pytest.raises(InputError, match="no camera"):
        list(read_frames(bag))
    rig = CameraRig(tuple(RigCamera(name, f"/camera/{name}/image_raw/compressed", T_base_camera=T_BASE_CAMERA[name],
                                    calibration=CALIBRATION) for name in ("front", "back")))
    frames = list(read_frames(bag, rig=rig))
    assert len(frames) == 3 and frames[0].present == ("front", "back") and frames[0].T_odom_base is not None


def test_a_camera_of_the_rig_that_the_bag_does_not_have_is_missing_in_every_frame(tmp_path):
    bag = write_bag(tmp_path / "bag", cameras=("back",))
    rig = CameraRig(tuple(RigCamera(name, f"/camera/{name}/image_raw") for name in ("front", "back")))
    summary = BagSummary()
    frames = list(read_frames(bag, rig=rig, summary=summary))
    assert len(frames) == 3 and all(frame.missing == ("front",) for frame in frames)
    assert summary.expected == 3
    assert summary.problems == ("camera 'front': the bag has no images on '/camera/front/image_raw'",)


def test_one_bad_image_costs_one_image(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        frame = "front_optical_frame"
        writer.write("/tf_static", transform_message({("base_link", frame): T_BASE_CAMERA["front"]}, START), START)
        for index, data in enumerate((jpeg(pixels()), jpeg(pixels())[:500], b"", jpeg(pixels()))):
            stamp = START + index * PERIOD
            writer.write("/camera/front/camera_info", info_message(stamp=stamp), stamp)
            writer.write("/camera/front/image_raw/compressed", compressed_image_message(stamp, frame, data), stamp)
    summary = BagSummary()
    frames = list(read_frames(tmp_path / "bag", summary=summary))
    assert [frame.stamp for frame in frames] == [START, START + 3 * PERIOD]
    assert summary.cameras["front"].rejected == {"corrupt_image": 1, "short_data": 1}
    assert summary.rejected_frames == {"no_usable_image": 1}


def test_no_transforms_at_all_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"no transform connects 'front_optical_frame' to 'base_link'") as error:
        list(read_frames(write_bag(tmp_path / "bag", tf=False)))
    assert error.value.reason == "no_frames"


def test_no_cameras_lists_what_nearly_fits(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/webcam/picture", raw_image(pixels(), "rgb8"), START)
    with pytest.raises(InputError, match=r"/webcam/picture \(sensor_msgs/msg/Image, 1\)") as error:
        list(read_frames(tmp_path / "bag"))
    assert error.value.reason == "no_cameras"


def test_a_truncated_bag_gives_the_frames_of_its_beginning(tmp_path):
    bag = write_bag(tmp_path / "bag", instants=10, compressed=False)
    file = bag / "bag.mcap"
    file.write_bytes(file.read_bytes()[:int(file.stat().st_size * 0.6)])
    summary = BagSummary()
    frames = list(read_frames(bag, summary=summary))
    assert 4 <= len(frames) <= 6
    assert "damaged" in summary.problems[-1]


def test_raw_is_preferred_to_compressed_and_depth_is_no_camera(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for topic in ("/front/image_raw", "/front/image_rect", "/front/depth/image_rect_raw"):
            writer.write(topic, raw_image(pixels(), "rgb8"), START)
        writer.write("/front/image_raw/compressed", compressed_image_message(START, "f", jpeg(pixels())), START)
        writer.write("/front/camera_info", info_message(), START)
        writer.write("/front/depth/camera_info", info_message(), START)
    with BagReader(tmp_path / "bag") as reader:
        rig = find_cameras(reader)
    assert [(camera.name, camera.image_topic) for camera in rig.cameras] == [("front", "/front/image_raw")]


def test_names_and_sibling_topics():
    assert camera_info_topic("/camera/front/image_raw/compressed") == "/camera/front/camera_info"
    assert camera_info_topic("/front/image") == "/front/camera_info"
    assert camera_names(["/camera/front", "/camera/back"]) == ["front", "back"]
    assert camera_names(["/sensing/camera/camera0", "/sensing/camera/camera1"]) == ["camera0", "camera1"]
    assert camera_names(["/left/camera", "/right/camera"]) == ["left", "right"]
    assert camera_names(["/zed/left", "/rear_zed/left"]) == ["zed_left", "rear_zed_left"]
    assert camera_names(["/camera"]) == ["camera"]


def test_lidar_scans_in_base_link(tmp_path):
    bag = write_bag(tmp_path / "bag")
    scans = list(read_lidar(bag))
    assert [scan.stamp for scan in scans] == [START + index * PERIOD for index in range(3)]
    expected = LIDAR_POINTS[:2] @ T_BASE_LIDAR[:3, :3].T + T_BASE_LIDAR[:3, 3]
    assert np.allclose(scans[0].points, expected, atol=1e-5) and scans[0].points.dtype == np.float32
    assert np.allclose(scans[0].origin, T_BASE_LIDAR[:3, 3])
    assert np.allclose(scans[2].T_odom_base, pose(START + 2 * PERIOD))


def test_lidar_errors(tmp_path):
    bag = write_bag(tmp_path / "bag", lidar=False)
    with pytest.raises(InputError, match="has no LiDAR") as error:
        list(read_lidar(bag))
    assert error.value.reason == "no_lidar"
    with pytest.raises(InputError, match=r"no PointCloud2 topic '/other'; it has /lidar/points"):
        list(read_lidar(write_bag(tmp_path / "other"), topic="/other"))


def test_one_bad_scan_costs_one_scan(tmp_path):
    bag = write_bag(tmp_path / "bag")
    with BagReader(bag) as reader, BagWriter(tmp_path / "damaged") as writer:
        for number, (topic, time, message) in enumerate(reader.messages()):
            if topic == "/lidar/points" and number < 8:
                object.__setattr__(message, "data", message.data[:5])
            writer.write(topic, message, time)
    assert [scan.stamp for scan in read_lidar(tmp_path / "damaged")] == [START + PERIOD, START + 2 * PERIOD]
    with pytest.raises(InputError, match="no transform connects 'lidar'"):
        list(read_lidar(write_bag(tmp_path / "bare", tf=False)))


def test_own_outputs_are_no_lidar_and_no_cameras(tmp_path):
    from ingest_samples import xyz_layout

    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/img2three/output/points", point_cloud_message(START, "base_link", xyz_layout(LIDAR_POINTS)),
                     START)
        writer.write("/odom", odometry_message(START, "odom", "base_link", pose(START)), START)
    with pytest.raises(InputError, match="has no LiDAR"):
        list(read_lidar(tmp_path / "bag"))


@pytest.mark.parametrize("name,frames,cameras", [("ddad_surround", 3, 6), ("kitti_stereo", 2, 2),
                                                 ("nuscenes_surround", 1, 6)])
def test_real_recordings(realdata, name, frames, cameras):
    summary = BagSummary()
    bag = realdata(name)
    found = list(read_frames(bag, summary=summary))
    assert len(found) == frames and all(len(frame.images) == cameras for frame in found)
    assert all(image.T_odom_base is not None for frame in found for image in frame.images)
    assert summary.problems == () and not summary.rejected
    scans = list(read_lidar(bag))
    assert len(scans) == frames and all(len(scan.points) > 30_000 for scan in scans)
    assert len(rig_from_bag(bag).cameras) == cameras


def test_a_camera_without_camera_info_is_named_not_silently_left_out(tmp_path):
    bag = write_bag(tmp_path / "bag", cameras=("front",))
    with BagReader(bag) as reader, BagWriter(tmp_path / "more") as writer:
        for raw in reader.raw_messages():
            writer.write(raw.topic, raw.data, raw.time, raw.message_type)
        picture = compressed_image_message(START, "back_optical_frame", jpeg(pixels()))
        writer.write("/camera/back/image_raw/compressed", picture, START)
    summary = BagSummary()
    assert all(frame.present == ("front",) for frame in read_frames(tmp_path / "more", summary=summary))
    (problem,) = summary.problems
    assert "/camera/back/image_raw/compressed" in problem and "/camera/back/camera_info" in problem
    summary = BagSummary()
    list(read_frames(tmp_path / "more", cameras=("front",), summary=summary))
    assert summary.problems == ()


def test_an_image_that_was_bad_for_a_while_is_named_in_the_summary(tmp_path):
    with BagReader(write_bag(tmp_path / "bag")) as reader, BagWriter(tmp_path / "cut") as writer:
        for topic, time, message in reader.messages():
            if topic == "/camera/front/image_raw/compressed" and time == START:
                message.data = message.data[:len(message.data) // 2]
            writer.write(topic, message, time)
    summary = BagSummary()
    assert len(list(read_frames(tmp_path / "cut", summary=summary))) == 3
    assert summary.cameras["front"].rejected == {"corrupt_image": 1}
    (problem,) = summary.problems
    assert "/camera/front/image_raw/compressed" in problem and "breaks off" in problem
