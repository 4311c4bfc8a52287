"""sensor_msgs/Image and CompressedImage -> RGB pixels, after checking that the message is what it claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..structures import InputError
from .checks import checked_frame_id, checked_stamp
from .coded_size import LARGEST_PIXELS, coded_size
from .jpeg import START, Pixels, decode_jpeg

_LARGEST_SIDE = 16384


@dataclass(frozen=True)
class _Encoding:
    """How raw bytes become RGB: channels and bytes per channel as transmitted, then a conversion."""

    channels: int
    depth: int
    to_rgb: Callable[[NDArray[Any]], Pixels]


def _colour(code: int) -> Callable[[NDArray[Any]], Pixels]:
    return lambda pixels: np.asarray(cv2.cvtColor(pixels, code), dtype=np.uint8)


def _wide(code: int | None) -> Callable[[NDArray[Any]], Pixels]:
    """16 bits per channel: the high byte is the picture (sensors fill 16 bits, REP-less but universal)."""

    def convert(pixels: NDArray[Any]) -> Pixels:
        high = np.ascontiguousarray((pixels >> 8).astype(np.uint8))
        return high if code is None else np.asarray(cv2.cvtColor(high, code), dtype=np.uint8)

    return convert


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row: rggb = OpenCV's BG.
_BAYER = {"rggb": cv2.COLOR_BayerBG2RGB, "bggr": cv2.COLOR_BayerRG2RGB,
          "gbrg": cv2.COLOR_BayerGR2RGB, "grbg": cv2.COLOR_BayerGB2RGB}

_ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(3, 1, lambda pixels: pixels),
    "bgr8": _Encoding(3, 1, _colour(cv2.COLOR_BGR2RGB)),
    "rgba8": _Encoding(4, 1, _colour(cv2.COLOR_RGBA2RGB)),
    "bgra8": _Encoding(4, 1, _colour(cv2.COLOR_BGRA2RGB)),
    "mono8": _Encoding(1, 1, _colour(cv2.COLOR_GRAY2RGB)),
    "8UC1": _Encoding(1, 1, _colour(cv2.COLOR_GRAY2RGB)),
    "8UC3": _Encoding(3, 1, _colour(cv2.COLOR_BGR2RGB)),
    "mono16": _Encoding(1, 2, _wide(cv2.COLOR_GRAY2RGB)),
    "rgb16": _Encoding(3, 2, _wide(None)),
    "bgr16": _Encoding(3, 2, _wide(cv2.COLOR_BGR2RGB)),
    "yuv422": _Encoding(2, 1, _colour(cv2.COLOR_YUV2RGB_UYVY)),
    "uyvy": _Encoding(2, 1, _colour(cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": _Encoding(2, 1, _colour(cv2.COLOR_YUV2RGB_YUY2)),
    "yuyv": _Encoding(2, 1, _colour(cv2.COLOR_YUV2RGB_YUY2)),
    **{f"bayer_{pattern}8": _Encoding(1, 1, _colour(code)) for pattern, code in _BAYER.items()},
    **{f"bayer_{pattern}16": _Encoding(1, 2, _wide(code)) for pattern, code in _BAYER.items()},
}

SUPPORTED_ENCODINGS = tuple(_ENCODINGS)
"""Raw encodings that are decoded here; others go through cv_bridge where it is installed."""


def is_compressed(message: Any) -> bool:
    """True for a CompressedImage."""
    return hasattr(message, "format") and not hasattr(message, "encoding")


def check_image(message: Any, topic: str, frame_required: bool = True) -> int:
    """Cheap checks of header, size, encoding and length, without decoding. Returns the stamp, ns.

    Raises InputError with reason ``zero_stamp``, ``bad_stamp``, ``empty_frame_id``, ``bad_size``, ``encoding``,
    ``bad_step``, ``short_data`` or ``corrupt_image``.
    """
    stamp = checked_stamp(message, topic)
    if frame_required:
        checked_frame_id(message, topic)
    if is_compressed(message):
        if len(message.data) < 4:
            raise InputError("short_data", f"topic '{topic}': compressed image has {len(message.data)} bytes; "
                             "check the driver or the compressor")
        return stamp
    width, height = int(message.width), int(message.height)
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise InputError("bad_size", f"topic '{topic}': image size {width}x{height} is not within 1..{_LARGEST_SIDE}; "
                         "publish the size of the image")
    encoding = _ENCODINGS.get(str(message.encoding))
    if encoding is not None:
        _check_layout(message, topic, encoding)
    elif _cv_bridge() is None:
        raise InputError("encoding", f"topic '{topic}': encoding '{message.encoding}' is not supported; use one of "
                         f"{', '.join(SUPPORTED_ENCODINGS)}, or install cv_bridge")
    return stamp


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """pixels: (H, W, 3) uint8 RGB. size: (width, height) of the image as it was sent. reduction: each pixel stands for
    so many in both directions; blocks at the right and lower edge that are not whole are left out."""

    pixels: Pixels
    size: tuple[int, int]
    reduction: int = 1


def decode_image(message: Any, topic: str) -> Pixels:
    """Image or CompressedImage -> (H, W, 3) uint8 RGB; for rgb8 a view of the message's own bytes.

    Raises InputError like ``check_image``, or ``corrupt_image``.
    """
    return decode_reduced(message, topic, 1).pixels


def decode_reduced(message: Any, topic: str, reduction: int) -> DecodedImage:
    """Like ``decode_image``, but a JPEG comes out smaller by ``reduction`` (1, 2, 4 or 8), which takes less time; all
    else comes out whole."""
    check_image(message, topic, frame_required=False)
    if is_compressed(message):
        return _decode_compressed(message, topic, reduction)
    pixels = _decode_raw(message, topic)
    return DecodedImage(pixels, (pixels.shape[1], pixels.shape[0]))


def _decode_raw(message: Any, topic: str) -> Pixels:
    encoding = _ENCODINGS.get(str(message.encoding))
    if encoding is None:
        return _decode_with_cv_bridge(message, topic)
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = _bytes_of(message.data)
    row = width * encoding.channels * encoding.depth
    rows = data[:height * step].reshape(height, step)[:, :row]
    if encoding.depth == 2:
        kind = np.dtype(">u2" if message.is_bigendian else "<u2")
        rows = np.ascontiguousarray(rows).view(kind).astype(np.uint16, copy=False)
    shape = (height, width) if encoding.channels == 1 else (height, width, encoding.channels)
    return encoding.to_rgb(rows.reshape(shape))


def _check_layout(message: Any, topic: str, encoding: _Encoding) -> None:
    width, height, step = int(message.width), int(message.height), int(message.step)
    row = width * encoding.channels * encoding.depth
    if encoding.channels == 2 and width % 2:
        raise InputError("bad_size", f"topic '{topic}': {message.encoding} needs an even width, got {width}")
    if str(message.encoding).startswith("bayer") and (width < 2 or height < 2):
        raise InputError("bad_size", f"topic '{topic}': {message.encoding} needs at least 2x2 pixels, "
                         f"got {width}x{height}")
    if step < row:
        raise InputError("bad_step", f"topic '{topic}': step {step} is below {row} = width {width} x "
                         f"{encoding.channels * encoding.depth} bytes of '{message.encoding}'; the publisher "
                         "must set step and encoding of the image it sends")
    if len(message.data) < height * step:
        raise InputError("short_data", f"topic '{topic}': {len(message.data)} bytes of data, expected "
                         f"{height * step} = height {height} x step {step}; the publisher must send whole images: "
                         "check height, step and encoding")


def _decode_compressed(message: Any, topic: str, reduction: int) -> DecodedImage:
    data = _bytes_of(message.data)
    is_jpeg = bytes(data[:2]) == START
    if is_jpeg and b"\xff\xd9" not in bytes(data[-64:]):
        # Decoders fill the rest of a cut-off JPEG with grey and say nothing.
        raise InputError("corrupt_image", f"topic '{topic}': JPEG of {len(data)} bytes breaks off (no end marker); "
                         "the driver, the network or the recorder cut it: check their buffers")
    coding = str(message.format).split(";")[0].strip()
    mosaic = coding.startswith("bayer_") and coding[6:10] in _BAYER
    claimed = coded_size(data)
    if claimed is not None and claimed[0] * claimed[1] > LARGEST_PIXELS:
        raise InputError("bad_size", f"topic '{topic}': {len(data)} bytes claim an image of {claimed[0]}x{claimed[1]}; "
                         f"at most {LARGEST_PIXELS} pixels are decoded: publish smaller images")
    size = claimed if is_jpeg and not mosaic else None
    reduction = reduction if size is not None else 1
    pixels = None if claimed is None else decode_jpeg(data, reduction) if is_jpeg else _decode_png(data)
    if pixels is None:
        raise InputError("corrupt_image", f"topic '{topic}': {len(data)} bytes of format '{message.format}' cannot "
                         "be decoded; JPEG and PNG are supported")
    if mosaic:
        # image_transport compresses the mosaic itself as one grey channel and says so before the semicolon.
        pixels = _colour(_BAYER[coding[6:10]])(np.ascontiguousarray(pixels[..., 0]))
    width, height = size or (pixels.shape[1], pixels.shape[0])
    return DecodedImage(pixels[:height // reduction, :width // reduction], (width, height), reduction)


def _decode_png(data: Pixels) -> Pixels | None:
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, dtype=np.uint8)


def _bytes_of(data: Any) -> Pixels:
    """Message data (numpy, array.array, bytes) as uint8 without a copy."""
    return data if isinstance(data, np.ndarray) and data.dtype == np.uint8 else np.frombuffer(data, np.uint8)


def _cv_bridge() -> Any:
    """cv_bridge, or None where it is not installed (machines without ROS packages)."""
    try:
        import cv_bridge
    except (ImportError, AttributeError, RuntimeError):  # not installed, or built for another numpy
        return None
    return cv_bridge


def _decode_with_cv_bridge(message: Any, topic: str) -> Pixels:
    try:
        return np.asarray(_cv_bridge().CvBridge().imgmsg_to_cv2(message, "rgb8"), dtype=np.uint8)
    except Exception as error:  # CvBridgeError, or rclpy-only assumptions inside cv_bridge
        raise InputError("encoding", f"topic '{topic}': cv_bridge cannot turn '{message.encoding}' into rgb8: "
                         f"{error}") from error
