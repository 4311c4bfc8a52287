"""The space around the vehicle from engine ``scene``: what it is made of, what is remembered, and which weights.

Small networks with random weights: what depends on trained weights is tested where the weights are.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import GRID, depth_weights, scene_weights
from sweep_scene import GROUND, camera_pose, frame, side_wall, view, wall

from img2three_ros.config import RuntimeConfig, SceneConfig
from img2three_ros.geometry.transforms import from_xyz_rpy
from img2three_ros.reconstruction import scene_engine
from img2three_ros.reconstruction.scene_engine import SceneEngine, space_weights_file
from img2three_ros.structures import InputError

CPU = torch.device("cpu")
FP32 = RuntimeConfig("torch", "fp32")
SIZE = (64, 96)
PLANES = [GROUND, side_wall(4.0), wall(12.0)]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> SceneConfig:
    folder = tmp_path_factory.mktemp("weights")
    return SceneConfig(weights=depth_weights(folder), space_weights=scene_weights(folder), min_confidence=0.0,
                       max_depth=200.0)


def pose(x: float) -> np.ndarray:
    return from_xyz_rpy([x, 0.0, 0.0], [0.0, 0.0, 0.0])


def front(x: float, size=SIZE, name="front", y: float = 0.0):
    return view(PLANES, name, camera_pose(y=y), pose(x), size=size, focal=80.0)[0]


def test_without_space_none_is_given_and_no_weights_are_read(config, monkeypatch, tmp_path):
    monkeypatch.setattr(scene_engine, "SHIPPED_SPACE_WEIGHTS", tmp_path / "absent.safetensors")
    engine = SceneEngine(replace(config, space=False), CPU, FP32)
    assert engine.reconstruct(frame(1, [front(0.0)], None), []).space is None


def known(space, point) -> float:
    """What the cameras say of the cell of a point (1, 3)."""
    index = GRID.flat_index(GRID.cells(point))
    return float(space.state.evidence.flatten(1)[:, index].sum())


def test_the_space_is_given_and_depth_that_needs_no_correction_stays(config):
    views = [front(0.0, (64, 96), "b"), front(0.0, (80, 112), "a", y=0.3)]
    now = frame(1, views, pose(0.0))
    plain = SceneEngine(replace(config, space=False), CPU, FP32).reconstruct(now, [])
    found = SceneEngine(config, CPU, FP32).reconstruct(now, [])
    for one, other in zip(plain.depths, found.depths, strict=True):
        torch.testing.assert_close(one.depth, other.depth)
        torch.testing.assert_close(one.confidence, other.confidence)
        assert torch.equal(one.valid, other.valid)
    assert found.notes == plain.notes
    space = found.space
    assert space.state.volume.shape == (4, *GRID.shape) and torch.isfinite(space.state.volume).all()
    assert [tuple(image.colours.shape[1:]) for image in space.images] == [(64, 96), (80, 112)]
    ahead, behind = torch.tensor([[5.0, 0.1, 1.0]]), torch.tensor([[-5.0, 0.1, 1.0]])
    assert known(space, ahead) > 0.0 and known(space, behind) == 0.0 and not space.hides(behind).item()
    picture = space.render(views[0].intrinsics, torch.from_numpy(views[0].T_base_camera), SIZE)
    assert picture.colours.shape == (*SIZE, 3) and torch.isfinite(picture.colours).all()


def test_the_evidence_of_the_space_follows_the_depth(config):
    """A network whose depth is 3 m everywhere, and sure: free before it, hit there, and nothing said behind it."""
    engine = SceneEngine(replace(config, rematch=False), CPU, FP32)
    estimate = engine.network.estimate

    def three_metres(*arguments):
        prediction = estimate(*arguments)
        for values in prediction.log_depths:
            values.fill_(np.log(3.0))
        prediction.log_scale.fill_(-3.0)
        prediction.confidence.fill_(9.0)
        return prediction

    engine.network.estimate = three_metres
    space = engine.reconstruct(frame(1, [front(0.0)], None), []).space
    points = torch.tensor([[1.8, 0.2, 1.2], [3.0, 0.2, 1.2], [4.6, 0.2, 1.2]])
    free, hit = space.state.evidence.flatten(1)[:, GRID.flat_index(GRID.cells(points))]
    before = 0.5 * np.exp(np.log(2.8 / 3.0) / np.exp(-3.0))  # the cell of the second reaches from 2.8 m to 3.2 m
    beyond = 0.5 * np.exp(-np.log(3.2 / 3.0) / np.exp(-3.0))
    torch.testing.assert_close(free, torch.tensor([1.0, beyond, 0.0]).float(), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(hit, torch.tensor([0.0, 1.0 - before - beyond, 0.0]).float(), atol=1e-3, rtol=0.0)


def test_of_what_the_ego_vehicle_hides_nothing_is_known(config):
    image = front(0.0)
    image.mask[:, 48:] = False
    engine = SceneEngine(config, CPU, FP32)
    space = engine.reconstruct(frame(1, [image], None), []).space
    left, right = torch.tensor([[5.0, 1.5, 1.0]]), torch.tensor([[5.0, -1.5, 1.0]])
    assert known(space, left) > 0.0 and known(space, right) == 0.0 and not space.hides(right).item()


def test_the_space_remembers_until_it_is_reset(config):
    first, second = (frame(stamp * 100_000_000, [front(x)], pose(x)) for stamp, x in ((1, 0.0), (2, 1.0)))

    def volume(engine):
        return engine.reconstruct(second, []).space.state.volume

    alone, remembering, forgetting = (SceneEngine(config, CPU, FP32) for _ in range(3))
    for engine in (remembering, forgetting):
        engine.reconstruct(first, [])
    forgetting.reset()
    expected = volume(alone)
    assert torch.equal(volume(forgetting), expected)
    assert not torch.equal(volume(remembering), expected)


def test_bf16_keeps_the_space_in_fp32(config):
    now = frame(1, [front(0.0)], pose(0.0))
    exact, rough = (SceneEngine(config, CPU, RuntimeConfig("torch", precision))
                    .reconstruct(now, []).space.state for precision in ("fp32", "bf16"))
    assert rough.volume.dtype == rough.plane.dtype == rough.evidence.dtype == torch.float32
    assert torch.isfinite(rough.volume).all() and not torch.equal(rough.volume, exact.volume)


def test_networks_that_do_not_belong_together_are_refused(config, tmp_path):
    with pytest.raises(InputError, match=r"12 channels, the depth network gives 8.*scene\.space_weights") as error:
        SceneEngine(replace(config, space_weights=scene_weights(tmp_path, context=12)), CPU, FP32)
    assert error.value.reason == "checkpoint"


def test_weights_of_the_other_network_are_named(config):
    with pytest.raises(InputError, match="holds no scene network") as error:
        SceneEngine(replace(config, space_weights=config.weights), CPU, FP32)
    assert error.value.reason == "checkpoint"


def test_missing_space_weights_say_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"scene\.space_weights = '/no/such.*leave it empty"):
        space_weights_file("/no/such.safetensors")
    monkeypatch.setattr(scene_engine, "SHIPPED_SPACE_WEIGHTS", tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match=r"absent.*set scene\.space to false") as error:
        space_weights_file("")
    assert error.value.reason == "checkpoint"
