"""One truth for settings: defaults, overrides, and errors that help."""

import pickle

import pytest

from img2three_ros.config import Config, nested_to_paths, settings, with_overrides
from img2three_ros.structures import InputError


def test_override_changes_only_its_path():
    config = with_overrides(Config(), {"occupancy.voxel_size": 0.2, "engine": "scene"})
    changed = {leaf.path for leaf, default in zip(settings(config), settings(Config()), strict=True)
               if leaf.value != default.value}
    assert changed == {"occupancy.voxel_size"}


def test_whole_numbers_serve_as_floats_but_not_the_reverse():
    assert with_overrides(Config(), {"occupancy.voxel_size": 1}).occupancy.voxel_size == 1.0
    with pytest.raises(InputError, match=r"sweep\.planes.*must be of type int"):
        with_overrides(Config(), {"sweep.planes": 32.5})
    with pytest.raises(InputError, match="must be of type int"):
        with_overrides(Config(), {"sweep.planes": True})


@pytest.mark.parametrize(("overrides", "message"), [
    ({"occupancy.voxelsize": 0.2}, r"unknown parameter 'occupancy.voxelsize'.*'occupancy.voxel_size'"),
    ({"occupancy.voxel_size": -1.0}, r"outside \[0.05, 5\] m"),
    ({"occupancy.voxel_size": float("nan")}, "outside"),
    ({"engine": "magic"}, "must be one of"),
    ({"occupancy.x_min": 50.0}, r"occupancy.x_max = 40.0 must exceed occupancy.x_min = 50.0"),
    ({"sweep.max_depth": 1.2}, "sweep.max_depth"),
])
def test_errors_name_path_value_and_remedy(overrides, message):
    with pytest.raises(InputError, match=message):
        with_overrides(Config(), overrides)


def test_settings_that_belong_together_are_applied_together():
    config = with_overrides(Config(), {"occupancy.x_min": 50.0, "occupancy.x_max": 90.0})
    assert (config.occupancy.x_min, config.occupancy.x_max) == (50.0, 90.0)


def test_nested_yaml_becomes_paths():
    assert nested_to_paths({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


def test_every_setting_is_described():
    for leaf in settings(Config()):
        assert leaf.doc, leaf.path


def test_an_error_keeps_its_reason_on_the_way_from_another_process():
    error = pickle.loads(pickle.dumps(InputError("no_images", "camera 'front' gave nothing")))
    assert (type(error), error.reason, str(error)) == (InputError, "no_images", "camera 'front' gave nothing")
