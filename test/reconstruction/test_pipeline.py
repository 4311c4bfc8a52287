"""The front page: a simulated frame through the whole pipeline, against exact truth."""

import numpy as np
import pytest

from img2three_ros.config import Config, with_overrides
from img2three_ros.evaluation.truth import depth_scores
from img2three_ros.geometry.voxel_grid import states_at
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, Frame

CONFIG = with_overrides(Config(), {"engine": "sweep", "prepare.pixels": 61_440})
CAMERAS = ("front", "front_left", "back")


@pytest.fixture(scope="module")
def drive():
    """The vehicle, three instants 0.1 s apart of three of its cameras, and what became of the last."""
    vehicle = SimulatedVehicle(SimulationConfig(seed=1, width=320, height=192, traffic=0.0))
    frames = []
    for index in range(3):
        whole = vehicle.frame(index, tuple(vehicle.render(name, vehicle.camera_stamp(name, index)) for name in CAMERAS))
        frames.append(Frame(whole.stamp, whole.images, CAMERAS, whole.T_odom_base))
    pipeline = ReconstructionPipeline(CONFIG)
    results = [pipeline.process(frame) for frame in frames]
    return vehicle, frames, results


def test_depth_is_right_where_it_is_confident(drive):
    vehicle, _, results = drive
    for image in results[-1].depth_images:
        truth = vehicle.render(image.name, image.stamp).depth
        scores = depth_scores(image, truth)
        assert scores.best_60.delta > 0.9, (image.name, scores.best_60)
        assert scores.best_60.abs_rel < 0.1, (image.name, scores.best_60)


def test_everything_published_hangs_together(drive):
    _, frames, results = drive
    last = results[-1]
    assert last.stamp == frames[-1].stamp and last.cameras == CAMERAS and last.missing == ()
    assert np.isfinite(last.cloud.points).all() and np.isfinite(last.obstacles.points).all()
    assert 0 < len(last.obstacles) < len(last.cloud)
    assert set(last.timings_ms) == {"prepare", "reconstruct", "points", "fuse"}
    assert last.occupancy.state.shape == (16, 200, 200)
    assert {FREE, OCCUPIED, UNKNOWN} == set(np.unique(last.occupancy.state))


def test_no_solid_thing_is_called_free(drive):
    vehicle, frames, results = drive
    volume = results[-1].occupancy
    free = volume.centres(volume.state == FREE)
    assert len(free) > 500
    assert vehicle.occupied(free, frames[-1].stamp).mean() < 0.01


def test_behind_the_vehicle_is_unknown_when_its_camera_is_missing(drive):
    _, frames, _ = drive
    pipeline = ReconstructionPipeline(CONFIG)
    pipeline.process(frames[0])
    pipeline.process(frames[1])
    without_back = tuple(image for image in frames[2].images if image.name != "back")
    result = pipeline.process(Frame(frames[2].stamp, without_back, CAMERAS, frames[2].T_odom_base))
    assert result.missing == ("back",)
    behind = np.column_stack([axis.ravel() for axis in np.meshgrid(np.linspace(-30, -6, 40), np.linspace(-2, 2, 9),
                                                                     np.linspace(0.7, 2.7, 6))]).astype(np.float32)
    assert (states_at(result.occupancy, behind) == UNKNOWN).all()


def test_the_same_frames_give_the_same_result(drive):
    _, frames, results = drive
    pipeline = ReconstructionPipeline(CONFIG)
    again = [pipeline.process(frame) for frame in frames][-1]
    np.testing.assert_array_equal(again.cloud.points, results[-1].cloud.points)
    np.testing.assert_array_equal(again.occupancy.state, results[-1].occupancy.state)


def test_after_a_reset_the_past_is_forgotten(drive):
    _, frames, results = drive
    pipeline = ReconstructionPipeline(CONFIG)
    pipeline.process(frames[1])
    pipeline.reset()
    again = pipeline.process(frames[0])
    np.testing.assert_array_equal(again.occupancy.state, results[0].occupancy.state)


def test_a_camera_standing_alone_without_motion_claims_little(drive):
    _, frames, _ = drive
    only = tuple(image for image in frames[0].images if image.name == "front")
    result = ReconstructionPipeline(CONFIG).process(Frame(frames[0].stamp, only, ("front",)))
    assert result.notes
    assert (result.occupancy.state == UNKNOWN).mean() > 0.95
