"""The same tree installs by pip and by colcon, and what it installs starts."""

import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
NODES = {"reconstruction_node": ("--ros-args", "-p", "cameras:=[front]"), "simulated_vehicle_node": ()}
"""Nodes that run until they are told to stop, and the arguments they cannot do without."""
EXECUTABLES = {"img2three", "bag_player_node", *NODES}
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Installation:
    """Where one way of installing put things, and how a command is run with it."""

    source: Path
    executables: Path
    share: Path
    python: Path
    environment: dict[str, str]
    setup: str = "true"  # shell commands to source first
    linked: bool = False  # imports come from the source tree (setuptools from 80 on would copy silently)

    def command(self, *words: str | Path) -> list[str]:
        return ["bash", "-c", f"{self.setup} && exec {shlex.join(map(str, words))}"]

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environment, cwd="/", capture_output=True, text=True, timeout=120
        )

    def ask(self, program: str) -> str:
        answer = self.run(self.python, "-c", program)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()


def checked(command: list[str | Path], environment: dict[str, str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def install_with_pip(folder: Path, copy_source: Callable[[Path], Path], environment: dict[str, str]) -> Installation:
    """pip install into a fresh environment, which sees this one's packages behind its own."""
    fresh = folder / "venv"
    checked([sys.executable, "-m", "venv", "--without-pip", fresh], environment, folder)
    python = fresh / "bin" / "python"
    site_packages = fresh / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (site_packages / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    pip_install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    source = copy_source(folder)
    checked([*pip_install, "."], environment, source)
    environment = {**environment, "AMENT_PREFIX_PATH": str(fresh)}
    return Installation(source, fresh / "bin", fresh / "share", python, environment)


def install_with_colcon(
    folder: Path, copy_source: Callable[[Path], Path], environment: dict[str, str], *options: str
) -> Installation:
    source = copy_source(folder / "src")
    environment = {**environment, "COLCON_HOME": str(folder / "colcon_home")}
    checked([sys.executable, "-m", "colcon", "build", *options], environment, folder)
    prefix = folder / "install" / "img2three_ros"
    setup = f". {shlex.quote(str(folder / 'install' / 'setup.bash'))}"
    python = Path(sys.executable)
    executables, share = prefix / "lib" / "img2three_ros", prefix / "share"
    return Installation(source, executables, share, python, environment, setup, linked=bool(options))


@pytest.fixture(scope="module", params=["pip", "colcon", "colcon --symlink-install"])
def installation(request, tmp_path_factory, copy_source, build_environment) -> Installation:
    folder = tmp_path_factory.mktemp("installation")
    tool, *options = request.param.split()
    if tool == "pip":
        return install_with_pip(folder, copy_source, build_environment)
    pytest.importorskip("colcon_core")
    return install_with_colcon(folder, copy_source, build_environment, *options)


def test_the_installed_package_is_imported(installation):
    imported = Path(installation.ask("import os, img2three_ros; print(os.path.realpath(img2three_ros.__file__))"))
    in_source = imported.is_relative_to(installation.source)
    assert in_source == installation.linked, imported
    assert in_source or imported.is_relative_to(installation.share.parent), imported


def test_all_files_are_installed(installation):
    source = {path.relative_to(ROOT) for path in (ROOT / "img2three_ros").rglob("*") if path.is_file()}
    source = {path for path in source if "__pycache__" not in path.parts}
    package = Path(installation.ask("import img2three_ros; print(img2three_ros.__path__[0])"))
    installed = {Path("img2three_ros") / path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    assert source <= installed, sorted(map(str, source - installed))


def test_share_files_are_installed(installation):
    share = installation.share / "img2three_ros"
    wanted = {path.relative_to(ROOT) for top in ("launch", "config", "security") for path in (ROOT / top).rglob("*")}
    wanted = {path for path in wanted if (ROOT / path).is_file() and "__pycache__" not in path.parts}
    missing = [str(path) for path in sorted(wanted | {Path("package.xml")}) if not (share / path).is_file()]
    assert not missing


def test_ament_index_finds_the_package(installation):
    pytest.importorskip("ament_index_python")
    program = "from ament_index_python import packages; print(packages.get_package_share_directory('img2three_ros'))"
    assert Path(installation.ask(program)) == installation.share / "img2three_ros"


def test_executables_are_installed(installation):
    assert {path.name for path in installation.executables.iterdir()} >= EXECUTABLES


def test_command_line_starts(installation):
    shown = installation.run(installation.executables / "img2three", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "reconstruct" in shown.stdout and "evaluate" in shown.stdout


def wait_for_first_log_line(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text()
        if re.search(r"\[(INFO|WARN)\]", text):
            return text
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"no log line in {START_SECONDS} s (exit code {process.wait()}):\n{log.read_text()[-3000:]}")


@pytest.mark.parametrize("node", NODES)
def test_node_starts_and_stops_on_interrupt(installation, node, tmp_path):
    pytest.importorskip("rclpy")
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            installation.command(installation.executables / node, *NODES[node]),
            env=installation.environment, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    wait_for_first_log_line(process, log)
    time.sleep(1)
    assert process.poll() is None, log.read_text()[-3000:]
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(STOP_SECONDS) == 0, log.read_text()[-3000:]
    finally:
        process.kill()


def test_bag_player_names_what_it_lacks(installation, tmp_path):
    pytest.importorskip("rclpy")
    absent = tmp_path / "absent"
    player = installation.run(installation.executables / "bag_player_node", absent)
    assert player.returncode not in (0, 124) and str(absent) in player.stdout + player.stderr
    assert "Traceback" not in player.stderr
