"""Two faults and a short soak; all faults are run by ``make faults``, which is no test of this suite."""

import pytest

rclpy = pytest.importorskip("rclpy", reason="the nodes need ROS 2")
pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")

import numpy as np
from clock_faults import CAMERAS as THREE
from fault import Fault, run_fault
from live_faults import CAMERAS, RAW, changed, corrupt_jpeg, heal, says, silent, spoil
from page import write_section
from rig import driving
from soak import Sample, Soaked, soak
from street import RATE, SECOND, Street


@pytest.fixture
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


def test_a_lost_camera_and_one_that_sends_rubbish_cost_their_own_sectors_only(ros, tmp_path):
    faults = [Fault("camera left silent", silent("left"), heal, says("camera 'left' silent", "DEGRADED"), ("left",)),
              Fault("corrupted JPEG", spoil("right", changed(corrupt_jpeg)), heal,
                    says("cannot be decoded", "DEGRADED"), ("right",))]
    with driving(Street(CAMERAS), tmp_path / "node.log", raw=RAW) as rig:
        for fault in faults:
            found = run_fault(rig.driver, fault, rig.alive)
            assert found.name in found.row() and "DEGRADED" in found.said
        assert found.dropped["corrupt_image"] > 0


@pytest.mark.timeout(600)
def test_a_short_soak_adds_up(ros, tmp_path):
    found = soak(20.0, tmp_path, warm_up=0.0)
    assert found.problems(slope=200.0) == [] and found.faults >= 3
    print(found.words())


def test_a_soak_that_grows_or_does_not_add_up_is_named():
    def soaked(memory, threads, counts):
        samples = tuple(Sample(60.0 * minute, 400.0 + memory * minute, 10 + threads * (minute > 6), 20, 8)
                        for minute in range(10))
        return Soaked(600.0, samples, 100, 500, {"front": counts}, {})

    assert soaked(0.5, 0, (10, 9, 7, 2)).problems() == []
    assert soaked(1.5, 0, (10, 9, 7, 2)).problems() == ["resident memory grows by 1.50 MB/min"]
    assert soaked(0.0, 1, (10, 9, 7, 2)).problems() == ["threads grew by 1"]
    assert "camera front" in soaked(0.0, 0, (10, 9, 7, 1)).problems()[0]
    assert "camera front" in soaked(0.0, 0, (8, 9, 7, 2)).problems()[0]


@pytest.fixture(scope="module")
def street():
    return Street(THREE, instants=3)


def test_the_sector_of_a_camera_is_what_no_other_camera_sees(street):
    # left looks along +y, front along +x, back along -x, each 65 degrees wide; nobody looks along -y.
    points = np.array([(1.0, 8.0, 1.5), (9.0, 0.0, 1.5), (-8.0, 0.0, 1.5), (1.0, -8.0, 1.5), (1.0, 8.0, 9.5),
                       (4.0, 8.0, 1.5)])
    pose = street.pose(0)
    assert street.only_seen_by(("left",), points, pose, 0.5).tolist() == [True, False, False, False, False, True]
    assert street.only_seen_by(("front",), points, pose, 0.5).tolist() == [False, True, False, False, False, False]
    assert street.only_seen_by(("front", "back"), points, pose, 0.5).tolist() == [False, True, True, False, False,
                                                                                  False]


def test_the_street_is_driven_up_and_down(street):
    assert [street.index(step) for step in range(6)] == [0, 1, 2, 1, 0, 1]
    for step in (0, 1, 2):
        seconds = street.vehicle.config.start_ns + round(step * SECOND / RATE)
        assert np.allclose(street.pose(step), street.vehicle.pose(seconds))
    assert np.allclose(street.pose(2.5), street.pose(1.5)) and not np.allclose(street.pose(0), street.pose(1))


def test_a_section_of_a_page_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- a -->\nold\n<!-- end of a -->\nafter\n")
    write_section(page, "a", "new")
    write_section(page, "b", "added")
    assert page.read_text() == ("# Page\n<!-- a -->\nnew\n<!-- end of a -->\nafter\n\n<!-- b -->\nadded\n"
                                "<!-- end of b -->\n")
