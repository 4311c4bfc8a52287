"""torch and ONNX Runtime behind the seam: the same numbers, memory of their own, and errors that say what is wrong."""

from dataclasses import replace

import pytest
import torch
from runtime_networks import SIZE, depth_network, scaled

from img2three_ros.config import RuntimeConfig
from img2three_ros.reconstruction.scene_encoder import SceneEncoder
from img2three_ros.runtime import choose_backend, libraries
from img2three_ros.runtime.export import cached_export, relative_error
from img2three_ros.runtime.onnxruntime_backend import load_onnxruntime
from img2three_ros.runtime.parts import scene_encoder
from img2three_ros.runtime.torch_backend import TorchBackend
from img2three_ros.structures import InputError

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def encoder():
    return scene_encoder(depth_network(), SIZE)


@pytest.fixture(scope="module")
def exported(encoder, folder):
    return cached_export(encoder, folder)


def test_onnxruntime_gives_what_torch_gives(encoder, exported):
    backend, images = load_onnxruntime(exported, "fp32", CPU, threads=1), encoder.samples(4)
    found, expected = backend(*images), TorchBackend(encoder, "fp32")(*images)
    assert (backend.name, backend.precision) == ("onnxruntime", "fp32")
    assert relative_error(expected, found) < 1e-4
    assert all(one.dtype == torch.float32 for one in found)


def test_outputs_stay_as_they_are_after_the_next_call(encoder, exported):
    backend = load_onnxruntime(exported, "fp32", CPU)
    first = backend(*encoder.samples(1))
    kept = [tensor.clone() for tensor in first]
    backend(*encoder.samples(2))
    assert all(torch.equal(one, other) for one, other in zip(first, kept, strict=True))


def test_strided_inputs_are_read_right(encoder, exported):
    backend, (images,) = load_onnxruntime(exported, "fp32", CPU), encoder.samples(3)
    turned = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not turned.is_contiguous()
    assert all(torch.equal(one, other) for one, other in zip(backend(images), backend(turned), strict=True))


@pytest.mark.parametrize("inputs", [
    (torch.rand(2, 3, *SIZE),), (torch.rand(1, 3, *SIZE).half(),), (), (torch.rand(1, 3, 96, 64),)])
def test_inputs_of_another_kind_are_refused(exported, inputs):
    with pytest.raises(InputError, match=r"'scene-encoder' takes images \(1, 3, 64, 96\) float32; it was given"):
        load_onnxruntime(exported, "fp32", CPU)(*inputs)


def test_a_closed_backend_says_so(encoder, exported):
    for backend in (load_onnxruntime(exported, "fp32", CPU), TorchBackend(encoder, "fp32")):
        backend.close()
        backend.close()
        with pytest.raises(InputError, match="was closed"):
            backend(*encoder.samples())


def test_precisions_that_a_backend_does_not_have_are_refused(encoder, exported):
    for precision in ("fp16", "bf16"):
        with pytest.raises(InputError, match=rf"onnxruntime .*not in {precision}"):
            load_onnxruntime(exported, precision, CPU)
    for precision in ("fp16", "int8"):
        with pytest.raises(InputError, match=rf"torch .*not in {precision}"):
            TorchBackend(encoder, precision)


def test_a_damaged_file_and_a_missing_gpu_are_told(exported, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(exported.path.read_bytes()[:2000])
    with pytest.raises(InputError, match="onnxruntime cannot load"):
        load_onnxruntime(replace(exported, path=damaged), "fp32", CPU)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="does not run on cuda"):
            load_onnxruntime(exported, "fp32", torch.device("cuda"))


