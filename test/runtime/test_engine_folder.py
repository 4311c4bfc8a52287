"""Listing and pruning an engine cache; what is not ours stays."""

import io
import os
import time
from dataclasses import replace

import pytest
from rich.console import Console

from img2three_ros.demo.engines_command import table
from img2three_ros.runtime.engine_cache import BuiltEngine, EngineCache
from img2three_ros.runtime.engine_files import exclusive
from img2three_ros.runtime.engine_folder import entries, prune
from img2three_ros.runtime.engine_key import EngineKey
from img2three_ros.runtime.engine_status import Machine

KEY = EngineKey("scene-encoder", "ab" * 32, "tensorrt 10.13", "NVIDIA L4", "8.9", "580.65", "fp16", (), ())
DAY = 86_400.0


@pytest.fixture
def folder(tmp_path):
    """Engines of 10 000 bytes, last used 1, 10 and 100 days ago."""
    cache = EngineCache(tmp_path, print)
    for days in (1, 10, 100):
        made = cache.get_or_build(key(days), lambda: BuiltEngine(bytes(10_000), ()))
        os.utime(made.path.with_suffix(".json"), (time.time() - days * DAY,) * 2)
    return tmp_path


def key(days):
    return replace(KEY, driver=f"{days} days")


def present(folder):
    return [int(entry.record.key.driver.split()[0]) for entry in entries(folder) if entry.record]


def test_entries_come_last_used_first_with_all_their_bytes(folder):
    assert present(folder) == [1, 10, 100]
    assert all(10_000 < entry.size < 12_000 and not entry.problem for entry in entries(folder))


def test_by_age(folder):
    pruned = prune(folder, older_than_s=9 * DAY)
    assert present(folder) == [1] and len(pruned.removed) == 2 and 20_000 < pruned.freed < 24_000
    assert [path.suffix for path in sorted(folder.iterdir())] == [".engine", ".json", ".lock"]


def test_by_size_the_longest_unused_first(folder):
    prune(folder, max_bytes=25_000)
    assert present(folder) == [1, 10]
    prune(folder, max_bytes=0)
    assert present(folder) == []


def test_without_a_limit_nothing_whole_is_removed(folder):
    assert prune(folder).removed == () and present(folder) == [1, 10, 100]


def test_everything_of_ours_and_nothing_else(folder):
    foreign = {"notes.json": "{}", "yolo.engine": "x", "a-fp16-0123.engine": "x", ".bashrc": "x", "other.tmp": "x",
               "photos.timing": "x"}
    for name, text in foreign.items():
        (folder / name).write_text(text)
    stem = key(1).stem()
    (folder / f"{stem}.kernels").write_bytes(b"compiled")
    (folder / f".{stem}.engine.abc.tmp").write_bytes(b"half")
    (folder / "tensorrt-10.13-nvidia-l4.timing").write_bytes(b"timings")
    (folder / f"{replace(KEY, driver='gone').stem()}.lock").touch()
    prune(folder, everything=True)
    assert {path.name for path in folder.iterdir()} == set(foreign)


def test_damaged_engines_and_what_killed_builds_left_always_go(folder):
    (folder / f"{key(1).stem()}.json").write_text("{")
    (folder / f"{key(10).stem()}.engine").write_bytes(b"short")
    lonely = replace(KEY, driver="killed").stem()
    (folder / f".{lonely}.engine.x1.tmp").write_bytes(b"half")
    problems = {entry.stem: entry.problem for entry in entries(folder)}
    assert "no record" in problems[key(1).stem()] and "5 bytes" in problems[key(10).stem()]
    assert set(prune(folder).removed) == {key(1).stem(), key(10).stem()}
    assert present(folder) == [100] and not list(folder.glob(".*"))


def test_one_wrong_bit_is_found_when_listing_and_pruning(folder):
    path = folder / f"{key(10).stem()}.engine"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert [entry.problem for entry in entries(folder)] == ["", "its checksum is wrong: the file is damaged", ""]
    shown = Console(width=200, record=True, file=io.StringIO())
    shown.print(table(entries(folder), Machine("tensorrt 10.13", None), time.time()))
    text = shown.export_text()
    assert text.count("no GPU here") == 2 and text.count("its checksum is wrong") == 1
    assert not any(entry.problem for entry in entries(folder, checksums=False))
    assert prune(folder, checksums=False).removed == ()
    assert prune(folder).removed == (key(10).stem(),) and present(folder) == [1, 100]


def test_an_engine_that_is_being_built_stays(folder):
    with exclusive(folder / f"{key(100).stem()}.lock", 0.0, print):
        pruned = prune(folder, everything=True)
    assert pruned.kept == ((key(100).stem(), "it is being built or used now"),) and present(folder) == [100]


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    assert entries(tmp_path / "none") == [] and prune(tmp_path / "none", everything=True).freed == 0
