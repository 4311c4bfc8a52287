"""PointCloud2 layouts, bit by bit, and any foreign layout read back."""

from dataclasses import replace

import numpy as np
import pytest

from img2three_ros.fileio.messages import message_type, point_cloud_message
from img2three_ros.fileio.point_cloud2 import (
    dense_cloud,
    observed_voxels,
    obstacle_cloud,
    occupied_voxels,
    read_cloud,
    read_xyz,
)
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, VOXEL_LABELS, InputError, OccupancyVolume, PointCloud

CLOUD = PointCloud(np.array([[1, 2, 3], [4, 5, np.nan]], np.float32), np.array([[255, 128, 1], [0, 0, 2]], np.uint8),
                   np.array([0.25, 1.0], np.float32))


def volume():
    """Two voxels occupied, one free, the rest unknown; (Z, Y, X) = (2, 3, 4), 0.5 m, corner (-1, -2, 0)."""
    state = np.full((2, 3, 4), UNKNOWN, np.int8)
    probability = np.full(state.shape, 0.5, np.float32)
    for index, value, chance in (((0, 0, 0), OCCUPIED, 0.9), ((1, 2, 3), OCCUPIED, 0.7), ((0, 1, 2), FREE, 0.1)):
        state[index], probability[index] = value, chance
    return OccupancyVolume(state, probability, np.array([-1.0, -2.0, 0.0]), 0.5)


def test_dense_cloud_packs_colour_as_pcl_does():
    layout = dense_cloud(CLOUD)
    assert layout.fields == (("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("rgb", 12, 7), ("confidence", 16, 7))
    assert (layout.point_step, layout.width, layout.height, layout.is_dense) == (20, 2, 1, False)
    data = layout.data.tobytes()
    assert data[12:16] == bytes((1, 128, 255, 0))  # 0x00FF8001, little-endian: B G R 0
    assert np.frombuffer(data, "<f4")[:3].tolist() == [1, 2, 3]
    assert np.frombuffer(data[16:20], "<f4")[0] == 0.25


def test_obstacle_cloud_is_finite_and_dense():
    layout = obstacle_cloud(CLOUD)
    assert layout.width == 1 and layout.is_dense and layout.height == 1
    assert layout.fields == (("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 7))
    assert layout.data["intensity"].tolist() == [0.25]


def test_voxels_are_centres_with_probability():
    layout = occupied_voxels(volume())
    assert [name for name, _, _ in layout.fields] == ["x", "y", "z", "occupancy", "label"]
    assert dict((name, kind) for name, _, kind in layout.fields)["label"] == 2
    assert [tuple(round(float(point[name]), 3) for name in "xyz") for point in layout.data] == [
        (-0.75, -1.75, 0.25), (0.75, -0.75, 0.75)]
    assert np.allclose(layout.data["occupancy"], [0.9, 0.7])
    assert layout.data["label"].tolist() == [1, 0]  # 0.25 m above z = 0 is driving surface, 0.75 m is not


def test_classes_of_voxels_are_passed_on():
    label = np.zeros((2, 3, 4), np.uint8)
    label[0, 0, 0], label[0, 1, 2] = VOXEL_LABELS.index("vehicle"), VOXEL_LABELS.index("person")
    layout = occupied_voxels(replace(volume(), label=label))
    assert layout.data["label"].tolist() == [2, 0]  # only of what is occupied


def test_observed_voxels_never_contain_unknown():
    layout = observed_voxels(volume())
    assert layout.width == 3
    assert layout.data["state"].tolist() == [1, 0, 1]
    assert np.allclose(layout.data["occupancy"], [0.9, 0.1, 0.7])
    assert layout.point_step % 4 == 0


@pytest.mark.parametrize("make", [lambda: dense_cloud(CLOUD), lambda: observed_voxels(volume()),
                                  lambda: obstacle_cloud(CLOUD.select(np.zeros(2, bool)))])
def test_messages_round_trip(make):
    layout = make()
    message = point_cloud_message(5, "base_link", layout)
    back = read_cloud(message)
    assert len(message.data) == message.row_step == message.width * message.point_step
    assert back.dtype.names == layout.data.dtype.names
    for name in back.dtype.names:
        assert back[name].tobytes() == layout.data[name].tobytes()


def foreign(big, step, row_padding, names=("x", "y", "z"), datatype=7):
    """A 3 x 2 organised cloud with gaps between fields, points and rows."""
    field = message_type("sensor_msgs/msg/PointField")
    kind = np.dtype((">" if big else "<") + "f4")
    data = np.full((2, 3 * step + row_padding), 0xAB, np.uint8)
    for row in range(2):
        for column in range(3):
            for index, value in enumerate((row, column, 0.5)):
                at = column * step + 4 + 4 * index
                data[row, at:at + 4] = np.frombuffer(np.array(value, kind).tobytes(), np.uint8)
    header = point_cloud_message(1, "lidar", dense_cloud(CLOUD)).header
    return message_type("sensor_msgs/msg/PointCloud2")(
        header=header, height=2, width=3, is_bigendian=big, point_step=step, row_step=data.shape[1],
        fields=[field(name=name, offset=4 + 4 * index, datatype=datatype, count=1)
                for index, name in enumerate(names)],
        data=data.reshape(-1), is_dense=True)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("step,row_padding", [(16, 0), (32, 5)])
def test_foreign_layouts_are_read(big, step, row_padding):
    points = read_xyz(foreign(big, step, row_padding), "/lidar")
    assert points.dtype == np.float32
    assert points.tolist() == [[row, column, 0.5] for row in range(2) for column in range(3)]


def test_impossible_layouts_are_named():
    for change, text in (({"point_step": 12}, "exceeds point_step 12"), ({"row_step": 7}, "too few"),
                         ({"data": np.zeros(10, np.uint8)}, "too few"), ({"point_step": 0}, "exceeds point_step 0")):
        message = foreign(False, 16, 0)
        for name, value in change.items():
            object.__setattr__(message, name, value)
        with pytest.raises(InputError, match=text):
            read_cloud(message, "/lidar")
    with pytest.raises(InputError, match="expected x, y, z"):
        read_xyz(foreign(False, 16, 0, names=("a", "b", "c")), "/lidar")
    with pytest.raises(InputError, match=r"datatype 9"):
        read_cloud(foreign(False, 16, 0, datatype=9), "/lidar")
