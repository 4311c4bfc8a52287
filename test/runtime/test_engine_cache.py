"""The engine cache: real files, real processes and real kills; the builder is a small stand-in that writes bytes."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from img2three_ros.runtime.engine_cache import BuiltEngine, EngineCache
from img2three_ros.runtime.engine_files import exclusive, lock_if_free, temporaries, write_whole
from img2three_ros.runtime.engine_folder import entries
from img2three_ros.runtime.engine_key import EngineKey, EngineRecord, TensorRow
from img2three_ros.structures import InputError

KEY = EngineKey("scene-encoder", "ab" * 32, "tensorrt_rtx 1.7.1", "NVIDIA RTX 4090", "8.9", "580.65", "fp16",
                (("images", (6, 3, 384, 640)),), ("strongly_typed",))
TENSORS = (TensorRow("images", False, (6, 3, 384, 640), "float32"),
           TensorRow("match", True, (6, 16, 96, 160), "float32"))
PLAN = b"ptrt" + bytes(range(256)) * 40
OTHER = {"network": "scene-decoder", "onnx_sha256": "cd" * 32, "builder": "tensorrt_rtx 1.7.2", "gpu": "NVIDIA L4",
         "compute_capability": "8.6", "driver": "581.00", "precision": "fp32",
         "shapes": (("images", (5, 3, 384, 640)),), "flags": ("strongly_typed", "level 5")}


class Builder:
    """Counts how often it was asked."""

    def __init__(self, plan=PLAN):
        self.plan, self.calls = plan, 0

    def __call__(self):
        self.calls += 1
        return BuiltEngine(self.plan, TENSORS)


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return EngineCache(tmp_path / "engines", said.append, wait_s=30.0)


def stored(cache, key=KEY, plan=PLAN):
    return cache.get_or_build(key, Builder(plan)).path


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_an_engine_is_built_once_and_comes_back_byte_for_byte(cache, said):
    builder = Builder()
    first, second = (cache.get_or_build(KEY, builder) for _ in range(2))
    assert (first.built, second.built, builder.calls) == (True, False, 1)
    assert first.plan == second.plan == PLAN == first.path.read_bytes()
    assert second.record == first.record and second.record.tensors == TENSORS
    assert visible(cache.folder) == sorted(KEY.stem() + suffix for suffix in (".engine", ".json"))
    assert said == []


def test_every_part_of_the_key_makes_another_engine(cache):
    assert set(OTHER) == {part.name for part in fields(EngineKey)}
    keys = [KEY, *(replace(KEY, **{name: value}) for name, value in OTHER.items())]
    for number, key in enumerate(keys):
        cache.get_or_build(key, Builder(bytes([number])))
    assert [cache.find(key).plan for key in keys] == [bytes([number]) for number in range(len(keys))]
    assert KEY.differences(replace(KEY, driver="581.00")) == ["driver"]


def test_the_record_says_what_the_engine_was_made_of(cache):
    tree = json.loads(stored(cache).with_suffix(".json").read_text())
    assert tree["key"]["driver"] == "580.65" and tree["key"]["shapes"] == [["images", [6, 3, 384, 640]]]
    assert tree["plan_bytes"] == len(PLAN) and len(tree["plan_sha256"]) == 64
    assert tree["tensors"][1] == {"name": "match", "output": True, "shape": [6, 16, 96, 160], "dtype": "float32"}


@pytest.mark.parametrize("spoil, why", [
    (lambda path: path.write_bytes(PLAN[:-7]), "bytes"),
    (lambda path: path.write_bytes(PLAN[:100] + b"\0" + PLAN[101:]), "checksum"),
    (lambda path: path.unlink(), "missing"),
    (lambda path: path.with_suffix(".json").write_text("{"), "no record"),
    (lambda path: path.with_suffix(".json").write_text("[" * 100_000), "no record"),
    (lambda path: path.with_suffix(".json").write_text("x" * 1_100_000), "too large"),
    (lambda path: path.with_suffix(".json").write_text(json.dumps({"format": "img2three engine 0"})), "no record"),
    (lambda path: path.with_suffix(".json").write_text(
        path.with_suffix(".json").read_text().replace("580.65", "580.66")), "does not add up"),
], ids=["truncated", "damaged", "gone", "no-json", "deep-json", "huge-record", "older-format", "edited"])
def test_files_that_are_not_as_written_are_built_again_and_said(cache, said, spoil, why):
    path = stored(cache)
    spoil(path)
    builder = Builder()
    again = cache.get_or_build(KEY, builder)
    assert builder.calls == 1 and again.plan == PLAN and why in said[0] and "built again" in said[0]
    said.clear()
    assert cache.find(KEY).plan == PLAN and said == []


def test_a_record_of_another_engine_under_this_name_is_not_believed(cache, said):
    path = stored(cache)
    other = stored(cache, replace(KEY, driver="581.00"), b"other")
    shutil.copy(other, path)
    shutil.copy(other.with_suffix(".json"), path.with_suffix(".json"))
    assert cache.find(KEY) is None and "another engine" in said[0]


def test_a_foreign_engine_without_record_is_replaced_and_said(cache, said):
    cache.folder.mkdir()
    (cache.folder / (KEY.stem() + ".engine")).write_bytes(b"somebody else's")
    assert cache.get_or_build(KEY, Builder()).path.read_bytes() == PLAN
    assert len(said) == 1 and "without a record" in said[0]


def test_a_folder_or_a_pipe_in_the_place_of_a_file_stops_nobody(cache, said):
    cache.folder.mkdir()
    os.mkfifo(cache.folder / (KEY.stem() + ".json"))
    assert cache.get_or_build(KEY, Builder()).plan == PLAN
    assert "is no file" in said[0]
    other = replace(KEY, driver="581.00")
    (cache.folder / (other.stem() + ".engine")).mkdir()
    made = cache.get_or_build(other, Builder())
    assert made.plan == PLAN and made.path is None and "stays in memory" in said[-1]


def test_names_cannot_leave_the_folder(cache):
    with pytest.raises(InputError, match="cannot name an engine"):
        cache.get_or_build(replace(KEY, network="../../etc/passwd"), Builder())


def test_a_failing_builder_leaves_nothing_and_frees_the_lock(cache):
    def fail():
        raise InputError("backend", "node 7 (Einsum) is not supported")

    with pytest.raises(InputError, match="node 7"):
        cache.get_or_build(KEY, fail)
    assert visible(cache.folder) == []
    assert cache.get_or_build(KEY, Builder()).built


def test_discard_removes_an_engine_that_the_runtime_refused(cache, said):
    stored(cache)
    cache.discard(KEY, "TensorRT could not read it")
    assert visible(cache.folder) == [] and "TensorRT could not read it" in said[0]


WORKER = """
import json, os, sys, time
from pathlib import Path
from img2three_ros.runtime.engine_cache import BuiltEngine, EngineCache
from img2three_ros.runtime.engine_key import EngineRecord
from img2three_ros.structures import InputError
folder, record, size, hold, wait = Path(sys.argv[1]), sys.argv[2].encode(), *map(float, sys.argv[3:6])
def build():
    print("building", flush=True)
    with open(folder / "calls.txt", "a") as calls:
        calls.write(f"{os.getpid()}\\n")
    time.sleep(hold)
    return BuiltEngine(b"e" * int(size), ())
