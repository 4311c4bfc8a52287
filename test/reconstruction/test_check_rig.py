"""Calibrations in recordings against their images: a wrong camera is found and named, a right rig is left in peace."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from single_thread import one_thread
from street_drive import DriveNetwork, drive
from typer.testing import CliRunner

from img2three_ros.cli import app
from img2three_ros.models import pointmap_network
from img2three_ros.reconstruction.check_rig import spread_instants
from img2three_ros.reconstruction.rig_residuals import CameraResidual, l1_mean
from img2three_ros.reconstruction.rig_verdict import PLAUSIBLE, SUSPICIOUS, UNKNOWN, Limits, judge, turn_words
from img2three_ros.structures import Frame, InputError

__all__ = ["one_thread"]
THREE = ["front", "front_left", "front_right"]


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """A checkpoint file that is loaded as a network that knows the street, as well as a good network would."""
    monkeypatch.setattr(pointmap_network, "load_pointmap_network", lambda path: DriveNetwork(drive(), noise=1.0))
    (tmp_path / "trained.pth").write_bytes(b"stand-in")
    return tmp_path / "trained.pth"


def run(bag, checkpoint, *arguments):
    return CliRunner().invoke(app, ["check-rig", str(bag), "--checkpoint", str(checkpoint), "--set", "threads=1",
                                    *map(str, arguments)], env={"COLUMNS": "180"})


def test_a_right_rig_is_left_in_peace(trained, tmp_path):
    bag = drive().write(tmp_path / "bag", cameras=THREE)
    result = run(bag, trained, "--instants", 3, "--json", tmp_path / "rig.json")
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads((tmp_path / "rig.json").read_text())
    assert told["instants"] == 3 and not told["suspicious"]
    assert {one["verdict"] for one in told["cameras"].values()} <= {PLAUSIBLE, UNKNOWN}
    assert sum(one["verdict"] == PLAUSIBLE for one in told["cameras"].values()) >= 2
    assert "plausible" in result.output and "suspicious: more than 1 deg, 5 %" in result.output


def test_a_turned_and_a_zoomed_camera_are_named(trained, tmp_path):
    bag = drive().write(tmp_path / "bag", cameras=THREE, turned={"front_left": (0, 3.0, 0)}, zoomed={"front": 1.1})
    result = run(bag, trained, "--instants", 3, "--json", tmp_path / "out" / "rig.json")
    assert result.exit_code == 1, (result.output, result.exception)
    told = json.loads((tmp_path / "out" / "rig.json").read_text())
    assert told["suspicious"] == ["front", "front_left"]
    turned, zoomed = told["cameras"]["front_left"], told["cameras"]["front"]
    np.testing.assert_allclose(turned["rotation_deg"]["value"], (0, -3.0, 0), atol=1.0)
    assert "to the left (yaw)" in turned["reason"]
    assert zoomed["focal"]["value"][0] == pytest.approx(1 / 1.1 - 1, abs=0.02) and "shorter" in zoomed["reason"]
    assert zoomed["rotation_deg"]["size"] < 1.0 and told["cameras"]["front_right"]["verdict"] != SUSPICIOUS
    assert "suspicious: front, front_left" in result.output


class SkewedNetwork(DriveNetwork):
    """Points that are a poor perspective of their pixels, alike in all images."""

    def _points(self, event, chance):
        points = super()._points(event, chance)
        points[..., 0] += 0.35 * np.abs(points[..., 0]) * np.sin(np.arange(points.shape[0]) / 3)[:, None]
        return points


def test_a_network_that_does_not_know_the_images_accuses_nobody(monkeypatch, trained, tmp_path):
    monkeypatch.setattr(pointmap_network, "load_pointmap_network", lambda path: SkewedNetwork(drive(), noise=4.0))
    bag = drive().write(tmp_path / "bag", cameras=["front", "front_left"], zoomed={"front": 1.3})
    result = run(bag, trained, "--instants", 3)
    assert result.exit_code == 0 and "nothing could be judged" in result.output, result.output
    assert "the network does not know these images" in result.output and "in 3 of 3 instants" in result.output


class ScatteredNetwork(DriveNetwork):
    """Points on the rays of their pixels at depths that no two pairs agree about."""

    def _points(self, event, chance):
        points = super()._points(event, chance)
        return points * np.exp(chance.normal(0, 1.5, (*points.shape[:2], 1)))


def test_instants_without_a_single_usable_pair_are_told(monkeypatch, trained, tmp_path):
    monkeypatch.setattr(pointmap_network, "load_pointmap_network", lambda path: ScatteredNetwork(drive()))
    bag = drive().write(tmp_path / "bag", cameras=["front", "front_left"])
    result = run(bag, trained, "--instants", 3)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "3 of 3 instants could not be aligned: no two images share anything usable" in result.output


def test_what_a_recording_does_not_say_cannot_be_judged(trained, tmp_path):
    bag = drive().write(tmp_path / "bag", cameras=["front", "back"], tf=False)
    result = run(bag, trained, "--instants", 3)
    assert result.exit_code == 0 and "nothing could be judged" in result.output
    assert "TF does not connect it" in " ".join(result.output.split())
    for arguments, wanted in (((tmp_path, trained), "is no recording"), ((bag, tmp_path / "absent.pth"), "These work")):
        failed = run(*arguments)
        assert isinstance(failed.exception, InputError) and wanted in str(failed.exception)
    missing = CliRunner().invoke(app, ["check-rig", str(bag)])
    assert "no --checkpoint is given. These work: DUSt3R" in str(missing.exception)


def test_one_wrong_rotation_does_not_move_the_mean():
    chance = np.random.default_rng(1)
    good = [Rotation.from_rotvec(chance.normal(0, 0.2, 3), degrees=True) for _ in range(5)]
    mean = l1_mean([*good, Rotation.from_rotvec((0, 0, 20.0), degrees=True)])
    assert np.degrees(mean.magnitude()) < 0.3
    assert np.degrees(l1_mean(good).magnitude()) < 0.2


def said(rotation=None, focal=0.0, motion=None, others=("b", "c"), bias=0.0):
    return CameraResidual(None if rotation is None else np.array(rotation, float), focal,
                          None if motion is None else np.array(motion, float), bias, frozenset(others))


def verdicts(instants, cameras="abc", unknown=None, **limits):
    return {one.camera: one for one in judge(instants, list(cameras), unknown or {}, Limits(**limits))}


def noisy(chance, rotation, spread):
    return said(np.asarray(rotation) + chance.normal(0, spread, 3), others=("x", "y"))


def test_noise_accuses_nobody_and_a_steady_error_does():
    chance = np.random.default_rng(0)
    instants = [{"a": noisy(chance, (0, 2.0, 0), 0.3), "b": noisy(chance, (0, 0, 0), 0.3),
                 "c": noisy(chance, (0, 0, 0), 2.5)} for _ in range(7)]
    found = verdicts(instants)
    assert (found["a"].verdict, found["b"].verdict, found["c"].verdict) == (SUSPICIOUS, PLAUSIBLE, UNKNOWN)
    assert "instants disagree" in found["c"].reason
    few = verdicts(instants[:2])
    assert few["a"].verdict == UNKNOWN and "in 2 of 2 instants, 3 are the least" in few["a"].reason


def test_a_network_that_is_off_everywhere_accuses_nobody_unless_it_is_far_off():
    alike = [{name: said((0, 1.5, 0), focal=0.07, others=("x", "y")) for name in "abc"} for _ in range(5)]
    found = verdicts(alike)
    assert {one.verdict for one in found.values()} == {UNKNOWN}
    assert "1.5 deg off" in found["a"].reason and "not clear of noise (2.0 deg)" in found["a"].reason
    far = [{name: said((0, 0.1, 0), focal=0.2, others=("x", "y")) for name in "abc"} for _ in range(5)]
    assert {one.verdict for one in verdicts(far).values()} == {SUSPICIOUS}


def test_of_two_cameras_motion_tells_which_is_wrong():
    pair = [{"a": said((0, 4, 0), motion=(0, 0.1, 0), others="b"), "b": said((0, -4, 0), motion=(0, -4, 0), others="a")}
            for _ in range(4)]
    found = verdicts(pair, "ab")
    assert found["a"].verdict == PLAUSIBLE and "b's does not" in found["a"].reason
    assert found["b"].verdict == SUSPICIOUS and "against a, whose direction of motion fits" in found["b"].reason
    still = [{name: said(one.rotation, others=one.others) for name, one in instant.items()} for instant in pair]
    assert {one.verdict for one in verdicts(still, "ab").values()} == {SUSPICIOUS}
    assert "cannot tell which is wrong" in verdicts(still, "ab")["a"].reason


def test_motion_judges_where_nothing_overlaps_but_not_below_its_bias():
    alone = [{"a": said(motion=(0, 6, 0), others=()), "b": said(motion=(0, 0.3, 0), others=()),
              "c": said(motion=(0, 6, 0), others=(), bias=8.0)} for _ in range(4)]
    found = verdicts(alone)
    assert found["a"].verdict == SUSPICIOUS and "by the direction in which it moves" in found["a"].reason
    assert found["b"].verdict == PLAUSIBLE and "no overlap with another camera" in found["b"].reason
    assert found["c"].verdict == UNKNOWN and "its direction of motion tells no more" in found["c"].reason
    torn = verdicts([{"a": said((0, turn, 0), motion=(0, 0.5, 0), others=("b", "c"))} for turn in (-1, 2, 5, 2)], "a")
    assert torn["a"].verdict == UNKNOWN  # 2 deg, uncertain: that motion fits coarsely does not clear it
    denied = verdicts([{"a": said((turn, 0, 0), motion=(0, 6, 0))} for turn in (-1, 1, 3, 5)], "a")
    assert denied["a"].verdict == UNKNOWN
    silent = verdicts([{"a": said(others=())}] * 4, "ab", {"b": "no usable CameraInfo"})
    assert silent["a"].verdict == UNKNOWN and silent["a"].reason.endswith("and no motion")
    assert silent["b"].reason == "no usable CameraInfo"


def test_a_turn_that_all_cameras_share_is_found_by_their_motion():
    """TF without the rotation into optical axes: overlap cannot see it."""
    shared = [{name: said((0, 0.1, 0), motion=(0.6, 89, 0.6), others=("x", "y"), bias=2.0) for name in "abc"}] * 4
    found = verdicts(shared)
    assert {one.verdict for one in found.values()} == {SUSPICIOUS}
    assert "all cameras together" in found["a"].reason and "yaw" in found["a"].reason
    coarse = [{name: said((0, 0.1, 0), motion=(0, 8, 0), others=("x", "y"), bias=3.0) for name in "abc"}] * 4
    assert {one.verdict for one in verdicts(coarse).values()} == {PLAUSIBLE}


@pytest.mark.parametrize(("rotation", "words"), [((2, 0, 0), "up (pitch)"), ((0, 2, 0), "to the right (yaw)"),
                                                 ((0, 0, -2), "counter-clockwise (roll)")])
def test_turns_in_words_follow_the_optical_frame(rotation, words):
    assert words in turn_words(np.array(rotation, float)) and "2.0 deg" in turn_words(np.array(rotation, float))
    ahead = Rotation.from_rotvec((2, 0, 0), degrees=True).apply((0, 0, 1))
    assert ahead[1] < 0  # y is down: about +x the view goes up


def test_instants_are_spread_over_the_recording():
    def frames(poses):
        for number, x in enumerate(poses):
            pose = None if x is None else np.eye(4)
            if pose is not None:
                pose[0, 3] = x
            yield Frame(number * 100_000_000, (), (), pose)

    def numbers(poses, wanted):
        found = spread_instants(frames(poses), wanted, lambda: len(poses), lambda *_: None)
        return [(one.number, len(one.frames)) for one in found]

    assert numbers([0.5 * n for n in range(20)], 4) == [(2, 2), (5, 2), (10, 2), (15, 2)]
    assert numbers([0.0] * 20, 4) == [(4, 1), (9, 1), (14, 1), (19, 1)]
    stops = [0.0] * 10 + [0.6 * n for n in range(10)]
    assert [count for _, count in numbers(stops, 4)] == [1, 1, 2, 2]
