"""Real engines, built here by TensorRT-RTX without a GPU; only running them needs one."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from single_thread import one_thread

from img2three_ros.models.depth_weights import load_depth_network
from img2three_ros.models.pointmap_config import PointmapConfig
from img2three_ros.models.pointmap_network import PointmapNetwork
from img2three_ros.models.scene_weights import load_scene_network
from img2three_ros.runtime import parts, tensorrt_builder
from img2three_ros.runtime.calibration import quantise
from img2three_ros.runtime.engine_cache import EngineCache
from img2three_ros.runtime.engine_folder import entries
from img2three_ros.runtime.engine_gpu import Target
from img2three_ros.runtime.engine_key import TensorRow
from img2three_ros.runtime.export import export_part
from img2three_ros.runtime.tensorrt_backend import TensorRtBackend, load_tensorrt
from img2three_ros.runtime.tensorrt_builder import (
    build_plan,
    check_tensors,
    describe,
    engine_for,
    engine_key,
    target_for,
    target_here,
)
from img2three_ros.runtime.tensorrt_module import compute_capabilities, installed
from img2three_ros.structures import InputError

pytest.importorskip("onnx")
pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx has wheels for x86_64 only, and is not installed here")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="what is said without a GPU")

__all__ = ["one_thread"]  # a fixture

SIZE = (64, 96)
ADA = Target.every("8.9")
WEIGHTS = Path(parts.__file__).parents[1] / "weights"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The shipped encoder for two cameras, small, as ONNX."""
    network = load_depth_network(WEIGHTS / "scene_depth.safetensors")
    part = parts.scene_encoder(network, SIZE, batch=2)
    return export_part(part, tmp_path_factory.mktemp("onnx") / "encoder.onnx", checked=False)


def cache(tmp_path, said):
    return EngineCache(tmp_path / "engines", said.append)


def rows(exported):
    return {(spec.name, output, spec.shape, spec.dtype)
            for output, specs in ((False, exported.inputs), (True, exported.outputs)) for spec in specs}


