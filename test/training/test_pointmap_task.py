"""Training of the pointmap network: pairs and their truth, scores by hand, and it learns, stops and goes on."""

import os
import signal
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from img2three_ros.config import settings, with_overrides
from img2three_ros.data.pointmap_pairs import (
    PairGroup,
    PairSettings,
    SimulatedPairs,
    covisibility,
    shown_in,
    true_matches,
)
from img2three_ros.data.simulated import SimulatedGroupSettings
from img2three_ros.data.view_group import ViewGroup
from img2three_ros.models.pointmap_network import PointmapNetwork, Pointmaps, load_pointmap_network
from img2three_ros.structures import InputError
from img2three_ros.training.command import app, read_settings
from img2three_ros.training.loop import BEST, CHECKPOINT, LAST, train
from img2three_ros.training.pointmap_objective import PARTS, PointmapObjectiveConfig, pair_truth, pointmap_objective
from img2three_ros.training.pointmap_task import PointmapTask, predict_pairs
from img2three_ros.training.pointmap_validation import SCORES, pair_scores
from img2three_ros.training.settings import PointmapTrainConfig
from img2three_ros.training.sources import pair_sources
from img2three_ros.training.start import starting_pointmap_network

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 96)
CPU = torch.device("cpu")
TINY = {"network.encoder_width": 64, "network.encoder_depth": 2, "network.decoder_width": 64,
        "network.decoder_depth": 4, "network.head": "linear"}


@pytest.fixture(scope="module")
def sample() -> PairGroup:
    return SimulatedPairs().group(0, SIZE, 4)


def config(**changes: object) -> PointmapTrainConfig:
    values = {**TINY, "stages": ["to 6 size 64x96 groups 1 views 4"], "device": "cpu", "precision": "fp32",
              "data.workers": 0, "optimizer.warmup": 2, "log_every": 2, "validation.groups": 1, "validation.every": 3,
              "validation.size": "64x96", "checkpoint_every": 100}
    return with_overrides(PointmapTrainConfig(), {**values, **{n.replace("__", "."): v for n, v in changes.items()}})


def task(**changes: object) -> PointmapTask:
    return PointmapTask(replace(PointmapObjectiveConfig(), **changes))


def wall(moving: bool = False) -> PairGroup:
    """A wall at 10 m; the second camera stands 1 m to the right of the first. Focal length 40: it sees all 4 pixels
    farther left. A board 5 m away hides columns 20 to 23 of the first; sky above, the vehicle itself below."""
    height, width = 8, 32
    depth = torch.full((2, height, width), 10.0)
    depth[0, :, 20:24] = 5.0
    depth[:, 0] = torch.inf
    mask = torch.ones(2, height, width, dtype=torch.bool)
    mask[:, -1] = False
    intrinsics = torch.tensor([[40.0, 0.0, 15.5], [0.0, 40.0, 3.5], [0.0, 0.0, 1.0]]).repeat(2, 1, 1)
    T_base_camera = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    T_base_camera[1, 0, 3] = 1.0
    views = ViewGroup(torch.zeros(2, 3, height, width, dtype=torch.uint8), intrinsics, T_base_camera, mask, depth,
                      torch.full(depth.shape, moving), torch.full((2, 1), -1), torch.zeros(2, dtype=torch.int64),
                      torch.arange(2))
    return PairGroup(views, torch.tensor([[0, 1], [1, 0]]), torch.ones(2))


def test_what_the_second_camera_shows_by_hand():
    group = wall().views
    points = pair_truth(wall(), 100.0).points
    pixels, seen = shown_in(group, 0, 1, points[0, 0])
    expected = torch.zeros(8, 32, dtype=torch.bool)
    expected[1:7, 4:20] = expected[1:7, 24:] = True  # the board's points lie before the wall that camera 2 shows there
    assert torch.equal(seen[1:], expected[1:]) and not bool(seen[0].any())
    assert torch.equal(pixels[3, 4:20], torch.stack((torch.arange(16), torch.full((16,), 3)), -1))
    assert covisibility(group, 0, 1) == pytest.approx(24 / 32)
    torch.manual_seed(0)
    own, other, keep = true_matches(group, 0, 1, 200)
    assert int(keep.sum()) == 24 * 6 and bool((own[keep] - other[keep] == torch.tensor([4, 0])).all())
    few = true_matches(group, 0, 1, 10)
    assert len(few[0]) == 10 and bool(few[2].all()) and len({tuple(pixel) for pixel in few[0].tolist()}) == 10
    assert not bool(true_matches(wall(moving=True).views, 0, 1, 10)[2].any())


