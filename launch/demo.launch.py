"""A simulated vehicle drives past the reconstruction node, live.

ros2 launch img2three_ros demo.launch.py rviz:=true
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def share(*parts: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare("img2three_ros"), *parts])


def generate_launch_description() -> LaunchDescription:
    # The reconstruction goes first: its launch file sets the transport for everything that starts after it.
    reconstruction = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(share("launch", "reconstruction.launch.py")),
        launch_arguments={"rig_file": share("config", "rigs", "nuscenes.yaml"), "rviz": LaunchConfiguration("rviz"),
                          "log_level": LaunchConfiguration("log_level")}.items())
    vehicle = Node(
        package="img2three_ros", executable="simulated_vehicle_node", output="screen",
        parameters=[{"seed": ParameterValue(LaunchConfiguration("seed"), value_type=int),
                     "period": ParameterValue(LaunchConfiguration("seconds"), value_type=float),
                     "image_transport": LaunchConfiguration("image_transport"), "width": 384, "height": 256}])
    return LaunchDescription([
        DeclareLaunchArgument("seed", default_value="7", description="seed of the simulated street"),
        DeclareLaunchArgument("seconds", default_value="5.0",
                              description="length of the drive, which then repeats (rendered before it starts)"),
        DeclareLaunchArgument("image_transport", default_value="compressed", choices=["compressed", "raw"],
                              description="how the simulated images are published"),
        DeclareLaunchArgument("rviz", default_value="false", choices=["true", "false"],
                              description="show the outputs in RViz"),
        DeclareLaunchArgument("log_level", default_value="info", choices=["debug", "info", "warn", "error"],
                              description="how much the node says"),
        reconstruction, vehicle,
    ])
