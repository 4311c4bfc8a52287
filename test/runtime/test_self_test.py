"""Backends that give wrong numbers are found out and never used, whatever is wrong with them."""

import math

import pytest
import torch
from runtime_networks import SIZE, depth_network, scaled
from torch import Tensor, nn

from img2three_ros.config import RuntimeConfig
from img2three_ros.runtime.choose_backend import Candidate, candidates, choose_backend, torch_precision
from img2three_ros.runtime.depth_check import SceneDepthCheck
from img2three_ros.runtime.parts import Part, scene_encoder
from img2three_ros.runtime.self_test import LARGEST_DEPTH_CHANGE, compared, self_test
from img2three_ros.runtime.torch_backend import TorchBackend
from img2three_ros.structures import InputError

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


class Spoiling:
    """The network itself, with its outputs changed before they are given out."""

    def __init__(self, part: Part, change, precision="fp32", name="onnxruntime") -> None:
        self.name, self.precision, self.closed = name, precision, False
        self._part, self._change = part, change

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._change(tensor) for tensor in self._part.module(*inputs))

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def encoder():
    return scene_encoder(depth_network(), SIZE)


def with_a_hole(tensor):
    spoilt = tensor.clone()
    spoilt.flatten()[-1] = torch.nan
    return spoilt


def rough(share):
    """Noise of a share of the values' root mean square: cosine 1 / sqrt(1 + share^2)."""
    def change(tensor):
        noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(5))
        return tensor + share * tensor.square().mean().sqrt() * noise
    return change


@pytest.mark.parametrize(("change", "precision", "said"), [
    (lambda tensor: tensor, "fp32", None), (with_a_hole, "fp16", "values that are not finite"),
    (lambda tensor: -tensor, "int8", "cosine -1"), (lambda tensor: 1.1 * tensor, "fp16", "distance 0.100"),
    (lambda tensor: tensor[:, :1], "fp32", "has shape"), (torch.zeros_like, "int8", "cosine 0"),
    (lambda tensor: tensor.flip(-1), "int8", "is not that of the network"),
    (rough(0.03), "fp16", None), (rough(0.03), "fp32", "cosine 0.999"), (rough(0.06), "fp16", "cosine 0.998"),
    (rough(0.12), "int8", None), (rough(0.2), "int8", "cosine 0.98")])
def test_what_is_wrong_is_found_and_what_is_merely_rough_is_not(encoder, change, precision, said):
    verdict = self_test(Spoiling(encoder, change, precision), encoder)
    assert (verdict.trouble == "") if said is None else (said in verdict.trouble), verdict


def test_an_answer_that_never_changes_is_found(encoder):
    always = encoder.module(*encoder.samples())

    class Stuck(Spoiling):
        def __call__(self, *inputs):
            return always

    assert "is not that of the network" in self_test(Stuck(encoder, None), encoder).trouble


def test_memory_that_is_written_again_is_found(encoder):
    memory = [torch.empty_like(tensor) for tensor in encoder.module(*encoder.samples())]

    class Reusing(Spoiling):
        def __call__(self, *inputs):
            return tuple(kept.copy_(tensor) for kept, tensor in zip(memory, super().__call__(*inputs), strict=True))

    assert "is not that of the network" in self_test(Reusing(encoder, lambda tensor: tensor), encoder).trouble


def test_cosine_and_distance_by_hand():
    one, other = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])
    assert compared(one, other) == pytest.approx((24 / 25, math.sqrt(2) / 5))
    assert compared(one, 2 * one) == pytest.approx((1.0, 1.0))
    assert compared(torch.zeros(2), torch.zeros(2)) == (1.0, 0.0)
    assert compared(torch.zeros(2), one) == (0.0, math.inf) == compared(one, torch.zeros(2))


def test_depth_is_asked_of_the_whole_network(encoder):
    check = SceneDepthCheck(depth_network(), SIZE, CPU)
    assert check.change(Spoiling(encoder, lambda tensor: tensor)) == pytest.approx(0.0, abs=1e-5)
    assert check.change(TorchBackend(encoder, "fp32")) == pytest.approx(0.0, abs=1e-5), "torch takes small images"
    assert check.change(Spoiling(encoder, lambda tensor: tensor.roll(5, -1))) > LARGEST_DEPTH_CHANGE
    assert math.isnan(check.change(Spoiling(encoder, lambda tensor: tensor * torch.nan)))


