"""Jumps of time, and one camera's mistake: the rig is reset by the first within a frame, never by the second."""

import numpy as np
import pytest
from ingest_samples import PERIOD, START, T_BASE_CAMERA, info_message, pixels, pose, raw_image

from img2three_ros.config import SyncConfig
from img2three_ros.fileio.messages import odometry_message, transform_message
from img2three_ros.ingest.frame_assembler import FrameAssembler
from img2three_ros.ingest.stamp_offsets import StampOffsets
from img2three_ros.ingest.synchronizer import CameraSynchronizer

MS, SECOND = 1_000_000, 1_000_000_000
CAMERAS = ("front", "left", "right")


def drive(synchronizer, stamps, now, changes=None):
    """Images of all cameras at each stamp, as they would arrive; changes: camera -> offset of its stamps, ns."""
    sets = []
    for stamp in stamps:
        for camera in CAMERAS:
            now += 2 * MS
            sets += synchronizer.add(camera, stamp + (changes or {}).get(camera, 0), None, now)
        now += 94 * MS
        sets += synchronizer.poll(now)
    return sets, now


def every(start, count):
    return [start + index * PERIOD for index in range(count)]


@pytest.mark.parametrize("seconds", [-3600, -1, 20, 86400])
def test_a_jump_of_all_cameras_resets_within_the_first_frame_and_loses_no_image(seconds):
    synchronizer = CameraSynchronizer(CAMERAS)
    _, now = drive(synchronizer, every(START, 10), 0)
    after = every(START + 10 * PERIOD + seconds * SECOND, 5)
    sets, _ = drive(synchronizer, after, now)
    assert [image_set.stamp for image_set in sets] == after
    assert sets[0].after_time_jump and sets[0].missing == () and not sets[1].after_time_jump
    assert synchronizer.time_jumps == 1
    assert synchronizer.last_jump == pytest.approx(seconds, abs=0.2)


@pytest.mark.parametrize("seconds", [-30, 30])
def test_one_stray_stamp_costs_one_image_and_no_reset(seconds):
    synchronizer = CameraSynchronizer(CAMERAS)
    _, now = drive(synchronizer, every(START, 10), 0)
    strayed, now = drive(synchronizer, every(START + 10 * PERIOD, 1), now, {"front": seconds * SECOND})
    sets, now = drive(synchronizer, every(START + 11 * PERIOD, 20), now)
    assert synchronizer.time_jumps == 0
    assert synchronizer.counters()["front"].dropped == {"stray_stamp": 1}
    assert not any(image_set.after_time_jump for image_set in strayed + sets)
    assert sum(image_set.missing == () for image_set in sets) == 20


def test_a_camera_whose_clock_stepped_is_left_out_and_comes_back_when_it_is_right_again():
    synchronizer = CameraSynchronizer(CAMERAS)
    _, now = drive(synchronizer, every(START, 10), 0)
    stepped, now = drive(synchronizer, every(START + 10 * PERIOD, 30), now, {"left": 7 * SECOND})
    assert synchronizer.time_jumps == 0
    assert {image_set.cameras for image_set in stepped} == {("front", "right")}
    sets, _ = drive(synchronizer, every(START + 40 * PERIOD, 10), now)
    assert sum(image_set.missing == () for image_set in sets) == 10
    for counters in synchronizer.counters().values():
        assert counters.received == counters.used + sum(counters.dropped.values()) + counters.waiting


def test_a_gap_in_which_time_passed_is_no_jump():
    synchronizer = CameraSynchronizer(CAMERAS)
    _, now = drive(synchronizer, every(START, 5), 0)
    sets, _ = drive(synchronizer, every(START + 60 * SECOND, 5), now + 60 * SECOND)
    assert synchronizer.time_jumps == 0 and len(sets) == 5


def test_a_camera_that_was_wrong_from_the_start_is_believed_once_its_clock_is_set():
    synchronizer = CameraSynchronizer(CAMERAS)
    _, now = drive(synchronizer, every(START, 10), 0, {"right": 9 * SECOND})
    sets, _ = drive(synchronizer, every(START + 10 * PERIOD, 10), now)
    assert synchronizer.time_jumps == 0
    assert sum("right" in image_set.cameras for image_set in sets) >= 9  # the first may leave without it


def offsets(shift, arrival=0, count=10):
    """Three cameras; the stamps of left are shifted, its arrivals too."""
    measured = StampOffsets(CAMERAS, "front")
    for index in range(count):
        stamp = START + index * PERIOD
        for camera in CAMERAS:
            late = arrival if camera == "left" else 0
            measured.add(camera, stamp + (shift if camera == "left" else 0), index * PERIOD + 30 * MS + late)
    return measured