def test_the_truth_of_a_pair_by_hand():
    truth = pair_truth(wall(), 100.0)
    x = (7 - 15.5) / 40.0 * 10.0
    assert truth.points[0, 0, 3, 7].tolist() == pytest.approx([x, -0.125, 10.0], rel=1e-5)
    assert truth.points[0, 1, 3, 7].tolist() == pytest.approx([x + 1.0, -0.125, 10.0], rel=1e-5)
    assert truth.points[1, 1, 3, 7].tolist() == pytest.approx([x - 1.0, -0.125, 10.0], rel=1e-5)
    assert bool(truth.sky[:, :, 0].all()) and not bool(truth.sky[:, :, 1:].any())
    assert bool(truth.keep[:, :, 1:7].all()) and not bool(truth.keep[:, :, [0, 7]].any())
    assert int(pair_truth(wall(), 8.0).keep.sum()) == 2 * 4 * 6  # the board, in either order


def test_pairs_come_in_both_orders_show_the_same_and_follow_from_seed_and_index(sample):
    same, other = SimulatedPairs().group(0, SIZE, 4), SimulatedPairs(SimulatedGroupSettings(seed=1)).group(0, SIZE, 4)
    assert torch.equal(same.views.images, sample.views.images) and torch.equal(same.pairs, sample.pairs)
    assert same.views.images.shape != other.views.images.shape or not torch.equal(same.views.images, other.views.images)
    for group in (sample, other):
        pairs = group.pairs
        assert torch.equal(pairs[::2], pairs[1::2].flip(1)) and bool((pairs[:, 0] != pairs[:, 1]).all())
        assert len(pairs) <= 6 and bool((group.covisibility >= PairSettings().covisible).all())
    with pytest.raises(InputError, match="at least two views"):
        SimulatedPairs().group(0, SIZE, 1)


def test_matched_pixels_show_one_place_of_the_world(sample):
    """Distance of the two points of a match: a few pixels wide at most."""
    torch.manual_seed(0)
    truth = pair_truth(sample, 100.0)
    for number, (first, second) in enumerate(sample.pairs.tolist()):
        own, other, keep = true_matches(sample.views, first, second, 300)
        assert int(keep.sum()) > 100
        one = truth.points[number, 0][own[keep, 1], own[keep, 0]]
        two = truth.points[number, 1][other[keep, 1], other[keep, 0]]
        assert float(((one - two).norm(dim=1) / one[:, 2]).median()) < 0.02


def test_where_nothing_overlaps_a_view_is_paired_with_itself():
    group = SimulatedPairs(settings=PairSettings(covisible=1.0)).group(1, (32, 64), 2)
    assert group.pairs.tolist() == [[0, 0]]
    truth = pair_truth(group, 100.0)
    assert torch.equal(truth.points[0, 0].nan_to_num(), truth.points[0, 1].nan_to_num())


def test_samples_travel_as_arrays_and_a_mirrored_one_is_a_possible_world(sample):
    arrived = PointmapTask.from_arrays(PointmapTask.to_arrays(sample))
    for item in fields(ViewGroup):
        assert torch.equal(*(getattr(one.views, item.name).nan_to_num() for one in (sample, arrived)))
    assert torch.equal(arrived.pairs, sample.pairs) and torch.equal(arrived.covisibility, sample.covisibility)
    mirrored = task().augmented(sample, True, 0, 0.0)
    truth, reflected = pair_truth(sample, 100.0), pair_truth(mirrored, 100.0)
    expected = truth.points.flip(3) * torch.tensor([-1.0, 1.0, 1.0])
    keep = truth.keep.flip(3)
    assert torch.equal(reflected.keep, keep)
    torch.testing.assert_close(reflected.points[keep], expected[keep], atol=1e-3, rtol=1e-4)


