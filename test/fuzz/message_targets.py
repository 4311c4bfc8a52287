"""What messages go through. Each target takes the bytes of a fuzzer; InputError is the only exception it may raise."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from choices import Choices

from img2three_ros.config import SyncConfig
from img2three_ros.fileio.messages import (
    camera_info_message,
    compressed_image_message,
    image_message,
    odometry_message,
    transform_message,
    typestore,
)
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.ingest.camera_info import calibration_from_camera_info
from img2three_ros.ingest.frame_assembler import FrameAssembler
from img2three_ros.ingest.images import SUPPORTED_ENCODINGS, check_image, decode_reduced
from img2three_ros.ingest.motion import VehicleMotion
from img2three_ros.structures import CameraCalibration, InputError

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
PICTURE = (np.indices((12, 16)).sum(axis=0)[..., None] * (5, 9, 13) % 256).astype(np.uint8)
CODED = {form: cv2.imencode(f".{form}", PICTURE)[1].tobytes() for form in ("jpg", "png", "bmp", "webp", "tiff")}
K = np.array([[14.0, 0.0, 7.5], [0.0, 14.0, 5.5], [0.0, 0.0, 1.0]])
PLACE = from_xyz_rpy((1.0, 0.0, 1.5), (0.0, 0.1, 0.2))


def images(data: bytes) -> None:
    """Image and CompressedImage: checked, and decoded if that passes."""
    choices = Choices(data)
    message = _image(choices)
    check_image(message, "topic", frame_required=choices.number(2) == 1)
    decoded = decode_reduced(message, "topic", choices.one_of((1, 2, 4, 8)))
    width, height = (side // decoded.reduction for side in decoded.size)
    assert decoded.pixels.dtype == np.uint8 and decoded.pixels.shape == (height, width, 3) and min(decoded.size) > 0


def camera_info(data: bytes) -> None:
    """CameraInfo of any numbers."""
    choices = Choices(data)
    calibration = calibration_from_camera_info(_camera_info(choices), "topic", rectified=choices.number(2) == 1)
    assert calibration.width > 0 and calibration.height > 0
    assert np.isfinite(calibration.intrinsics).all() and np.isfinite(calibration.distortion).all()
    assert calibration.intrinsics[0, 0] > 0 and calibration.intrinsics[1, 1] > 0


def transforms(data: bytes) -> None:
    """Odometry and TF in any order, and every question one may ask of them."""
    choices = Choices(data)
    motion = VehicleMotion(choices.text("base_link"), choices.one_of(("", "odom", "map")))
    answers: list[Any] = []
    for _ in range(min(40, choices.left)):
        kind = choices.number(6)
        try:
            if kind < 2:
                motion.add_transforms(_transforms(choices), static=kind == 1)
            elif kind == 2:
                motion.add_odometry(_odometry(choices), "odometry")
            elif kind == 3:
                answers.append(motion.T_odom_base(_stamp(choices)))
                motion.why_unknown(_stamp(choices), "odometry")
            elif kind == 4:
                answers.append(motion.T_base_frame(choices.text("front_optical_frame"), _stamp(choices)))
            elif choices.number(8) == 0:
                motion.reset()
        except InputError:
            continue
    for answer in answers:
        assert answer is None or (answer.shape == (4, 4) and np.isfinite(answer).all())


def assembler(data: bytes) -> None:
    """All of them, as the live node and bags feed them, into frames; the counters must add up."""
    choices = Choices(data)
    names = ("front", "left")
    assembled = FrameAssembler(names, SyncConfig(mode=choices.one_of(("reference", "free")), max_wait=0.2))
    now = 0
    for _ in range(min(40, choices.left)):
        now += choices.number(400_000_000)
        kind, name = choices.number(8), choices.one_of(names)
        sets = []
        if kind < 3:
            sets = assembled.add_image(name, _image(choices), now)
        elif kind == 3:
            assembled.add_camera_info(name, _camera_info(choices))
        elif kind == 4:
            assembled.add_odometry(_odometry(choices))
        elif kind == 5:
            assembled.add_transforms(_transforms(choices), static=choices.number(2) == 0)
        elif kind == 6:
            sets = assembled.poll(now)
        else:
            sets = assembled.flush()
        for due in sets:
            _assemble(assembled, due)
    for due in assembled.flush():
        _assemble(assembled, due)
    for count in assembled.counters().values():
        assert count.received == count.used + sum(count.rejected.values()) and count.waiting == 0
    assembled.problems()


def wire(data: bytes) -> None:
    """Damaged CDR bytes of each kind of message: what can be decoded at all must be refused or understood."""
    choices = Choices(data)
    name, whole = choices.one_of(WIRE)
    position, size = choices.number(len(whole)), choices.number(9)
    damaged = whole[:position] + choices.bytes(size) + whole[position + (size if choices.number(4) else 0):]
    try:
        message = typestore().deserialize_cdr(damaged, name)
    except Exception:  # as BagReader does; rclpy itself refuses such bytes before anyone sees them
        return
    feed = FrameAssembler(("front",))
    feed.add_camera_info("front", typestore().deserialize_cdr(WIRE[2][1], WIRE[2][0]))
    feed.add_transforms(typestore().deserialize_cdr(WIRE[4][1], WIRE[4][0]), static=True)
    if name.endswith("Image"):
        feed.add_image("front", message, 0)
    elif name.endswith("CameraInfo"):
        feed.add_camera_info("front", message)
    elif name.endswith("Odometry"):
        feed.add_odometry(message)
    else:
        feed.add_transforms(message, static=choices.number(2) == 0)
    for due in feed.flush():
        _assemble(feed, due)


def _assemble(assembled: FrameAssembler, due: Any) -> None:
    assembled.ready(due)
    try:
        frame = assembled.assemble(due)
    except InputError:
        return
    for image in frame.images:
        assert image.image.shape == (image.calibration.height, image.calibration.width, 3)
        for matrix in (image.T_base_camera, image.T_odom_base):
            assert matrix is None or np.isfinite(matrix).all()


def _stamp(choices: Choices) -> int:
    return START + choices.number(3 * SECOND) if choices.number(4) else choices.number(2**63)


def _header(choices: Choices, frame: str) -> Any:
    stamp = _stamp(choices)
    seconds, nanoseconds = choices.whole(stamp // SECOND % 2**32), choices.whole(stamp % SECOND)
    signed = struct.unpack("<i", struct.pack("<I", seconds))[0]
    return SimpleNamespace(stamp=SimpleNamespace(sec=signed, nanosec=nanoseconds), frame_id=choices.text(frame))


def _image(choices: Choices) -> Any:
    header = _header(choices, "front_optical_frame")
    if choices.number(2):
        whole = choices.one_of(tuple(CODED.values()))
        position, size = choices.number(len(whole)), choices.number(12)
        coded = whole[:position] + choices.bytes(size) + whole[position + (size if choices.number(4) else 0):]
        form = choices.one_of(("jpeg", "png", "bayer_rggb8; jpeg compressed bayer_rggb8", "", "bayer_", "rgb8; x"))
        return SimpleNamespace(header=header, format=form, data=np.frombuffer(coded, np.uint8))
    encoding = choices.one_of((*SUPPORTED_ENCODINGS, "", "32FC1", "RGB8"))
    width, height = choices.whole(16), choices.whole(12)
    step, size = choices.whole(16 * 8), choices.number(2 * 12 * 16 * 8)
    pixels = np.resize(np.frombuffer(choices.bytes(64) or b"\0", np.uint8), size)
    return SimpleNamespace(header=header, width=width, height=height, encoding=encoding, step=step,
                           is_bigendian=choices.number(3), data=pixels)


def _camera_info(choices: Choices) -> Any:
    count = choices.one_of((5, 0, 1, 4, 8, 12, 14))
    region = SimpleNamespace(x_offset=choices.whole(0), y_offset=choices.whole(0), width=choices.whole(0),
                             height=choices.whole(0), do_rectify=False)
    return SimpleNamespace(
        header=_header(choices, "front_optical_frame"), width=choices.whole(16), height=choices.whole(12),
        distortion_model=choices.one_of(("plumb_bob", "", "none", "rational_polynomial", "equidistant", "fisheye",
                                         "thin_prism")),
        d=np.array(choices.reals([0.01] * count)), k=np.array(choices.reals(K.ravel().tolist())),
        r=np.array(choices.reals(np.eye(3).ravel().tolist())),
        p=np.array(choices.reals(np.column_stack((K, np.zeros(3))).ravel().tolist())),
        binning_x=choices.whole(0), binning_y=choices.whole(0), roi=region)


def _pose(choices: Choices) -> tuple[Any, Any]:
    x, y, z = choices.reals((1.0, 2.0, 3.0))
    rotation = choices.one_of(((0.0, 0.0, 0.0, 1.0), (0.5, -0.5, 0.5, -0.5), (0.0, 0.0, 0.6, 0.8)))
    qx, qy, qz, qw = choices.reals(rotation)
    return SimpleNamespace(x=x, y=y, z=z), SimpleNamespace(x=qx, y=qy, z=qz, w=qw)


def _odometry(choices: Choices) -> Any:
    position, orientation = _pose(choices)
    child = choices.text(choices.one_of(("base_link", "left")))
    return SimpleNamespace(header=_header(choices, "odom"), child_frame_id=child,
                           pose=SimpleNamespace(pose=SimpleNamespace(position=position, orientation=orientation)))


def _transforms(choices: Choices) -> Any:
    edges = []
    for _ in range(choices.number(4)):
        translation, rotation = _pose(choices)
        parent, child = choices.one_of((("base_link", "front_optical_frame"), ("odom", "base_link"),
                                        ("base_link", "left"), ("left", "front_optical_frame"), ("left", "odom")))
        edges.append(SimpleNamespace(
            header=_header(choices, parent), child_frame_id=choices.text(child),
            transform=SimpleNamespace(translation=translation, rotation=rotation)))
    return SimpleNamespace(transforms=edges)


def _bytes_of(message: Any) -> tuple[str, bytes]:
    return message.__msgtype__, bytes(typestore().serialize_cdr(message, message.__msgtype__))


WIRE = tuple(_bytes_of(message) for message in (
    image_message(START, "front_optical_frame", PICTURE, "rgb8"),
    compressed_image_message(START, "front_optical_frame", CODED["jpg"]),
    camera_info_message(START, "front_optical_frame", CameraCalibration(16, 12, K)),
    odometry_message(START, "odom", "base_link", PLACE),
    transform_message({("base_link", "front_optical_frame"): PLACE, ("odom", "base_link"): PLACE}, START)))
"""Name and CDR bytes of one sound message of each kind."""
