"""Training of the scene network: samples travel and mirror, the loss reaches everything, and it learns."""

from contextlib import nullcontext
from dataclasses import fields

import pytest
import torch

from img2three_ros.data.scene_sample import SceneSample
from img2three_ros.data.simulated import SimulatedGroupSettings
from img2three_ros.data.simulated_scenes import SimulatedScenes, SimulatedSceneSettings
from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.depth_network import DepthNetwork, DepthNetworkConfig
from img2three_ros.models.scene_network import SceneNetwork, light_above
from img2three_ros.models.scene_volume import SceneState, SceneVolumeConfig
from img2three_ros.models.scene_weights import load_scene_network
from img2three_ros.training.loop import BEST, LAST, train
from img2three_ros.training.prepared_scene import States, mirrored_scene, prepared_scene, scene_state
from img2three_ros.training.scene_objective import PARTS, SceneObjectiveConfig, ray_distances, scene_objective
from img2three_ros.training.scene_task import SCORES, SceneTask
from img2three_ros.training.settings import SceneTrainConfig

SIZE = (64, 96)
CPU = torch.device("cpu")
SMALL = SceneVolumeConfig(ContractedGrid(cell=1.0, near=20.0, side=32, levels=8), context=8, lift=4,
                          widths=(16, 16, 16), features=4)
DEPTH = DepthNetworkConfig(planes=16, match=8, context=(8, 8, 8, 8), widths=(8, 8, 8), refine_width=8, candidates=3)


@pytest.fixture(scope="module")
def sample() -> SceneSample:
    scenes = SimulatedScenes(SimulatedGroupSettings(noisy_geometry=0.0),
                             SimulatedSceneSettings(points=1000, rays=400, outside=2, outside_width=48, patch=16))
    return scenes.scene(9, SIZE, 3)  # cameras that overlap: without witnesses nothing is refined


def task(**settings: float) -> SceneTask:
    torch.manual_seed(0)
    return SceneTask(DepthNetwork(DEPTH).eval().requires_grad_(False), SMALL,
                     SceneObjectiveConfig(rays=64, samples=16, **settings), faults=0.0)


def network() -> SceneNetwork:
    torch.manual_seed(1)
    return SceneNetwork(SMALL)


def equal(one: SceneSample, other: SceneSample) -> bool:
    return all(torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in (
        *((getattr(one, item.name), getattr(other, item.name)) for item in fields(one) if item.name != "group"),
        *((getattr(one.group, item.name), getattr(other.group, item.name)) for item in fields(one.group))))


def test_samples_travel_as_arrays(sample) -> None:
    assert equal(SceneTask.from_arrays(SceneTask.to_arrays(sample)), sample)


def test_mirrored_twice_is_the_sample_and_once_is_a_possible_world(sample) -> None:
    twice = mirrored_scene(mirrored_scene(sample))
    torch.testing.assert_close(twice.points, sample.points)
    torch.testing.assert_close(twice.T_now_instant, sample.T_now_instant)
    once = mirrored_scene(sample)
    group, solid = once.group, once.own & once.distance.isfinite()
    points = (once.origins + once.directions * once.distance[:, None])[solid].double()
    found = 0
    for view in range(3):  # own rays still end where the mirrored images have their depth
        T_camera_base = torch.linalg.inv(group.T_base_camera[view])
        of_view = (once.origins[solid] - group.T_base_camera[view, :3, 3].float()).norm(dim=1) < 1e-3
        local = points[of_view] @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
        pixels = local @ group.intrinsics[view].double().T
        u, v = (pixels[:, :2] / pixels[:, 2:]).round().long().unbind(1)
        torch.testing.assert_close(group.depth[view][v, u].double(), local[:, 2], atol=1e-3, rtol=1e-3)
        found += len(u)
    assert found > 50


def test_the_loss_reaches_every_parameter_and_leaves_depth_alone(sample) -> None:
    trained, to_train = task(), network()
    for parameter in to_train.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    total, parts = trained.loss(to_train, [trained.ready(sample, CPU, nullcontext)], nullcontext)
    assert tuple(parts) == (*PARTS, "refinement", "overlap") and all(bool(value.isfinite()) for value in parts.values())
    total.backward()
    silent = [name for name, parameter in to_train.named_parameters()
              if parameter.grad is None or not bool(parameter.grad.any())]
    assert silent == []
    assert all(parameter.grad is None for parameter in trained.depth.parameters())


def test_a_mirrored_scene_is_as_good_as_the_scene_of_a_mirrored_sample(sample) -> None:
    ready = task().ready(sample, CPU, nullcontext)
    mirrored = ready.mirrored(SMALL.grid)
    afresh = prepared_scene(mirrored_scene(sample), task().depth, SceneNetwork(SMALL).volume, nullcontext)
    for one, other in zip(mirrored.instants, afresh.instants, strict=True):
        for tables, expected in zip(one.tables, other.tables, strict=True):
            for table, wanted in ((tables.fine, expected.fine), (tables.coarse, expected.coarse)):
                where = dict(zip(table.cells.tolist(), table.pixels.tolist(), strict=True))
                same = [where.get(cell) == pixel for cell, pixel in
                        zip(wanted.cells.tolist(), wanted.pixels.tolist(), strict=True)]
                assert sum(same) > 0.98 * max(len(table.cells), len(same))  # halves of pixels round to either side
    to_use = network()
    upright, reflected = (scene_state(to_use, scene, nullcontext).evidence for scene in (ready, mirrored))
    torch.testing.assert_close(reflected.flip(2), upright, atol=1e-5, rtol=1e-5)


