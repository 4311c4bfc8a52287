"""ROS parameters generated from the configuration dataclasses: one string names a setting everywhere.

``python -m img2three_ros.nodes.parameters > config/params.yaml`` writes the file of defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..config import Config, Setting, Value, setting, settings, with_overrides
from ..fileio.occupancy_grid import OccupancyGridConfig
from ..fileio.octomap import OctomapConfig
from ..structures import InputError

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

Settings = TypeVar("Settings")

MAX_CAMERAS = 12
_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_OF_ROS = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares by itself."""


@dataclass(frozen=True)
class StatusConfig:
    """How the health of the node is judged."""

    period: float = setting(1.0, "time between reports on ~/status and /diagnostics", unit="s", low=0.1, high=60.0)
    stale_after: float = setting(5.0, "STALE when nothing was published for this long", unit="s", low=0.1,
                                 dynamic=True)
    camera_timeout: float = setting(2.0, "a camera silent for this long is reported as lost", unit="s", low=0.1,
                                    dynamic=True)


@dataclass(frozen=True)
class PromiseConfig:
    """What the outputs offer to consumers that ask for it (QoS); others need not care."""

    deadline: float = setting(5.0, "offered deadline of the outputs: a consumer that asks for one is told when nothing "
                              "came for so long; 0 = none", unit="s", low=0.0)
    lease: float = setting(2.0, "offered liveliness of the outputs: a consumer that asks is told when this process has "
                           "been gone for so long; 0 = never", unit="s", low=0.0)


@dataclass(frozen=True)
class NodeConfig(Config):
    """The configuration of the reconstruction, and what only the node needs to know."""

    autostart: bool = setting(True, "configure and activate at start; false leaves both to a lifecycle manager")
    cameras: tuple[str, ...] = setting((), "names of the cameras, 1 to 12; empty takes those of the rig file")
    rig_file: str = setting("", "YAML of topics, frames and (optionally) calibration; img2three rig-from-bag writes it")
    base_frame: str = setting("", "frame of all outputs; empty takes that of the rig file, else base_link")
    odom_frame: str = setting("", "frame of ego motion; empty takes that of the rig file, else of the odometry or TF")
    image_transport: str = setting("auto", "auto takes what is published, raw before compressed",
                                   choices=("auto", "raw", "compressed"))
    required_cameras: tuple[str, ...] = setting((), "frames without all of these are rejected and reported as ERROR")
    disabled_cameras: tuple[str, ...] = setting((), "cameras whose images are left out for now: unknown there",
                                                dynamic=True)
    max_rate: float = setting(0.0, "frames are reconstructed at most this often; 0 = as often as possible", unit="Hz",
                              low=0.0, high=1000.0, dynamic=True)
    max_input_age: float = setting(0.0, "images older than this on arrival, or more than 1 s ahead of the clock, are "
                                   "rejected; 0 = never", unit="s", low=0.0, dynamic=True)
    max_output_delay: float = setting(0.0, "results that are ready later than this after their stamp are not "
                                      "published; 0 = all are", unit="s", low=0.0, dynamic=True)
    warm_up: bool = setting(True, "run the engine once on blank images when configured, and test what it gives")
    allowed_folders: tuple[str, ...] = setting((), "files that parameters name must lie in these folders (or in the "
                                               "package); empty = anywhere")
    promises: PromiseConfig = PromiseConfig()
    occupancy_grid: OccupancyGridConfig = field(default_factory=OccupancyGridConfig)
    octomap: OctomapConfig = field(default_factory=OctomapConfig)
    status: StatusConfig = field(default_factory=StatusConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cameras(self.cameras)
        for name in ("required_cameras", "disabled_cameras"):
            unknown = sorted(set(getattr(self, name)) - set(self.cameras)) if self.cameras else []
            if unknown:
                raise InputError("parameter", f"{name}: {', '.join(unknown)} must be among cameras "
                                 f"({', '.join(self.cameras)})")
        both = sorted(set(self.required_cameras) & set(self.disabled_cameras))
        if both:
            raise InputError("parameter", f"disabled_cameras: {', '.join(both)} is one of required_cameras")
        if self.sync.min_cameras > len(self.cameras) > 0:
            raise InputError("parameter", f"sync.min_cameras = {self.sync.min_cameras} exceeds the {len(self.cameras)} "
                             "cameras")


def check_cameras(cameras: tuple[str, ...]) -> None:
    """Raises InputError unless the names can be parts of topic names, differ and are at most 12."""
    for name in cameras:
        if not _CAMERA_NAME.match(name):
            raise InputError("parameter", f"cameras: '{name}' cannot be part of a topic name; use letters, digits and "
                             "_, starting with a letter")
    if len(set(cameras)) != len(cameras):
        raise InputError("parameter", f"cameras: names must differ, got {', '.join(cameras)}")
    if len(cameras) > MAX_CAMERAS:
        raise InputError("parameter", f"cameras: {len(cameras)} given, at most {MAX_CAMERAS} are supported")


def declare(node: Node, defaults: Settings) -> Settings:
    """Declare every setting of a dataclass as a parameter.

    The node must have been created with ``automatically_declare_parameters_from_overrides=True``: overrides that
    are no setting would go unnoticed otherwise.

    Raises InputError for an override that is unknown (naming the nearest setting), ill-typed or out of range.
    """
    given = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()
             if name not in _OF_ROS and not name.startswith("qos_overrides.")}
    config: Settings = with_overrides(defaults, {name: from_ros(value) for name, value in given.items()})
    for name in given:
        node.undeclare_parameter(name)
    node.declare_parameters("", [(leaf.path, to_ros(leaf.value), descriptor(leaf)) for leaf in settings(config)],
                            ignore_override=True)
    return config


