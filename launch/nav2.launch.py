"""The reconstruction node with the settings that nav2 wants; config/examples/nav2.yaml is nav2's side.

ros2 launch img2three_ros nav2.launch.py rig_file:=rig.yaml
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import SetRemap
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

REMAPPINGS = {"~/input/odometry": "/odom"}
"""Names of the node -> names that nav2's robots use. nav2 finds the outputs by the names in its parameters."""


def share(*parts: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("img2three_ros"), *parts])


def generate_launch_description() -> LaunchDescription:
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(share("launch", "reconstruction.launch.py")),
        launch_arguments={name: LaunchConfiguration(name) for name in ("params_file", "rig_file",
                                                                       "use_sim_time")}.items())
    return LaunchDescription([
        DeclareLaunchArgument("params_file", default_value=share("config", "examples", "img2three_nav2.yaml"),
                              description="YAML with the parameters of the node"),
        DeclareLaunchArgument("rig_file", default_value="", description="YAML with camera names, topics, calibration"),
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"],
                              description="take the time from /clock"),
        *(SetRemap(ours, theirs) for ours, theirs in REMAPPINGS.items()), node,
    ])
