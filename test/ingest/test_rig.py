"""The rig file: round trip, and errors that name file and key."""

import cv2
import numpy as np
import pytest
from ingest_samples import CALIBRATION, START, T_BASE_CAMERA, jpeg, pixels, write_bag

from img2three_ros.fileio.messages import camera_info_message, compressed_image_message, transform_message
from img2three_ros.fileio.rosbag import BagWriter
from img2three_ros.ingest.rig import CameraRig, RigCamera, load_mask, load_rig, rig_from_bag, save_rig
from img2three_ros.structures import InputError


def test_rig_from_bag_round_trips(tmp_path):
    rig = rig_from_bag(write_bag(tmp_path / "bag"))
    save_rig(tmp_path / "rig.yaml", rig)
    for known in (rig, load_rig(tmp_path / "rig.yaml")):
        assert known.names == ("front", "back")
        assert (known.base_frame, known.odom_frame, known.odometry_topic) == ("base_link", "odom", "/odom")
        front = known.camera("front")
        assert front.image_topic == "/camera/front/image_raw/compressed" and front.compressed
        assert front.camera_info_topic == "/camera/front/camera_info"
        assert front.frame_id == "front_optical_frame"
        assert np.allclose(front.T_base_camera, T_BASE_CAMERA["front"], atol=1e-12)
        assert front.calibration.key() == CALIBRATION.key()


def test_masks_are_kept_relative_to_the_file(tmp_path):
    cv2.imwrite(str(tmp_path / "front.png"), np.full((4, 4), 255, np.uint8))
    rig = CameraRig((RigCamera("front", "/front", mask_file=tmp_path / "front.png"),))
    save_rig(tmp_path / "rig.yaml", rig)
    assert "mask: front.png" in (tmp_path / "rig.yaml").read_text()
    (camera,) = load_rig(tmp_path / "rig.yaml").cameras
    assert load_mask(camera.mask_file).all()
    with pytest.raises(InputError, match=r"gone.png"):
        load_mask(tmp_path / "gone.png")


CAMERA = "cameras: {front: {image_topic: /front"


@pytest.mark.parametrize("text,message", [
    ("cameras: {}", "cameras is empty"),
    ("cameras: [front]", "'cameras' must be a mapping"),
    ("- 1", "'the file' must be a mapping"),
    ("camera: {}", "unknown key 'camera'; did you mean 'cameras'"),
    (CAMERA + ", topic: /x}}", "unknown key 'cameras.front.topic'; did you mean 'image_topic'"),
    (CAMERA + ", compressed: 1}}", "cameras.front.compressed = 1 must be true or false"),
    (CAMERA + ", frame_id: 3}}", "cameras.front.frame_id = 3 must be a text"),
    (CAMERA + ", T_base_camera: {translation: [0, 0], rotation_xyzw: [0, 0, 0, 1]}}}", "3 finite numbers"),
    (CAMERA + ", T_base_camera: {translation: [0, 0, .nan], rotation_xyzw: [0, 0, 0, 1]}}}", "3 finite numbers"),
    (CAMERA + ", T_base_camera: {translation: [0, 0, 0], rotation_xyzw: [0, 0, 0, 0]}}}", "unit quaternion"),
    (CAMERA + ", T_base_camera: {translation: [0, 0, 0], rpy: [0, 0, 0]}}}", "unknown key"),
    (CAMERA + ", calibration: {width: 4}}}", "must be"),
    ("cameras: {front: {image_topic: [", "cannot be read"),
])
def test_errors_name_file_and_key(tmp_path, text, message):
    (tmp_path / "rig.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_rig(tmp_path / "rig.yaml")
    assert error.value.reason == "rig_file" and "rig.yaml" in str(error.value)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="rig-from-bag"):
        load_rig(tmp_path / "none.yaml")


def test_a_bag_without_transforms_names_the_camera(tmp_path):
    with pytest.raises(InputError, match=r"camera 'front'.*front_optical_frame"):
        rig_from_bag(write_bag(tmp_path / "bag", tf=False))


def test_a_camera_that_cannot_be_used_costs_only_itself(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/tf_static", transform_message({("base_link", "eye"): np.eye(4)}, START), START)
        for name, frame in (("back", "eye"), ("front", "nowhere")):
            writer.write(f"/camera/{name}/camera_info", camera_info_message(START, frame, CALIBRATION), START)
            writer.write(f"/camera/{name}/image_raw/compressed",
                         compressed_image_message(START, frame, jpeg(pixels(0))), START)
    complaints = []
    rig = rig_from_bag(tmp_path / "bag", complain=complaints.append)
    assert rig.names == ("back",)
    assert len(complaints) == 1 and "'front'" in complaints[0] and "'nowhere'" in complaints[0]
    with pytest.raises(InputError, match="'front'"):
        rig_from_bag(tmp_path / "bag")


def test_the_camera_that_looks_ahead_is_the_reference(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        names = ("back", "cam_front_left", "cam_front")
        edges = {("base_link", name): np.eye(4) for name in names}
        writer.write("/tf_static", transform_message(edges, START), START)
        for index, name in enumerate(names):
            writer.write(f"/{name}/camera_info", camera_info_message(START + index, name, CALIBRATION), START + index)
            writer.write(f"/{name}/image_raw/compressed",
                         compressed_image_message(START + index, name, jpeg(pixels(0))), START + index)
    assert rig_from_bag(tmp_path / "bag").names == ("cam_front", "back", "cam_front_left")
