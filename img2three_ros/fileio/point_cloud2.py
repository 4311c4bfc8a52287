"""sensor_msgs/PointCloud2 <-> structured numpy arrays, for rclpy and rosbags messages alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structures import InputError

# sensor_msgs/PointField datatype -> numpy kind.
_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_DATATYPES = {kind: number for number, kind in _KINDS.items()}


def read_point_cloud2(message: Any, topic: str) -> NDArray[Any]:
    """PointCloud2 of any layout, padding and endianness -> structured array (N,), a view where possible.

    Raises InputError('point_cloud') if the layout does not fit the data.
    """
    order = ">" if message.is_bigendian else "<"
    names, formats, offsets = [], [], []
    step = int(message.point_step)
    for item in message.fields:
        if item.datatype not in _KINDS:
            raise InputError("point_cloud", f"topic '{topic}': field '{item.name}' has datatype {item.datatype}, "
                             "expected 1..8")
        kind = np.dtype(order + _KINDS[item.datatype])
        count = max(int(item.count), 1)
        if int(item.offset) + kind.itemsize * count > step:
            raise InputError("point_cloud", f"topic '{topic}': field '{item.name}' at offset {item.offset} exceeds "
                             f"point_step {step}")
        names.append(str(item.name))
        formats.append(kind if count == 1 else (kind, (count,)))
        offsets.append(int(item.offset))
    if not names or len(set(names)) != len(names) or step <= 0:
        raise InputError("point_cloud", f"topic '{topic}': fields {names} with point_step {step} are not a layout")
    width, height, row_step = int(message.width), int(message.height), int(message.row_step)
    layout = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": step})
    data = message.data if isinstance(message.data, np.ndarray) else np.frombuffer(message.data, np.uint8)
    if height <= 1:
        row_step = width * step
    if row_step < width * step or data.size < height * row_step:
        raise InputError("point_cloud", f"topic '{topic}': {data.size} bytes and row_step {row_step} are too few for "
                         f"{width}x{height} points of {step} bytes")
    rows = data[:height * row_step].reshape(height, row_step)[:, :width * step]
    return np.ascontiguousarray(rows).reshape(-1).view(layout)


def read_xyz(message: Any, topic: str) -> NDArray[np.float32]:
    """(N, 3) float32 finite points of a PointCloud2, in its own frame. Raises InputError('point_cloud')."""
    cloud = read_point_cloud2(message, topic)
    if any(name not in (cloud.dtype.names or ()) for name in "xyz"):
        raise InputError("point_cloud", f"topic '{topic}': fields {list(cloud.dtype.names or ())}, expected x, y, z")
    points = np.stack([cloud[name].astype(np.float32) for name in "xyz"], axis=-1).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]
