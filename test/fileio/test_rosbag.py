"""Recordings written and read again, by this package, by rosbags and by rclpy; damaged, empty and missing ones."""

import numpy as np
import pytest
from ingest_samples import CALIBRATION, PERIOD, START, pixels, text_message, write_bag
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from img2three_ros.fileio.messages import image_message
from img2three_ros.fileio.rosbag import BagReader, BagWriter
from img2three_ros.structures import InputError


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_round_trip(tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage=storage, compressed=False)
    with BagReader(bag) as reader:
        topics = reader.topics()
        messages = list(reader.messages())
        images = list(reader.messages(["/camera/front/image_raw"]))
    assert topics["/camera/front/image_raw"].count == 3
    assert topics["/tf_static"].latched and not topics["/odom"].latched
    assert len(messages) == sum(info.count for info in topics.values()) == 1 + 3 * 6
    assert [time for _, time, _ in images] == [START + index * PERIOD for index in range(3)]
    topic, _, image = images[1]
    assert topic == "/camera/front/image_raw" and image.encoding == "rgb8" and image.step == 64 * 3
    assert np.array_equal(image.data.reshape(48, 64, 3), pixels(1))
    assert [time for _, time, _ in messages] == sorted(time for _, time, _ in messages)


def test_other_readers_see_the_same_bytes(tmp_path):
    bag = write_bag(tmp_path / "bag", instants=1)
    with BagReader(bag) as reader, AnyReader([bag]) as other:
        ours = [(raw.topic, raw.time, raw.data) for raw in reader.raw_messages()]
        theirs = [(connection.topic, time, bytes(data)) for connection, time, data in other.messages()]
    assert sorted(ours) == sorted(theirs)


def test_rclpy_reads_what_is_written(tmp_path):
    serialization = pytest.importorskip("rclpy.serialization")
    from nav_msgs.msg import Odometry
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

    kinds = {"sensor_msgs/msg/CameraInfo": CameraInfo, "sensor_msgs/msg/CompressedImage": CompressedImage,
             "sensor_msgs/msg/Image": Image, "sensor_msgs/msg/PointCloud2": PointCloud2,
             "nav_msgs/msg/Odometry": Odometry}
    seen = set()
    for compressed in (True, False):
        with BagReader(write_bag(tmp_path / f"bag{compressed}", compressed=compressed)) as reader:
            for raw, (_, _, ours) in zip(reader.raw_messages(), reader.messages(), strict=True):
                if raw.message_type not in kinds:
                    continue
                theirs = serialization.deserialize_message(raw.data, kinds[raw.message_type])
                seen.add(raw.message_type)
                assert theirs.header.frame_id == ours.header.frame_id
                assert theirs.header.stamp.sec == ours.header.stamp.sec
                if hasattr(theirs, "data"):
                    assert bytes(theirs.data) == ours.data.tobytes()
                if raw.message_type.endswith("CameraInfo"):
                    assert np.array_equal(theirs.k.reshape(3, 3), CALIBRATION.intrinsics)
    assert seen == set(kinds)


def test_missing_and_foreign_and_empty_bags_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match="no bag at") as missing:
        BagReader(tmp_path / "nothing")
    assert missing.value.reason == "missing_bag"
    (tmp_path / "notes.txt").write_text("no bag")
    with pytest.raises(InputError, match="cannot be read") as foreign:
        BagReader(tmp_path / "notes.txt")
    assert foreign.value.reason == "unreadable_bag"
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot be read: the folder is empty"):
        BagReader(tmp_path / "folder")
    (tmp_path / "zero.mcap").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        BagReader(tmp_path / "zero.mcap")
    BagWriter(tmp_path / "empty").close()
    with pytest.raises(InputError, match="holds no messages") as empty:
        BagReader(tmp_path / "empty")
    assert empty.value.reason == "empty_bag"


def test_existing_output_is_never_overwritten(tmp_path):
    write_bag(tmp_path / "bag")
    with pytest.raises(InputError, match="exists already"):
        BagWriter(tmp_path / "bag")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_recording_gives_its_beginning(tmp_path, share):
    bag = write_bag(tmp_path / "bag", instants=20, compressed=False)
    with BagReader(bag) as reader:
        whole = [(raw.topic, raw.time, raw.data) for raw in reader.raw_messages()]
    file = bag / "bag.mcap"
    data = file.read_bytes()
    file.write_bytes(data[:int(len(data) * share)])
    with BagReader(bag) as reader:
        part = [(raw.topic, raw.time, raw.data) for raw in reader.raw_messages()]
        assert reader.truncated and "damaged" in reader.warnings[0]
        decoded = list(reader.messages(["/odom"]))
    assert part == whole[:len(part)]
    assert len(part) >= int(share * len(whole)) - 6
    assert decoded


def test_a_recording_that_was_never_closed_is_read(tmp_path):
    """A crash leaves a single file without index and no metadata.yaml."""
    bag = write_bag(tmp_path / "bag", instants=4)
    (bag / "metadata.yaml").unlink()
    file = bag / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-40])
    with BagReader(bag) as reader:
        assert reader.topics()["/odom"].count == 4
    with BagReader(file) as reader:
        assert reader.topics()["/odom"].count == 4


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_folder_without_metadata_is_read(tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage=storage)
    (bag / "metadata.yaml").unlink()
    with BagReader(bag) as reader:
        assert reader.topics()["/odom"].count == 3


@pytest.mark.parametrize("storage,name", [("mcap", "bag.mcap"), ("sqlite3", "bag.db3")])
def test_damage_in_the_middle_never_raises(tmp_path, storage, name):
    """A bad disk block: what can be read is read, and the rest is said."""
    bag = write_bag(tmp_path / "bag", instants=20, compressed=False, storage=storage)
    data = bytearray((bag / name).read_bytes())
    middle = len(data) // 2
    data[middle:middle + 8192] = bytes(8192)
    (bag / name).write_bytes(data)
    with BagReader(bag) as reader:
        found = list(reader.messages())
        # 8 KiB of zeros either hit messages (then fewer come, and that is said) or only the pixels of one image.
        assert bool(reader.warnings) == (len(found) < 121)
        assert len(found) > 50


def test_one_undecodable_message_costs_only_itself(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/text", text_message("one"), 1)
        writer.write("/text", b"\x00\x01\x00\x00\xff\xff\xff\x7f", 2, "std_msgs/msg/String")
        writer.write("/text", text_message("three"), 3)
    with BagReader(tmp_path / "bag") as reader:
        assert [message.data for _, _, message in reader.messages()] == ["one", "three"]
        assert "cannot decode std_msgs/msg/String" in reader.warnings[0]


def test_types_that_only_the_bag_knows_are_read(tmp_path):
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg("float32 load\nstring name", "own_msgs/msg/Load"))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/load", "own_msgs/msg/Load", typestore=store)
        message = store.types["own_msgs/msg/Load"](load=0.5, name="gpu")
        writer.write(connection, 7, store.serialize_cdr(message, "own_msgs/msg/Load"))
    with BagReader(tmp_path / "bag") as reader:
        ((topic, time, message),) = reader.messages()
    assert (topic, time, message.load, message.name) == ("/load", 7, 0.5, "gpu")


def test_images_of_wide_numbers_are_little_endian():
    message = image_message(START, "camera", np.array([[1.5, np.nan]], ">f4"), "32FC1")
    assert message.step == 8 and message.is_bigendian == 0
    assert np.array_equal(message.data.view("<f4"), [1.5, np.nan], equal_nan=True)