def maps_of(points: Tensor, confidence: float = 2.0) -> Pointmaps:
    sure = torch.full(points.shape[:-1], confidence)
    return Pointmaps(points[:, 0], sure[:, 0], points[:, 1], sure[:, 1])


def test_scores_by_hand():
    truth = pair_truth(wall(), 100.0)
    points = truth.points.nan_to_num(posinf=0.0, neginf=0.0)
    perfect = pair_scores(maps_of(3.0 * points), truth)[0]
    assert set(perfect) == set(SCORES)
    assert perfect["error"] < 1e-5 and perfect["within"] == 1.0 and perfect["scale"] == pytest.approx(3.0, rel=1e-5)
    assert perfect["confidence_sky"] == perfect["confidence_solid"] == 2.0
    # All points of the second view 2 m too high: the lengths change, so the scale by which all is divided does too
    moved = points.clone()
    moved[:, 1, ..., 1] -= 2.0
    scores = pair_scores(maps_of(moved), truth)[0]
    keep = truth.keep[0]
    scale = float(moved[0][keep].norm(dim=-1).mean() / points[0][keep].norm(dim=-1).mean())
    second = (moved[0, 1] / scale - points[0, 1])[keep[1]].norm(dim=-1)
    assert scores["scale"] == pytest.approx(scale, rel=1e-5) and scale > 1.005
    assert scores["error_second"] == pytest.approx(float(second.median()) / 10.0, rel=1e-4)
    assert scores["error_second"] == pytest.approx(0.2, abs=0.02)
    usual = float(points[0, 0][keep[0]].norm(dim=-1).median())
    assert scores["error_first"] == pytest.approx((1.0 - 1.0 / scale) * usual / 10.0, rel=1e-3)
    # Whoever is sure of the first view alone is judged by it
    sure = maps_of(moved)._replace(confidence2=torch.ones(2, 8, 32))
    assert pair_scores(sure, truth)[0]["error_confident"] == pytest.approx(scores["error_first"], rel=1e-3)


@pytest.mark.parametrize("head", ["linear", "dpt"])
def test_the_loss_reaches_every_parameter(sample, head):
    network = starting_pointmap_network(config(network__head=head, network__descriptors=8 if head == "dpt" else 0))
    total, parts = task(matches=100).loss(network, [sample, sample], nullcontext)
    assert tuple(parts) == PARTS and all(bool(value.isfinite()) for value in parts.values())
    assert bool(parts["matching"] != 0.0) == (head == "dpt")
    total.backward()
    silent = [name for name, value in network.named_parameters() if value.grad is None or not bool(value.grad.any())]
    assert silent == []


def test_the_loss_of_the_truth_is_the_price_of_confidence_and_sky(sample):
    truth = pair_truth(sample, 100.0)
    points = truth.points.nan_to_num(posinf=0.0, neginf=0.0)
    total, parts = pointmap_objective(maps_of(points, 1.0), [sample], PointmapObjectiveConfig())
    by_hand = sum(2.0 * float(truth.sky[:, view].sum() / (truth.keep | truth.sky)[:, view].sum()) for view in range(2))
    assert float(total) == pytest.approx(by_hand, abs=1e-4) and float(parts["error"]) < 1e-5
    metres = PointmapObjectiveConfig(metric=True, sky=0.0)
    doubled = float(pointmap_objective(maps_of(2.0 * points, 1.0), [sample], metres)[1]["error"])
    assert doubled == pytest.approx(1.0, rel=1e-4)  # as far off as the points are away, in units of their mean
    assert float(pointmap_objective(maps_of(2.0 * points, 1.0), [sample], replace(metres, metric=False))[0]) < 1e-4


def test_pairs_are_predicted_as_one_by_one(sample):
    network = starting_pointmap_network(config()).eval()
    with torch.no_grad():
        together = predict_pairs(network, [sample, sample], nullcontext)
        images = sample.views.images.float() / 127.5 - 1.0
        for number, (first, second) in enumerate(sample.pairs.tolist()):
            alone = network(images[first:first + 1], images[second:second + 1])
            for place in (number, number + len(sample.pairs)):
                torch.testing.assert_close(together.points2_in_1[place], alone.points2_in_1[0], atol=1e-5, rtol=1e-4)


