"""Keyframes are chosen by how far the vehicle moved, never across unknown ego motion."""

from img2three_ros.config import KeyframeConfig
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.reconstruction.keyframes import KeyframeBuffer
from img2three_ros.reconstruction.views import PreparedFrame


def frame(seconds, x=None, yaw=0.0):
    pose = None if x is None else from_xyz_rpy((x, 0, 0), (0, 0, yaw))
    return PreparedFrame(int(seconds * 1e9), (), (), pose)


def drive(buffer, positions):
    for index, x in enumerate(positions):
        buffer.add(frame(index * 0.1, x))


def test_standing_vehicle_keeps_one():
    buffer = KeyframeBuffer(KeyframeConfig())
    drive(buffer, [0.0, 0.01, 0.02, 0.1])
    assert len(buffer) == 1


def test_turning_on_the_spot_is_new_too():
    buffer = KeyframeBuffer(KeyframeConfig())
    assert buffer.add(frame(0, 0.0)) and not buffer.add(frame(0.1, 0.0, 0.1)) and buffer.add(frame(0.2, 0.0, 0.3))


def test_oldest_first_newest_always_and_no_more_than_asked():
    buffer = KeyframeBuffer(KeyframeConfig(count=2))
    drive(buffer, [0.0, 1.0, 2.0, 3.0])
    chosen = buffer.select(frame(0.4, 3.9))
    assert [key.T_odom_base[0, 3] for key in chosen] == [0.0, 3.0]


def test_too_far_too_old_too_near_and_later_ones_are_left_out():
    buffer = KeyframeBuffer(KeyframeConfig(count=4, max_baseline=4.0, max_age=1.0))
    drive(buffer, [0.0, 1.0, 2.0, 3.0])
    assert [key.T_odom_base[0, 3] for key in buffer.select(frame(0.4, 5.5))] == [2.0, 3.0]
    assert buffer.select(frame(3.0, 3.5)) == ()
    assert [key.T_odom_base[0, 3] for key in buffer.select(frame(0.4, 3.05))] == [0.0, 1.0, 2.0]
    assert [key.T_odom_base[0, 3] for key in buffer.select(frame(0.15, 1.6))] == [0.0, 1.0]


def test_without_an_ego_pose_there_is_no_past():
    buffer = KeyframeBuffer(KeyframeConfig())
    assert not buffer.add(frame(0.0))
    buffer.add(frame(0.1, 0.0))
    assert buffer.select(frame(0.2)) == ()


def test_count_zero_and_one():
    none, one = KeyframeBuffer(KeyframeConfig(count=0)), KeyframeBuffer(KeyframeConfig(count=1))
    drive(none, [0.0, 1.0, 2.0])
    drive(one, [0.0, 1.0, 2.0])
    assert none.select(frame(0.3, 2.5)) == ()
    assert [key.T_odom_base[0, 3] for key in one.select(frame(0.3, 2.5))] == [2.0]
