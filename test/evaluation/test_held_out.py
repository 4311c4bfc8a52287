"""Held-out drives: never those of a training, the same every time, with a truth that LiDAR agrees with."""

import numpy as np
import pytest
from evaluation_scene import reconstruction, scan

from img2three_ros.config import Config, with_overrides
from img2three_ros.data.simulated import SimulatedGroups, SimulatedGroupSettings
from img2three_ros.evaluation.comparison import (
    EngineResult,
    all_metrics,
    comparison_table,
    drives_table,
    measure_engine,
    metrics_tree,
    not_better,
)
from img2three_ros.evaluation.depth_metrics import project_nearest
from img2three_ros.evaluation.drives import Drive, Pool, measured
from img2three_ros.evaluation.held_out import FIRST_HELD_OUT, held_out, rendered_drive
from img2three_ros.evaluation.results import ScoredInstant
from img2three_ros.evaluation.tally import Tally

SMALL = (96, 64)


@pytest.fixture(scope="module")
def drive():
    return rendered_drive(held_out(*SMALL, rigs=("kitti",))[0], 2)


def engine(name, depth):
    tally = Tally()
    tally.add(ScoredInstant(reconstruction(depth=depth), scan()))
    pool = Pool()
    pool.add(tally)
    return EngineResult(name, [pool], pool)


def test_no_training_draws_a_held_out_seed(monkeypatch):
    drawn = []

    class Vehicle:
        def __init__(self, config, *_):
            drawn.append(config.seed)
            raise StopIteration

    monkeypatch.setattr("img2three_ros.data.simulated.SimulatedVehicle", Vehicle)
    monkeypatch.setattr("img2three_ros.data.simulated.StreetWorld", lambda config: drawn.append(config.seed) or
                        type("World", (), {"config": config}))
    for index in range(50):
        with pytest.raises(StopIteration):
            SimulatedGroups(SimulatedGroupSettings(groups_per_world=1)).group(index, (64, 96), 2)
    assert len(drawn) == 100 and max(drawn) < FIRST_HELD_OUT and max(drawn) > FIRST_HELD_OUT // 2
    seeds = [one.config.seed for one in held_out()]
    assert min(seeds) >= FIRST_HELD_OUT and len(set(seeds)) == len(seeds) == 8


def test_held_out_drives_differ_in_scene_rig_and_light():
    configs = [one.config for one in held_out()]
    assert {config.rig for config in configs} == {"nuscenes", "ddad", "waymo", "kitti"}
    assert {config.scene for config in configs} == {"street", "junction", "highway", "car_park", "narrow", "country"}
    assert len({config.weather for config in configs}) >= 5
    assert all(config.speed == 0.0 for config in (one.config for one in held_out(standing=True)))
    assert len({one.name for one in held_out()}) == len({one.name for one in held_out(standing=True)}) == 8


def test_a_drive_is_the_same_every_time(drive):
    again = rendered_drive(held_out(*SMALL, rigs=("kitti",))[0], 2)
    np.testing.assert_array_equal(again.frames[-1].images[0].image, drive.frames[-1].images[0].image)
    np.testing.assert_array_equal(again.scan.points, drive.scan.points)
    assert [frame.stamp for frame in again.frames] == [frame.stamp for frame in drive.frames]


def test_the_truth_of_pixels_is_where_lidar_finds_it(drive):
    frame = drive.frames[-1]
    assert drive.cameras == ("left", "right") and drive.moves and len(drive.frames) == 2
    image = frame.images[0]
    hits = project_nearest(drive.scan.points, image.T_base_camera, image.calibration)
    truth = drive.truth["left"][hits.row, hits.column]
    close = np.isfinite(truth) & (hits.depth < 40.0)
    assert close.sum() > 100
    assert np.median(np.abs(truth[close] / hits.depth[close] - 1.0)) < 0.03


def test_the_sweep_engine_is_measured_on_a_drive(drive):
    config = with_overrides(Config(), {"engine": "sweep", "sweep.planes": 16})
    result = measure_engine([drive], config)
    assert len(result.total.cameras) == 2 and result.drives[0].depth().hits > 1000
    tree = metrics_tree("drives", result, config)
    assert tree["depth"]["mean"]["all"]["abs_rel"] == pytest.approx(result.total.depth().overall.all.abs_rel)
    assert tree["run"]["weights_sha256"] == {} and 0.0 <= tree["occupancy"]["recall"] <= 1.0
    assert measured(drive, config).instants == 1


def test_the_better_engine_is_named_metric_by_metric():
    exact, far = engine("scene", 10.0), engine("sweep", 12.0)
    table = comparison_table(exact, far)
    assert "| AbsRel, all | .000 | .200 | scene |" in table
    assert any(line.startswith("| coverage |") and line.endswith("| equal |") for line in table.splitlines())
    assert not_better(far, exact)["AbsRel, all"] == ".200 against .000"
    assert "AbsRel, all" not in not_better(exact, far) and "free: recall" in not_better(exact, far)
    assert len(all_metrics(exact.total)) == len(table.splitlines()) - 4


def test_a_figure_that_does_not_exist_is_worse_than_any():
    nothing = Pool()
    empty = EngineResult("scene", [nothing], nothing)
    table = comparison_table(empty, engine("sweep", 12.0))
    assert "| AbsRel, all | – | .200 | sweep |" in table and "| δ<1.25, all | – | 1.000 | sweep |" in table


def test_every_drive_has_a_row_and_all_of_them_one():
    results = [engine("scene", 10.0), engine("sweep", 12.0)]
    lines = drives_table([Drive("street", (), scan())], results).splitlines()
    assert lines[2].startswith("| street | .000/1.000 |") and lines[3].startswith("| **all** | .000/1.000 |")
    assert {line.count("|") for line in lines} == {8}