class Fixed:
    """The same sample for every number."""

    def __init__(self, sample: PairGroup) -> None:
        self.sample = sample

    def group(self, index: int, size: tuple[int, int], views: int) -> PairGroup:
        return self.sample


def test_it_learns_a_fixed_group_and_its_weights_come_back(sample, tmp_path):
    chosen = config(stages=["to 120 size 64x96 groups 1 views 4"], data__mirror=False, data__light=0.0,
                    optimizer__learning_rate=0.002, optimizer__average=0.8, optimizer__warmup=10,
                    validation__every=1000, log_every=50)
    source, said, network = Fixed(sample), [], starting_pointmap_network(chosen)
    before = task().validate(network, [sample], CPU, nullcontext)
    train(task(), network, source, source, tmp_path, chosen, said.append)
    kept = load_pointmap_network(tmp_path / BEST)
    assert isinstance(kept, PointmapNetwork) and kept.config.image_side == 96
    after = task().validate(kept, [sample], CPU, nullcontext)
    assert after["error"] < 0.25 * before["error"] and after["within"] > before["within"] + 0.1
    assert after["confidence_sky"] < after["confidence_solid"]
    assert any("held-out median point error" in text for text in said) and (tmp_path / "validation_0.png").is_file()
    again = starting_pointmap_network(replace(chosen, init=str(tmp_path / LAST)))
    for name, value in again.named_parameters():
        assert value.requires_grad and torch.equal(value, kept.state_dict()[name]), name


def test_an_interrupted_training_ends_as_if_it_was_not(tmp_path):
    chosen = config()

    def run(folder: str, report=lambda _: None) -> int:
        return train(task(), starting_pointmap_network(chosen), *pair_sources(chosen), tmp_path / folder, chosen,
                     report).steps

    def terminate(text: str) -> None:
        if text.startswith("step 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    assert run("whole") == 6
    assert run("parts", terminate) == 2
    assert run("parts") == 6
    one, other = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True)["average"] for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_command_trains_and_its_weights_load(tmp_path):
    changes = ("stages=[to 2 size 64x96 groups 1 views 2]", "data.workers=0", "validation.groups=1", "log_every=1",
               "validation.size=64x96", "validation.views=2", "device=cpu", "network.head=dpt",
               "network.descriptors=8", *(f"{name}={value}" for name, value in TINY.items() if "head" not in name))
    arguments = [part for change in changes for part in ("--set", change)]
    result = CliRunner().invoke(app, ["pointmap", "--output", str(tmp_path), *arguments], catch_exceptions=False)
    assert result.exit_code == 0 and "step 2/2" in result.output and "done: 2 steps" in result.output
    network = load_pointmap_network(tmp_path / LAST)
    assert network.config.descriptor_width == 8
    image = torch.zeros(1, 3, 32, 48)
    assert network(image, image).descriptors1.shape == (1, 32, 48, 8)


def test_settings_are_described_and_mistakes_named(sample):
    recipe = with_overrides(PointmapTrainConfig(), read_settings(ROOT / "config" / "train_pointmap.yaml"))
    assert recipe.steps > 0
    assert sum(value.numel() for value in starting_pointmap_network(recipe).parameters()) < 25e6
    assert sum(value.numel() for value in starting_pointmap_network(PointmapTrainConfig()).parameters()) < 25e6
    assert all(leaf.doc for leaf in settings(PointmapTrainConfig()))
    with pytest.raises(InputError, match="too sparse"):
        pair_sources(config(data__kind="bags"))
    with pytest.raises(InputError, match="multiple of 64"):
        starting_pointmap_network(config(network__decoder_width=96))
    with pytest.raises(InputError, match="descriptors come with a dpt head"):
        starting_pointmap_network(config(network__descriptors=8))
    untaught = starting_pointmap_network(config(network__head="dpt", network__descriptors=8))
    with pytest.raises(InputError, match=r"objective\.matching = 0"):
        task(matching=0.0).loss(untaught, [sample], nullcontext)
