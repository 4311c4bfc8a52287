"""Engine ``pointmap`` on a street whose depth is known, with a network that knows the truth and with a real one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_pointmaps import HEIGHT, WIDTH, Street, ego, frame, mount, relative_errors
from single_thread import one_thread

from img2three_ros.config import Config, PointmapConfig
from img2three_ros.models.pointmap_config import PointmapConfig as NetworkConfig
from img2three_ros.models.pointmap_network import PointmapNetwork, save_pointmap_network
from img2three_ros.reconstruction.choose import choose_engine
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.reconstruction.pointmap_depth import (
    Estimate,
    depth_view,
    expected_error,
    probability_near,
    resized,
)
from img2three_ros.reconstruction.pointmap_engine import PointmapEngine
from img2three_ros.reconstruction.pointmap_placement import ways_doubt
from img2three_ros.reconstruction.pointmap_window import PairMemory, choose_window
from img2three_ros.structures import CameraCalibration, CameraImage, Frame, InputError

__all__ = ["one_thread"]
CPU = torch.device("cpu")
RIG = {"left": mount(y=0.5, yaw=25), "front": mount(), "right": mount(y=-0.5, yaw=-25), "rear": mount(x=-2.0, yaw=180)}
RIGHT_WAY, SECOND = 0.03, 10 ** 9


def engine(street, **settings):
    return PointmapEngine(PointmapConfig(**settings), CPU, street)


def instant(street, number, x, cameras=tuple(RIG), odometry=True, **special):
    """A frame at x metres; special: camera -> options of ``Street.view``."""
    views = [street.view(name, RIG[name], ego(x), **special.get(name, {})) for name in cameras]
    return frame(number * SECOND // 10, views, ego(x) if odometry else None)


def drive(street, count, used=2, **settings):
    """The last geometry of a drive, 0.6 m between instants, with the ``used`` instants before as keyframes."""
    one, frames = engine(street, **settings), []
    for number in range(count):
        frames.append(instant(street, number, 0.6 * number))
        geometry = one.reconstruct(frames[-1], frames[:-1][-used:])
    return geometry, one


def assert_right(geometry, street, names):
    for depth in geometry.depths:
        if depth.view.name in names:
            error, given = relative_errors(depth, street.depth(depth.view))
            assert given > 0.95 and np.median(error) < RIGHT_WAY and np.quantile(error, 0.95) < 0.1, depth.view.name
            assert float(depth.confidence[depth.valid].median()) > 0.8


def assert_unknown(depth):
    assert not depth.valid.any() and not depth.confidence.any()


def test_depth_is_metric_from_the_rig_and_the_way_driven():
    street = Street()
    geometry, _ = drive(street, 3)
    assert_right(geometry, street, set(RIG))
    assert geometry.notes == ()
    for depth in geometry.depths:
        assert depth.depth.shape == depth.sigma.shape == depth.view.size and bool((depth.sigma > 0).all())
        assert not depth.valid[torch.from_numpy(~np.isfinite(street.depth(depth.view)))].any(), "sky has no depth"


def test_what_the_network_is_unsure_of_is_worth_less():
    sure, _ = drive(Street(confidence=8.0), 2)
    unsure, _ = drive(Street(confidence=1.5), 2)
    noisy, _ = drive(Street(noise=0.15), 2)
    for good, bad, spread in zip(sure.depths, unsure.depths, noisy.depths, strict=True):
        assert float(bad.confidence.median()) < 0.6 < 0.75 < float(good.confidence.median())
        assert float(spread.confidence.median()) < float(good.confidence.median()) - 0.1
        assert float(bad.sigma.median()) > 2 * float(good.sigma.median())


def test_a_view_without_overlap_is_unknown_until_the_vehicle_moves():
    street = Street()
    one = engine(street)
    first = instant(street, 0, 0.0)
    standing = one.reconstruct(first, [])
    assert_right(standing, street, {"left", "front", "right"})
    assert_unknown(standing.depths[3])
    assert any("rear" in note and "no depth" in note for note in standing.notes)
    assert_right(one.reconstruct(instant(street, 1, 0.6), [first]), street, {"rear"})


def test_without_ego_motion_and_overlap_nothing_is_known():
    street = Street()
    geometry = engine(street).reconstruct(instant(street, 0, 0.0, cameras=("rear",), odometry=False), [])
    assert_unknown(geometry.depths[0])
    assert street.asked == [] and len(geometry.notes) == 2


def test_a_missing_camera_leaves_the_others_alone():
    street = Street()
    one = engine(street)
    frames = [instant(street, 0, 0.0), instant(street, 1, 0.6, cameras=("left", "front", "rear"))]
    geometry = one.reconstruct(frames[1], frames[:1])
    assert [depth.view.name for depth in geometry.depths] == ["left", "front", "rear"]
    assert_right(geometry, street, {"left", "front", "rear"})


def test_a_moved_camera_is_named_and_keeps_its_depth():
    street = Street()
    one, frames = engine(street), []
    for number in range(3):
        frames.append(instant(street, number, 0.6 * number, front={"moved": mount(yaw=4.0)}))
        geometry = one.reconstruct(frames[-1], frames[:-1])
    assert_right(geometry, street, {"left", "front", "right"})
    told = [note for note in geometry.notes if "contradict the pose" in note]
    assert len(told) == 1 and "front" in told[0]
    degrees = float(told[0].split("they say ")[1].split(" deg")[0])
    assert 3.0 < degrees < 4.5


def test_a_view_that_fits_nothing_is_left_out():
    street = Street()
    one, frames = engine(street), []
    for number in range(3):
        frames.append(instant(street, number, 0.6 * number, right={"elsewhere": True}))
        geometry = one.reconstruct(frames[-1], frames[:-1])
        assert_unknown(geometry.depths[2])
        assert_right(geometry, street, {"left", "front"})
        assert any(note.startswith("no depth of right") for note in geometry.notes)


def test_cameras_on_one_spot_tell_no_metre():
    street = Street()
    views = [street.view(name, mount(y=side), ego()) for name, side in (("a", 0.005), ("b", -0.005))]
    geometry = engine(street, pairs="complete").reconstruct(frame(0, views, None), [])
    for depth in geometry.depths:
        assert_unknown(depth)
    assert any("metre" in note for note in geometry.notes)


def test_views_of_several_sizes_keep_their_own():
    street = Street()
    views = [street.view("left", RIG["left"], ego(), size=(2 * HEIGHT, 2 * WIDTH)),
             street.view("front", RIG["front"], ego())]
    geometry = engine(street).reconstruct(frame(0, views, None), [])
    assert [depth.depth.shape for depth in geometry.depths] == [(96, 160), (48, 80)]
    assert_right(geometry, street, {"left", "front"})


def test_what_the_mask_hides_is_not_given():
    street = Street()
    hidden = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    hidden[30:] = False
    views = [street.view(name, RIG[name], ego()) for name in ("left", "front")]
    views[1] = replace(views[1], mask=hidden)
    geometry = engine(street).reconstruct(frame(0, views, None), [])
    assert not geometry.depths[1].valid[30:].any() and geometry.depths[1].valid[10:29].float().mean() > 0.7
    assert_right(geometry, street, {"left"})


def test_each_view_is_encoded_once_and_each_pair_predicted_once():
    street = Street()
    _, one = drive(street, 5)
    assert sorted(street.encoded) == sorted(set(street.encoded))
    assert len(street.asked) == len(set(street.asked))
    one.reset()
    assert one._memory.bytes == 0


def test_the_window_bounds_what_takes_part():
    street = Street()
    frames = [instant(street, number, 0.6 * number) for number in range(6)]
    for earlier in (0, 3, 7):
        views, pairs = choose_window(frames[-1], frames[:-1], neighbours=4, earlier=earlier)
        assert [view.name for _, view in views[:4]] == list(RIG)
        assert len(views) <= 4 + earlier and all(of is not frames[-1] for of, _ in views[4:])
        assert all(larger > smaller and smaller < 4 for larger, smaller in pairs)
        partners = [sum(number in pair for pair in pairs) for number in range(len(views))]
        assert all(partners[4:]) and all(partners[:3])
        assert bool(partners[3]) == (earlier > 0), "who has nobody else comes first"
    views, pairs = choose_window(frames[-1], frames[:-1], neighbours=1, earlier=2, complete=True)
    assert len(views) == 6 and len(pairs) == 3 + 2 + 1 + 4 * 2


def test_memory_is_bounded_and_gives_what_it_was_given():
    street = Street(noise=0.0, unit_spread=0.0)
    _, one = drive(street, 4, memory=16)
    plenty = one._memory.bytes
    assert plenty > 0
    pair = 2 * HEIGHT * WIDTH * 4 * 4
    small = PairMemory(5 * pair)
    one._memory = small
    assert_right(one.reconstruct(instant(street, 9, 5.4), []), street, {"left", "front", "right"})
    assert small.bytes <= 2 * 5 * pair and plenty > small.bytes


def test_confidence_means_the_error_that_training_weighs_it_by():
    confidence = torch.tensor([[1.0, 2.0, 3.0, 21.0]])
    error = expected_error(confidence, torch.full((1, 4), 10.0))[0]
    assert torch.isinf(error[0]) and torch.allclose(error[1:], torch.tensor([0.2, 0.1, 0.01]))
    near = expected_error(torch.full((1, 2), 3.0), torch.tensor([[5.0, 15.0]]))[0]
    assert torch.allclose(near, torch.tensor([0.2, 0.1 / 1.5])), "the error is in units of the mean distance"
    assert float(probability_near(torch.tensor(float("inf")))) == 0.0


def test_probability_is_that_of_laplace_errors():
    chance = np.random.default_rng(3)
    for mean in (0.05, 0.2, 0.6):
        logs = chance.laplace(0.0, mean, 200_000)
        assert abs(float(probability_near(torch.tensor(mean))) - np.mean(np.abs(logs) < np.log(1.25))) < 0.01


def test_depth_is_interpolated_on_a_surface_and_not_across_its_border():
    depth = torch.full((6, 8), 20.0)
    depth[:, :4] = 4.0
    depth[0, 0] = float("nan")
    found, error = resized(Estimate(depth, torch.full((6, 8), 0.05)), (18, 24))
    assert torch.isnan(found[0, 0]) and torch.isinf(error[0, 0])
    rest = found[torch.isfinite(found)]
    assert bool(((rest - 4.0).abs() < 1e-3).logical_or((rest - 20.0).abs() < 1e-3).all())
    slope = torch.linspace(0.1, 0.2, 8).reciprocal().expand(6, 8)
    smooth, _ = resized(Estimate(slope, torch.full((6, 8), 0.05)), (12, 16))
    steps = smooth.reciprocal()[5].diff()
    assert bool((steps[1:-1] > 0.002).all()), "no stairs: inverse depth is linear here"


def test_limits_of_confidence_and_depth_decide_what_is_given():
    view = Street().view("a", mount(), ego())
    depth, error = torch.full((HEIGHT, WIDTH), 10.0), torch.full((HEIGHT, WIDTH), 0.05)
    depth[0], error[1] = 200.0, 1.0
    found = depth_view(view, Estimate(depth, error), 100.0, 0.5)
    assert not found.valid[:2].any() and found.valid[2:].all()
    assert abs(float(found.confidence[5, 5]) - (1 - 0.8 ** 20)) < 1e-4  # exp(-ln(1.25) / 0.05)
    assert abs(float(found.sigma[5, 5]) - 0.05 * 2 ** 0.5) < 1e-6


def test_the_metre_is_doubted_as_far_as_told_and_known_ways_differ():
    given = np.array([[0.6, 0, 0], [0, 0.8, 0]])
    assert ways_doubt(1.2 * given, given) == pytest.approx(np.log(1.2))
    assert ways_doubt(given, given) < 0.01
    assert ways_doubt(-given, given) == ways_doubt(given, 0 * given) == float("inf")
    assert ways_doubt(given[:, ::-1], given) > 0.5


@pytest.mark.parametrize("checkpoint", ["", "/nowhere/DUSt3R.pth"])
def test_without_a_checkpoint_one_message_says_what_works(checkpoint):
    with pytest.raises(InputError) as caught:
        choose_engine(Config(engine="pointmap", pointmap=PointmapConfig(checkpoint=checkpoint)), CPU)
    text = str(caught.value)
    assert caught.value.reason == "checkpoint"
    for part in ("pointmap.checkpoint", "DUSt3R_ViTLarge_BaseDecoder_512_dpt", "CC BY-NC-SA", "~/.cache/img2three"):
        assert part in text


def test_an_impossible_size_is_refused():
    with pytest.raises(InputError, match="multiple of 16"):
        Config(pointmap=PointmapConfig(size=100))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small network with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pointmap") / "tiny.safetensors"
    save_pointmap_network(path, PointmapNetwork(NetworkConfig(
        encoder_width=32, encoder_depth=1, encoder_heads=2, decoder_width=24, decoder_depth=2, decoder_heads=2,
        head="linear", image_side=64)), half=False)
    return path


def test_the_pipeline_runs_with_a_real_network_and_says_what_it_lacks(checkpoint):
    chance = np.random.default_rng(0)
    K = np.array([[70.0, 0, 47.5], [0, 70.0, 31.5], [0, 0, 1.0]])

    def seen(number, x):
        images = tuple(CameraImage(name, number * SECOND, chance.integers(0, 255, (64, 96, 3), dtype=np.uint8),
                                   CameraCalibration(96, 64, K), RIG[name], ego(x)) for name in ("left", "front"))
        return Frame(number * SECOND, images, ("left", "front"), T_odom_base=ego(x))

    pipeline = ReconstructionPipeline(Config(engine="pointmap", device="cpu",
                                             pointmap=PointmapConfig(checkpoint=str(checkpoint))))
    for number in range(3):
        result = pipeline.process(seen(number, 0.6 * number))
        assert len(result.depth_images) == 2 and result.occupancy.state.ndim == 3
        assert np.isfinite(result.cloud.points).all()
        assert result.notes, "a network that learned nothing cannot fit the rig"
        assert not (result.occupancy.state == 0).any(), "and shows no free space"
    pipeline.reset()
    assert pipeline.engine._memory.bytes == 0

