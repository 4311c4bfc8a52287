"""From ROS-shaped messages (rclpy or rosbags, duck-typed) to ``Frame``: validate, synchronize, assemble."""