def test_the_shipped_encoder_becomes_an_engine_once(encoder, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(tensorrt_builder, "_SAY_EVERY_S", 0.0)
    made = engine_for(encoder, "fp32", ADA, cache(tmp_path, said), said.append)
    assert {(row.name, row.output, row.shape, row.dtype) for row in made.record.tensors} == rows(encoder)
    assert ("match", True, (2, 16, 16, 24), "float32") in rows(encoder)
    weights = (WEIGHTS / "scene_depth.safetensors").stat().st_size
    assert 4e6 < made.path.stat().st_size == len(made.plan) < 2 * weights
    assert all(row.name.encode() in made.plan for row in made.record.tensors)
    assert said[0].startswith(f"{installed()} builds network 'scene-encoder' in fp32 for GPUs of compute capability 8")
    assert any(text.startswith("building 'scene-encoder': ") and " s so far" in text for text in said)
    assert "engine of" in said[-1]
    said.clear()
    again = engine_for(encoder, "fp32", ADA, cache(tmp_path, said), said.append)
    assert not again.built and again.plan == made.plan and said == []


def test_half_the_precision_is_about_half_the_size_with_the_same_inputs_and_outputs(encoder, tmp_path):
    said = []
    full, half = (engine_for(encoder, precision, ADA, cache(tmp_path, said), said.append)
                  for precision in ("fp32", "fp16"))
    assert half.record.tensors == full.record.tensors
    assert 0.4 < len(half.plan) / len(full.plan) < 0.7
    assert [entry.record.key.precision for entry in entries(tmp_path / "engines")] != []


def test_int8_is_built_from_its_calibrated_form(encoder, tmp_path):
    own = replace(encoder, path=tmp_path / "own.onnx")
    own.path.write_bytes(encoder.path.read_bytes())
    said = []
    with pytest.raises(InputError, match="no int8 form yet"):
        engine_for(own, "int8", ADA, cache(tmp_path, said), said.append)
    chance = torch.Generator().manual_seed(0)
    quantise(own, [(parts.pseudo_images(own.inputs[0].shape, chance),) for _ in range(2)], said.append)
    made = engine_for(own, "int8", ADA, cache(tmp_path, said), said.append)
    assert {(row.name, row.output, row.shape, row.dtype) for row in made.record.tensors} == rows(encoder)
    key = made.record.key
    assert key.precision == "int8" and key.onnx_sha256 != sha256(own.path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["regulariser", "volume", "decoder", "pointmap"])
def test_every_other_network_becomes_an_engine(which, tmp_path):
    part = {
        "regulariser": lambda: parts.scene_regulariser(load_depth_network(WEIGHTS / "scene_depth.safetensors"), SIZE),
        "volume": lambda: parts.scene_volume(load_scene_network(WEIGHTS / "scene_space.safetensors")),
        "decoder": lambda: parts.scene_decoder(load_scene_network(WEIGHTS / "scene_space.safetensors"), points=256),
        "pointmap": lambda: parts.pointmap_encoder(small_pointmap_network(), SIZE, batch=2),
    }[which]()
    exported = export_part(part, tmp_path / "part.onnx", checked=False)
    said = []
    sizes = {}
    for precision in ("fp32", "fp16"):
        made = engine_for(exported, precision, ADA, cache(tmp_path, said), said.append)
        assert {(row.name, row.output, row.shape, row.dtype) for row in made.record.tensors} == rows(exported)
        sizes[precision] = len(made.plan)
    assert 1e4 < sizes["fp16"] < sizes["fp32"]


def small_pointmap_network():
    torch.manual_seed(0)
    return PointmapNetwork(PointmapConfig(
        encoder_width=64, encoder_depth=2, encoder_heads=4, decoder_width=48, decoder_depth=2, decoder_heads=4,
        head="linear")).eval()


def test_other_gpus_are_other_engines_and_impossible_ones_are_refused(encoder):
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(compute_capabilities())
    assert engine_key(encoder, "fp32", ADA, b"") != engine_key(encoder, "fp32", target_for("12.0"), b"")
    with pytest.raises(InputError, match=r"8\.9.*not for 9\.0: other GPUs need the classic tensorrt"):
        target_for("9.0")
    with pytest.raises(InputError, match=r"is not like 8\.9"):
        target_for("sm_89")
    with pytest.raises(InputError, match="torch sees none here"):
        target_here()
    assert describe(ADA) == "GPUs of compute capability 8.9"
    assert describe(Target("NVIDIA L4", "8.9", "580.65")) == "NVIDIA L4 (compute capability 8.9, driver 580.65)"


def test_the_key_holds_the_file_the_builder_and_the_shapes(encoder):
    content = encoder.path.read_bytes()
    key = engine_key(encoder, "fp16", ADA, content)
    assert key.builder == str(installed()) and key.shapes == (("images", (2, 3, *SIZE)),) and "half 1" in key.flags
    assert engine_key(encoder, "fp16", ADA, content + b"\0").differences(key) == ["onnx_sha256"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_the_key_names_is_what_is_built_though_the_file_changes_meanwhile(encoder, precision, tmp_path):
    own = replace(encoder, path=tmp_path / "own.onnx")
    own.path.write_bytes(encoder.path.read_bytes())
    made = engine_for(own, precision, ADA, cache(tmp_path, []), lambda _: own.path.write_bytes(b"another network"))
    assert own.path.read_bytes() == b"another network", "it changed before it was built"
    assert made.record.key.onnx_sha256 == sha256(encoder.path.read_bytes()).hexdigest()
    own.path.unlink()
    with pytest.raises(InputError, match=r"own.onnx' cannot be read"):
        engine_for(own, precision, ADA, cache(tmp_path, []), print)


def test_what_tensorrt_cannot_build_is_named(encoder, tmp_path):
    import onnx

    model = onnx.load(encoder.path)
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type, node.name = "Celu2", "the odd one"
    with pytest.raises(InputError, match=r"cannot read network 'scene-encoder'.*Celu2"):
        build_plan(model.SerializeToString(), encoder, ADA, None, print)
    with pytest.raises(InputError, match="cannot read network 'scene-encoder'"):
        build_plan(b"nonsense", encoder, ADA, None, print)
    with pytest.raises(InputError, match="not in bf16"):
        engine_for(encoder, "bf16", ADA, cache(tmp_path, []), print)


def test_inputs_and_outputs_must_be_those_of_the_network(encoder):
    told = tuple(TensorRow(name, output, shape, dtype) for name, output, shape, dtype in rows(encoder))
    check_tensors(told, encoder)
    wrong = [replace(row, dtype="float16") if row.name == "match" else row for row in told]
    with pytest.raises(InputError, match=r"has outputs .*match \(2, 16, 16, 24\) float16"):
        check_tensors(tuple(wrong), encoder)
    free = [replace(row, shape=(-1, 3, *SIZE)) if row.name == "images" else row for row in told]
    with pytest.raises(InputError, match="has inputs "):
        check_tensors(tuple(free), encoder)
    with pytest.raises(InputError, match="has outputs "):
        check_tensors(tuple(row for row in told if row.name != "grey"), encoder)


def test_without_a_gpu_the_backend_says_so(encoder, tmp_path):
    with pytest.raises(InputError, match="runs on NVIDIA GPUs only, not on cpu"):
        load_tensorrt(encoder, "fp16", torch.device("cpu"), tmp_path, print)
    plan = engine_for(encoder, "fp32", ADA, cache(tmp_path, []), print).plan
    with pytest.raises(InputError, match="refuses the engine of 'scene-encoder'"):
        TensorRtBackend(plan, encoder, "fp32", torch.device("cuda:0"), tmp_path / "kernels")


def test_the_record_in_the_cache_is_readable(encoder, tmp_path):
    path = engine_for(encoder, "fp32", ADA, cache(tmp_path, []), print).path
    tree = json.loads(path.with_suffix(".json").read_text())
    assert tree["key"]["compute_capability"] == "8.9" and tree["key"]["gpu"] == "any" and tree["seconds"] > 0.0
