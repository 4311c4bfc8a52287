"""The front page with a scene: predictions out of sight reach the occupancy, and obey what is set while running."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import depth_weights, scene_network
from sweep_scene import camera_pose, pinhole

from img2three_ros.config import Config, with_overrides
from img2three_ros.models.scene_weights import save_scene_network
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, CameraCalibration, CameraImage, Frame

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = (64, 96)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """config(logit): a scene network that gives about this logit of occupancy to every place."""
    folder = tmp_path_factory.mktemp("weights")
    weights = depth_weights(folder, sure=True)

    def made(logit: float) -> Config:
        network = scene_network()
        torch.nn.init.zeros_(network.decoder.answer.weight)
        torch.nn.init.zeros_(network.decoder.answer.bias)
        network.decoder.answer.bias.data[0] = logit
        network.decoder.answer.bias.data[6 + 3] = 9.0
        path = folder / f"{logit}.safetensors"
        save_scene_network(path, network)
        return with_overrides(Config(), {
            "engine": "scene", "device": "cpu", "threads": 1, "scene.weights": weights, "runtime.backend": "torch",
            "runtime.precision": "fp32",
            "scene.space_weights": str(path), "prepare.pixels": SIZE[0] * SIZE[1], "occupancy.x_min": -8.0,
            "occupancy.x_max": 8.0, "occupancy.y_min": -6.0, "occupancy.y_max": 6.0, "occupancy.z_max": 1.4})

    return made


def ahead(stamp: int) -> Frame:
    """One camera that looks ahead."""
    image = np.random.default_rng(1).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    camera = CameraImage("front", stamp, image, CameraCalibration(SIZE[1], SIZE[0], pinhole(SIZE, 60.0)),
                         camera_pose(z=1.2))
    return Frame(stamp, (camera,), ("front",))


def test_without_a_scene_nothing_is_completed(config):
    plain = with_overrides(config(2.0), {"scene.space": False})
    pipeline = ReconstructionPipeline(plain)
    result = pipeline.process(ahead(1))
    assert "complete" not in result.timings_ms and result.occupancy.label is None and pipeline.space is None


def test_what_is_out_of_sight_is_predicted(config):
    settings = config(2.0)
    pipeline = ReconstructionPipeline(settings)
    result = pipeline.process(ahead(1))
    fused = ReconstructionPipeline(with_overrides(settings, {"scene.space": False})).process(ahead(1)).occupancy
    found = result.occupancy
    new = (found.state == OCCUPIED) & (fused.state == UNKNOWN)
    assert list(result.timings_ms) == ["prepare", "reconstruct", "points", "fuse", "complete"]
    assert list(result.parts_ms) == ["undistort", "copy", "ego mask", "align", "encode", "match", "refine", "rematch",
                                     "lift"]
    assert sum(result.parts_ms.values()) <= result.timings_ms["prepare"] + result.timings_ms["reconstruct"]
    assert new.sum() > 500 and (found.centres(new)[:, 0] > 0.0).all()
    assert (found.state[~new] == fused.state[~new]).all()
    np.testing.assert_allclose(found.probability[new], settings.occupancy.occupied_threshold, atol=1e-6)
    assert (found.label[found.state == OCCUPIED] == 4).all()  # structure
    assert pipeline.space is not None
    places = torch.from_numpy(found.centres(new))
    assert pipeline.space.hides(places).all() and (pipeline.space.query(places).occupancy > 1.9).all()
    pipeline.reset()
    assert pipeline.space is None


def test_the_threshold_changes_while_running(config):
    pipeline = ReconstructionPipeline(config(2.0))
    counts = []
    for stamp, threshold in enumerate((0.6, 1.0, 0.95, 0.8)):
        pipeline.reconfigure(with_overrides(pipeline.config, {"occupancy.hidden_threshold": threshold}))
        counts.append(int((pipeline.process(ahead(stamp)).occupancy.state == OCCUPIED).sum()))
    most, none, fewer, again = counts
    assert none == fewer < most == again


def test_trust_in_free_space_changes_while_running(config):
    pipeline = ReconstructionPipeline(config(-2.0))
    counts = []
    for stamp, trust in enumerate((False, True, False)):
        occupancy = replace(pipeline.config.occupancy, trust_hidden_free=trust)
        pipeline.reconfigure(replace(pipeline.config, occupancy=occupancy))
        counts.append(int((pipeline.process(ahead(stamp)).occupancy.state == FREE).sum()))
    assert counts[0] == counts[2] < counts[1] - 500
