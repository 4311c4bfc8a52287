"""Pruning the exported networks of the cache, by itself and through ``img2three engines prune``."""

import os
import time
from hashlib import sha256

import pytest
from runtime_networks import scaled
from typer.testing import CliRunner

from img2three_ros import cli
from img2three_ros.runtime.engine_cache import BuiltEngine, EngineCache
from img2three_ros.runtime.engine_key import EngineKey
from img2three_ros.runtime.export import cached_export
from img2three_ros.runtime.network_folder import prune_networks

DAY = 86_400.0


def name(days):
    return f"scene-encoder-{days:020x}"


@pytest.fixture
def folder(tmp_path):
    """Networks of 1000 bytes, last used 1, 10 and 100 days ago; the second has an int8 form of 500 bytes."""
    made = tmp_path / "onnx"
    made.mkdir()
    for days in (1, 10, 100):
        write(made / f"{name(days)}.onnx", bytes([days]) * 1000, days)
    write(made / f"{name(10)}-int8.onnx", b"8" * 500, 40)
    return made


def write(path, content, days):
    path.write_bytes(content)
    os.utime(path, (time.time() - days * DAY,) * 2)


def present(folder):
    return sorted(int(path.stem.split("-")[2], 16) for path in folder.glob("*.onnx") if "int8" not in path.name)


def test_networks_go_by_age_with_their_int8_form(folder):
    assert prune_networks(folder, older_than_s=50 * DAY).removed == (name(100),)
    pruned = prune_networks(folder, older_than_s=9 * DAY)
    assert pruned.freed == 1500 and [path.name for path in folder.iterdir()] == [f"{name(1)}.onnx"]


def test_networks_go_by_size_the_longest_unused_first(folder):
    assert prune_networks(folder, max_bytes=3500).removed == ()
    assert prune_networks(folder, max_bytes=3499).removed == (name(100),)
    assert prune_networks(folder, max_bytes=1000).removed == (name(10),)


def test_a_network_stays_with_the_engine_that_was_made_of_it(folder):
    needed = [sha256(b"8" * 500).hexdigest(), sha256(bytes([100]) * 1000).hexdigest()]
    pruned = prune_networks(folder, max_bytes=0, needed=needed)
    assert pruned.removed == (name(1),) and present(folder) == [10, 100]
    assert dict(pruned.kept) == dict.fromkeys((name(10), name(100)), "an engine that stays was made from it")
    assert len(prune_networks(folder, everything=True, needed=needed).removed) == 2 and not list(folder.iterdir())


def test_what_killed_exports_left_goes_and_what_is_not_ours_stays(folder):
    write(folder / f".{name(5)}.onnx.abc.tmp", b"half", 1)
    write(folder / f".{name(6)}.onnx.abc.tmp", b"being written now", 0)
    for foreign in ("yolo.onnx", "notes.txt", ".bashrc.tmp"):
        write(folder / foreign, b"x", 500)
    assert prune_networks(folder).freed == 4
    prune_networks(folder, everything=True)
    assert {path.name for path in folder.iterdir()} == {f".{name(6)}.onnx.abc.tmp", "yolo.onnx", "notes.txt",
                                                        ".bashrc.tmp"}
    assert prune_networks(folder / "none", everything=True).freed == 0


def test_use_of_an_exported_network_is_remembered(tmp_path):
    path = cached_export(scaled(), tmp_path, checked=False).path
    os.utime(path, (time.time() - 100 * DAY,) * 2)
    assert cached_export(scaled(), tmp_path, checked=False).path == path
    assert prune_networks(tmp_path, older_than_s=DAY).removed == () and path.is_file()


def test_the_command_prunes_engines_and_networks(folder, tmp_path):
    key = EngineKey("scene-encoder", sha256(bytes([100]) * 1000).hexdigest(), "tensorrt 10.13", "NVIDIA L4", "8.9",
                    "580.65", "fp16", (), ())
    EngineCache(tmp_path / "engines", print).get_or_build(key, lambda: BuiltEngine(bytes(1000), ()))
    where = ("--set", f"runtime.cache_folder={tmp_path}")
    aged = CliRunner().invoke(cli.app, ["engines", "prune", "--older-than", "9", *where])
    assert f"removed: {name(10)}" in aged.output and f"stays: {name(100)}: an engine" in aged.output
    assert present(folder) == [1, 100]
    everything = CliRunner().invoke(cli.app, ["engines", "prune", "--all", *where])
    assert everything.exit_code == 0 and f"removed: {key.stem()}" in everything.output
    assert not list(folder.iterdir()) and not list((tmp_path / "engines").iterdir())
