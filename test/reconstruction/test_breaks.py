"""What breaks the past of a pipeline: a gap of ego motion, a grid of another size, a camera that is calibrated anew."""

from dataclasses import replace

import numpy as np
import pytest

from img2three_ros.config import Config, with_overrides
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.simulation.settings import SimulationConfig
from img2three_ros.simulation.vehicle import SimulatedVehicle
from img2three_ros.structures import UNKNOWN, CameraCalibration, Frame

CAMERAS = ("front", "front_left")


@pytest.fixture(scope="module")
def frames():
    vehicle = SimulatedVehicle(SimulationConfig(seed=1, width=160, height=96, traffic=0.0))
    made = []
    for index in range(4):
        whole = vehicle.frame(index, tuple(vehicle.render(name, vehicle.camera_stamp(name, index)) for name in CAMERAS))
        made.append(Frame(whole.stamp, whole.images, CAMERAS, whole.T_odom_base))
    return made


def pipeline(engine="sweep"):
    return ReconstructionPipeline(with_overrides(Config(), {
        "engine": engine, "prepare.pixels": 16_384, "occupancy.decay": 1.0, "runtime.backend": "torch"}))


def known(result):
    return int((result.occupancy.state != UNKNOWN).sum())


def test_nothing_is_fused_across_a_break_and_no_keyframe_survives_it(frames):
    with_past, broken, alone = pipeline(), pipeline(), pipeline()
    for frame in frames[1:3]:
        with_past.process(frame)
        broken.process(frame)
    assert len(broken.keyframes) > 0
    last = replace(frames[3], segment=1)
    after, fresh, continued = broken.process(last), alone.process(last), with_past.process(frames[3])
    assert np.array_equal(after.occupancy.probability, fresh.occupancy.probability)
    assert np.array_equal(after.depth_images[0].depth, fresh.depth_images[0].depth, equal_nan=True)
    assert known(continued) > known(after)
    broken.observe(replace(frames[3], segment=2))
    assert len(broken.keyframes) == 1


def test_limits_of_the_grid_may_change_while_it_runs(frames):
    running = pipeline()
    running.process(frames[0])
    running.reconfigure(with_overrides(running.config, {"occupancy.x_max": 20.0, "occupancy.free_threshold": 0.2}))
    smaller = running.process(frames[1]).occupancy
    assert smaller.state.shape == (16, 200, 150) and (smaller.state != UNKNOWN).any()
    kept = running.fusion
    running.reconfigure(with_overrides(running.config, {"occupancy.free_threshold": 0.3}))
    assert running.fusion is kept and kept.config.free_threshold == 0.3


def halved(image):
    """The same camera, binned by two."""
    calibration = image.calibration
    intrinsics = calibration.intrinsics.copy()
    intrinsics[:2, :2] /= 2.0
    intrinsics[:2, 2] = (intrinsics[:2, 2] + 0.5) / 2.0 - 0.5
    smaller = CameraCalibration(calibration.width // 2, calibration.height // 2, intrinsics)
    return replace(image, image=np.ascontiguousarray(image.image[::2, ::2]), calibration=smaller)


def cropped(image):
    """The same camera with a region of interest: 16 rows at the top are left out."""
    calibration = image.calibration
    intrinsics = calibration.intrinsics.copy()
    intrinsics[1, 2] -= 16
    region = CameraCalibration(calibration.width, calibration.height - 16, intrinsics)
    return replace(image, image=np.ascontiguousarray(image.image[16:]), calibration=region)


@pytest.mark.parametrize("engine, change", [("sweep", halved), ("sweep", cropped), ("scene", cropped)])
def test_a_camera_binned_or_cropped_mid_run_is_used_at_once_and_the_other_is_not_touched(frames, engine, change):
    running = pipeline(engine)
    running.process(frames[1])
    keyframe = running.keyframes._frames[-1]
    frame = replace(frames[2], images=(change(frames[2].images[0]), frames[2].images[1]))
    result = running.process(frame)
    new, other = result.depth_images
    assert new.calibration.height < other.calibration.height
    assert np.isfinite(new.depth).mean() > 0.2 and np.isfinite(other.depth).mean() > 0.2
    # Keyframes keep the calibration their images were taken with.
    assert keyframe.views[0].size != running.keyframes._frames[-1].views[0].size or len(running.keyframes) == 1
    assert running.process(frames[3]).cameras == CAMERAS
