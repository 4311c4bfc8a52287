"""ROS parameters are generated from the dataclasses: one name, one default, one range."""

from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from img2three_ros.config import nested_to_paths, settings
from img2three_ros.nodes.parameters import NodeConfig, changed, declare, from_ros, to_ros, yaml_of
from img2three_ros.structures import InputError

ROOT = Path(__file__).resolve().parents[2]


def test_parameter_file_is_made_of_the_defaults():
    text = (ROOT / "config" / "params.yaml").read_text()
    assert text == yaml_of(NodeConfig()), "run: python -m img2three_ros.nodes.parameters > config/params.yaml"
    given = nested_to_paths(yaml.safe_load(text)["/**"]["ros__parameters"])
    assert {path: from_ros(value) for path, value in given.items()} == {
        leaf.path: leaf.value for leaf in settings(NodeConfig())}


def test_every_setting_survives_ros_and_back():
    for leaf in settings(NodeConfig()):
        assert from_ros(to_ros(leaf.value)) == leaf.value


@pytest.fixture
def make_node():
    made = []

    def make(**overrides):
        made.append(Node("parameters", automatically_declare_parameters_from_overrides=True, parameter_overrides=[
            Parameter(name.replace("__", "."), value=value) for name, value in overrides.items()]))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()


def test_overrides_arrive_and_whole_numbers_count_as_floats(make_node):
    node = make_node(cameras=["front", "left"], occupancy__voxel_size=1, use_sim_time=False)
    config = declare(node, NodeConfig())
    assert config.cameras == ("front", "left") and config.occupancy.voxel_size == 1.0
    assert node.get_parameter("occupancy.voxel_size").value == 1.0
    assert node.get_parameter("occupancy.decay").value == config.occupancy.decay
    described = node.describe_parameter("occupancy.voxel_size")
    assert described.read_only and described.floating_point_range[0].from_value == 0.05
    assert not node.describe_parameter("occupancy.decay").read_only
    assert "autoware" in node.describe_parameter("occupancy_grid.dialect").additional_constraints


@pytest.mark.parametrize("overrides, words", [
    ({"sync__tolerence": 0.1}, ("sync.tolerence", "sync.tolerance")),
    ({"cameras": ["front", "front"]}, ("differ", "front")),
    ({"cameras": ["front left"]}, ("front left", "topic")),
    ({"cameras": [f"c{index}" for index in range(13)]}, ("13", "12")),
    ({"cameras": ["front"], "required_cameras": ["rear"]}, ("required_cameras", "rear")),
    ({"image_transport": "pigeon"}, ("image_transport", "pigeon", "compressed")),
    ({"occupancy__decay": "much"}, ("occupancy.decay", "float")),
    ({"occupancy_grid__min_height": 9.0}, ("occupancy_grid.max_height", "9.0")),
])
def test_bad_overrides_are_named(make_node, overrides, words):
    with pytest.raises(InputError) as caught:
        declare(make_node(**overrides), NodeConfig())
    assert all(word in str(caught.value) for word in words)


def test_what_may_be_said_of_hidden_space_changes_while_running(make_node):
    node = make_node()
    declare(node, NodeConfig())
    for name in ("occupancy.hidden_threshold", "occupancy.trust_hidden_free"):
        assert not node.describe_parameter(name).read_only
    config = changed(NodeConfig(), {"occupancy.hidden_threshold": 1.0, "occupancy.trust_hidden_free": True})
    assert config.occupancy.hidden_threshold == 1.0 and config.occupancy.trust_hidden_free
    with pytest.raises(InputError, match="hidden_threshold"):
        changed(NodeConfig(), {"occupancy.hidden_threshold": 0.4})
    assert node.describe_parameter("scene.space").read_only


def test_runtime_changes_are_validated_together():
    config = changed(NodeConfig(), {"occupancy_grid.min_height": 4.0, "occupancy_grid.max_height": 5.0,
                                    "use_sim_time": True})
    assert config.occupancy_grid.min_height == 4.0
    with pytest.raises(InputError):
        changed(NodeConfig(), {"occupancy_grid.min_height": 4.0})
