"""The synchronizer against a brute-force oracle, under chaos, and in every situation a vehicle gets into."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2three_ros.config import SyncConfig
from img2three_ros.ingest.synchronizer import CameraSynchronizer
from img2three_ros.structures import InputError

MS = 1_000_000
PERIOD = 100 * MS
CAMERAS = ("front", "left", "right")


def run(synchronizer, messages):
    """messages: (arrival, camera, stamp); payload = number of the message."""
    sets = []
    for number, (arrival, camera, stamp) in enumerate(messages):
        sets += synchronizer.add(camera, stamp, number, arrival)
    return sets


def assert_nothing_lost(synchronizer):
    for name, count in synchronizer.counters().items():
        assert count.received == count.used + sum(count.dropped.values()) + count.waiting, (name, count)


def dropped(synchronizer, camera):
    return dict(synchronizer.counters()[camera].dropped)


def brute_force(reference_stamps, images, tolerance):
    """Every image within the tolerance of each reference stamp; the streams of the test make it unique."""
    expected = {}
    for reference in reference_stamps:
        found = {camera: [stamp for stamp in stamps if abs(stamp - reference) <= tolerance]
                 for camera, stamps in images.items()}
        assert all(len(stamps) <= 1 for stamps in found.values())
        expected[reference] = {camera: stamps[0] for camera, stamps in found.items() if stamps}
    return expected


@st.composite
def streams(draw):
    """Three cameras at 10 Hz: jittered stamps, losses, duplicates, delays that reorder messages across cameras."""
    count = draw(st.integers(1, 12))
    messages, images = [], {}
    for camera in CAMERAS:
        offset = 0 if camera == "front" else draw(st.integers(-30, 30))
        kept = []
        for index in range(count):
            stamp = 10**9 + index * PERIOD + (offset + draw(st.integers(-8, 8))) * MS
            if camera != "front" and draw(st.integers(0, 4)) == 0:
                continue
            kept.append(stamp)
            arrival = stamp + draw(st.integers(0, 79)) * MS
            copies = 1 + (draw(st.integers(0, 5)) == 0)
            messages += [(arrival, camera, stamp)] * copies
        images[camera] = kept
    return sorted(messages, key=lambda message: message[0]), images


@settings(max_examples=300, deadline=None)
@given(streams())
def test_matches_brute_force_under_jitter_loss_duplicates_and_reordering(stream):
    messages, images = stream
    # offsets 30 + jitter 8 + 8 = 46 ms at most; the neighbouring instant is at least 54 ms away.
    config = SyncConfig(tolerance=0.046, max_wait=0.3, lost_after=100.0)
    synchronizer = CameraSynchronizer(CAMERAS, config)
    sets = run(synchronizer, messages) + synchronizer.flush()
    expected = brute_force(images["front"], images, 46 * MS)
    given_out = {image_set.stamp: {image.camera: image.stamp for image in image_set.images} for image_set in sets
                 if image_set.reference == "front"}
    assert given_out == expected
    assert_nothing_lost(synchronizer)
    assert sum(count.waiting for count in synchronizer.counters().values()) == 0


@st.composite
def chaos(draw):
    """Anything: stamps from a small range in any order, repeated, far jumps, irregular arrivals, polls."""
    clock = 0
    messages = []
    for _ in range(draw(st.integers(1, 120))):
        clock += draw(st.integers(0, 150)) * MS
        stamp = 10**9 + draw(st.one_of(st.integers(0, 400), st.integers(0, 40).map(lambda step: step * 100))) * 5 * MS
        messages.append((clock, draw(st.sampled_from(CAMERAS)), stamp))
    return messages


@settings(max_examples=120, deadline=None)
@given(chaos(), st.sampled_from(("reference", "free")), st.integers(1, 3), st.integers(2, 6))
def test_invariants_hold_under_chaos(messages, mode, min_cameras, queue):
    config = SyncConfig(mode=mode, tolerance=0.03, max_wait=0.2, min_cameras=min_cameras, queue=queue)
    synchronizer = CameraSynchronizer(CAMERAS, config)
    used, last, sent = Counter(), None, Counter()
    for number, (arrival, camera, stamp) in enumerate(messages):
        sent[camera] += 1
        for image_set in synchronizer.add(camera, stamp, number, arrival):
            assert last is None or image_set.stamp > last or image_set.after_time_jump
            last = image_set.stamp
            check_set(image_set, config, used)
        assert_nothing_lost(synchronizer)
        counters = synchronizer.counters()
        assert all(counters[name].received == sent[name] for name in CAMERAS)
        assert all(count.waiting <= queue for count in counters.values())
    for image_set in synchronizer.flush():
        check_set(image_set, config, used)
    assert_nothing_lost(synchronizer)
    assert all(count.waiting == 0 for count in synchronizer.counters().values())
    assert max(used.values(), default=1) == 1
    assert sum(used.values()) == sum(count.used for count in synchronizer.counters().values())


def check_set(image_set, config, used):
    assert len(image_set.images) >= config.min_cameras
    assert set(image_set.cameras) | set(image_set.missing) == set(CAMERAS)
    assert len(image_set.cameras) + len(image_set.missing) == len(CAMERAS)
    assert image_set.reference in image_set.cameras
    for image in image_set.images:
        distance = image.stamp - image_set.stamp
        assert abs(distance) <= config.tolerance * 1e9
        assert config.mode == "reference" or distance >= 0
        used[image.payload] += 1


def instants(start, count, cameras=CAMERAS, delay=5 * MS, skip=()):
    return [(start + index * PERIOD + delay, camera, start + index * PERIOD) for index in range(count)
            for camera in cameras if (index, camera) not in skip]


def test_a_full_set_leaves_with_its_last_image():
    synchronizer = CameraSynchronizer(CAMERAS)
    assert run(synchronizer, [(0, "front", 10**9), (1, "left", 10**9)]) == []
    (image_set,) = synchronizer.add("right", 10**9 + 3, None, 2)
    assert image_set.cameras == CAMERAS and image_set.missing == () and image_set.stamp == 10**9


def test_one_output_per_reference_stamp_with_a_camera_that_never_appears():
    synchronizer = CameraSynchronizer(CAMERAS, SyncConfig(max_wait=0.2, lost_after=1.0))
    messages = instants(10**9, 40, ("front", "left"))
    sets = run(synchronizer, messages) + synchronizer.flush()
    assert [image_set.stamp for image_set in sets] == [10**9 + index * PERIOD for index in range(40)]
    assert all(image_set.cameras == ("front", "left") and image_set.missing == ("right",) for image_set in sets)


def test_a_lost_camera_costs_at_most_max_wait_and_later_nothing():
    synchronizer = CameraSynchronizer(CAMERAS, SyncConfig(max_wait=0.2, lost_after=1.0))
    run(synchronizer, instants(10**9, 5))
    waits = []
    for arrival, camera, stamp in instants(10**9 + 5 * PERIOD, 30, ("front", "left")):
        for now in range(arrival, arrival + PERIOD, 10 * MS) if camera == "left" else (arrival,):
            sets = (synchronizer.add(camera, stamp, None, now) if now == arrival else synchronizer.poll(now))
            waits += [now - (image_set.stamp + 5 * MS) for image_set in sets]
    assert len(waits) >= 28
    assert max(waits) <= 210 * MS
    assert waits[-1] == 0


def test_a_lost_reference_camera_is_replaced_and_comes_back():
    synchronizer = CameraSynchronizer(CAMERAS, SyncConfig(max_wait=0.2))
    sets = run(synchronizer, instants(10**9, 5))
    without = instants(10**9 + 5 * PERIOD, 20, ("left", "right"))
    sets += run(synchronizer, without)
    assert synchronizer.takeovers == 1 and synchronizer.acting_reference == "left"
    assert sets[-1].reference == "left" and sets[-1].missing == ("front",)
    sets += run(synchronizer, instants(10**9 + 25 * PERIOD, 5)) + synchronizer.flush()
    assert synchronizer.acting_reference == "front"
    assert sets[-1].reference == "front" and sets[-1].missing == ()
    stamps = [image_set.stamp for image_set in sets]
    assert stamps == [10**9 + index * PERIOD for index in range(30)]
    assert_nothing_lost(synchronizer)


def test_a_reference_camera_that_never_appears_is_replaced():
    synchronizer = CameraSynchronizer(CAMERAS, SyncConfig(max_wait=0.2))
    sets = run(synchronizer, instants(10**9, 10, ("left", "right"))) + synchronizer.flush()
    assert [image_set.stamp for image_set in sets] == [10**9 + index * PERIOD for index in range(10)]
    assert all(image_set.missing == ("front",) for image_set in sets)


def test_a_reference_camera_frozen_on_one_stamp_is_replaced():
    synchronizer = CameraSynchronizer(CAMERAS, SyncConfig(max_wait=0.2))
    messages = instants(10**9, 3) + instants(10**9 + 3 * PERIOD, 20, ("left", "right"))
    messages += [(arrival, "front", 10**9 + 2 * PERIOD) for arrival, camera, _ in messages[9:] if camera == "left"]
    sets = run(synchronizer, sorted(messages, key=lambda message: message[0]))
    assert sets[-1].stamp >= 10**9 + 20 * PERIOD
    assert dropped(synchronizer, "front") == {"duplicate": 20}


def test_a_slow_reference_is_not_taken_for_lost():
    synchronizer = CameraSynchronizer(("front", "left"), SyncConfig(max_wait=0.2))
    messages = [(stamp, "front", stamp) for stamp in range(10**9, 10 * 10**9, 5 * PERIOD)]
    messages += [(stamp + MS, "left", stamp) for stamp in range(10**9, 10 * 10**9, PERIOD)]
    sets = run(synchronizer, sorted(messages))
    assert synchronizer.takeovers <= 1  # before the second image its rate is not known
    assert {image_set.reference for image_set in sets if image_set.stamp > 2 * 10**9} == {"front"}
    assert dropped(synchronizer, "left")["unmatched"] >= 4 * 15


def test_the_end_of_a_recording_gives_no_sets_of_stray_images():
    synchronizer = CameraSynchronizer(("front", "left"))
    messages = [*instants(10**9, 5, ("front", "left")), (2 * 10**9, "left", 10**9 + 470 * MS)]
    sets = run(synchronizer, messages) + synchronizer.flush()
    assert [image_set.stamp for image_set in sets] == [10**9 + index * PERIOD for index in range(5)]
    assert dropped(synchronizer, "left") == {"unmatched": 1}


def test_bag_loop_resets_within_one_message_and_marks_the_next_set():
    synchronizer = CameraSynchronizer(CAMERAS)
    once = instants(10**9, 20)
    first = run(synchronizer, once)
    later = [(arrival + 10**10, camera, stamp) for arrival, camera, stamp in once]
    second = run(synchronizer, later)
    assert synchronizer.time_jumps == 1
    assert len(first) == len(second) == 20
    assert second[0].after_time_jump and not any(image_set.after_time_jump for image_set in first + second[1:])
    assert_nothing_lost(synchronizer)


def test_a_loop_shorter_than_time_jump_does_not_silence_the_output_for_ever():
    synchronizer = CameraSynchronizer(CAMERAS)
    sets = []
    for loop in range(6):
        sets.append(run(synchronizer, [(arrival + loop * 10**9, camera, stamp)
                                       for arrival, camera, stamp in instants(10**9, 3)]))
    assert sum(bool(out) for out in sets) >= 3
    assert_nothing_lost(synchronizer)


def test_waiting_images_of_a_time_jump_are_counted():
    synchronizer = CameraSynchronizer(CAMERAS)
    run(synchronizer, [(0, "left", 5 * 10**9), (1, "front", 5 * 10**9)])
    synchronizer.add("left", 10**9, None, 2)
    assert synchronizer.time_jumps == 0 and synchronizer.counters()["left"].waiting == 2  # front has not said so yet
    synchronizer.add("front", 10**9, None, 3)
    assert synchronizer.time_jumps == 1 and synchronizer.last_jump == -4.0
    assert dropped(synchronizer, "front") == {"time_jump": 1}
    assert dropped(synchronizer, "left") == {"time_jump": 1}
    assert_nothing_lost(synchronizer)


def test_late_reordered_duplicate_and_unmatched_are_told_apart():
    synchronizer = CameraSynchronizer(("front", "left"), SyncConfig(tolerance=0.02, max_wait=0.1, time_jump=10.0))
    run(synchronizer, [(0, "front", 10**9), (1, "left", 10**9), (2, "left", 10**9)])
    assert dropped(synchronizer, "left") == {"duplicate": 1}
    synchronizer.add("left", 10**9 - 5 * MS, None, 3)
    assert dropped(synchronizer, "left")["reordered"] == 1
    synchronizer.add("front", 10**9 - 5 * MS, None, 4)
    assert dropped(synchronizer, "front") == {"reordered": 1}
    synchronizer.add("left", 10**9 + 50 * MS, None, 5)
    run(synchronizer, [(100 * MS, "front", 10**9 + 100 * MS), (101 * MS, "left", 10**9 + 101 * MS)])
    assert dropped(synchronizer, "left")["unmatched"] == 1
    (image_set,) = [*synchronizer.add("front", 10**9 + 200 * MS, None, 200 * MS), *synchronizer.poll(300 * MS)]
    assert image_set.missing == ("left",)
    synchronizer.add("left", 10**9 + 170 * MS, None, 301 * MS)
    assert dropped(synchronizer, "left")["late"] == 1
    assert_nothing_lost(synchronizer)


def test_overflow_is_bounded_and_counted():
    synchronizer = CameraSynchronizer(("front", "left"), SyncConfig(queue=4, max_wait=60.0))
    run(synchronizer, [(index, "left", 10**9 + index * PERIOD) for index in range(10)])
    assert dropped(synchronizer, "left") == {"overflow": 6}
    assert synchronizer.counters()["left"].waiting == 4


def test_sets_with_too_few_cameras_are_dropped_and_counted():
    synchronizer = CameraSynchronizer(("front", "left"), SyncConfig(min_cameras=2, max_wait=0.2))
    sets = run(synchronizer, instants(10**9, 4, ("front",))) + synchronizer.flush()
    assert sets == [] and dropped(synchronizer, "front") == {"too_few_cameras": 4}


def test_nearest_image_is_chosen_when_a_camera_is_faster():
    synchronizer = CameraSynchronizer(("front", "left"), SyncConfig(tolerance=0.06))
    # left at 30 Hz: images 33 ms and 0 ms before and 33 ms after each reference image, which arrives a little late
    fast = [(stamp, "left", stamp) for stamp in range(10**9 - PERIOD, 10**9 + 10 * PERIOD, PERIOD // 3)]
    slow = [(10**9 + index * PERIOD + 10 * MS, "front", 10**9 + index * PERIOD) for index in range(10)]
    sets = run(synchronizer, sorted(fast + slow)) + synchronizer.flush()
    distances = [abs(image_set.images[1].stamp - image_set.stamp) for image_set in sets]
    assert len(sets) == 10 and max(distances) <= 1 * MS


def test_free_mode_needs_no_reference_and_reports_the_first_stamp():
    synchronizer = CameraSynchronizer(CAMERAS, SyncConfig(mode="free", tolerance=0.06, max_wait=0.2))
    offsets = {"front": 20, "left": 0, "right": 45}
    messages = sorted((10**9 + index * PERIOD + (offset + 5) * MS, camera, 10**9 + index * PERIOD + offset * MS)
                      for index in range(20) for camera, offset in offsets.items()
                      if not (camera == "left" and 5 <= index < 12))
    sets = run(synchronizer, messages) + synchronizer.flush()
    assert len(sets) == 20
    assert sets[0].stamp == 10**9 and sets[0].reference == "left" and sets[0].missing == ()
    assert sets[6].reference == "front" and sets[6].missing == ("left",)
    assert sets[-1].missing == ()
    assert all(later.stamp > earlier.stamp for earlier, later in pairwise(sets))


def test_free_mode_drops_a_straggler_instead_of_giving_out_a_second_set():
    synchronizer = CameraSynchronizer(("front", "left"), SyncConfig(mode="free", tolerance=0.06, max_wait=0.05))
    synchronizer.add("front", 10**9, None, 0)
    (image_set,) = synchronizer.poll(60 * MS)
    assert image_set.missing == ("left",)
    assert synchronizer.add("left", 10**9 + 10 * MS, None, 70 * MS) == []
    assert dropped(synchronizer, "left") == {"late": 1}


def test_bad_parameters_name_the_cameras():
    with pytest.raises(InputError, match=r"sync.reference = 'rear' must be one of the cameras front, left"):
        CameraSynchronizer(("front", "left"), SyncConfig(reference="rear"))
    with pytest.raises(InputError, match="different names"):
        CameraSynchronizer(("front", "front"))
    with pytest.raises(KeyError):
        CameraSynchronizer(("front",)).add("rear", 1, None, 1)
