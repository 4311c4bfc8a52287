"""Networks as ONNX files: what is written is the network, says what it is, and is only taken if it is whole."""

import json
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from runtime_networks import SIZE, depth_network, pointmap_network, scaled
from small_networks import scene_network
from typer.testing import CliRunner

from img2three_ros import cli
from img2three_ros.reconstruction.export_command import parts_of, sizes_of
from img2three_ros.runtime import parts
from img2three_ros.runtime.export import LARGEST_ERROR, OPSET, cached_export, export_key, export_part, relative_error
from img2three_ros.runtime.exported import TensorSpec, read_exported
from img2three_ros.runtime.parts import Part
from img2three_ros.structures import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def run(path, inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return [torch.from_numpy(array) for array in session.run(None, {
        name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})]


@pytest.mark.parametrize("make", [
    lambda: parts.scene_encoder(depth_network(), SIZE, 2), lambda: parts.scene_regulariser(depth_network(), SIZE),
    lambda: parts.scene_volume(scene_network()), lambda: parts.scene_decoder(scene_network(), 50),
    lambda: parts.pointmap_encoder(pointmap_network(), (32, 48))],
    ids=["scene-encoder", "scene-regulariser", "scene-volume", "scene-decoder", "pointmap-encoder"])
def test_every_network_is_itself_as_onnx_and_says_what_it_is(make, tmp_path):
    part = make()
    exported = export_part(part, tmp_path / "network.onnx")
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == OPSET >= 17
    sizes = [[axis.dim_value for axis in value.type.tensor_type.shape.dim]
             for value in (*model.graph.input, *model.graph.output)]
    assert all(all(axes) for axes in sizes), "shapes are static"
    assert [tuple(axes) for axes in sizes] == [spec.shape for spec in (*exported.inputs, *exported.outputs)]
    inputs = part.samples(7)
    expected, found = part.module(*inputs), run(exported.path, inputs)
    assert relative_error(expected, found) <= LARGEST_ERROR
    assert read_exported(exported.path) == exported
    assert (exported.network, exported.weights) == (part.network, part.weights)
    assert exported.normalisation == part.normalisation


def test_self_test_inputs_are_always_the_same_and_images_are_images():
    part = parts.scene_encoder(depth_network(), SIZE)
    (first,), (again,), (other,) = part.samples(), part.samples(), part.samples(1)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert 0.0 <= float(first.min()) < 0.2 and 0.8 < float(first.max()) <= 1.0
    near = torch.corrcoef(torch.stack((first[..., :-1].flatten(), first[..., 1:].flatten())))[0, 1]
    assert 0.3 < float(near) < 0.99, "neighbouring pixels are alike, as in images, but not the same"


def test_the_error_is_a_share_of_the_largest_value_of_each_output():
    right = [torch.tensor([0.0, 4.0]), torch.tensor([100.0])]
    assert relative_error(right, [torch.tensor([0.2, 4.0]), torch.tensor([101.0])]) == pytest.approx(0.05)
    assert relative_error(right, [torch.tensor([0.0, torch.nan]), torch.tensor([100.0])]) == float("inf")
    assert relative_error(right, [torch.tensor([0.0, 4.0, 1.0]), torch.tensor([100.0])]) == float("inf")


def test_weights_shapes_and_network_each_make_another_key():
    keys = [export_key(part) for part in (scaled(), scaled(3.1), scaled(width=5))]
    assert len(set(keys)) == 3 and export_key(scaled()) == keys[0]
    assert scaled().weights != scaled(3.1).weights


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The exported ``scaled()`` in a cache folder."""
    return cached_export(scaled(), tmp_path_factory.mktemp("kept"))


def test_the_cache_exports_once(kept):
    before = kept.path.stat().st_ino  # a new export is a new file under the old name
    assert cached_export(scaled(), kept.path.parent) == kept and kept.path.stat().st_ino == before
    assert [path.suffix for path in kept.path.parent.iterdir()] == [".onnx"], "nothing temporary stays"


def one_weight_flipped(path):
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + np.float32(1.0), weight.name))
    onnx.save(model, path)


@pytest.mark.parametrize("spoil", [
    lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:-40]),
    lambda path: path.write_bytes(b"engine of somebody else"), one_weight_flipped],
    ids=["empty", "cut", "foreign", "another weight"])
def test_spoilt_files_are_exported_anew(kept, tmp_path, spoil):
    part, path = scaled(), tmp_path / kept.path.name
    path.write_bytes(kept.path.read_bytes())
    spoil(path)
    assert cached_export(part, tmp_path).path == path
    assert torch.allclose(run(path, part.samples())[0], 3.0 * part.samples()[0])


def test_an_export_that_is_not_the_network_is_not_written(tmp_path, monkeypatch):
    part = scaled()
    monkeypatch.setattr(Part, "reference", lambda self, inputs: (1.002 * 3.0 * inputs[0],))
    with pytest.raises(InputError, match=r"as ONNX is not the network: its outputs differ by 0\.002"):
        export_part(part, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_foreign_and_damaged_descriptions_are_refused(kept, tmp_path):
    model, path = onnx.load(kept.path), tmp_path / "scaled.onnx"
    entry = next(entry for entry in model.metadata_props if entry.key == "img2three_network")
    values = json.loads(entry.value)
    entry.value = json.dumps({**values, "inputs": [{"name": "x", "shape": [1, 4], "dtype": "complex64"}]})
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"metadata of .* are damaged: type 'complex64' of inputs is not known"):
        read_exported(path)
    entry.key = "something else"
    onnx.save(model, path)
    with pytest.raises(InputError, match="was not written by 'img2three export'"):
        read_exported(path)
    with pytest.raises(InputError, match="is no readable ONNX file"):
        read_exported(tmp_path / "absent.onnx")


def export(*arguments):
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def test_the_command_writes_the_shipped_encoder(tmp_path):
    result = export("--output", tmp_path, "--size", "90x60")
    assert result.exit_code == 0, result.exception
    exported = read_exported(tmp_path / "scene-encoder-96x64-1.onnx")
    assert exported.inputs == (TensorSpec("images", (1, 3, 64, 96)),), "rounded up to multiples of 32"
    assert exported.weights[:12] in result.stdout and "RGB 0..1" in result.stdout


def test_sizes_and_cameras_of_a_rig_decide_the_shapes(tmp_path):
    calibration = ("{{width: {0}, height: {1}, intrinsics: [500, 0, {2}, 0, 500, {3}, 0, 0, 1], "
                   "distortion_model: plumb_bob, distortion: [0, 0, 0, 0, 0]}}")
    cameras = "".join(f"  {name}:\n    image_topic: /{name}\n    calibration: "
                      f"{calibration.format(width, height, width / 2, height / 2)}\n"
                      for name, width, height in (("left", 192, 128), ("right", 192, 128), ("rear", 128, 128)))
    rig = tmp_path / "rig.yaml"
    rig.write_text(f"cameras:\n{cameras}")
    asked = partial(parts_of, "scene-encoder", sizes_of(None, rig, None, 8192))
    shapes = [part.inputs[0].shape for part in asked(None, "", "", None)]
    assert shapes == [(2, 3, 96, 128), (1, 3, 96, 96)]
    assert [part.inputs[0].shape[0] for part in asked(4, "", "", None)] == [4, 4], "--batch decides"


@pytest.mark.parametrize(("arguments", "said"), [
    (("--network", "decoder"), "choose one of: scene-encoder"), (("--size", "640"), "must be WIDTHxHEIGHT"),
    (("--size", "64x64", "--bag", "x"), "only one can be given"),
    (("--network", "pointmap-encoder"), "needs --checkpoint")])
def test_wrong_requests_are_told(arguments, said, tmp_path):
    result = export("--output", tmp_path, *arguments)
    assert isinstance(result.exception, InputError) and said in str(result.exception)
