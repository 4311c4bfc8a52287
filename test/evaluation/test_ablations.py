"""Conditions, what they hand to the engine, and the tables; the engine itself is replaced by exact depth."""

from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_scene import CAMERA, depth_image, reconstruction, scan
from typer.testing import CliRunner

from img2three_ros.cli import app
from img2three_ros.config import Config, with_overrides
from img2three_ros.evaluation import ablations, drives
from img2three_ros.evaluation.ablations import Recording, ablate, conditions, run_ablations, table
from img2three_ros.evaluation.drives import Drive, Pool, measured
from img2three_ros.models.depth_network import DepthNetwork
from img2three_ros.models.depth_weights import save_depth_network
from img2three_ros.structures import CameraImage, Frame, InputError

NAMES = ("front", "back")


def drive(instants=3, names=NAMES, moving=True, name="street"):
    """A wall 10 m ahead of 'front', nothing behind."""
    places = {"front": depth_image("front").T_base_camera, "back": depth_image("back", np.pi).T_base_camera}
    frames = [Frame(number, tuple(CameraImage(camera, number, np.zeros((40, 64, 3), np.uint8), CAMERA, places[camera],
                                              np.eye(4) if moving else None) for camera in names),
                    names, np.eye(4) if moving else None) for number in range(instants)]
    return Drive(name, tuple(frames), scan())


@pytest.fixture
def runs(monkeypatch):
    """Every pipeline that was built, with its config and frames; it finds the wall where it is told cameras are."""
    built = []

    class Pipeline:
        def __init__(self, config):
            built.append(SimpleNamespace(config=config, frames=[]))

        def process(self, frame):
            built[-1].frames.append(frame)
            if not frame.images:
                raise InputError("no_images", "no image of the frame can be used")
            found = reconstruction(frame.present)
            told = {image.name: image.T_base_camera for image in frame.images}
            images = tuple(drives.replace(image, T_base_camera=told[image.name]) for image in found.depth_images)
            return drives.replace(found, depth_images=images)

    monkeypatch.setattr(drives, "ReconstructionPipeline", Pipeline)
    return built


def test_the_past_is_reconstructed_and_the_last_instant_is_measured(runs):
    tally = measured(drive(), Config())
    assert [frame.stamp for frame in runs[0].frames] == [0, 1, 2] and tally.instants == 1
    assert tally.depth()["front"].overall.all.abs_rel == pytest.approx(0.0, abs=1e-6)


def test_depth_is_compared_where_cameras_truly_are(runs):
    turned = drives.replace(drive().frames[0], images=tuple(
        drives.replace(image, T_base_camera=image.T_base_camera @ _yaw(8.0)) for image in drive().frames[0].images))
    tally = measured(drive(1), Config(), [turned])
    honest = measured(drive(1), Config())
    assert tally.depth()["front"].hits == honest.depth()["front"].hits
    assert tally.depth()["front"].overall.all.abs_rel == pytest.approx(0.0, abs=1e-6)


def test_true_depth_of_every_pixel_replaces_lidar_where_it_is_known(runs):
    truth = {name: np.full((40, 64), 8.0, np.float32) for name in NAMES}
    one = drive()
    tally = measured(Drive(one.name, one.frames, one.scan, truth), Config())
    assert tally.depth()["back"].hits == 40 * 64
    assert tally.depth()["back"].overall.all.abs_rel == pytest.approx(0.25, abs=1e-6)


def test_a_bad_frame_of_the_past_is_passed_over_and_a_bad_last_one_is_an_error(runs):
    one = drive()
    empty = drives.replace(one.frames[0], images=())
    assert measured(one, Config(), [empty, *one.frames[1:]]).instants == 1
    with pytest.raises(InputError, match="no image"):
        measured(one, Config(), [*one.frames[:2], empty])


def test_each_condition_reaches_the_engine(runs):
    rows = ablate(Recording("street", [drive()]), conditions(seeds=2), Config())
    assert [row.name for row in rows][:5] == ["as it is", "without keyframes", "without other cameras",
                                              "neither: one image at a time", "one camera missing"]
    settings = [(run.config.keyframes.count, run.config.scene.neighbours, run.frames[-1].present) for run in runs]
    assert settings[:6] == [(2, True, NAMES), (0, True, NAMES), (2, False, NAMES), (0, False, NAMES),
                            (2, True, ("back",)), (2, True, ("front",))]
    assert len(runs) == 6 + 2 * 2 + 2 * 2 + 1 and not runs[-1].config.scene.rematch
    true = drive().frames[0].images[0].T_base_camera
    assert not np.allclose(runs[6].frames[0].images[0].T_base_camera, true, atol=1e-4)
    assert rows[-1].scores is None and rows[-1].note == "not trained"