def changed(config: NodeConfig, parameters: Mapping[str, Any], cameras: tuple[str, ...] = ()) -> NodeConfig:
    """``config`` with parameters set at run time, validated together. cameras: those of the rig file, which count
    where the parameter names none. Raises InputError."""
    known = {leaf.path for leaf in settings(config)}
    ours = {name: from_ros(value) for name, value in parameters.items() if name in known}
    result: NodeConfig = with_overrides(config, ours)
    replace(result, cameras=result.cameras or cameras)  # checks what names cameras
    return result


def descriptor(leaf: Setting) -> ParameterDescriptor:
    """Description, range and mutability of a setting in ROS's words."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    described = ParameterDescriptor(name=leaf.path, read_only=not leaf.dynamic, description=_description(leaf))
    if leaf.choices:
        described.additional_constraints = "one of: " + ", ".join(leaf.choices)
    if leaf.low is None or leaf.high is None:
        return described
    if isinstance(leaf.value, float):
        described.floating_point_range = [FloatingPointRange(from_value=float(leaf.low), to_value=float(leaf.high))]
    elif isinstance(leaf.value, int):
        described.integer_range = [IntegerRange(from_value=int(leaf.low), to_value=int(leaf.high))]
    return described


def to_ros(value: Value) -> Any:
    """A setting as a parameter value. ROS cannot tell the type of an empty list, so that is a list of one ''."""
    return (list(value) or [""]) if isinstance(value, tuple) else value


def from_ros(value: Any) -> Any:
    """The inverse of ``to_ros``; array.array and other sequences become tuples."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return tuple(item for item in value if item != "")


def yaml_of(config: NodeConfig) -> str:
    """The ROS parameter file of a configuration, every setting with its description."""
    head = "# Every parameter with its default: python -m img2three_ros.nodes.parameters > config/params.yaml"
    return "\n".join([head, "/**:", "  ros__parameters:", *_yaml_lines(config)]) + "\n"


def _yaml_lines(config: NodeConfig) -> Iterator[str]:
    # Leaves outside any group first: a group may sit between them in the dataclass.
    leaves = sorted(settings(config), key=lambda leaf: "." in leaf.path)
    group = ""
    for leaf in leaves:
        parent, _, name = leaf.path.rpartition(".")
        if parent != group:
            group = parent
            yield f"    {parent}:"
        indent = " " * (6 if parent else 4)
        yield f"{indent}# {_description(leaf)}{_limits(leaf)}"
        yield f"{indent}{name}: {_scalar(leaf.value)}"


def _description(leaf: Setting) -> str:
    return leaf.doc + (f" ({leaf.unit})" if leaf.unit else "")


def _limits(leaf: Setting) -> str:
    low = "" if leaf.low is None else f"{leaf.low:g}"
    high = "" if leaf.high is None else f"{leaf.high:g}"
    limits = [", ".join(leaf.choices)] if leaf.choices else []
    limits += [f"{low}..{high}"] if low or high else []
    limits += ["may change while running"] if leaf.dynamic else []
    return f" [{'; '.join(limits)}]" if limits else ""


def _scalar(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_scalar(item) for item in value or ("",)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    print(yaml_of(NodeConfig()), end="")
