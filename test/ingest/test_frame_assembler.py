"""The assembler: placed images, ego motion at each stamp, bad input that costs only itself, counters that add up."""

import threading

import numpy as np
import pytest
from ingest_samples import (
    CALIBRATION,
    PERIOD,
    SPEED,
    START,
    T_BASE_CAMERA,
    info_message,
    pixels,
    pose,
    raw_image,
)

from img2three_ros.config import SyncConfig
from img2three_ros.fileio.messages import odometry_message, transform_message
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.ingest.frame_assembler import FrameAssembler
from img2three_ros.ingest.rig import CameraRig, RigCamera
from img2three_ros.structures import CameraCalibration, InputError

CAMERAS = ("front", "back")
MS = 1_000_000


def image(camera="front", stamp=START, picture=None, encoding="rgb8", frame=None):
    return raw_image(pixels() if picture is None else picture, encoding, stamp,
                     f"{camera}_optical_frame" if frame is None else frame)


def static():
    return transform_message({("base_link", f"{name}_optical_frame"): T_BASE_CAMERA[name] for name in CAMERAS}, START)


@pytest.fixture
def assembler():
    made = FrameAssembler(CAMERAS, SyncConfig(tolerance=0.05))
    made.add_transforms(static(), static=True)
    for camera in CAMERAS:
        made.add_camera_info(camera, info_message())
    for index in range(-2, 4):
        stamp = START + index * PERIOD
        made.add_odometry(odometry_message(stamp, "odom", "base_link", pose(stamp)))
    return made


def one_set(assembler, front=START, back=START, **kwargs):
    sets = assembler.add_image("front", image("front", front, **kwargs), front - START)
    sets += assembler.add_image("back", image("back", back), front - START + 1)
    (image_set,) = sets or assembler.flush()
    return image_set


def assert_adds_up(assembler):
    for name, count in assembler.counters().items():
        assert count.received == count.used + sum(count.rejected.values()) + count.waiting, (name, count)


def test_a_frame_holds_pixels_extrinsics_and_the_pose_of_each_stamp(assembler):
    frame = assembler.assemble(one_set(assembler, back=START + 20 * MS))
    front, back = frame.images
    assert frame.stamp == START and frame.present == CAMERAS and frame.missing == ()
    assert np.array_equal(front.image, pixels())
    assert np.allclose(front.T_base_camera, T_BASE_CAMERA["front"])
    assert np.allclose(back.T_base_camera, T_BASE_CAMERA["back"])
    assert front.calibration.key() == CALIBRATION.key()
    assert (front.frame_id, back.stamp) == ("front_optical_frame", START + 20 * MS)
    assert np.isclose(back.T_odom_base[0, 3] - front.T_odom_base[0, 3], SPEED * 0.02)
    assert np.allclose(frame.T_odom_base, pose(START))
    assert_adds_up(assembler)
    assert assembler.problems() == ()


def test_without_transform_the_image_is_rejected_never_placed_at_identity():
    assembler = FrameAssembler(CAMERAS)
    assembler.add_transforms(transform_message({("base_link", "front_optical_frame"): T_BASE_CAMERA["front"]}, START),
                             static=True)
    for camera in CAMERAS:
        assembler.add_camera_info(camera, info_message())
    frame = assembler.assemble(one_set(assembler))
    assert frame.present == ("front",) and frame.missing == ("back",)
    assert assembler.counters()["back"].rejected == {"no_transform": 1}
    assert "back_optical_frame" in assembler.problems()[0] and "/tf_static" in assembler.problems()[0]
    assert frame.T_odom_base is None and frame.images[0].T_odom_base is None
    assert_adds_up(assembler)


def test_an_image_in_the_base_frame_itself_is_not_trusted(assembler):
    frame = assembler.assemble(one_set(assembler, frame="base_link"))
    assert frame.missing == ("front",)
    assert assembler.counters()["front"].rejected == {"no_transform": 1}


def test_rig_file_values_are_the_fallback_and_tf_wins(assembler):
    elsewhere = from_xyz_rpy((9.0, 9.0, 9.0))
    rig = CameraRig((RigCamera("front", "/f", T_base_camera=elsewhere, calibration=CALIBRATION),
                     RigCamera("back", "/b", T_base_camera=elsewhere, calibration=CALIBRATION)))
    alone = FrameAssembler(CAMERAS, rig=rig)
    frame = alone.assemble(one_set(alone, frame=""))  # an empty frame_id is fine: the rig file knows the camera
    assert frame.present == CAMERAS and np.allclose(frame.images[0].T_base_camera, elsewhere)
    with_tf = FrameAssembler(CAMERAS, rig=rig)
    with_tf.add_transforms(static(), static=True)
    frame = with_tf.assemble(one_set(with_tf))
    assert np.allclose(frame.images[0].T_base_camera, T_BASE_CAMERA["front"])


