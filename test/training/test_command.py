"""``img2three train depth``: settings, errors, and one real run on the simulated world."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from img2three_ros.cli import app as whole_app
from img2three_ros.config import settings, with_overrides
from img2three_ros.models.depth_weights import load_depth_network
from img2three_ros.structures import InputError
from img2three_ros.training.command import app, read_settings
from img2three_ros.training.loop import LAST
from img2three_ros.training.settings import SceneTrainConfig, TrainConfig
from img2three_ros.training.sources import group_sources

ROOT = Path(__file__).resolve().parents[2]


def refused(*arguments: str) -> InputError:
    result = CliRunner().invoke(app, ["depth", *arguments])
    assert isinstance(result.exception, InputError), result.output
    return result.exception


@pytest.mark.parametrize(("defaults", "name"), [(TrainConfig(), "train_depth"), (SceneTrainConfig(), "train_scene")])
def test_the_settings_files_of_the_package_are_valid(defaults, name):
    config = with_overrides(defaults, read_settings(ROOT / "config" / f"{name}.yaml"))
    assert config.steps == config.plan[-1].until > 0


@pytest.mark.parametrize("defaults", [TrainConfig(), SceneTrainConfig()])
def test_every_setting_of_training_is_described(defaults):
    for leaf in settings(defaults):
        assert leaf.doc, leaf.path


def test_mistakes_are_named(tmp_path):
    output = ("--output", str(tmp_path / "out"))
    assert "did you mean 'data.reuse'" in str(refused(*output, "--set", "data.reus=3"))
    assert "must be PATH=VALUE" in str(refused(*output, "--set", "seed"))
    assert "cannot be read" in str(refused(*output, "--config", str(tmp_path / "none.yaml")))
    assert "no weights at" in str(refused(*output, "--init", str(tmp_path / "none.safetensors")))
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "must hold a mapping" in str(refused(*output, "--config", str(tmp_path / "list.yaml")))
    with pytest.raises(InputError, match="names no recording"):
        group_sources(with_overrides(TrainConfig(), {"data.kind": "bags"}), tmp_path)


def test_help_is_reached_from_the_main_command():
    result = CliRunner().invoke(whole_app, ["train", "depth", "--help"])
    assert result.exit_code == 0 and "--bag" in result.output


def test_the_real_network_trains_on_the_simulated_world(tmp_path):
    changes = ("stages=[to 2 size 64x96 groups 1 views 2]", "data.workers=0", "validation.groups=1", "log_every=1",
               "validation.size=64x96", "validation.views=2", "pretrained=false", "device=cpu")
    arguments = [part for change in changes for part in ("--set", change)]
    result = CliRunner().invoke(app, ["depth", "--output", str(tmp_path), *arguments], catch_exceptions=False)
    assert result.exit_code == 0 and "step 2/2" in result.output and "done: 2 steps" in result.output
    load_depth_network(tmp_path / LAST)
