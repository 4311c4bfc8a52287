"""Files that only other programs read must still agree with the code: rigs, RViz, transport, launch."""

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml

from img2three_ros.fileio.point_cloud2 import occupied_voxels
from img2three_ros.ingest.rig import load_rig
from img2three_ros.nodes.outputs import CLOUDS
from img2three_ros.simulation.rig import mounts
from img2three_ros.simulation.settings import RIGS
from img2three_ros.structures import VOXEL_LABELS, OccupancyVolume

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "rigs").glob("*.yaml")), ids=lambda path: path.stem)
def test_rigs_load_and_fit_the_simulated_vehicle(path):
    rig = load_rig(path)
    assert all(camera.image_topic == f"/camera/{camera.name}/image_raw/compressed" for camera in rig.cameras)
    if path.stem in RIGS:
        assert rig.names == tuple(mount.name for mount in mounts(path.stem))


def test_rviz_shows_topics_that_exist():
    tree = yaml.safe_load((ROOT / "config" / "img2three.rviz").read_text())["Visualization Manager"]
    assert tree["Global Options"]["Fixed Frame"] == "base_link"
    shown = {display["Name"]: display["Topic"]["Value"] for display in tree["Displays"] if "Topic" in display}
    assert {topic.rsplit("/", 1)[-1] for topic in shown.values()} == {
        "points", "obstacle_points", "occupied_voxels", "occupancy_grid", "voxel_bounds"}
    assert {"points", "obstacle_points", "occupied_voxels"} <= set(CLOUDS)
    assert all(topic.startswith("/img2three/output/") for topic in shown.values())


def test_rviz_gives_every_class_of_voxels_its_own_colour():
    displays = yaml.safe_load((ROOT / "config" / "img2three.rviz").read_text())["Visualization Manager"]["Displays"]
    shown = next(display for display in displays if display["Name"] == "Occupied voxels by class")
    volume = OccupancyVolume(np.zeros((1, 1, 1), np.int8), np.zeros((1, 1, 1), np.float32), np.zeros(3), 0.4)
    assert shown["Channel Name"] in [name for name, _, _ in occupied_voxels(volume).fields]
    assert not shown["Autocompute Intensity Bounds"]
    assert (shown["Min Intensity"], shown["Max Intensity"]) == (0, len(VOXEL_LABELS) - 1)


def test_shared_memory_holds_the_largest_message_twice():
    root = ElementTree.parse(ROOT / "config" / "fastdds_shared_memory.xml").getroot()
    sizes = [int(item.text) for item in root.iter() if item.tag.endswith("}segment_size")]
    assert len(sizes) == 1 and sizes[0] >= 2 * (640_000 * 20)  # a cloud of 640k points, being written and read


@pytest.mark.parametrize("name, arguments", [
    ("reconstruction", {"params_file", "rig_file", "namespace", "use_sim_time", "bag", "rviz", "log_level",
                        "build_only"}),
    ("demo", {"seed", "seconds", "image_transport", "rviz", "log_level"}),
])
def test_launch_arguments_are_declared_with_a_description(name, arguments):
    tree = ast.parse((ROOT / "launch" / f"{name}.launch.py").read_text())
    declared = {call.args[0].value: {keyword.arg for keyword in call.keywords} for call in ast.walk(tree)
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "DeclareLaunchArgument"}
    assert set(declared) == arguments
    assert all({"default_value", "description"} <= keywords for keywords in declared.values())