def test_a_missing_package_says_what_to_install(monkeypatch, tmp_path):
    def absent(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(libraries.importlib, "import_module", absent)
    chosen = choose_backend.choose_backend(scaled(), RuntimeConfig("onnxruntime", "fp32", str(tmp_path)))
    assert chosen.backend.name == "torch" and "pip install onnxruntime" in chosen.troubles[0]
    assert list(tmp_path.iterdir()) == [], "nothing is exported for nobody"


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    said = []
    config = RuntimeConfig("onnxruntime", "fp32", str(tmp_path / "file"))
    chosen = choose_backend.choose_backend(scaled(), config, progress=said.append)
    assert chosen.backend.name == "onnxruntime" and chosen.troubles == ()
    assert "is exported anew at every start" in said[0]


def test_the_cache_lies_where_it_is_told_to(monkeypatch, tmp_path):
    assert choose_backend.cache_folder(RuntimeConfig(cache_folder="~/mine")).parts[-1] == "mine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose_backend.cache_folder(RuntimeConfig()) == tmp_path / "img2three"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert choose_backend.cache_folder(RuntimeConfig()) == tmp_path / "home" / ".cache" / "img2three"


def images_of(*sizes):
    chance = torch.Generator().manual_seed(2)
    return [torch.rand(3, *size, generator=chance) for size in sizes]


def test_the_encoder_keeps_the_order_of_images_of_several_sizes():
    network = depth_network()
    encode = SceneEncoder(network, RuntimeConfig("torch", "fp32"), CPU)
    images = images_of((64, 96), (32, 64), (64, 96))
    for image, features in zip(images, encode(images), strict=True):
        assert torch.allclose(features.match, network.encode(image[None]).match, atol=1e-5)
    assert len(encode.why) == 2 and encode.troubles == ()


class Batches:
    """A backend with a fixed batch, that writes down what it is given, and fails when told to."""

    name, precision = "onnxruntime", "fp32"

    def __init__(self, part) -> None:
        self.part, self.given, self.broken, self.closed = part, [], None, False

    def __call__(self, images):
        if self.broken:
            raise self.broken
        self.given.append(len(images))
        assert images.shape == self.part.inputs[0].shape
        return self.part.module(images)

    def close(self) -> None:
        self.closed = True


def encoder_with(made, network):
    def load(candidate, part):
        if candidate.backend == "torch":
            return TorchBackend(part, candidate.precision)
        made.append(Batches(part))
        return made[-1]

    config = RuntimeConfig("onnxruntime", "fp32", self_test=False)
    return SceneEncoder(network, config, CPU, load)


def test_cameras_go_through_together_and_missing_ones_are_filled_up(monkeypatch):
    network, made = depth_network(), []
    encode = encoder_with(made, network)
    monkeypatch.setattr(encode, "_batch", lambda count: count)  # as on a GPU
    images = images_of(*[(32, 64)] * 3)
    encode(images)
    fewer = encode(images[:2])
    more = encode([*images, *images[:1]])
    assert [batches.given for batches in made] == [[3, 3, 3, 3]], "one backend; two cameras as three, four as six"
    assert len(fewer) == 2 and len(more) == 4
    assert torch.allclose(more[3].context4, network.encode(images[0][None]).context4, atol=1e-5)


def test_the_batch_is_that_of_the_rig_even_if_a_camera_is_missing_at_first(monkeypatch):
    network, made = depth_network(), []
    encode = encoder_with(made, network)
    monkeypatch.setattr(encode, "_batch", lambda count: count)  # as on a GPU
    images = images_of(*[(32, 64)] * 3)
    partial = encode(images[:2], {(32, 64): 3})
    encode(images, {(32, 64): 3})
    assert [batches.given for batches in made] == [[3, 3]] and len(partial) == 2
    assert torch.allclose(partial[1].match, network.encode(images[1][None]).match, atol=1e-5)


@pytest.mark.parametrize(("error", "said"), [
    (InputError("backend", "the device was lost"), "the device was lost"),
    (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory"),
    (TypeError("incompatible function arguments"), "TypeError: incompatible function arguments")])
def test_a_backend_that_fails_while_it_runs_is_given_up_for_torch(error, said):
    network, made = depth_network(), []
    encode = encoder_with(made, network)
    images = images_of((32, 64))
    assert encode.backend == "chosen at the first image"
    encode(images)
    assert encode.backend == "onnxruntime fp32"
    made[0].broken = error
    found = encode(images)[0]
    assert encode.backend == "torch fp32", "not what was chosen at first"
    assert made[0].closed and encode.troubles == (
        f"scene-encoder goes on in torch fp32, without a self-test: {said}",)
    assert torch.allclose(found.match, network.encode(images[0][None]).match, atol=1e-5)
    encode(images)
    assert len(encode.troubles) == 1, "said once"