def test_a_changed_transform_or_calibration_takes_effect_at_once_for_its_camera_only(assembler):
    moved = from_xyz_rpy((2.0, 0.0, 1.0))
    assembler.add_transforms(transform_message({("base_link", "front_optical_frame"): moved}, START), static=True)
    longer = CameraCalibration(CALIBRATION.width, CALIBRATION.height, CALIBRATION.intrinsics * [[2], [2], [1]])
    longer.intrinsics[:2, 2] = 20.0
    assembler.add_camera_info("front", info_message(longer, START + PERIOD))
    before = assembler.assemble(one_set(assembler))
    after = assembler.assemble(one_set(assembler, START + PERIOD, START + PERIOD))
    assert [frame.images[0].calibration.intrinsics[0, 0] for frame in (before, after)] == [50.0, 100.0]
    assert all(frame.images[1].calibration.intrinsics[0, 0] == 50.0 for frame in (before, after))
    assert np.allclose(after.images[0].T_base_camera, moved)


def test_a_bad_camera_info_keeps_the_good_one_and_is_reported(assembler):
    bad = info_message()
    object.__setattr__(bad, "k", np.zeros(9))
    assembler.add_camera_info("front", bad)
    assert assembler.assemble(one_set(assembler)).present == CAMERAS
    assert assembler.rejected_messages() == {"camera_info": 1}
    assert "camera_info" in assembler.problems()[0]
    assembler.add_camera_info("front", info_message())
    assert assembler.problems() == ()


def test_wrong_size_missing_info_and_broken_images_lose_only_themselves():
    assembler = FrameAssembler(CAMERAS)
    assembler.add_transforms(static(), static=True)
    assembler.add_camera_info("front", info_message())
    frame = assembler.assemble(one_set(assembler))
    assert frame.present == ("front",)
    assert assembler.counters()["back"].rejected == {"no_camera_info": 1}
    assembler.add_camera_info("back", info_message())
    frame = assembler.assemble(one_set(assembler, START + PERIOD, START + PERIOD, picture=pixels()[:20]))
    assert frame.present == ("back",) and frame.missing == ("front",)
    assert assembler.counters()["front"].rejected == {"size_mismatch": 1}
    assert "64x20" in assembler.problems()[0] and "64x48" in assembler.problems()[0]
    assert assembler.add_image("front", image(stamp=START + 2 * PERIOD, encoding="grb8"), 0) == []
    assert assembler.counters()["front"].rejected["encoding"] == 1
    assert_adds_up(assembler)


def test_nothing_usable_is_an_error_that_names_every_camera():
    assembler = FrameAssembler(CAMERAS)
    with pytest.raises(InputError, match=r"front.*back") as error:
        assembler.assemble(one_set(assembler))
    assert error.value.reason == "no_usable_image"
    assert_adds_up(assembler)


def test_masks_of_the_rig_file_are_attached_and_must_fit(tmp_path, assembler):
    import cv2

    mask = np.zeros((48, 64), np.uint8)
    mask[:30] = 255
    cv2.imwrite(str(tmp_path / "front.png"), mask)
    cv2.imwrite(str(tmp_path / "back.png"), mask[:10])
    rig = CameraRig(tuple(RigCamera(name, f"/{name}", T_base_camera=T_BASE_CAMERA[name], calibration=CALIBRATION,
                                    mask_file=tmp_path / f"{name}.png") for name in CAMERAS))
    with_masks = FrameAssembler(CAMERAS, rig=rig)
    frame = with_masks.assemble(one_set(with_masks))
    assert frame.present == ("front",) and frame.images[0].mask.sum() == 30 * 64
    assert with_masks.counters()["back"].rejected == {"mask_size": 1}


