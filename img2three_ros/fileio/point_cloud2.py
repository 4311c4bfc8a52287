"""sensor_msgs/PointCloud2 <-> structured numpy arrays, for rclpy and rosbags messages alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry.voxel_grid import voxel_labels
from ..structures import OCCUPIED, UNKNOWN, InputError, OccupancyVolume, PointCloud

# sensor_msgs/PointField datatype -> numpy kind.
_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_DATATYPES = {kind: number for number, kind in _KINDS.items()}


def read_cloud(message: Any, topic: str = "point cloud") -> NDArray[Any]:
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


def read_xyz(message: Any, topic: str = "point cloud") -> NDArray[np.float32]:
    """(N, 3) float32 finite points of a PointCloud2, in its own frame. Raises InputError('point_cloud')."""
    cloud = read_cloud(message, topic)
    if any(name not in (cloud.dtype.names or ()) for name in "xyz"):
        raise InputError("point_cloud", f"topic '{topic}': fields {list(cloud.dtype.names or ())}, expected x, y, z")
    points = np.stack([cloud[name].astype(np.float32) for name in "xyz"], axis=-1).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]


@dataclass(frozen=True, eq=False)
class CloudLayout:
    """A PointCloud2 without its header.

    fields: (name, offset, datatype) with count 1. data: (width * height,) structured, little-endian, contiguous.
    """

    fields: tuple[tuple[str, int, int], ...]
    point_step: int
    width: int
    height: int
    data: NDArray[Any]
    is_dense: bool


def dense_cloud(cloud: PointCloud) -> CloudLayout:
    """x y z rgb confidence. rgb is a float32 whose bits are 0x00RRGGBB, as PCL and RViz expect."""
    packed = _empty(len(cloud), ("rgb", "<f4"), ("confidence", "<f4"))
    if len(cloud):
        bits = cv2.cvtColor(cloud.colours[None], cv2.COLOR_RGB2BGRA).view("<u4") & np.uint32(0x00FFFFFF)
        # One pass over the points: writing a structured array field by field takes three times as long.
        columns = [np.ascontiguousarray(column, np.float32).reshape(1, len(cloud), -1)
                   for column in (cloud.points, bits.view(np.float32), cloud.confidence)]
        cv2.mixChannels(columns, [packed.view(np.float32).reshape(1, len(cloud), 5)], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    return _layout(packed, cloud.points)


def obstacle_cloud(cloud: PointCloud) -> CloudLayout:
    """x y z intensity (= confidence), finite points only: planners index grids with them unchecked."""
    if not np.isfinite(cloud.points).all():
        cloud = cloud.select(np.asarray(np.isfinite(cloud.points).all(axis=1)))
    packed = _empty(len(cloud), ("intensity", "<f4"))
    _fill_xyz(packed, cloud.points)
    packed["intensity"] = np.nan_to_num(cloud.confidence)
    return _layout(packed, cloud.points)


def occupied_voxels(volume: OccupancyVolume) -> CloudLayout:
    """Centres of the occupied voxels: x y z occupancy (probability) label (uint8, ``structures.VOXEL_LABELS``)."""
    mask = volume.state == OCCUPIED
    packed = _empty(int(mask.sum()), ("occupancy", "<f4"), ("label", "u1"))
    centres = volume.centres(mask)
    _fill_xyz(packed, centres)
    packed["occupancy"] = volume.probability[mask]
    packed["label"] = voxel_labels(volume)[mask]
    return _layout(packed, centres)


def observed_voxels(volume: OccupancyVolume) -> CloudLayout:
    """Centres of all voxels that are not unknown, seen or predicted: x y z state (uint8, 0 free, 1 occupied) occupancy
    (probability)."""
    mask = volume.state != UNKNOWN
    packed = _empty(int(mask.sum()), ("state", "u1"), ("occupancy", "<f4"))
    centres = volume.centres(mask)
    _fill_xyz(packed, centres)
    packed["state"] = volume.state[mask] == OCCUPIED
    packed["occupancy"] = volume.probability[mask]
    return _layout(packed, centres)


def _empty(count: int, *fields: tuple[str, str]) -> NDArray[Any]:
    # Aligned with (zeroed) padding: C++ readers cast fields in place.
    return np.zeros(count, dtype=np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), *fields], align=True))


def _fill_xyz(packed: NDArray[Any], points: NDArray[np.float32]) -> None:
    for column, name in enumerate("xyz"):
        packed[name] = points[:, column]


def _layout(packed: NDArray[Any], points: NDArray[Any]) -> CloudLayout:
    described: dict[str, Any] = dict(packed.dtype.fields or {})
    fields = tuple((name, int(item[1]), _DATATYPES[item[0].str.lstrip("<|")]) for name, item in described.items())
    return CloudLayout(fields, packed.dtype.itemsize, len(packed), 1, packed, bool(np.isfinite(points).all()))
