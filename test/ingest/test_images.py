"""Every encoding against its hand-computed pixels, and every kind of broken image."""

from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_samples import HEIGHT, START, WIDTH, jpeg, pixels, raw_image

from img2three_ros.fileio.messages import compressed_image_message
from img2three_ros.ingest.images import SUPPORTED_ENCODINGS, check_image, decode_image
from img2three_ros.structures import InputError

TOPIC = "/camera/front/image_raw"


def image(data, encoding, /, **changes):
    message = raw_image(np.asarray(data), encoding)
    for name, value in changes.items():
        object.__setattr__(message, name, value)
    return message


def reason(message, **kwargs):
    with pytest.raises(InputError) as error:
        check_image(message, TOPIC, **kwargs)
        decode_image(message, TOPIC)
    assert TOPIC in str(error.value)
    return error.value.reason


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = np.array([[RED, GREEN], [BLUE, (10, 20, 30)]], np.uint8)


@pytest.mark.parametrize("encoding,order", [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0])])
def test_three_channels(encoding, order):
    assert np.array_equal(decode_image(image(COLOURS[..., order], encoding), TOPIC), COLOURS)


@pytest.mark.parametrize("encoding,order", [("rgba8", [0, 1, 2]), ("bgra8", [2, 1, 0])])
def test_four_channels_drop_alpha(encoding, order):
    data = np.dstack((COLOURS[..., order], np.full((2, 2), 7, np.uint8)))
    assert np.array_equal(decode_image(image(data, encoding), TOPIC), COLOURS)


def test_rgb8_is_a_view_of_the_message():
    message = image(pixels(), "rgb8")
    decoded = decode_image(message, TOPIC)
    assert np.shares_memory(decoded, message.data)


def test_grey_and_sixteen_bits_of_both_endiannesses():
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    assert np.array_equal(decode_image(image(grey, "mono8"), TOPIC), np.dstack([grey] * 3))
    wide = grey.astype(np.uint16) * 257
    assert np.array_equal(decode_image(image(wide, "mono16"), TOPIC), np.dstack([grey] * 3))
    swapped = image(wide.byteswap().view(np.uint16), "mono16", is_bigendian=1)
    assert np.array_equal(decode_image(swapped, TOPIC), np.dstack([grey] * 3))
    assert np.array_equal(decode_image(image(COLOURS.astype(np.uint16) * 257, "rgb16"), TOPIC), COLOURS)
    assert np.array_equal(decode_image(image(COLOURS[..., ::-1].astype(np.uint16) * 257, "bgr16"), TOPIC), COLOURS)


@pytest.mark.parametrize("encoding,luma,u,v", [("yuv422", 1, 0, 2), ("uyvy", 1, 0, 2), ("yuv422_yuy2", 0, 1, 3),
                                               ("yuyv", 0, 1, 3)])