def test_a_constant_offset_is_measured_and_named():
    measured = offsets(-3 * SECOND)
    assert measured.lags()["left"] == pytest.approx(3.0) and measured.lags()["front"] == 0.0
    sentence = measured.problem("left", 0.06, 0.2)
    assert "3.00 s behind" in sentence and "left" in sentence and "PTP" in sentence
    assert "2.00 s ahead" in offsets(2 * SECOND).problem("left", 0.06, 0.2)
    assert measured.problem("front", 0.06, 0.2) == measured.problem("right", 0.06, 0.2) == ""


def test_cameras_that_expose_in_turns_are_told_how_far_apart_they_are():
    measured = offsets(45 * MS, arrival=45 * MS)
    assert measured.phases()["left"] == pytest.approx(0.045)
    assert measured.problem("left", 0.06, 0.2) == ""
    assert "0.045 s from the nearest of 'front'" in measured.problem("left", 0.02, 0.2)


def test_few_images_say_nothing_of_clocks():
    assert offsets(5 * SECOND, count=3).problem("left", 0.06, 0.2) == ""


@pytest.fixture
def assembler():
    made = FrameAssembler(("front", "back"), SyncConfig(tolerance=0.05))
    made.add_transforms(transform_message({("base_link", f"{name}_optical_frame"): T_BASE_CAMERA[name]
                                           for name in ("front", "back")}, START), static=True)
    for camera in ("front", "back"):
        made.add_camera_info(camera, info_message())
    return made


def move(assembler, stamp, x=None):
    place = pose(stamp)
    if x is not None:
        place = place.copy()
        place[0, 3] = x
    assembler.add_odometry(odometry_message(stamp, "odom", "base_link", place))


def frame_at(assembler, stamp):
    sets = []
    for camera in ("front", "back"):
        sets += assembler.add_image(camera, raw_image(pixels(), "rgb8", stamp, f"{camera}_optical_frame"),
                                    stamp - START)
    (image_set,) = sets
    return assembler.assemble(image_set)


def test_frames_before_and_after_an_odometry_gap_share_no_past(assembler):
    for index in range(6):
        move(assembler, START + index * PERIOD)
    before = frame_at(assembler, START + 5 * PERIOD)
    during = frame_at(assembler, START + 10 * PERIOD)
    assert during.T_odom_base is None and before.T_odom_base is not None
    for index in range(20, 24):
        move(assembler, START + index * PERIOD)
    after, later = frame_at(assembler, START + 21 * PERIOD), frame_at(assembler, START + 22 * PERIOD)
    assert after.segment == later.segment != before.segment
    assert after.T_odom_base is not None
    assert assembler.motion_breaks == 1 and "1.50 s" in assembler.last_motion_break


def test_a_leap_of_the_odometry_is_a_break_and_nothing_is_placed_on_the_way(assembler):
    for index in range(6):
        move(assembler, START + index * PERIOD)
    before = frame_at(assembler, START + 5 * PERIOD)
    move(assembler, START + 6 * PERIOD, x=pose(START + 6 * PERIOD)[0, 3] + 10.0)
    assert frame_at(assembler, START + 5 * PERIOD + PERIOD // 2).T_odom_base is None
    after = frame_at(assembler, START + 6 * PERIOD)
    assert after.segment != before.segment and after.T_odom_base is not None
    assert "leap of 10.5 m" in assembler.last_motion_break


def test_motion_as_it_is_makes_no_break(assembler):
    frames = []
    for index in range(30):
        move(assembler, START + index * PERIOD)
        frames.append(frame_at(assembler, START + index * PERIOD))
    assert len({frame.segment for frame in frames}) == 1 and assembler.motion_breaks == 0


def test_a_time_jump_starts_a_new_segment(assembler):
    first = frame_at(assembler, START + 100 * PERIOD)
    sets = []
    for camera in ("front", "back"):
        sets += assembler.add_image(camera, raw_image(pixels(), "rgb8", START, f"{camera}_optical_frame"),
                                    101 * PERIOD)
    assert assembler.assemble(sets[0]).segment != first.segment


def test_a_new_place_of_a_camera_holds_from_the_next_image_on(assembler):
    first = frame_at(assembler, START)
    moved = T_BASE_CAMERA["front"].copy()
    moved[2, 3] += 0.25
    assembler.add_transforms(transform_message({("base_link", "front_optical_frame"): moved}, START), static=True)
    second = frame_at(assembler, START + PERIOD)
    assert np.allclose(second.images[0].T_base_camera, moved)
    assert np.allclose(second.images[1].T_base_camera, first.images[1].T_base_camera)