def test_ego_motion_from_tf_where_there_is_no_odometry():
    assembler = FrameAssembler(CAMERAS)
    assembler.add_transforms(static(), static=True)
    for camera in CAMERAS:
        assembler.add_camera_info(camera, info_message())
    for stamp in (START, START + PERIOD):
        assembler.add_transforms(transform_message({("odom", "base_link"): pose(stamp)}, stamp), static=False)
    frame = assembler.assemble(one_set(assembler, START + PERIOD // 2, START + PERIOD // 2))
    assert np.allclose(frame.T_odom_base, pose(START + PERIOD // 2))


def test_ego_motion_from_tf_in_a_frame_of_any_name():
    made = FrameAssembler(CAMERAS, SyncConfig(tolerance=0.05))
    made.add_transforms(static(), static=True)
    made.add_transforms(transform_message({("base_footprint", "base_link"): from_xyz_rpy((0, 0, 0.3))}, START), True)
    for camera in CAMERAS:
        made.add_camera_info(camera, info_message())
    for stamp in (START - PERIOD, START + PERIOD):
        edges = {("map", "base_footprint"): pose(stamp), ("earth", "map"): from_xyz_rpy((1e6, 0, 0))}
        made.add_transforms(transform_message(edges, stamp), static=False)
    frame = made.assemble(one_set(made))
    # The nearest moving edge counts, not the far root: float32 would blur that.
    assert np.allclose(frame.T_odom_base, from_xyz_rpy((0, 0, 0.3)), atol=1e-9)


def test_odometry_of_another_frame_of_the_vehicle_is_carried_over():
    assembler = FrameAssembler(CAMERAS)
    assembler.add_transforms(static(), static=True)
    assembler.add_transforms(transform_message({("base_link", "imu"): from_xyz_rpy((1.0, 0.5, 0.0))}, START), True)
    for camera in CAMERAS:
        assembler.add_camera_info(camera, info_message())
    assembler.add_odometry(odometry_message(START, "odom", "imu", from_xyz_rpy((10.0, 0.0, 0.0))))
    frame = assembler.assemble(one_set(assembler))
    assert np.allclose(frame.T_odom_base[:3, 3], [9.0, -0.5, 0.0])


@pytest.mark.parametrize("breakage,reason", [
    (lambda m: setattr(m.pose.pose.orientation, "w", 0.0), "odometry"),
    (lambda m: setattr(m.pose.pose.orientation, "x", float("nan")), "odometry"),
    (lambda m: setattr(m.pose.pose.position, "x", float("inf")), "odometry"),
    (lambda m: setattr(m.header, "frame_id", "map"), "odometry_frame"),
    (lambda m: setattr(m.header, "frame_id", ""), "odometry_frame"),
    (lambda m: object.__setattr__(m, "child_frame_id", "trailer"), "odometry_frame"),
    (lambda m: (setattr(m.header.stamp, "sec", 0), setattr(m.header.stamp, "nanosec", 0)), "zero_stamp"),
])
def test_bad_odometry_is_counted_and_changes_nothing(assembler, breakage, reason):
    message = odometry_message(START, "odom", "base_link", from_xyz_rpy((500.0, 0, 0)))
    breakage(message)
    assembler.add_odometry(message)
    assert assembler.rejected_messages() == {reason: 1}
    assert np.allclose(assembler.assemble(one_set(assembler)).T_odom_base, pose(START))


def test_bad_transforms_are_counted_and_the_others_of_the_message_used():
    assembler = FrameAssembler(CAMERAS)
    message = static()
    message.transforms[0].transform.rotation.w = 7.0
    assembler.add_transforms(message, static=True)
    assembler.add_camera_info("back", info_message())
    assert assembler.rejected_messages() == {"transform": 1}
    assert assembler.assemble(one_set(assembler)).present == ("back",)


def test_ready_when_odometry_reaches_the_images(assembler):
    image_set = one_set(assembler, START + 3 * PERIOD, START + 3 * PERIOD + 10 * MS)
    assert not assembler.ready(image_set)
    assert assembler.assemble(image_set).T_odom_base is not None
    later = START + 4 * PERIOD
    assembler.add_odometry(odometry_message(later, "odom", "base_link", pose(later)))
    assert assembler.ready(image_set)


def test_poses_far_beyond_the_odometry_are_unknown(assembler):
    image_set = one_set(assembler, START + 20 * PERIOD, START + 20 * PERIOD)
    assert assembler.assemble(image_set).T_odom_base is None


def test_a_bag_loop_forgets_poses_and_marks_the_set(assembler):
    assembler.assemble(one_set(assembler, START + 100 * PERIOD, START + 100 * PERIOD))
    image_set = one_set(assembler)
    assert image_set.after_time_jump and assembler.time_jumps == 1
    assert assembler.assemble(image_set).T_odom_base is None
    assembler.add_odometry(odometry_message(START + PERIOD, "odom", "base_link", pose(START + PERIOD)))
    frame = assembler.assemble(one_set(assembler, START + PERIOD, START + PERIOD))
    assert np.allclose(frame.T_odom_base, pose(START + PERIOD))
    assert_adds_up(assembler)


def test_sets_that_nobody_assembles_are_counted(assembler):
    image_set = one_set(assembler)
    assert assembler.counters()["front"].waiting == 1
    assembler.discard(image_set, "replaced")
    assert assembler.counters()["front"].rejected == {"replaced": 1}
    assert_adds_up(assembler)


def test_messages_may_arrive_while_a_frame_is_assembled(assembler):
    """Two threads, as in the node; the counters still add up."""
    sets, errors = [], []

    def feed():
        for index in range(200):
            stamp = START + index * 10 * MS
            assembler.add_odometry(odometry_message(stamp, "odom", "base_link", pose(stamp)))
            for camera in CAMERAS:
                sets.extend(assembler.add_image(camera, image(camera, stamp), stamp - START))

    def work():
        done = 0
        while feeder.is_alive() or done < len(sets):
            if done < len(sets):
                try:
                    assembler.assemble(sets[done])
                except Exception as error:
                    errors.append(error)
                done += 1

    feeder, worker = threading.Thread(target=feed), threading.Thread(target=work)
    feeder.start()
    worker.start()
    feeder.join(30)
    worker.join(30)
    assert not errors and len(sets) == 200
    assert assembler.counters()["front"].used == 200
    assert_adds_up(assembler)


def test_a_problem_that_passed_is_still_known_at_the_end(assembler):
    short = image("front")
    short.data = short.data[:10]
    assembler.add_image("front", short, 0)
    assembler.assemble(one_set(assembler))
    assert assembler.problems() == ()
    (sentence,) = assembler.first_problems()
    assert "10 bytes" in sentence and "whole images" in sentence


def test_open_problems_are_keyed_by_reason_not_by_values_that_change(assembler):
    keys = set()
    for index in range(3):
        broken = image("front", START + index * PERIOD)
        broken.header.stamp.nanosec = 4_000_000_000 + index
        assembler.add_image("front", broken, index)
        keys |= set(assembler.open_problems())
    assert keys == {("camera 'front'", "bad_stamp")}
    assert len(assembler.first_problems()) == 1


def test_lasting_lack_of_ego_motion_is_named_with_the_remedy():
    made = FrameAssembler(CAMERAS, SyncConfig(tolerance=0.05))
    made.add_transforms(static(), static=True)
    for camera in CAMERAS:
        made.add_camera_info(camera, info_message())
    for index in range(3):
        assert made.problems() == ()  # a pose may come a little after the first images
        stamp = START + index * PERIOD
        assert made.assemble(one_set(made, stamp, stamp)).T_odom_base is None
    (sentence,) = made.problems()
    assert "odometry" in sentence and "remap" in sentence and "odom_frame" in sentence
    for index in range(3, 5):
        stamp = START + index * PERIOD
        made.add_odometry(odometry_message(stamp, "odom", "base_link", pose(stamp)))
    made.assemble(one_set(made, START + 4 * PERIOD, START + 4 * PERIOD))
    assert made.problems() == ()


def test_messages_name_the_topic_an_image_came_from(assembler):
    short = image("front")
    short.data = short.data[:10]
    assembler.add_image("front", short, 0, "/elsewhere/image")
    assert "'/elsewhere/image'" in assembler.problems()[0]


def test_ready_when_tf_reaches_the_images_of_a_camera_that_moves(assembler):
    """A camera on a mast: its transform comes after the image, and is waited for though odometry is there."""
    def turn(stamp):
        return transform_message({("base_link", "front_optical_frame"): T_BASE_CAMERA["front"]}, stamp)

    assembler.add_transforms(turn(START - 50 * MS), static=False)
    image_set = one_set(assembler)
    assert not assembler.ready(image_set)
    assembler.add_transforms(turn(START), static=False)
    assert assembler.ready(image_set)


def test_an_unexpected_failure_leaves_no_image_behind(assembler, monkeypatch):
    image_set = one_set(assembler)

    def broken(*arguments):
        raise MemoryError("no room for the picture")

    monkeypatch.setattr("img2three_ros.ingest.frame_assembler.decode_reduced", broken)
    with pytest.raises(MemoryError):
        assembler.assemble(image_set)
    assert_adds_up(assembler)
    for count in assembler.counters().values():
        assert count.waiting == 0 and count.rejected == {"failure": 1}


def test_no_camera_at_all_is_said():
    with pytest.raises(InputError, match="cameras"):
        FrameAssembler(())
