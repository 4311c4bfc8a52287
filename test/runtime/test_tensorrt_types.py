"""The TensorRT code cannot run without a GPU: mypy reads it against the types of tensorrt-stubs, and every name it uses
must exist in the TensorRT that is installed here."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "img2three_ros" / "runtime").glob("tensorrt_*.py"))

WRONG = """
from img2three_ros.runtime.tensorrt_module import trt
builder = trt.Builder(trt.Logger())
builder.build_serialised_network
builder.create_network("strongly typed")
"""


def repaired_stubs(folder):
    """tensorrt-stubs 10.13 as mypy can read them: it has no py.typed where mypy looks, and what was generated from the
    C++ has parameters named ``in``, one without default after others with one, and a constant named ``bool``."""
    found = importlib.util.find_spec("tensorrt_stubs")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tensorrt-stubs is not installed (extra 'dev')")
    site = Path(found.submodule_search_locations[0]).parent
    for name in ("tensorrt/__init__.pyi", "tensorrt_bindings/__init__.pyi", "tensorrt_bindings/tensorrt.pyi"):
        text = (site / name).read_text()
        text = re.sub(r"\bin: list\[", "in_: list[", text).replace("channel_axis: int)", "channel_axis: int = ...)")
        if name.endswith("tensorrt.pyi"):
            text = text.replace("from __future__ import annotations\n",
                                "from __future__ import annotations\nfrom builtins import bool as _bool\n", 1)
            text = text.replace("-> bool:", "-> _bool:")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def mypy(files, stubs, cache):
    """Its complaints about these files alone."""
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(cache),
         "--follow-imports", "silent", *map(str, files)],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "MYPYPATH": str(stubs)})
    assert done.returncode in (0, 1) and "prevented further checking" not in done.stdout, done.stdout + done.stderr
    names = {path.name for path in files}
    return [line for line in done.stdout.splitlines() if Path(line.split(":")[0]).name in names and " error: " in line]


@pytest.mark.slow
def test_the_types_of_tensorrt_are_right(tmp_path):
    stubs = repaired_stubs(tmp_path)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    complaints = mypy([*FILES, wrong], stubs, tmp_path / "cache")
    about_wrong = [line for line in complaints if "wrong.py" in line]
    assert len(about_wrong) == 2 and "build_serialised_network" in about_wrong[0] and "create_network" in about_wrong[1]
    assert complaints == about_wrong


def test_every_name_that_is_used_exists_in_the_installed_module():
    module = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx has no wheel for this machine")
    used = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                dotted = ast.unparse(node)
                if dotted.startswith("trt.") and re.fullmatch(r"trt(\.\w+)+", dotted):
                    used.add(dotted)
    assert {"trt.Builder", "trt.OnnxParser", "trt.Runtime", "trt.TensorIOMode.OUTPUT"} <= used
    for dotted in sorted(used):
        value = module
        for name in dotted.split(".")[1:]:
            assert hasattr(value, name), f"{dotted} is not in tensorrt_rtx {module.__version__}"
            value = getattr(value, name)


def test_nothing_of_tensorrt_is_imported_before_it_is_chosen():
    code = ("import sys; import img2three_ros.runtime.tensorrt_backend, img2three_ros.runtime.choose_backend; "
            "print([name for name in sys.modules if name.startswith(('tensorrt', 'onnx'))])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