def test_one_camera_missing_is_the_mean_over_those_left(runs):
    found = {row.name: row for row in ablate(Recording("street", [drive()]), conditions(1), Config())}
    # Front alone sees the wall, back alone sees nothing of it: the mean is over the cameras with hits.
    assert found["one camera missing"].scores.all.abs_rel == pytest.approx(0.0, abs=1e-6)
    assert found["one camera missing"].scores.all.pixels == found["as it is"].scores.all.pixels


def test_conditions_that_make_no_difference_are_not_measured(runs):
    rows = {row.name: row for row in ablate(Recording("still", [drive(1, ("front",))]), conditions(1), Config())}
    same = {"without keyframes", "without other cameras", "one camera missing", "odometry error 2 %",
            "odometry error 5 %"}
    assert {name for name, row in rows.items() if row.note == "makes no difference here"} == same
    unknown = {row.name: row for row in ablate(Recording("x", [drive(moving=False)]), conditions(1), Config())}
    assert unknown["odometry error 2 %"].scores is None and unknown["without other cameras"].scores is not None


def test_several_drives_are_measured_together(runs):
    twice = ablate(Recording("two", [drive(name="a"), drive(name="b")]), conditions(1)[:1], Config())
    once = ablate(Recording("one", [drive()]), conditions(1)[:1], Config())
    assert twice[0].scores.all.abs_rel == once[0].scores.all.abs_rel
    assert twice[0].scores.best_60.coverage == once[0].scores.best_60.coverage
    pool = Pool()
    for name in "ab":
        pool.add(measured(drive(name=name), Config()))
    assert len(pool.cameras) == 4 and pool.counts.returns == 2 * measured(drive(), Config()).counts.returns


def test_the_page_names_weights_command_and_every_row(runs, tmp_path):
    weights, other = tmp_path / "mine.safetensors", tmp_path / "random.safetensors"
    for path, steps in ((weights, "600"), (other, "599")):
        save_depth_network(path, DepthNetwork(), {"steps": steps, "hours": "0.4", "hardware": "a GPU"})
    config = with_overrides(Config(), {"engine": "scene", "scene.weights": str(weights)})
    done = []
    page = run_ablations([Recording("street", [drive()])], tmp_path / "docs" / "ablations.md", config,
                         "img2three ablations street", seeds=1, without_pretrained=other,
                         progress=lambda *counts: done.append(counts))
    assert (tmp_path / "docs" / "ablations.md").read_text() == page
    assert "600 steps in 0.4 h on a GPU" in page and "599 steps" in page and "`img2three ablations street`" in page
    assert done[-1][0] == done[-1][1] == len(runs)
    assert runs[-1].config.scene.weights == str(other)
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 11 and lines[2].startswith("| as it is | .000/1.000 |")
    assert {line.count("|") for line in lines} == {7}


def test_an_engine_without_weights_has_no_ablations(tmp_path):
    with pytest.raises(InputError, match="not 'sweep'"):
        run_ablations([], tmp_path / "a.md", with_overrides(Config(), {"engine": "sweep"}), "")


def test_the_command_hands_everything_over(monkeypatch, tmp_path):
    weights, seen = tmp_path / "mine.safetensors", {}
    save_depth_network(weights, DepthNetwork())

    def recorded(bag, config, instants):
        seen["bag"] = (bag.name, config.engine, instants)
        return drive(name=bag.name)

    def run(recordings, output, config, command, **options):
        seen.update(options, names=[one.name for one in recordings], output=output, weights=config.scene.weights)
        return "| the [page] |"

    monkeypatch.setattr(drives, "recorded_drive", recorded)
    monkeypatch.setattr(ablations, "run_ablations", run)
    arguments = ["ablations", "a", "b", "--no-simulated", "--seeds", "4", "--instants", "3", "--output",
                 str(tmp_path / "x.md"), "--set", f"scene.weights={weights}", "--without-pretrained", str(weights)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "| the [page] |" in result.output
    assert seen["bag"] == ("b", "scene", 3) and seen["names"] == ["a", "b"] and seen["seeds"] == 4
    assert seen["output"] == tmp_path / "x.md" and seen["without_pretrained"] == weights
    assert seen["weights"] == str(weights)


def test_weights_that_do_not_exist_are_an_error_before_the_work(tmp_path):
    config = with_overrides(Config(), {"engine": "scene", "scene.weights": str(tmp_path / "none")})
    with pytest.raises(InputError, match="there is no such file"):
        ablations.check_weights(config)


def test_a_note_stands_in_place_of_figures():
    assert table([ablations.Row("x", note="not trained")]).splitlines()[-1] == "| x | not trained |  |  |  |  |"


def _yaw(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[0, 0], turn[0, 2], turn[2, 0], turn[2, 2] = c, s, -s, c
    return turn