def test_packed_yuv(encoding, luma, u, v):
    """BT.601, as OpenCV and cv_bridge read it: Y = 81, U = 90, V = 240 is red."""
    packed = np.zeros((4, 4, 4), np.uint8)  # two pixels in four bytes
    packed[..., luma] = packed[..., luma + 2] = 81
    packed[..., u], packed[..., v] = 90, 240
    decoded = decode_image(image(packed.reshape(4, 8, 2), encoding), TOPIC)
    assert decoded.shape == (4, 8, 3)
    assert np.abs(decoded.astype(int) - RED).max() <= 3


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns(pattern, depth):
    """A mosaic of a plain orange wall gives the wall back, whatever the pattern."""
    wall = {"r": 240, "g": 120, "b": 30}
    mosaic = np.zeros((16, 16), np.uint8)
    for index, letter in enumerate(pattern):
        mosaic[index // 2::2, index % 2::2] = wall[letter]
    data = mosaic if depth == 8 else mosaic.astype(np.uint16) << 8
    decoded = decode_image(image(data, f"bayer_{pattern}{depth}"), TOPIC)
    assert np.abs(decoded[2:-2, 2:-2].astype(int) - (240, 120, 30)).max() <= 1


def test_padded_rows_are_skipped_and_array_array_is_read():
    padded = np.zeros((2, 10), np.uint8)
    padded[:, :6] = COLOURS.reshape(2, 6)
    message = image(COLOURS, "rgb8", step=10, data=array("B", padded.tobytes()))
    assert np.array_equal(decode_image(message, TOPIC), COLOURS)
    bgr = image(COLOURS, "bgr8", step=10, data=array("B", padded.tobytes()))
    assert np.array_equal(decode_image(bgr, TOPIC), COLOURS[..., ::-1])


def test_messages_of_rclpy_are_read_without_a_copy():
    messages = pytest.importorskip("sensor_msgs.msg")
    message = messages.Image(width=WIDTH, height=HEIGHT, step=WIDTH * 3, encoding="rgb8")
    message.header.frame_id, message.header.stamp.sec = "front", 1
    message.data = array("B", pixels().tobytes())
    decoded = decode_image(message, TOPIC)
    assert np.array_equal(decoded, pixels())
    assert np.shares_memory(decoded, np.frombuffer(message.data, np.uint8))
    message.data = array("B")
    assert reason(message) == "short_data"


@pytest.mark.parametrize("form", ["jpeg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8"])
def test_jpeg(form):
    decoded = decode_image(compressed_image_message(START, "front", jpeg(pixels()), form), TOPIC)
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(decoded.astype(int) - pixels()).mean() < 3


def test_png_is_exact_and_grey_png_becomes_rgb():
    data = cv2.imencode(".png", pixels()[..., ::-1])[1].tobytes()
    assert np.array_equal(decode_image(compressed_image_message(START, "front", data, "png"), TOPIC), pixels())
    grey = cv2.imencode(".png", pixels()[..., 0])[1].tobytes()
    decoded = decode_image(compressed_image_message(START, "front", grey, "mono8; png compressed "), TOPIC)
    assert np.array_equal(decoded, np.dstack([pixels()[..., 0]] * 3))


def test_compressed_mosaics_are_demosaiced():
    mosaic = np.zeros((16, 16), np.uint8)
    mosaic[0::2, 0::2] = 200  # red sites of rggb
    data = cv2.imencode(".png", mosaic)[1].tobytes()
    decoded = decode_image(compressed_image_message(START, "front", data, "bayer_rggb8; png compressed "), TOPIC)
    assert (decoded[4:-4, 4:-4] == (200, 0, 0)).all()


def test_broken_compressed_images():
    data = jpeg(pixels())
    for broken in (data[:len(data) // 2], b"\x00" * 100, b"\xff\xd8" + b"\x00" * 500 + b"\xff\xd9", data[100:]):
        assert reason(compressed_image_message(START, "front", broken)) == "corrupt_image"
    assert reason(compressed_image_message(START, "front", b"")) == "short_data"


def test_broken_raw_images():
    good = pixels()
    assert reason(image(good, "rgb8", data=good.reshape(-1)[:-1])) == "short_data"
    assert reason(image(good, "rgb8", step=WIDTH * 3 - 1)) == "bad_step"
    assert reason(image(good, "rgb8", width=0)) == "bad_size"
    assert reason(image(good, "rgb8", height=2**31)) == "bad_size"
    assert reason(image(np.zeros((2, 3, 2), np.uint8), "yuv422")) == "bad_size"
    assert reason(image(np.zeros((1, 8), np.uint8), "bayer_rggb8")) == "bad_size"


def test_unknown_encodings_list_the_known_ones():
    with pytest.raises(InputError, match="rgb8, bgr8") as error:
        check_image(image(pixels(), "RGB-8"), TOPIC)
    assert error.value.reason == "encoding" and "'RGB-8'" in str(error.value)


def test_headers():
    message = image(pixels(), "rgb8")
    assert check_image(message, TOPIC) == START
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    assert reason(message) == "zero_stamp"
    message.header.stamp.nanosec = 10**9
    assert reason(message) == "bad_stamp"
    message.header.stamp.nanosec = 5
    assert check_image(message, TOPIC) == 5
    message.header.frame_id = ""
    assert reason(message) == "empty_frame_id"
    assert check_image(message, TOPIC, frame_required=False) == 5


@settings(max_examples=300, deadline=None)
@given(st.sampled_from((*SUPPORTED_ENCODINGS, "", "32FC1", "bayer")), st.integers(-1, 9), st.integers(-1, 9),
       st.integers(-1, 40), st.binary(max_size=400), st.integers(0, 1))
def test_fuzzed_raw_images_give_pixels_or_a_reason(encoding, width, height, step, data, big):
    stamp = SimpleNamespace(sec=1, nanosec=0)
    message = SimpleNamespace(header=SimpleNamespace(stamp=stamp, frame_id="f"), width=width, height=height,
                              step=step, data=array("B", data), encoding=encoding, is_bigendian=big)
    try:
        decoded = decode_image(message, TOPIC)
    except InputError as error:
        assert error.reason.isidentifier() and TOPIC in str(error)
    else:
        assert decoded.shape == (height, width, 3) and decoded.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 600), st.sampled_from(("jpeg", "png", "", "bayer_rggb8; jpeg")))
def test_fuzzed_compressed_images_give_pixels_or_a_reason(noise, at, form):
    data = bytearray(jpeg(pixels()))
    data[at:at + len(noise)] = noise
    try:
        decoded = decode_image(compressed_image_message(START, "front", bytes(data), form), TOPIC)
    except InputError as error:
        assert error.reason in ("corrupt_image", "short_data", "bad_size")
    else:
        assert decoded.ndim == 3 and decoded.shape[2] == 3 and decoded.dtype == np.uint8
