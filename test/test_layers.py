"""The layers of the package, walked by its imports: dependencies point downward only, and rooms stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "img2three_ros"
ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    ("structures", "config"),
    ("geometry", "fileio"),
    ("ingest", "simulation", "models", "losses", "pointmap"),
    ("data", "runtime"),
    ("reconstruction",),
    ("evaluation", "visualization"),
    ("training",),
    ("nodes", "cli", "demo"),
)
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
ROS_ROOM = "nodes"
ROS_PACKAGES = {
    "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_updater", "launch", "launch_ros",
    "message_filters", "rcl_interfaces", "rclpy", "rpyutils", "sensor_msgs_py", "std_srvs", "tf2_ros",
}  # fmt: skip
# Decoding of rare encodings works on any object shaped like an Image; cv_bridge is imported there only when needed.
ROS_ELSEWHERE = {("ingest", "cv_bridge")}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


class Import(NamedTuple):
    module: str  # the importing module, dotted
    target: str  # what it imports, dotted
    line: int
    lazy: bool  # inside a function or under TYPE_CHECKING


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The package or top-level file under img2three_ros that holds a module; None for anything outside."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


def package_files(root: Path) -> list[Path]:
    return sorted((root / PACKAGE).rglob("*.py"))


def imports_of(path: Path, root: Path, modules: set[str]) -> Iterator[Import]:
    """Every import of a file, lazy ones too; `from package import module` counts as an import of that module."""
    module = module_name(path, root)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield Import(module, deeper if deeper in modules else base, node.lineno, lazy)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, lazy or inside or typing_only)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), lazy=False)


def all_imports(root: Path) -> list[Import]:
    files = package_files(root)
    modules = {module_name(path, root) for path in files}
    return [found for path in files for found in imports_of(path, root, modules)]


def find_cycle(edges: dict[str, set[str]]) -> list[str] | None:
    """A cycle of a directed graph as a path that ends where it began, or None."""
    finished: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str] | None:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in finished:
            return None
        for successor in sorted(edges.get(node, ())):
            cycle = visit(successor, [*trail, node])
            if cycle:
                return cycle
        finished.add(node)
        return None

    return next((cycle for start in sorted(edges) if (cycle := visit(start, []))), None)


def rooms_without_layer(root: Path) -> list[str]:
    rooms = {room_of(module_name(path, root)) for path in package_files(root)} - {None}
    return [f"{room} has no layer: give it one in LAYERS" for room in sorted(rooms - set(LAYER_OF))]


def upward_imports(root: Path) -> list[str]:
    problems = []
    for found in all_imports(root):
        source, target = room_of(found.module), room_of(found.target)
        if source and target and LAYER_OF.get(target, 0) > LAYER_OF.get(source, 0):
            problems.append(f"{found.module}:{found.line} imports {found.target}, which lies above it")
    return problems


def import_cycles(root: Path) -> list[str]:
    """Cycles between modules at import time, and cycles between rooms even through lazy imports."""
    between_modules: dict[str, set[str]] = {}
    between_rooms: dict[str, set[str]] = {}
    for found in all_imports(root):
        if found.target.split(".")[0] != PACKAGE:
            continue
        if not found.lazy and found.target != found.module:
            between_modules.setdefault(found.module, set()).add(found.target)
        source, target = room_of(found.module), room_of(found.target)
        if source and target and source != target:
            between_rooms.setdefault(source, set()).add(target)
    cycles = (find_cycle(between_modules), find_cycle(between_rooms))
    return [f"import cycle: {' -> '.join(cycle)}" for cycle in cycles if cycle]


def misplaced_libraries(root: Path) -> list[str]:
    """ROS outside nodes/, and torch inside it: messages stop there, tensors never reach it."""
    problems = []
    for found in all_imports(root):
        library, room = found.target.split(".")[0], room_of(found.module)
        is_ros = library in ROS_PACKAGES or library.endswith("_msgs")
        if is_ros and room != ROS_ROOM and not (found.lazy and (room, library) in ROS_ELSEWHERE):
            problems.append(f"{found.module}:{found.line} imports {library}: only {ROS_ROOM}/ may")
        if library == "torch" and room == ROS_ROOM:
            problems.append(f"{found.module}:{found.line} imports torch: not in {ROS_ROOM}/")
    return problems


def long_files(root: Path) -> list[str]:
    paths = [*package_files(root), *sorted((root / "test").rglob("*.py")), *sorted((root / "launch").rglob("*.py"))]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    return [
        f"{path.relative_to(root)} has {lines} lines, below {MAX_FILE_LINES} wanted"
        for path, lines in lengths.items()
        if lines >= MAX_FILE_LINES
    ]


def long_functions(root: Path) -> list[str]:
    problems = []
    for path in package_files(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= MAX_FUNCTION_LINES:
                    where = f"{path.relative_to(root)}:{node.lineno} {node.name}"
                    problems.append(f"{where} has {lines} lines, below {MAX_FUNCTION_LINES} wanted")
    return problems


CHECKS = (
    rooms_without_layer, upward_imports, import_cycles, misplaced_libraries, long_files, long_functions,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_package(check):
    problems = check(ROOT)
    assert not problems, "\n".join(problems)


SYNTHETIC = {
    "upward_imports": {"geometry/rays.py": "def f():\n    from img2three_ros.nodes import node\n", "nodes/node.py": ""},
    "import_cycles": {
        "geometry/a.py": "from img2three_ros.geometry import b\n",
        "geometry/b.py": "from .a import thing\n",
    },
    "misplaced_libraries": {"fileio/bag.py": "def f():\n    from sensor_msgs.msg import Image\n"},
    "rooms_without_layer": {"attic/box.py": ""},
    "long_files": {"geometry/long.py": "x = 1\n" * MAX_FILE_LINES},
    "long_functions": {"geometry/long.py": "def f():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1)},
}


def write_package(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"__init__.py": "", **files}.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return root


@pytest.mark.parametrize("check", CHECKS)
def test_violation_is_found(check, tmp_path):
    problems = check(write_package(tmp_path, SYNTHETIC[check.__name__]))
    assert len(problems) == 1, problems


@pytest.mark.parametrize(
    "files",
    [
        {"nodes/node.py": "import torch\n"},
        {"cli.py": "def demo():\n    import rclpy\n"},
        {"ingest/images.py": "import cv_bridge\n"},
    ],
)
def test_library_in_wrong_room_is_found(files, tmp_path):
    assert len(misplaced_libraries(write_package(tmp_path, files))) == 1


def test_rooms_that_need_each_other_are_a_cycle_even_when_lazy(tmp_path):
    files = {
        "geometry/a.py": "from img2three_ros.fileio import b\n",
        "fileio/b.py": "def f():\n    from img2three_ros.geometry import a\n",
    }
    assert import_cycles(write_package(tmp_path, files)) == ["import cycle: fileio -> geometry -> fileio"]


def test_downward_and_sibling_imports_are_fine(tmp_path):
    files = {
        "structures.py": "import numpy\n",
        "geometry/__init__.py": "from img2three_ros.geometry.rays import ray\n",
        "geometry/rays.py": "from img2three_ros.structures import Frame\n\ndef ray():\n    pass\n",
        "fileio/bag.py": "from ..geometry.rays import ray\n",
        "ingest/images.py": "def decode():\n    import cv_bridge\n",
        "nodes/node.py": "import rclpy\nfrom img2three_ros.fileio import bag\n",
        "cli.py": "def demo():\n    from img2three_ros.nodes.node import main\n",
    }
    root = write_package(tmp_path, files)
    assert [problem for check in CHECKS for problem in check(root)] == []
