"""Those who read our outputs: a costmap that marks obstacle points, OctoMap's message, parameter files of others."""

import ast
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from vehicle import SECOND, Process, Ticker, Vehicle, node_command, ns

from img2three_ros.config import Config, nested_to_paths, with_overrides
from img2three_ros.fileio.octomap import binary_octomap
from img2three_ros.fileio.point_cloud2 import obstacle_cloud
from img2three_ros.geometry.voxel_grid import all_centres
from img2three_ros.nodes.conversions import cloud_message
from img2three_ros.nodes.octomap_output import OctomapOutput, octomap_message
from img2three_ros.nodes.outputs import CLOUDS
from img2three_ros.nodes.parameters import NodeConfig
from img2three_ros.structures import FREE, OCCUPIED, UNKNOWN, InputError, OccupancyVolume, PointCloud

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "config" / "examples"
FLOAT32 = 7


class Costmap:
    """Marks points as nav2's obstacle layer does: read by iterator, cut to a height band, cast to cells unchecked."""

    def __init__(self, size=20.0, resolution=0.5, heights=(0.2, 3.0)):
        self.size, self.resolution, self.heights = size, resolution, heights
        cells = round(2 * size / resolution)
        self.cost = np.full((cells, cells), 255, np.uint8)
        self.stamps: list[int] = []
        self.frames: set[str] = set()

    def take(self, message):
        """One PointCloud2; asserts what the layer takes for granted."""
        offsets = {field.name: (field.offset, field.datatype, field.count) for field in message.fields}
        assert all(offsets[axis][1:] == (FLOAT32, 1) for axis in "xyz")
        assert message.height == 1 and message.row_step == message.point_step * message.width
        assert len(message.data) == message.row_step * message.height and not message.is_bigendian
        assert message.is_dense
        raw = np.frombuffer(message.data, np.uint8).reshape(message.width, message.point_step)
        points = np.stack([raw[:, offset:offset + 4].copy().view("<f4")[:, 0]
                           for offset in (offsets[axis][0] for axis in "xyz")], axis=1)
        assert np.isfinite(points).all()
        stamp = ns(message.header.stamp)
        assert not self.stamps or stamp > self.stamps[-1]
        self.stamps.append(stamp)
        self.frames.add(message.header.frame_id)
        points = points[(points[:, 2] >= self.heights[0]) & (points[:, 2] <= self.heights[1])]
        points = points[(points[:, :2] >= -self.size).all(axis=1)].astype(np.float64)
        cells = ((points[:, :2] + self.size) / self.resolution).astype(np.int64)
        cells = cells[(cells < len(self.cost)).all(axis=1)]
        self.cost[cells[:, 1], cells[:, 0]] = 254


@given(st.integers(0, 300), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_any_cloud_of_obstacles_can_be_marked(count, seed):
    random = np.random.default_rng(seed)
    points = random.uniform((-30, -30, 0.0), (30, 30, 3.0), (count, 3)).astype(np.float32)
    cloud = PointCloud(points, np.zeros((count, 3), np.uint8), random.random(count, np.float32))
    costmap = Costmap()
    costmap.take(cloud_message(obstacle_cloud(cloud), SECOND, "base_link"))
    wanted = {(int(x * 2 + 40), int(y * 2 + 40)) for x, y, z in points.astype(float)
              if z >= np.float32(0.2) and abs(x) < 20 and abs(y) < 20}
    marked = {(int(x), int(y)) for y, x in np.argwhere(costmap.cost == 254)}
    assert wanted == marked


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE])
def test_a_costmap_lives_on_the_running_node(namespace, tmp_path, reliability):
    """nav2 subscribes with the QoS of sensor data, other consumers ask for reliable transport: both are served."""
    pytest.importorskip("tf2_msgs", reason="TF needs tf2_msgs (scripts/build_tf2_msgs_standin.sh)")
    costmap, vehicle = Costmap(), Vehicle(namespace, ("front", "left"))
    try:
        vehicle.place_cameras()
        vehicle.create_subscription(PointCloud2, f"{vehicle.node}/output/obstacle_points", costmap.take,
                                    QoSProfile(depth=50, reliability=reliability))
        with Process(node_command(namespace, "cameras:=[front, left]"), tmp_path / "node.log"):
            vehicle.wait_active(60.0)
            tick = Ticker(vehicle)
            vehicle.wait(lambda: len(costmap.stamps) >= 12, 60.0, every=tick)
    finally:
        vehicle.destroy_node()
    assert costmap.frames == {"base_link"}
    assert set(costmap.stamps) <= set(tick.sent)
    # The input has 10 Hz; by stamps at least every other frame came through.
    assert np.median(np.diff(costmap.stamps)) <= SECOND / 5
    assert np.argwhere(costmap.cost == 254).tolist() == [[40, 40 + 2 * x] for x in range(10)]


