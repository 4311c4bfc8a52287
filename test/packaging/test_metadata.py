"""What the package says about itself agrees in every place that says it."""

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import img2three_ros

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()


def setup_py(*queries: str) -> list[str]:
    command = [sys.executable, "setup.py", "-q", *queries]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")


def test_one_name_version_and_licence():
    name, version, licence = setup_py("--name", "--version", "--license")[:3]
    assert name == MANIFEST.findtext("name") == "img2three_ros"
    assert version == MANIFEST.findtext("version") == img2three_ros.__version__
    assert licence == MANIFEST.findtext("license") == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_colcon_accepts_the_manifest():
    """A manifest that it rejects makes colcon fall back, silently, to a build that ament cannot find."""
    package = pytest.importorskip("catkin_pkg.package")
    warnings: list[str] = []
    manifest = package.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    manifest.validate(warnings=warnings)
    assert warnings == []
    assert manifest.get_build_type() == "ament_python"


def test_changelog_begins_with_what_comes_next():
    headings = re.findall(r"^(.+)\n-{3,}$", (ROOT / "CHANGELOG.rst").read_text(), flags=re.MULTILINE)
    assert headings and (headings[0] == "Forthcoming" or headings[0].startswith(img2three_ros.__version__))


def third_party_imports() -> set[str]:
    names = set()
    for path in (ROOT / "img2three_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"img2three_ros"}


# Import name -> names in package.xml, where they differ; rosbags brings the decompressors, apt ffmpeg itself.
ROSDEP_KEYS = {
    "backports": {"python3-rosbags-pip"},
    "compression": {"python3-rosbags-pip"},
    "cv2": {"python3-opencv"},
    "imageio_ffmpeg": {"ffmpeg"},
    "lz4": {"python3-rosbags-pip"},
    "numpy": {"python3-numpy"},
    "open3d": {"python3-open3d", "python3-open3d-pip"},
    "rich": {"python3-rich"},
    "rosbags": {"python3-rosbags-pip"},
    "safetensors": {"python3-safetensors-pip"},
    "scipy": {"python3-scipy"},
    "torch": {"python3-torch", "python3-pytorch-pip"},
    "trimesh": {"python3-trimesh-pip"},
    "typer": {"python3-typer"},
    "yaml": {"python3-yaml"},
}


# Chosen by a setting or merely faster, without a rosdep key: imported inside functions alone, and named when missing.
OPTIONAL = {"mapanything", "onnx", "onnxruntime", "simplejpeg", "tensorrt", "uniception"}


def test_optional_packages_are_imported_inside_functions_alone():
    for path in (ROOT / "img2three_ros").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lazy = {inner for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
        typing = [node for node in ast.walk(tree)
                  if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
        lazy |= {inner for node in typing for inner in ast.walk(node)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            eager = {name.split(".")[0] for name in names} & OPTIONAL
            assert not eager or node in lazy, f"{path}:{node.lineno}: {eager} is needed by everybody who imports this"


def test_every_import_is_declared():
    declared = {element.text for element in MANIFEST.findall("exec_depend")}
    missing = {name for name in third_party_imports() - OPTIONAL if not ROSDEP_KEYS.get(name, {name}) <= declared}
    assert not missing, f"imported, but not an <exec_depend> of package.xml: {sorted(missing)}"
