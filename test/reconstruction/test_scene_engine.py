"""The scene engine around the network: what the network is told, what is kept, and what is given out.

A small network with random weights, and depth alone: what depends on trained weights is tested where the weights are,
the space around the vehicle in ``test_scene_engine_space``.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_networks import depth_weights
from sweep_scene import GROUND, camera_pose, frame, side_wall, view, wall

from img2three_ros.config import Config, RuntimeConfig, SceneConfig, with_overrides
from img2three_ros.geometry.transforms import apply, from_xyz_rpy, inverse
from img2three_ros.reconstruction import scene_engine
from img2three_ros.reconstruction.choose import choose_engine
from img2three_ros.reconstruction.engine_facts import running_facts
from img2three_ros.reconstruction.scene_engine import SceneEngine, weights_file
from img2three_ros.structures import InputError

CPU = torch.device("cpu")
FP32 = RuntimeConfig("torch", "fp32")
SIZE = (64, 96)
PLANES = [GROUND, side_wall(4.0), wall(12.0)]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return depth_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def config(weights) -> SceneConfig:
    return SceneConfig(weights=weights, min_confidence=0.0, max_depth=200.0, space=False)


@dataclass
class Watched:
    """An engine whose calls of the network are written down."""

    engine: SceneEngine
    encoded: list = field(default_factory=list)
    estimated: list = field(default_factory=list)

    def __post_init__(self) -> None:
        network, encoder = self.engine.network, self.engine.encode
        run, estimate = encoder._run, network.estimate

        def watched_run(batch, size):
            self.encoded.append(batch)
            return run(batch, size)

        def watched_estimate(reference, sources, geometry):
            self.estimated.append((reference, sources, geometry))
            return estimate(reference, sources, geometry)

        encoder._run, network.estimate = watched_run, watched_estimate


def pose(x: float, yaw: float = 0.0) -> np.ndarray:
    return from_xyz_rpy([x, 0.0, 0.0], [0.0, 0.0, yaw])


def front(x: float, size=SIZE, name="front", y: float = 0.0, yaw: float = 0.0):
    return view(PLANES, name, camera_pose(y=y, yaw=yaw), pose(x), size=size, focal=80.0)[0]


def drive(count: int, size=SIZE):
    """Frames of one camera that moves ahead 1 m at a time."""
    return [frame(index, [front(float(index), size)], pose(float(index))) for index in range(count)]


def assert_whole(depth) -> None:
    height, width = depth.view.size
    for values in (depth.depth, depth.confidence, depth.sigma):
        assert values.shape == (height, width) and values.dtype == torch.float32 and torch.isfinite(values).all()
    assert depth.valid.shape == (height, width) and depth.valid.dtype == torch.bool
    assert ((depth.confidence >= 0.0) & (depth.confidence <= 1.0)).all()
    assert (depth.confidence[~depth.valid] == 0.0).all()
    assert (depth.depth > 0.0).all() and (depth.sigma > 0.0).all()


def test_every_view_gets_whole_depth_in_the_order_of_the_frame(config):
    views = [front(0.0, (64, 96), "b"), front(0.0, (80, 112), "a", y=0.3), front(0.0, (64, 96), "c", y=-0.3)]
    geometry = SceneEngine(config, CPU, FP32).reconstruct(frame(1, views, None), [])
    assert [depth.view.name for depth in geometry.depths] == ["b", "a", "c"]
    for depth in geometry.depths:
        assert_whole(depth)
        assert depth.valid.all()
    assert geometry.notes == ("no ego motion: only cameras of one instant are matched",)


def test_the_network_is_told_where_each_pixel_lies_in_its_sources(config):
    """A point of the world falls where the matrices say, whatever the ego motion between the views."""
    engine = Watched(SceneEngine(config, CPU, FP32))
    earlier = frame(1, [front(0.0), front(0.0, (80, 112), "side", y=0.5, yaw=0.2)], pose(0.0))
    moved = pose(1.0, 0.05)
    now = frame(2, [view(PLANES, "front", camera_pose(), moved, size=SIZE, focal=80.0)[0]], moved)
    engine.engine.reconstruct(now, [earlier])
    _, sources, geometry = engine.estimated[-1]
    assert geometry.sources.shape == (1, 2) and sorted(geometry.sources[0].tolist()) == [0, 1]
    point = np.array([9.0, 0.4, 0.7])

    def pixel(intrinsics, in_camera):
        return (intrinsics @ in_camera)[:2] / in_camera[2]

    in_reference = apply(inverse(now.T_odom_base @ now.views[0].T_base_camera), point[None])[0]
    matched = set()
    for slot in range(2):
        row = int(geometry.sources[0, slot])
        pose_ = geometry.T_source_reference[0, slot].double().numpy()
        found = pixel(geometry.source_intrinsics[row].double().numpy(), apply(pose_, in_reference[None])[0])
        for seen in earlier.views:
            in_source = apply(inverse(earlier.T_odom_base @ seen.T_base_camera), point[None])[0]
            if np.allclose(found, pixel(seen.intrinsics.double().numpy(), in_source), atol=1e-3):
                matched.add(seen.name)
                expected = np.zeros((96, 128), dtype=bool)
                expected[:seen.size[0], :seen.size[1]] = True
                assert np.array_equal(geometry.source_mask[row].numpy(), expected)
    assert matched == {"front", "side"}
    assert sources.match.shape[2:] == (24, 32)
    assert torch.equal(geometry.intrinsics[0], now.views[0].intrinsics)
    assert np.allclose(geometry.T_base_camera[0].numpy(), now.views[0].T_base_camera, atol=1e-6)


def test_features_of_smaller_sources_keep_their_place(config):
    engine = Watched(SceneEngine(config, CPU, FP32))
    small, large = front(0.0, (64, 96), "small", y=0.4), front(0.0, (80, 112), "large")
    engine.engine.reconstruct(frame(1, [large, small], None), [])
    features = {images.shape[2:]: engine.engine.network.encoder(images) for images in engine.encoded}
    (_, of_large, _), (_, of_small, _) = engine.estimated
    alone = features[(64, 96)]
    assert of_large.match.shape[2:] == alone.match.shape[2:]
    assert torch.equal(of_large.match, alone.match)
    assert torch.equal(of_small.match, features[(96, 128)].match)


def test_sources_of_two_sizes_are_joined_with_zeros(config):
    engine = Watched(SceneEngine(config, CPU, FP32))
    views = [front(0.0, (64, 96), "reference"), front(0.0, (64, 96), "left", y=0.4),
             front(0.0, (96, 128), "right", y=-0.4)]
    engine.engine.reconstruct(frame(1, views, None), [])
    _, sources, geometry = engine.estimated[0]
    row = next(row for row in range(2) if not geometry.source_mask[row].all())
    assert geometry.source_mask[row, :64, :96].all() and int(geometry.source_mask[row].sum()) == 64 * 96
    assert float(sources.match[row, :, 16:].abs().max()) == 0.0
    assert float(sources.match[row, :, :, 24:].abs().max()) == 0.0
    assert float(sources.match[row, :, :16, :24].abs().min(0).values.max()) > 0.0


def test_each_view_is_encoded_once(config):
    engine = Watched(SceneEngine(config, CPU, FP32))
    frames = drive(4)
    for index, now in enumerate(frames):
        engine.engine.reconstruct(now, frames[max(0, index - 2):index])
    assert len(engine.encoded) == 4
    assert [geometry.sources.shape[1] for _, _, geometry in engine.estimated] == [1, 1, 2, 2]


def test_kept_features_give_the_same_depth_as_new_ones(config):
    frames = drive(3)
    used = SceneEngine(config, CPU, FP32)
    for index, now in enumerate(frames):
        kept = used.reconstruct(now, frames[:index]).depths[0]
    fresh = SceneEngine(config, CPU, FP32).reconstruct(frames[-1], frames[:-1]).depths[0]
    assert torch.equal(kept.depth, fresh.depth)
    assert not torch.equal(kept.confidence, fresh.confidence)  # held against the depth of earlier instants, if known


def test_another_source_changes_the_answer(config):
    frames = drive(3)
    one = SceneEngine(config, CPU, FP32).reconstruct(frames[2], frames[1:2]).depths[0]
    two = SceneEngine(config, CPU, FP32).reconstruct(frames[2], frames[:2]).depths[0]
    assert not torch.equal(one.depth, two.depth)


def test_frames_only_observed_are_encoded_when_needed(config):
    engine = Watched(SceneEngine(config, CPU, FP32))
    frames = drive(3)
    engine.engine.reconstruct(frames[2], frames[:2])
    assert len(engine.encoded) == 3
    engine.engine.reconstruct(frames[2], frames[:2])
    assert len(engine.encoded) == 4


def test_reset_forgets(config):
    engine = Watched(SceneEngine(config, CPU, FP32))
    frames = drive(2)
    engine.engine.reconstruct(frames[0], [])
    engine.engine.reset()
    engine.engine.reconstruct(frames[1], frames[:1])
    assert len(engine.encoded) == 3


def test_memory_is_bounded(config, monkeypatch):
    monkeypatch.setattr(scene_engine, "choose_sources", lambda *_: [])
    engine = SceneEngine(config, CPU, FP32)
    image = front(0.0, (32, 64))
    for stamp in range(40):
        engine.reconstruct(frame(stamp, [image], pose(0.0)), [])
    assert len(engine._memory._frames) <= 20


@pytest.mark.parametrize("views", [1, 2])
def test_without_any_source_the_network_is_told_so(config, views):
    engine = Watched(SceneEngine(config, CPU, FP32))
    seen = [front(0.0), front(0.0, name="back", yaw=np.pi)][:views]
    geometry = engine.engine.reconstruct(frame(1, seen, pose(0.0)), [])
    assert all((told.sources == -1).all() for _, _, told in engine.estimated)
    assert any("no other view gives parallax" in note for note in geometry.notes)
    assert any("no keyframe" in note for note in geometry.notes)
    for depth in geometry.depths:
        assert_whole(depth)


def test_what_is_beside_the_image_is_told_to_be_nothing(config):
    engine = Watched(SceneEngine(config, CPU, FP32))
    image = front(0.0, (80, 112))
    image.mask[70:] = False
    depth = engine.engine.reconstruct(frame(1, [image], None), []).depths[0]
    told = engine.estimated[0][2]
    assert engine.encoded[0].shape == (1, 3, 96, 128)
    assert torch.equal(engine.encoded[0][0, :, :80, :112], image.image)
    assert told.mask.shape == (1, 96, 128)
    assert told.mask[0, :70, :112].all() and int(told.mask.sum()) == 70 * 112
    assert not depth.valid[70:].any() and depth.valid[:70].all()


def test_limits_of_confidence_and_depth_decide_what_is_given(config):
    now = frame(1, [front(0.0)], None)
    everything = SceneEngine(config, CPU, FP32).reconstruct(now, []).depths[0]
    half = float(everything.confidence.median())
    sure = SceneEngine(replace(config, min_confidence=half), CPU, FP32).reconstruct(now, []).depths[0]
    assert torch.equal(sure.valid, everything.confidence >= half)
    middle = float(everything.depth.median())
    near = SceneEngine(replace(config, max_depth=middle), CPU, FP32).reconstruct(now, []).depths[0]
    assert 0.3 < near.valid.float().mean() < 0.7
    assert float(near.depth[near.valid].max()) <= middle * 1.0001 < float(near.depth[~near.valid].max()) * 1.0002


def test_numbers_that_are_none_are_not_given(config):
    engine = SceneEngine(config, CPU, FP32)
    estimate = engine.network.estimate

    def broken(*arguments):
        prediction = estimate(*arguments)
        prediction.log_depth[:, :8] = float("nan")
        prediction.confidence[:, 8:16] = float("nan")
        prediction.log_scale[:, 16:24] = float("inf")
        return prediction

    engine.network.estimate = broken
    depth = engine.reconstruct(frame(1, [front(0.0)], None), []).depths[0]
    assert_whole(depth)
    assert not depth.valid[:24].any() and depth.valid[24:].all()


def test_bf16_answers_like_fp32(config):
    frames = drive(2)
    exact = SceneEngine(config, CPU, FP32).reconstruct(frames[1], frames[:1]).depths[0]
    rough = SceneEngine(config, CPU, RuntimeConfig("torch", "bf16")).reconstruct(frames[1], frames[:1]).depths[0]
    assert_whole(rough)
    assert not torch.equal(exact.depth, rough.depth)
    assert float((exact.depth / rough.depth).log().abs().median()) < 0.05


def test_onnxruntime_gives_the_depth_that_torch_gives(config, tmp_path):
    frames = drive(2)
    exact, other = (SceneEngine(config, CPU, RuntimeConfig(backend, "fp32", str(tmp_path)))
                    for backend in ("torch", "onnxruntime"))
    expected, found = (engine.reconstruct(frames[1], frames[:1]) for engine in (exact, other))
    assert "runs in onnxruntime fp32" in other.encode.why[0] and "runs in torch fp32" in exact.encode.why[0]
    assert expected.notes == found.notes
    status = [running_facts(SimpleNamespace(engine=engine)) for engine in (exact, other)]
    assert status == [{"backend": "torch fp32"}, {"backend": "onnxruntime fp32"}]
    for one, two in zip(expected.depths, found.depths, strict=True):
        assert float((one.depth / two.depth - 1.0).abs().max()) < 1e-3
        assert float((one.confidence - two.confidence).abs().max()) < 1e-3
        assert torch.equal(one.valid, two.valid)
    for ready in other.encode._ready.values():
        ready.backend.close()  # it fails from now on
    other.reset()
    other.reconstruct(frames[0], [])
    assert running_facts(SimpleNamespace(engine=other)) == {"backend": "torch fp32"}


def test_what_had_to_be_refused_is_in_the_notes(config):
    frames = drive(2)
    engine = SceneEngine(config, CPU, RuntimeConfig("tensorrt", "fp32"))
    geometry = engine.reconstruct(frames[1], frames[:1])
    assert geometry.notes == engine.encode.troubles
    assert "scene-encoder does not run in tensorrt fp32: TensorRT runs on NVIDIA GPUs" in geometry.notes[0]


def test_the_encoder_is_told_of_missing_cameras(config):
    now = frame(0, [front(0.0), front(0.0, name="left")], pose(0.0))
    engine = SceneEngine(config, CPU, FP32)
    told = []
    encode = engine.encode.__call__
    engine.encode = lambda images, cameras: (told.append(dict(cameras)), encode(images, cameras))[1]
    engine._encode(replace(now, missing=("right",)), now.views)
    engine._encode(replace(now, missing=("right",)), now.views[:1])
    other = frame(1, [front(0.0), front(0.0, name="left", size=(64, 128))], pose(0.0))
    engine._encode(replace(other, missing=("right",)), other.views)
    assert [sum(cameras.values()) for cameras in told] == [3, 3, 2], "of what size is unknown where there are several"


def test_missing_weights_say_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"scene.weights = '/no/such.*leave it empty"):
        weights_file("/no/such.safetensors")
    monkeypatch.setattr(scene_engine, "SHIPPED_WEIGHTS", tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="take engine 'sweep'") as error:
        weights_file("")
    assert error.value.reason == "checkpoint"


def test_the_engine_is_chosen_by_name(weights):
    config = with_overrides(Config(), {"engine": "scene", "scene.weights": weights, "scene.space": False})
    assert isinstance(choose_engine(config, CPU), SceneEngine)
