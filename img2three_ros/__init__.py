"""Surround cameras to 3D points and tri-state occupancy, as a ROS 2 package."""

__version__ = "0.1.0"
