"""Starts the reconstruction node; on a recording too (bag:=...), and with RViz (rviz:=true). Or only builds the
TensorRT engines that the rig needs and exits (build_only:=true), so that the next start does not wait for them.

ros2 launch img2three_ros reconstruction.launch.py rig_file:=rig.yaml
ros2 launch img2three_ros reconstruction.launch.py rig_file:=rig.yaml bag:=recording/ rviz:=true
ros2 launch img2three_ros reconstruction.launch.py rig_file:=rig.yaml build_only:=true
"""

import importlib.util
import os

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from launch import LaunchContext, LaunchDescription

PACKAGE = "img2three_ros"
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""The second is Humble's name for the first; setting both makes Fast DDS read the file twice and complain."""


def share(*parts: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare(PACKAGE), *parts])


def arguments() -> list:
    return [
        DeclareLaunchArgument("params_file", default_value=share("config", "params.yaml"),
                              description="YAML with the parameters of the node"),
        DeclareLaunchArgument("rig_file", default_value="",
                              description="YAML with camera names, topics and (optionally) calibration; empty leaves "
                                          "it to the parameters"),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"],
                              description="take the time from /clock; on by itself when bag is given"),
        DeclareLaunchArgument("bag", default_value="", description="recording to play (rosbag2), with /clock"),
        DeclareLaunchArgument("rviz", default_value="false", choices=["true", "false"],
                              description="show the outputs in RViz"),
        DeclareLaunchArgument("log_level", default_value="info", choices=["debug", "info", "warn", "error"],
                              description="how much the node says"),
        DeclareLaunchArgument("build_only", default_value="false", choices=["true", "false"],
                              description="build the TensorRT engines for rig_file (or the cameras of bag) and exit"),
    ]


def shared_memory() -> list:
    """Room for images in shared memory, unless the user has chosen a profile."""
    if any(name in os.environ for name in PROFILE_VARIABLES):
        return []
    name = PROFILE_VARIABLES[os.environ.get("ROS_DISTRO") == "humble"]
    return [SetEnvironmentVariable(name, share("config", "fastdds_shared_memory.xml"))]


def nodes(context: LaunchContext) -> list:
    """What depends on the values of the arguments."""
    value = {name: LaunchConfiguration(name).perform(context)
             for name in ("params_file", "rig_file", "namespace", "use_sim_time", "bag", "log_level", "build_only")}
    if value["build_only"] == "true":
        return [engine_build(value["params_file"], value["rig_file"], value["bag"])]
    sim_time = value["use_sim_time"] == "true" or bool(value["bag"])
    overrides = {"use_sim_time": sim_time}
    if value["rig_file"]:
        overrides["rig_file"] = os.path.abspath(value["rig_file"])
    started = [LifecycleNode(
        package=PACKAGE, executable="reconstruction_node", name="img2three", namespace=value["namespace"],
        parameters=[value["params_file"], overrides], arguments=["--ros-args", "--log-level", value["log_level"]],
        output="screen", emulate_tty=True)]
    if value["bag"]:
        started.append(player(os.path.abspath(value["bag"])))
    return [*started, rviz(sim_time)]


def engine_build(params_file: str, rig_file: str, bag: str) -> ExecuteProcess:
    """``img2three engines build``, with the parameters of the node. The launch ends with it."""
    if not (rig_file or bag):
        raise RuntimeError("build_only:=true needs rig_file:=... (with calibrations) or bag:=...: engines are built "
                           "for the sizes of the cameras' images")
    given = [word for option, path in (("--config", params_file), ("--rig", rig_file), ("--bag", bag)) if path
             for word in (option, os.path.abspath(path))]
    program = ExecutableInPackage(executable="img2three", package=PACKAGE)
    return ExecuteProcess(cmd=[program, "engines", "build", *given], output="screen")


def rviz(sim_time: bool) -> Node:
    return Node(package="rviz2", executable="rviz2", arguments=["-d", share("config", "img2three.rviz")],
                parameters=[{"use_sim_time": sim_time}], condition=IfCondition(LaunchConfiguration("rviz")),
                output="log")


def player(bag: str) -> ExecuteProcess | Node:
    """``ros2 bag play`` where it exists, otherwise the player of this package."""
    if importlib.util.find_spec("ros2bag") is not None:
        return ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock", "100", "--delay", "5"], output="screen")
    return Node(package=PACKAGE, executable="bag_player_node", output="screen",
                arguments=[bag, "--wait-for-subscribers", "60"])


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*arguments(), *shared_memory(), OpaqueFunction(function=nodes)])