def small_result():
    state = np.full((4, 6, 8), UNKNOWN, np.int8)
    state[2, 3, 4], state[:, 1, 1] = OCCUPIED, FREE
    volume = OccupancyVolume(state, np.full(state.shape, 0.5, np.float32), np.array((-4.0, -3.0, -1.0)), 1.0)
    return SimpleNamespace(stamp=3 * SECOND + 5, base_frame="base_link", occupancy=volume)


@pytest.fixture
def octomap_msgs(monkeypatch):
    """A stand-in with the fields of octomap_msgs/msg/Octomap: there is no wheel of the real one, so nothing goes over
    the wire here."""
    package, messages = ModuleType("octomap_msgs"), ModuleType("octomap_msgs.msg")

    class Octomap:
        def __init__(self, *, header, binary, id, resolution, data):
            assert type(binary) is bool and type(id) is str and type(resolution) is float
            assert data.typecode == "b"  # int8[]
            self.header, self.binary, self.id, self.resolution, self.data = header, binary, id, resolution, data

    messages.Octomap = Octomap
    monkeypatch.setitem(sys.modules, "octomap_msgs", package)
    monkeypatch.setitem(sys.modules, "octomap_msgs.msg", messages)
    return Octomap


def test_octomap_message_is_read_by_the_library_as_octomap_msgs_does(octomap_msgs):
    octomap = pytest.importorskip("octomap", reason="octomap-python has wheels for Linux x86_64 only")
    result = small_result()
    message = octomap_message(result)
    assert (message.header.frame_id, ns(message.header.stamp)) == ("base_link", 3 * SECOND + 5)
    assert message.binary and message.id == "OcTree" and message.resolution == 1.0
    # octomap_msgs::binaryMsgToMap: an OcTree of this resolution, and its data as they are; here as the body of a file.
    head = (f"# Octomap OcTree binary file\nid {message.id}\nsize {binary_octomap(result.occupancy).nodes}\n"
            f"res {message.resolution}\ndata\n").encode()
    tree = octomap.OcTree(message.resolution)
    assert tree.readBinary(head + message.data.tobytes())
    labels = tree.getLabels(all_centres(result.occupancy).astype(np.float64))
    np.testing.assert_array_equal(labels, result.occupancy.state.ravel())


def test_octomap_is_published_only_where_wanted_and_heard(octomap_msgs):
    made = []

    def create(kind, name, qos):
        made.append(SimpleNamespace(kind=kind, name=name, sent=[], get_subscription_count=lambda: count))
        made[-1].publish = made[-1].sent.append
        return made[-1]

    assert OctomapOutput(False, create).publishers == () and not made
    output, count = OctomapOutput(True, create), 0
    output.publish(small_result())
    assert made[0].kind is octomap_msgs and made[0].name == "octomap_binary" and not made[0].sent
    count = 1
    output.publish(small_result())
    assert len(made[0].sent) == 1


def test_octomap_without_its_messages_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "octomap_msgs", None)
    with pytest.raises(InputError, match="octomap-msgs") as caught:
        OctomapOutput(True, lambda *_: None)
    assert caught.value.reason == "octomap"
    assert OctomapOutput(False, lambda *_: None).publishers == ()


def ros_parameters(path):
    (node,) = yaml.safe_load(path.read_text()).values()
    return nested_to_paths(node["ros__parameters"])


@pytest.mark.parametrize("path", [ROOT / "config" / "fast.yaml", EXAMPLES / "img2three_nav2.yaml",
                                  EXAMPLES / "autoware.yaml"], ids=lambda path: path.stem)
def test_parameter_files_are_accepted_by_the_node(path):
    values = ros_parameters(path)
    config = with_overrides(NodeConfig(), values)
    assert config != NodeConfig()
    if path.stem != "fast":
        assert config.occupancy_grid.dialect == ("autoware" if path.stem == "autoware" else "ros")
        assert config.cloud.obstacle_min_height <= config.occupancy_grid.min_height


def test_fast_preset_can_be_given_to_every_command():
    with_overrides(Config(), ros_parameters(ROOT / "config" / "fast.yaml"))