@pytest.mark.parametrize("change", [0.02, math.nan])
def test_features_that_pass_may_still_fail_by_depth(encoder, change):
    class Depth:
        def change(self, backend):
            return change

    assert "with it, depth changes by" in self_test(Spoiling(encoder, lambda tensor: tensor), encoder, Depth()).trouble


def loader(spoilt: dict[Candidate, object]):
    """Backends by candidate; an error in place of one that cannot be had; torch is real."""
    def load(candidate, part):
        backend = spoilt.get(candidate, TorchBackend(part, candidate.precision) if candidate.backend == "torch" else
                             InputError("backend", "not installed"))
        if isinstance(backend, Exception):
            raise backend
        return backend
    return load


@pytest.mark.parametrize("change", [lambda tensor: tensor + 1.0, with_a_hole])
def test_a_broken_backend_is_refused_and_torch_takes_over(encoder, change):
    broken = Spoiling(encoder, change)
    chosen = choose_backend(encoder, RuntimeConfig("onnxruntime", "fp32"),
                            load=loader({Candidate("onnxruntime", "fp32"): broken}))
    assert (chosen.backend.name, chosen.backend.precision) == ("torch", "fp32") and broken.closed
    assert len(chosen.troubles) == 1
    assert "scene-encoder: onnxruntime fp32 failed its self-test and is not used" in chosen.troubles[0]
    assert "runs in torch fp32; passed over: onnxruntime fp32: its" in chosen.why


def test_a_backend_that_is_missing_is_a_trouble_only_for_who_asked(encoder):
    asked = choose_backend(encoder, RuntimeConfig("onnxruntime", "fp32"), load=loader({}))
    assert asked.troubles == ("scene-encoder does not run in onnxruntime fp32: not installed",)
    auto = choose_backend(encoder, RuntimeConfig("auto", "fp32"), load=loader({}))
    assert auto.troubles == () and "passed over: onnxruntime fp32: not installed" in auto.why
    assert asked.backend.name == auto.backend.name == "torch"


def test_a_backend_that_breaks_down_in_its_test_is_refused(encoder):
    def fail(tensor):
        raise InputError("backend", "out of memory")

    chosen = choose_backend(encoder, RuntimeConfig("onnxruntime", "fp32"),
                            load=loader({Candidate("onnxruntime", "fp32"): Spoiling(encoder, fail)}))
    assert chosen.backend.name == "torch" and "out of memory" in chosen.troubles[0]


@pytest.mark.parametrize("error", [
    TypeError("incompatible function arguments"), RuntimeError("export failed"), torch.OutOfMemoryError("on CUDA"),
    ImportError("libcudart.so.13: no such file")])
@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
@pytest.mark.parametrize("when", ["loaded", "tested"])
def test_whatever_a_library_raises_torch_takes_over(encoder, backend, error, when):
    class Failing(Spoiling):
        def __call__(self, *inputs):
            raise error

        def close(self):
            super().close()
            raise RuntimeError("already gone")

    failing = Failing(encoder, None)
    chosen = choose_backend(encoder, RuntimeConfig(backend, "fp32"), load=loader(
        {Candidate("onnxruntime", "fp32"): error if when == "loaded" else failing}))
    said = f"{type(error).__name__}: {error}"
    assert (chosen.backend.name, chosen.backend.precision) == ("torch", "fp32")
    assert chosen.troubles == (f"scene-encoder does not run in onnxruntime fp32: {said}",) and said in chosen.why
    assert failing.closed == (when == "tested")


def test_what_torch_itself_raises_is_not_hidden(encoder):
    with pytest.raises(torch.OutOfMemoryError, match="on CUDA"):
        choose_backend(encoder, RuntimeConfig("torch", "fp32"), load=loader(
            {Candidate("torch", "fp32"): torch.OutOfMemoryError("on CUDA")}))