cache = EngineCache(folder, lambda text: print("said:", text, flush=True), wait_s=wait)
try:
    made = cache.get_or_build(EngineRecord.from_json(record).key, build)
    print("done", len(made.plan), made.built, made.path is not None, flush=True)
except InputError as error:
    print("refused", error, flush=True)
"""


def worker(folder, *, size=1000, hold=0.0, wait=60.0, prefix=()):
    folder.mkdir(exist_ok=True)
    record = EngineRecord(KEY, "", 0, (), 0.0, 0.0).to_json().decode()
    arguments = (folder, record, size, hold, wait)
    return subprocess.Popen([*prefix, sys.executable, "-c", WORKER, *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def output(process):
    return process.communicate(timeout=100)[0]


def test_of_processes_that_start_together_one_builds(tmp_path):
    told = [output(process) for process in [worker(tmp_path, hold=1.0) for _ in range(3)]]
    assert len((tmp_path / "calls.txt").read_text().splitlines()) == 1, told
    assert sorted("done 1000 True True" in text for text in told) == [False, False, True]
    assert sum("done 1000 False True" in text for text in told) == 2
    waited = [text for text in told if "is building this engine; waiting" in text]
    assert all("said: process " in text for text in waited)


def test_waiting_ends_and_says_who_holds_the_lock(cache, said):
    impatient = replace(cache, wait_s=0.3)
    cache.folder.mkdir()
    with exclusive(cache.folder / (KEY.stem() + ".lock"), 0.0, said.append), pytest.raises(InputError) as refusal:
        impatient.get_or_build(KEY, Builder())
    assert refusal.value.reason == "engine_cache" and f"process {os.getpid()}" in str(refusal.value)
    assert len(said) == 1 and "waiting for it" in said[0]


def test_a_killed_builder_frees_its_lock_at_once(tmp_path):
    lock = tmp_path / (KEY.stem() + ".lock")
    process = worker(tmp_path, hold=60.0)
    assert process.stdout.readline() == "building\n"
    assert lock_if_free(lock) is None
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    handle = lock_if_free(lock)
    assert handle is not None
    os.close(handle)
    assert "done 1000 True True" in output(worker(tmp_path))


WRITER = """
import os, sys
from pathlib import Path
from img2three_ros.runtime.engine_files import write_whole
def fsync(handle):
    print("written", flush=True)
    sys.stdin.read()
