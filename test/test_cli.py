"""The command line as a user meets it: help with examples, and errors of one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from img2three_ros import cli
from img2three_ros.config import Config
from img2three_ros.structures import InputError


def run(*arguments, env=None):
    return subprocess.run([sys.executable, "-c", "from img2three_ros.cli import main; main()", *map(str, arguments)],
                          capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("command", ["demo", "reconstruct", "render", "evaluate", "ablations", "simulate",
                                     "rig-from-bag"])
def test_every_command_explains_itself_with_an_example(command):
    result = CliRunner().invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    assert f"img2three {command}" in result.output


@pytest.mark.parametrize("command", ["reconstruct", "render", "evaluate", "ablations", "rig-from-bag"])
def test_a_missing_bag_is_one_clear_line(command, tmp_path):
    result = run(command, tmp_path / "nothing", "--output", tmp_path / "out")
    assert result.returncode == 2
    assert "nothing" in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_overrides_from_file_and_command_line(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("occupancy: {voxel_size: 0.2}\nsweep: {planes: 48}\n")
    config = cli._config("sweep", path, ["sweep.planes=32"])
    assert config.occupancy.voxel_size == 0.2 and config.sweep.planes == 32


def test_a_ros_parameter_file_serves_offline_too(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("/**:\n  ros__parameters:\n    cameras: [front]\n    occupancy.voxel_size: 0.2\n")
    assert cli._config("sweep", path, None).occupancy.voxel_size == 0.2


def test_the_shipped_parameter_file_is_the_defaults():
    shipped = Path(__file__).resolve().parents[1] / "config" / "params.yaml"
    assert cli._config(None, shipped, None) == cli._config(None, None, None) == Config()


@pytest.mark.parametrize(("overrides", "message"), [
    (["sweep.plane=32"], "did you mean 'sweep.planes'"), (["sweep.planes"], "must be PATH=VALUE"),
])
def test_mistyped_settings_are_named(overrides, message):
    with pytest.raises(InputError, match=message):
        cli._config("sweep", None, overrides)


def test_an_unreadable_config_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml"):
        cli._config("sweep", tmp_path / "absent.yaml", None)
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="mapping of settings"):
        cli._config("sweep", tmp_path / "list.yaml", None)


def test_the_engine_of_the_command_line_goes_before_that_of_the_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("engine: scene\n")
    assert cli._config(None, path, None).engine == "scene"
    assert cli._config("sweep", path, None).engine == "sweep"
    assert cli._config(None, path, ["engine=sweep"]).engine == "sweep"


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match="must be one of"):
        cli._config("magic", None, None)