def test_int8_that_cannot_be_had_is_a_trouble_for_auto_too(encoder):
    chosen = choose_backend(encoder, RuntimeConfig("auto", "int8"), load=loader({}))
    assert chosen.troubles == ("scene-encoder does not run in onnxruntime int8: not installed",)


def test_without_self_test_whatever_loads_is_taken(encoder):
    broken = Spoiling(encoder, with_a_hole)
    load = loader({Candidate("onnxruntime", "fp32"): broken})
    assert choose_backend(encoder, RuntimeConfig("auto", "fp32", self_test=False), load=load).backend is broken


class Overflowing(nn.Module):
    """As networks do in bf16: 1 is lost beside 1000."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(2, 1, bias=False)
        self.mix.weight.data = torch.tensor([[1.0, -1.0]])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.mix(x),)


def test_torch_in_less_than_fp32_is_tested_too():
    part = Part("lossy", Overflowing().requires_grad_(False), scaled(width=2).inputs, ("y",), "any",
                lambda chance: (torch.tensor([[1001.0 + 4.0 * torch.rand(1, generator=chance).item(), 1000.0]]),))
    chosen = choose_backend(part, RuntimeConfig("torch", "bf16"))
    assert chosen.backend.precision == "fp32" and "torch bf16 failed its self-test" in chosen.troubles[0]


FLAGS = "img2three_ros.runtime.choose_backend.processor_flags"


@pytest.mark.parametrize(("backend", "precision", "flags", "expected"), [
    ("auto", "auto", {"avx512_bf16"}, "onnxruntime fp32, torch bf16, torch fp32"),
    ("auto", "auto", {"avx2"}, "onnxruntime fp32, torch fp32"),
    ("auto", "fp32", {"amx_bf16"}, "onnxruntime fp32, torch fp32"),
    ("auto", "bf16", {"avx2"}, "torch bf16, torch fp32"),
    ("auto", "int8", {"avx2"}, "onnxruntime int8, torch fp32"),
    ("torch", "auto", {"avx2"}, "torch fp32"), ("torch", "fp32", {"amx_bf16"}, "torch fp32"),
    ("onnxruntime", "auto", {"amx_bf16"}, "onnxruntime fp32, torch bf16, torch fp32"),
    ("tensorrt", "auto", {"avx2"}, "tensorrt fp32, torch fp32")])
def test_the_order_on_a_cpu(monkeypatch, backend, precision, flags, expected):
    monkeypatch.setattr(FLAGS, lambda _: flags)
    assert ", ".join(map(str, candidates(RuntimeConfig(backend, precision), CPU))) == expected


def test_tensorrt_comes_first_on_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (7, 5))
    cuda = torch.device("cuda")
    assert list(map(str, candidates(RuntimeConfig(), cuda))) == ["tensorrt fp16", "torch fp32"]
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (8, 9))
    assert list(map(str, candidates(RuntimeConfig(), cuda))) == ["tensorrt fp16", "torch bf16", "torch fp32"]


@pytest.mark.parametrize(("backend", "precision", "said"), [
    ("torch", "int8", "backend 'torch' has fp32, bf16, fp16"), ("onnxruntime", "bf16", "has fp32, fp16, int8"),
    ("auto", "fp16", "needs a GPU"), ("tensorrt", "bf16", "has fp32, fp16, int8")])
def test_settings_that_contradict_each_other_are_refused(backend, precision, said):
    with pytest.raises(InputError, match=said):
        candidates(RuntimeConfig(backend, precision), CPU)


@pytest.mark.parametrize(("flags", "expected"), [
    ("fpu avx512f avx512_bf16 sse", "bf16"), ("fpu amx_bf16", "bf16"), ("fpu avx512f avx2", "fp32"), (None, "fp32")])
def test_torch_takes_bf16_where_the_processor_has_it(monkeypatch, tmp_path, flags, expected):
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: x\n")
    monkeypatch.setattr("img2three_ros.runtime.choose_backend.Path", lambda _: file)
    assert torch_precision("auto", CPU) == expected
    assert torch_precision("bf16", CPU) == "bf16" and torch_precision("fp32", CPU) == "fp32"
