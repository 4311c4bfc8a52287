"""img2three engines: building for a rig, calibrating on a recording, listing and pruning, through the command line."""

import ast
import inspect
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ingest_samples import CAMERAS, write_bag
from typer.testing import CliRunner

from img2three_ros import cli
from img2three_ros.config import Config
from img2three_ros.demo import engines_command
from img2three_ros.ingest.rig import rig_from_bag
from img2three_ros.ingest.rig_file import save_rig
from img2three_ros.reconstruction import engine_build
from img2three_ros.reconstruction.engine_build import BuildRequest, image_batches
from img2three_ros.runtime.engine_gpu import Target, driver_version
from img2three_ros.runtime.engine_key import EngineKey
from img2three_ros.runtime.engine_status import Machine, why_unusable
from img2three_ros.runtime.exported import TensorSpec
from img2three_ros.structures import InputError

ROOT = Path(__file__).resolve().parents[2]
KEY = EngineKey("scene-encoder", "00", "tensorrt 10.13", "NVIDIA L4", "8.9", "580.65, CUDA 13.0", "fp16", ())
HERE = Machine("tensorrt 10.13", Target("NVIDIA L4", "8.9", "580.65, CUDA 13.0"))


def run(*arguments):
    return CliRunner().invoke(cli.app, ["engines", *map(str, arguments)])


@pytest.mark.parametrize("key, machine, why", [
    (KEY, HERE, ""),
    (replace(KEY, gpu="any", driver="any"), HERE, ""),
    (KEY, replace(HERE, builder=None), "no TensorRT here"),
    (KEY, replace(HERE, builder="tensorrt 11.0"), "built by tensorrt 10.13, here is tensorrt 11.0"),
    (KEY, replace(HERE, target=None), "no GPU here"),
    (replace(KEY, gpu="any", driver="any", compute_capability="12.0"), HERE,
     "for compute capability 12.0, here is 8.9"),
    (replace(KEY, gpu="NVIDIA L40"), HERE, "for NVIDIA L40, here is NVIDIA L4"),
    (replace(KEY, driver="570.1"), HERE, "built with driver 570.1, here is 580.65, CUDA 13.0"),
])
def test_an_engine_is_usable_only_where_all_of_its_key_is_the_same(key, machine, why):
    assert why_unusable(key, machine) == why


def test_the_driver_is_read_where_linux_and_jetson_write_it(tmp_path):
    module, jetson = tmp_path / "version", tmp_path / "nv_tegra_release"
    module.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC 12.1\n")
    jetson.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    assert driver_version(module, jetson).startswith("580.65.06")
    assert driver_version(tmp_path / "none", jetson).startswith("R36 (release), REVISION: 4.3")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("drive") / "bag", instants=4)


def test_calibration_takes_images_of_the_recording_as_the_encoder_gets_them(recording):
    (height, width), cameras = *engine_build._sizes(BuildRequest(bag=recording), Config()), len(CAMERAS)
    assert engine_build._sizes(BuildRequest(bag=recording), Config()) == Counter({(height, width): cameras})
    spec = TensorSpec("images", (cameras, 3, -(-height // 32) * 32, -(-width // 32) * 32))
    found = [batch for batch, in image_batches(recording, Config(), None, spec)]
    assert len(found) >= 2 and all(tuple(batch.shape) == spec.shape for batch in found)
    joined = torch.cat(found)
    assert 0.0 <= float(joined.min()) < 0.3 < float(joined.max()) <= 1.0 and float(joined.std()) > 0.05
    with pytest.raises(InputError, match="calibrate on a recording of this rig"):
        list(image_batches(recording, Config(), None, TensorSpec("images", (2, 3, 320, 320))))


def test_sizes_come_from_the_rig_where_it_is_calibrated_and_else_from_the_recording(recording, tmp_path):
    rig = rig_from_bag(recording)
    save_rig(tmp_path / "rig.yaml", rig)
    bare = replace(rig, cameras=tuple(replace(camera, calibration=None) for camera in rig.cameras))
    save_rig(tmp_path / "bare.yaml", bare)
    expected = engine_build._sizes(BuildRequest(bag=recording), Config())
    for name in ("rig.yaml", "bare.yaml"):
        assert engine_build._sizes(BuildRequest(rig=tmp_path / name, bag=recording), Config()) == expected
    assert engine_build._sizes(BuildRequest(rig=tmp_path / "rig.yaml"), Config()) == expected
    assert engine_build._sizes(BuildRequest(size="96x64"), Config()) == Counter([(64, 96)])


@pytest.mark.slow
def test_build_list_and_prune(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx has wheels for x86_64 only, and is not installed here")
    where = ("--set", f"runtime.cache_folder={tmp_path}")
    assert f"no engines in '{tmp_path / 'engines'}'" in run("list", *where).output
    wanted = ("build", "--size", "96x64", "--batch", 2, "--compute-capability", "8.9", *where)
    built, again = run(*wanted), run(*wanted)
    assert built.exit_code == 0, built.output
    assert "built: " in built.output and "already there: " in again.output
    record = json.loads(next((tmp_path / "engines").glob("*.json")).read_text())
    assert record["key"]["precision"] == "fp16" and record["key"]["shapes"] == [["images", [2, 3, 64, 96]]]
    listed = re.sub(r"\s+", " ", run("list", *where).output)
    assert "scene-encoder" in listed and "1 engines" in listed
    if not torch.cuda.is_available():
        assert "no GPU" in listed
    kept = run("prune", "--older-than", 1, "--max-size", 1000, *where)
    assert "0.0 MB freed" in kept.output and len(list((tmp_path / "engines").glob("*.engine"))) == 1
    gone = run("prune", "--all", *where)
    assert "removed: scene-encoder-fp16-" in gone.output and list((tmp_path / "engines").iterdir()) == []


@pytest.mark.parametrize("arguments, why", [
    (("build", "--precision", "fp64"), "fp64"),
    (("build", "--precision", "int8", "--only-calibrate"), "--only-calibrate needs"),
    (("build", "--rig", "none.yaml", "--precision", "fp32", "--compute-capability", "banana"), "banana"),
])
def test_what_cannot_be_built_is_one_clear_error(arguments, why, tmp_path):
    result = run(*arguments, "--set", f"runtime.cache_folder={tmp_path}")
    assert isinstance(result.exception, InputError) and why in str(result.exception)


def test_a_folder_that_is_no_folder_is_an_error_of_prune(tmp_path, monkeypatch):
    folder = tmp_path / "engines"
    folder.mkdir()

    def broken(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", broken)
    result = run("prune", "--all", "--set", f"runtime.cache_folder={tmp_path}")
    assert isinstance(result.exception, InputError) and "cannot be read" in str(result.exception)


def test_the_launch_file_gives_options_that_the_command_has():
    tree = ast.parse((ROOT / "launch" / "reconstruction.launch.py").read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "engine_build")
    words = [str(node.value) for node in ast.walk(function) if isinstance(node, ast.Constant)]
    given = {word for word in words if re.fullmatch(r"--[a-z-]+", word)}
    assert given == {"--config", "--rig", "--bag"} and {"engines", "build", "img2three"} <= set(words)
    known = {"--" + name.replace("_", "-") for name in inspect.signature(engines_command.build).parameters}
    assert given <= known
    programs = (ROOT / "setup.py").read_text()
    assert "img2three = {PACKAGE}.cli:main" in programs
