#!/usr/bin/env bash
# Makes .venv with the pinned ROS 2 wheels, torch and this package, ready for `make test` and `make demo`.
# A second call with nothing changed returns at once. PYTHON=python3.12 chooses another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=$PWD/.venv
STAMP=$VENV/.setup_stamp
TORCH_VERSION=2.13.0
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

refuse_sourced_ros() {
  local entry foreign=${ROS_DISTRO:+ROS_DISTRO=$ROS_DISTRO}
  for entry in $(tr : ' ' <<<"${AMENT_PREFIX_PATH:-}"); do
    [ "$entry" = "$VENV" ] || foreign="AMENT_PREFIX_PATH has $entry"
  done
  [ -z "$foreign" ] || fail "a ROS 2 is sourced here ($foreign) and must not mix with the ROS wheels of .venv:" \
    "open a shell without it and call make again, or use that ROS with 'colcon build' (see README)."
}

find_python() {
  BASE_PYTHON=$(command -v "${PYTHON:-python3}") || fail "no ${PYTHON:-python3} here: apt-get install python3 python3-venv"
  "$BASE_PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' \
    || fail "$BASE_PYTHON is $("$BASE_PYTHON" -V 2>&1); Python 3.10 to 3.14 is needed: choose one with PYTHON=python3.12 make ..."
}

# Changes whenever something that decides the content of .venv changes.
fingerprint() {
  { cat setup.py constraints.txt scripts/setup_environment.sh scripts/build_tf2_msgs_standin.sh
    find test/tf2_msgs_standin -type f -print0 | sort -z | xargs -0 cat
    echo "$BASE_PYTHON $("$BASE_PYTHON" -V) $PWD"; } | sha256sum | cut -d' ' -f1
}

has_library() { [[ $(/sbin/ldconfig -p) == *"$1"* ]]; }
has_python_headers() {
  "$BASE_PYTHON" -c 'import os, sysconfig; raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

install_system_packages() {
  local missing=()
  "$BASE_PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  has_library libGL.so.1 || missing+=(libgl1)               # opencv-python, open3d
  has_library libusb-1.0.so.0 || missing+=(libusb-1.0-0)    # open3d
  has_library libgomp.so.1 || missing+=(libgomp1)           # open3d
  has_library libX11.so.6 || missing+=(libx11-6)            # open3d
  command -v g++ >/dev/null || missing+=(g++)               # these four: the tf2_msgs stand-in of the tests
  command -v cmake >/dev/null || missing+=(cmake)
  command -v ninja >/dev/null || missing+=(ninja-build)
  has_python_headers || missing+=(python3-dev)
  [ ${#missing[@]} -gt 0 ] || return 0

  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing from apt: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } </dev/null >/dev/null \
      || say "apt-get could not install all of: ${missing[*]}"
  else
    say "please run: sudo apt-get install ${missing[*]}"
  fi
  "$BASE_PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "without python3-venv no environment can be made."
}

pip_install() {
  "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt "$@" </dev/null
}

# With a GPU the ordinary wheel; without one a CPU wheel, which is ten times smaller.
install_torch() {
  if "$VENV/bin/python" -c "import torch; raise SystemExit(torch.__version__.split('+')[0] != '$TORCH_VERSION')" 2>/dev/null
  then
    return 0
  fi
  if nvidia-smi >/dev/null 2>&1; then
    say "torch $TORCH_VERSION with CUDA"
    pip_install "torch==$TORCH_VERSION"
    return
  fi
  say "torch $TORCH_VERSION for the CPU"
  pip_install "torch==$TORCH_VERSION+cpu" 2>/dev/null \
    || pip_install "torch==$TORCH_VERSION" --index-url "$TORCH_CPU_INDEX" --retries 1 --timeout 15 2>/dev/null \
    || pip_install "torch==$TORCH_VERSION"
}

# Types of TensorRT for mypy; its dependencies are TensorRT itself, which needs a GPU's libraries.
install_tensorrt_types() {
  pip_install --no-deps tensorrt-stubs 2>/dev/null || say "tensorrt-stubs could not be installed: mypy checks less."
}

install_package() {
  local extras=dev,ros
  if [ "$(uname -sm)" != "Linux x86_64" ]; then
    extras=dev
    say "ROS wheels exist for Linux x86_64 only: the nodes need a sourced ROS 2 here, everything else works."
  fi
  say "the package with [$extras]"
  pip_install --no-build-isolation -e ".[$extras,open3d]" && return
  say "once more without open3d: cloud filtering and the viewer will be off, everything else works."
  pip_install --no-build-isolation -e ".[$extras]"
}

refuse_sourced_ros
find_python
WANTED=$(fingerprint)
[ "$(cat "$STAMP" 2>/dev/null || true)" != "$WANTED" ] || exit 0

install_system_packages
[ -x "$VENV/bin/python" ] || "$BASE_PYTHON" -m venv "$VENV"
pip_install pip wheel setuptools
install_torch
install_package
install_tensorrt_types
scripts/build_tf2_msgs_standin.sh "$VENV" </dev/null \
  || say "the tf2_msgs stand-in could not be built (log: .venv/tf2_msgs_standin.log): tests of /tf are skipped."
echo "$WANTED" >"$STAMP"
say "done: .venv is ready"
