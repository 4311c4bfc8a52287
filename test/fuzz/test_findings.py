"""What fuzzing has found, each as the shortest input that showed it."""

import json
import resource
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from file_targets import SmallConfig, SmallNetwork
from message_targets import CODED, PICTURE, START, K

from img2three_ros.config import SyncConfig, with_overrides
from img2three_ros.fileio.checkpoints import write_checkpoint
from img2three_ros.fileio.messages import (
    compressed_image_message,
    image_message,
    odometry_message,
    transform_message,
)
from img2three_ros.fileio.yaml_files import parse_yaml
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.ingest.camera_info import calibration_from_camera_info
from img2three_ros.ingest.frame_assembler import FrameAssembler
from img2three_ros.ingest.images import decode_image
from img2three_ros.ingest.motion import VehicleMotion
from img2three_ros.ingest.rig import load_rig
from img2three_ros.models.weights_file import load_network
from img2three_ros.nodes.config_file import core_settings
from img2three_ros.nodes.parameters import NodeConfig
from img2three_ros.structures import InputError
from img2three_ros.training.command import read_settings


def test_a_refused_image_that_makes_another_set_due_keeps_the_counts():
    assembler = FrameAssembler(("front", "left"), SyncConfig(max_wait=0.1))
    assembler.add_image("front", image_message(START, "front_optical_frame", PICTURE, "rgb8"), 0)
    bad = image_message(START, "front_optical_frame", PICTURE, "rgb8")
    bad.data = bad.data[:5]
    (due,) = assembler.add_image("left", bad, 200_000_000)
    assert assembler.counters()["front"].waiting == 1
    with pytest.raises(InputError, match="CameraInfo"):
        assembler.assemble(due)
    assert assembler.counters()["front"].waiting == 0


def png_claiming(width, height):
    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def jpeg_claiming(width, height):
    data = bytearray(CODED["jpg"])
    at = data.index(b"\xff\xc0") + 5
    data[at:at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def png_with_an_endless_chunk():
    data = bytearray(CODED["png"])
    at = data.index(b"IDAT") - 4
    data[at:at + 4] = (0x68CB18DB).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("data, reason", [
    (png_claiming(30_000, 30_000), "bad_size"), (jpeg_claiming(60_000, 60_000), "bad_size"),
    (png_claiming(2**31 - 1, 2**31 - 1), "bad_size"), (png_with_an_endless_chunk(), "corrupt_image"),
    (CODED["bmp"], "corrupt_image"), (CODED["tiff"], "corrupt_image")],
    ids=["png", "jpeg", "largest png", "chunk", "bmp", "tiff"])
def test_a_few_bytes_of_image_cannot_take_the_memory(data, reason):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        decode_image(compressed_image_message(START, "front", data), "topic")
    assert caught.value.reason == reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_large_images_of_real_cameras_pass():
    picture = np.zeros((3000, 4000, 3), np.uint8)
    for form in (".jpg", ".png"):
        coded = cv2.imencode(form, picture)[1].tobytes()
        assert decode_image(compressed_image_message(START, "front", coded), "topic").shape == picture.shape


def test_positions_that_overflow_when_chained_are_refused():
    motion = VehicleMotion()
    far = from_xyz_rpy((1.7e308, 0.0, 0.0))
    for parent, child in (("base_link", "imu"), ("imu", "left")):
        errors = motion.add_transforms(transform_message({(parent, child): far}, START), static=True)
        assert [error.reason for error in errors] == ["transform"]
    near = from_xyz_rpy((1.0, 0.0, 0.0))
    assert not motion.add_transforms(transform_message({("base_link", "imu"): near}, START), static=True)
    with pytest.raises(InputError, match="farther than"):
        motion.add_odometry(odometry_message(START, "odom", "imu", far), "odometry")


def test_binning_that_leaves_no_pixel_is_refused():
    region = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    message = SimpleNamespace(width=16, height=12, distortion_model="plumb_bob", d=np.zeros(5),
                              k=(K - [[0, 0, 8.0], [0, 0, 6.0], [0, 0, 0]]).ravel(), p=np.zeros(12), binning_x=17,
                              binning_y=1, roi=region)
    with pytest.raises(InputError) as caught:
        calibration_from_camera_info(message, "topic")
    assert caught.value.reason == "camera_info"


LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("text", [
    "a: 2024-99-99", "!!float ''", "!!int ''", "!!timestamp x", "a: &a [*a]", "a: &a {b: *a}", LAUGHS, "[" * 3000,
    "a: " + "9" * 400, "a: 0x" + "f" * 5000, "a: \0", "a: ["], ids=range(12))
def test_yaml_of_any_kind_is_refused_in_words(text, tmp_path):
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "parameter", "text")
    assert caught.value.reason == "parameter" and len(str(caught.value)) < 2000
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode())
    for read in (core_settings, read_settings, load_rig):
        with pytest.raises(InputError, match=r"file\.yaml"):
            read(path)


def test_files_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_bytes(b"a: \xff\xfe")
    for read in (core_settings, read_settings, load_rig):
        with pytest.raises(InputError, match=r"file\.yaml"):
            read(path)


def test_aliases_within_reason_are_read():
    assert parse_yaml("a: &a {b: 1}\nc: *a", "parameter", "text") == {"a": {"b": 1}, "c": {"b": 1}}


def test_lists_of_texts_hold_texts_only():
    for value in ([1.5], [None], [["a"]], [True]):
        with pytest.raises(InputError, match="list of texts"):
            with_overrides(NodeConfig(), {"cameras": value})


def test_a_parameter_file_without_parameters_is_refused(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("/**:\n  ros__parameters: text\n")
    with pytest.raises(InputError, match="mapping"):
        core_settings(path)


@pytest.mark.parametrize("width", [-1, 0, 3.5, "3", [[3]], 2**40, 10**30, None])
def test_weights_that_describe_an_impossible_network_are_refused(tmp_path, width):
    path = tmp_path / "weights.safetensors"
    tensors = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2), "count": torch.zeros(4)}
    write_checkpoint(path, tensors, {"small": json.dumps({"width": width, "sizes": [2, 4]})})
    with pytest.raises(InputError) as caught:
        load_network(path, SmallConfig, SmallNetwork, "small", "small network")
    assert caught.value.reason == "checkpoint"