# Names in nav2's documentation (docs.nav2.org/configuration) and in the sources of ros-navigation/navigation2.
NAV2_NAMES = {
    "costmap": {"global_frame", "robot_base_frame", "rolling_window", "width", "height", "resolution",
                "update_frequency", "publish_frequency", "track_unknown_space", "trinary_costmap",
                "lethal_cost_threshold", "unknown_cost_value", "plugins", "footprint", "robot_radius"},
    "nav2_costmap_2d::StaticLayer": {"enabled", "subscribe_to_updates", "map_subscribe_transient_local",
                                     "transform_tolerance", "map_topic", "footprint_clearing_enabled"},
    "nav2_costmap_2d::InflationLayer": {"enabled", "inflation_radius", "cost_scaling_factor", "inflate_unknown",
                                        "inflate_around_unknown"},
    "nav2_costmap_2d::ObstacleLayer": {"enabled", "footprint_clearing_enabled", "min_obstacle_height",
                                       "max_obstacle_height", "combination_method", "observation_sources",
                                       "tf_filter_tolerance"},
    "observation source": {"topic", "sensor_frame", "observation_persistence", "expected_update_rate", "data_type",
                           "min_obstacle_height", "max_obstacle_height", "inf_is_valid", "marking", "clearing",
                           "obstacle_max_range", "obstacle_min_range", "raytrace_max_range", "raytrace_min_range"},
    "collision_monitor": {"base_frame_id", "odom_frame_id", "cmd_vel_in_topic", "cmd_vel_out_topic", "state_topic",
                          "transform_tolerance", "source_timeout", "base_shift_correction", "stop_pub_timeout",
                          "polygons", "observation_sources"},
    "collision source": {"type", "topic", "enabled", "source_timeout", "min_height", "max_height", "min_range",
                         "use_global_height", "transport_type"},
    "polygon": {"type", "points", "action_type", "min_points", "visualize", "polygon_pub_topic", "enabled"},
}


def nav2():
    tree = yaml.safe_load((EXAMPLES / "nav2.yaml").read_text())
    return (tree["local_costmap"]["local_costmap"]["ros__parameters"],
            tree["collision_monitor"]["ros__parameters"])


def groups(parameters):
    return {name: value for name, value in parameters.items() if isinstance(value, dict)}


def plain(parameters):
    return set(parameters) - set(groups(parameters))


def test_nav2_example_uses_names_that_nav2_documents():
    costmap, monitor = nav2()
    assert plain(costmap) <= NAV2_NAMES["costmap"]
    assert set(costmap["plugins"]) <= set(groups(costmap))
    for layer in groups(costmap).values():
        sources = layer.get("observation_sources", "").split()
        assert plain(layer) - {"plugin"} <= NAV2_NAMES[layer["plugin"]]
        assert set(groups(layer)) == set(sources)
        for source in sources:
            assert set(layer[source]) <= NAV2_NAMES["observation source"]
    assert plain(monitor) <= NAV2_NAMES["collision_monitor"]
    assert set(groups(monitor)) == {*monitor["observation_sources"], *monitor["polygons"]}
    for source in monitor["observation_sources"]:
        assert set(monitor[source]) <= NAV2_NAMES["collision source"] and monitor[source]["type"] == "pointcloud"
    for polygon in monitor["polygons"]:
        assert set(monitor[polygon]) <= NAV2_NAMES["polygon"]
        assert len(ast.literal_eval(monitor[polygon]["points"])) >= 3


def test_nav2_example_keeps_the_unknown_unknown_and_names_our_topics():
    costmap, monitor = nav2()
    ours = with_overrides(NodeConfig(), ros_parameters(EXAMPLES / "img2three_nav2.yaml"))
    assert costmap["track_unknown_space"] is True and ours.occupancy_grid.dialect == "ros"
    assert costmap["lethal_cost_threshold"] == 100
    seen = costmap["seen_by_cameras"]
    assert seen["map_topic"] == "/img2three/output/occupancy_grid"
    assert seen["map_subscribe_transient_local"] is False  # our grid is not latched
    points = [costmap["obstacle_points"]["cameras"], monitor["cameras"]]
    assert {source["topic"] for source in points} == {"/img2three/output/obstacle_points"}
    assert "obstacle_points" in CLOUDS and "obstacle_points" not in costmap["plugins"]
    assert points[0]["max_obstacle_height"] == ours.cloud.obstacle_max_height


@pytest.mark.parametrize("name", ["nav2", "autoware"])
def test_launch_files_of_consumers_remap_names_that_exist(name):
    tree = ast.parse((ROOT / "launch" / f"{name}.launch.py").read_text())
    remappings = next(ast.literal_eval(node.value) for node in tree.body
                      if isinstance(node, ast.Assign) and node.targets[0].id == "REMAPPINGS")
    known = {"~/input/odometry", "~/output/occupancy_grid", *(f"~/output/{cloud}" for cloud in CLOUDS)}
    assert set(remappings) <= known and all(theirs.startswith("/") for theirs in remappings.values())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    declared = {call.args[0].value: {keyword.arg for keyword in call.keywords} for call in calls
                if getattr(call.func, "id", "") == "DeclareLaunchArgument"}
    assert set(declared) == {"params_file", "rig_file", "use_sim_time"}
    assert all({"default_value", "description"} <= keywords for keywords in declared.values())
    for call in calls:
        if getattr(call.func, "id", "") == "share":
            assert ROOT.joinpath(*(part.value for part in call.args)).is_file()


