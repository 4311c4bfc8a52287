"""The reconstruction node as Autoware's source of obstacles and of its occupancy grid.

ros2 launch img2three_ros autoware.launch.py rig_file:=rig.yaml
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import SetRemap
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

REMAPPINGS = {
    "~/input/odometry": "/localization/kinematic_state",
    "~/output/obstacle_points": "/perception/obstacle_segmentation/pointcloud",
    "~/output/occupancy_grid": "/perception/occupancy_grid_map/map",
}
"""Names of the node -> Autoware's. Nothing else may publish the last two: switch off what did."""


def share(*parts: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("img2three_ros"), *parts])


def generate_launch_description() -> LaunchDescription:
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(share("launch", "reconstruction.launch.py")),
        launch_arguments={name: LaunchConfiguration(name) for name in ("params_file", "rig_file",
                                                                       "use_sim_time")}.items())
    return LaunchDescription([
        DeclareLaunchArgument("params_file", default_value=share("config", "examples", "autoware.yaml"),
                              description="YAML with the parameters of the node"),
        DeclareLaunchArgument("rig_file", default_value="", description="YAML with camera names, topics, calibration"),
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"],
                              description="take the time from /clock"),
        *(SetRemap(ours, theirs) for ours, theirs in REMAPPINGS.items()), node,
    ])