def test_faults_take_cameras_or_the_past_in_their_share(sample) -> None:
    ready = task().ready(sample, CPU, nullcontext)
    assert ready.with_faults(0.0, 1).instants[1].views is ready.instants[1].views
    drawn = [ready.with_faults(0.5, seed) for seed in range(200)]
    assert 60 < sum(len(scene.instants) == 1 for scene in drawn) < 140
    assert 60 < sum(not bool(scene.instants[0].views[0].features.any()) for scene in drawn) < 140
    cameras = [len(scene.instants[0].tables) for scene in drawn]
    assert set(cameras) == {1, 2, 3} and 60 < cameras.count(3) < 140
    assert all(len(instant.views) == len(instant.tables) for scene in drawn for instant in scene.instants)
    scene_state(network(), ready.with_faults(1.0, 3), nullcontext)


@pytest.mark.parametrize("part", [name for name in (*PARTS, "refinement", "overlap") if name != "coarse"])
def test_each_part_alone_has_a_gradient(sample, part) -> None:
    settings = {name: float(name == part) for name in (*PARTS, "refinement", "overlap")}
    to_train = network()
    torch.manual_seed(2)
    trained = task(**settings)
    total, _ = trained.loss(to_train, [trained.ready(sample, CPU, nullcontext)], nullcontext)
    total.backward()
    assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in to_train.parameters())


def test_coarse_and_fine_looks_of_a_rough_volume_are_drawn_together(sample) -> None:
    """A smooth volume has nothing to say here; one that changes from cell to cell has."""
    torch.manual_seed(3)
    to_train = network()
    volume = (5.0 * torch.randn(4, *SMALL.grid.shape)).requires_grad_(True)
    state = SceneState(volume, torch.zeros(2, *SMALL.grid.shape), torch.zeros(1))
    torch.nn.init.normal_(to_train.decoder.answer.weight, std=2.0)
    only = SceneObjectiveConfig(rays=200, samples=96, **{name: float(name == "coarse") for name in PARTS})
    total, _ = scene_objective(to_train.decoder, States(state, None, None), sample, torch.full((3,), 0.5),
                               lambda pictures: [pictures], only)
    assert float(total.detach()) > 0.0
    total.backward()
    assert volume.grad is not None and bool(volume.grad.any())


class Fixed:
    """The same sample for every number."""

    def __init__(self, sample: SceneSample) -> None:
        self.sample = sample

    def group(self, index: int, size: tuple[int, int], views: int) -> SceneSample:
        return self.sample


def test_it_learns_a_fixed_scene_and_its_weights_come_back(sample, tmp_path) -> None:
    from img2three_ros.config import with_overrides

    config = with_overrides(SceneTrainConfig(), {
        "stages": ["to 200 size 64x96 groups 1 views 3"], "device": "cpu", "precision": "fp32", "data.workers": 0,
        "data.mirror": False, "data.light": 0.0, "optimizer.warmup": 2, "optimizer.learning_rate": 0.005,
        "optimizer.average": 0.5, "validation.groups": 1, "validation.every": 1000, "validation.size": "64x96",
        "validation.views": 3, "validation.pictures": 1, "log_every": 100})
    said: list[str] = []
    source = Fixed(sample)
    to_train = network()
    before = task().validate(to_train, [sample], CPU, nullcontext)
    train(task(), to_train, source, source, tmp_path, config, said.append)
    kept = load_scene_network(tmp_path / BEST)
    after = task().validate(kept, [sample], CPU, nullcontext)
    assert set(after) == set(SCORES)
    assert after["iou_seen"] > 0.3 and after["iou_seen"] > before["iou_seen"] + 0.1
    assert after["psnr"] > before["psnr"] + 4.0
    assert any("held-out IoU seen" in text for text in said)
    assert (tmp_path / "validation_0.png").is_file() and (tmp_path / LAST).stat().st_size < 30e6


def test_rays_are_sampled_in_order_over_their_length() -> None:
    torch.manual_seed(0)
    distances, edges = ray_distances(50, 32, CPU)
    assert bool((distances.diff(dim=1) > 0).all())
    assert bool(((distances >= edges[:, :-1] * 0.999) & (distances <= edges[:, 1:] * 1.001)).all())
    assert 0.3 <= float(distances.min()) < 0.4 and 75.0 < float(distances.max()) <= 90.0


def test_light_by_hand() -> None:
    colours = torch.zeros(3, 10, 4)
    colours[2, :2] = 0.8
    torch.testing.assert_close(light_above([colours]), torch.tensor([0.0, 0.0, 0.8]))
    torch.testing.assert_close(light_above([colours, torch.zeros(3, 5, 5)]), torch.tensor([0.0, 0.0, 0.4]))
    torch.testing.assert_close(light_above([]), torch.full((3,), 0.5))