os.fsync = fsync
write_whole(Path(sys.argv[1]), b"half" * 1000)
"""


def test_a_build_killed_while_writing_leaves_a_temporary_file_that_the_next_removes(cache, said):
    path = stored(cache)
    path.with_suffix(".json").unlink()
    path.unlink()
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert len(temporaries(path)) == 1 and not path.exists()
    assert cache.find(KEY) is None
    made = cache.get_or_build(KEY, Builder())
    assert made.path.read_bytes() == PLAN and temporaries(path) == [] and "was killed" in said[-1]


@pytest.fixture
def as_another_user():
    """(folder that anybody can reach, command prefix that drops root's rights; empty for those who have none)."""
    drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.getuid() == 0 else ()
    if drop and (shutil.which("setpriv") is None or subprocess.run(
            [*drop, sys.executable, "-c", "import img2three_ros"], capture_output=True).returncode):
        pytest.skip("this Python does not run as another user, and the permissions of a folder do not bind root")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name) / "engines", drop
        (Path(name) / "engines").chmod(0o755)


def test_a_folder_that_cannot_be_written_keeps_the_engine_in_memory(as_another_user):
    folder, drop = as_another_user
    folder.mkdir()
    (folder / "calls.txt").touch()
    (folder / "calls.txt").chmod(0o666)
    folder.chmod(0o555)
    told = output(worker(folder, prefix=drop))
    assert "cannot be written (Permission denied)" in told and "done 1000 True False" in told


def test_an_engine_in_a_folder_that_can_only_be_read_is_used(as_another_user, said):
    folder, drop = as_another_user
    stored(EngineCache(folder, said.append))
    folder.chmod(0o555)
    assert output(worker(folder, prefix=drop)) == f"done {len(PLAN)} False True\n"


def test_using_an_engine_is_remembered(cache):
    path = stored(cache)
    os.utime(path.with_suffix(".json"), (1_700_000_000,) * 2)
    cache.find(KEY)
    assert time.time() - entries(cache.folder)[0].used < 1000


def test_a_file_size_limit_leaves_no_half_file(cache, said):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        made = cache.get_or_build(KEY, Builder())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert made.plan == PLAN and made.path is None and visible(cache.folder) == []
    assert "File too large" in said[0] and "stays in memory" in said[0]


def test_a_full_disk_leaves_no_half_file_and_says_how_much_is_missing(tmp_path):
    inside = f"mount -t tmpfs -o size=64k none {tmp_path} && exec \"$@\"; ls -A {tmp_path}"
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    if shutil.which("unshare") is None or subprocess.run([*prefix, f"mount -t tmpfs none {tmp_path}"],
                                                         capture_output=True).returncode:
        pytest.skip("no user namespaces here: a file system of its own cannot be mounted")
    told = output(worker(tmp_path, size=100_000, prefix=(*prefix, inside.replace("exec ", ""), "sh")))
    assert "No space left on device; 0.1 MB are needed, 0.1 MB free" in told and "done 100000 True False" in told
    left = told.split("done 100000 True False\n")[1].split()
    assert left == ["calls.txt", KEY.stem() + ".lock"]


def test_write_whole_replaces_a_file_and_keeps_the_old_one_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError):
            write_whole(path, b"n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_lock_whose_file_was_removed_while_waiting_is_taken_on_the_new_file(tmp_path):
    path = tmp_path / "a.lock"
    first = lock_if_free(path)
    path.unlink()
    second = lock_if_free(path)
    assert second is not None and lock_if_free(path) is None
    os.close(first)
    assert lock_if_free(path) is None  # the old file's lock is nobody's business
    os.close(second)


def test_the_cache_keeps_to_its_size_and_never_removes_the_newest(cache, said):
    small = replace(cache, limit_bytes=2500)
    keys = [replace(KEY, driver=str(number)) for number in range(3)]
    for number, key in enumerate(keys):
        path = small.get_or_build(key, Builder(bytes(1000))).path
        os.utime(path.with_suffix(".json"), (time.time() - 100 + number,) * 2)
    found = {entry.record.key.driver for entry in entries(cache.folder)}
    assert "2" in found and "0" not in found and any("longest unused" in text for text in said)
