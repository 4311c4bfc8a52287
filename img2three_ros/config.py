"""Configuration: frozen dataclasses with the defaults in code.

One string names a setting everywhere: ROS parameter = YAML path = dataclass path (``occupancy.voxel_size``).
YAML and parameters only override; an unknown or ill-typed key is an error that names the nearest valid one.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from .structures import InputError

MAX_VOXELS = 64_000_000
"""More would take gigabytes."""

Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]


def setting(
    default: Any, doc: str, *, unit: str = "", low: float | None = None, high: float | None = None,
    choices: tuple[str, ...] = (), dynamic: bool = False,
) -> Any:
    """A dataclass field with its description, unit, range and whether it may change while running."""
    metadata = {"doc": doc, "unit": unit, "low": low, "high": high, "choices": choices, "dynamic": dynamic}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PrepareConfig:
    """Undistortion and resizing of images to the engine's size."""

    pixels: int = setting(256_000, "pixels of the images the engine works on (640 x 400); width and height follow "
                          "the aspect ratio, both multiples of 16; images are never enlarged", unit="px",
                          low=4096, high=8_000_000)
    max_half_angle: float = setting(60.0, "widest angle from the optical axis kept when a fisheye image is "
                                    "undistorted", unit="deg", low=10.0, high=80.0)
    rectified: bool = setting(False, "images are already undistorted: ignore the distortion coefficients")


@dataclass(frozen=True)
class KeyframeConfig:
    """Which earlier frames are kept for parallax."""

    count: int = setting(2, "earlier keyframes used by the engine", low=0, high=8)
    min_baseline: float = setting(0.25, "ego motion before a frame becomes a new keyframe", unit="m", low=0.0)
    max_baseline: float = setting(4.0, "keyframes farther away than this are not used", unit="m", low=0.0)
    max_age: float = setting(3.0, "keyframes older than this are dropped", unit="s", low=0.0)


@dataclass(frozen=True)
class SweepConfig:
    """The ``sweep`` engine: plane sweep without weights."""

    planes: int = setting(80, "inverse-depth planes", low=8, high=256)
    min_depth: float = setting(1.5, "nearest plane", unit="m", low=0.1)
    max_depth: float = setting(100.0, "farthest plane", unit="m", low=1.0)
    full_resolution_pixels: int = setting(400_000, "rigs whose images together have at most this many pixels are "
                                          "matched at full resolution, larger ones at half", unit="px", low=0)
    min_confidence: float = setting(0.2, "depth less likely to be right than this is not given", low=0.0, high=1.0)
    max_sources: int = setting(3, "source views matched against each reference view", low=1, high=12)


@dataclass(frozen=True)
class SceneConfig:
    """The ``scene`` engine: a learned network that matches views and completes from context."""

    weights: str = setting("", "safetensors file of the network; empty = the weights that come with the package")
    max_sources: int = setting(3, "source views matched against each reference view", low=1, high=12)
    neighbours: bool = setting(True, "match other cameras too; false = each camera only with its own keyframes")
    max_depth: float = setting(100.0, "depth beyond this (such as sky) is not given", unit="m", low=1.0)
    min_confidence: float = setting(0.2, "depth less likely to be right than this is not given", low=0.0, high=1.0)
    rematch: bool = setting(True, "match the images once more, with the depth that the networks found as the "
                            "expectation; false = depth as they give it")
    space: bool = setting(True, "also hold the space around the vehicle as one scene: classes of voxels, what is "
                          "hidden, views from anywhere; false = depth alone, faster")
    space_weights: str = setting("", "safetensors file of the scene network; empty = those of the package")


@dataclass(frozen=True)
class PointmapConfig:
    """The ``pointmap`` engine: pairs of images to pointmaps by a network (DUSt3R, MASt3R), aligned into one scene."""

    checkpoint: str = setting("", "file or folder of the network; none comes with the package")
    size: int = setting(0, "long side of the images for the network, a multiple of 16; 0 = that of the checkpoint",
                        unit="px", low=0, high=2048)
    window: int = setting(12, "views of earlier keyframes that take part at most, beside all of the present", low=0,
                          high=48)
    pairs: str = setting("overlap", "overlap: each view of the present with those that show the same space with "
                         "parallax; complete: with all", choices=("overlap", "complete"))
    neighbours: int = setting(3, "pairs = overlap: other views that each view of the present is paired with", low=1,
                              high=12)
    iterations: int = setting(12, "steps of the alignment at most", low=1, high=100)
    samples: int = setting(1600, "pixels of each image that poses are aligned on", low=256, high=20000)
    sigma_rotation: float = setting(0.3, "standard deviation of the known camera poses, which are priors", unit="deg",
                                    low=0.01, high=30.0)
    sigma_translation: float = setting(0.03, "standard deviation of the known camera positions", unit="m", low=0.001,
                                       high=5.0)
    max_depth: float = setting(100.0, "depth beyond this is not given", unit="m", low=1.0)
    min_confidence: float = setting(0.2, "depth less likely to be right than this is not given", low=0.0, high=1.0)
    memory: int = setting(1024, "working memory of the network, and half as much each for encodings and pairs kept of "
                          "earlier views", unit="MB", low=16, high=65536)


@dataclass(frozen=True)
class MapAnythingConfig:
    """The ``mapanything`` engine: all views at once by MapAnything, a package of its own."""

    model: str = setting("facebook/map-anything-apache", "name on Hugging Face, or folder, of the network")
    size: int = setting(518, "long side of the images for the network, a multiple of 14", unit="px", low=56, high=2072)
    window: int = setting(12, "views of earlier keyframes that take part at most, beside all of the present", low=0,
                          high=48)
    poses: bool = setting(True, "tell the network the known poses; false = intrinsics alone")
    max_depth: float = setting(100.0, "depth beyond this is not given", unit="m", low=1.0)
    min_confidence: float = setting(0.2, "depth less likely to be right than this is not given", low=0.0, high=1.0)


@dataclass(frozen=True)
class OccupancyConfig:
    """The tri-state grid around the vehicle (design: default 80 x 80 x 6.4 m at 0.4 m)."""

    voxel_size: float = setting(0.4, "edge of a voxel", unit="m", low=0.05, high=5.0)
    x_min: float = setting(-40.0, "rear limit in base_link", unit="m", low=-1000.0, high=1000.0, dynamic=True)
    x_max: float = setting(40.0, "front limit", unit="m", low=-1000.0, high=1000.0, dynamic=True)
    y_min: float = setting(-40.0, "right limit", unit="m", low=-1000.0, high=1000.0, dynamic=True)
    y_max: float = setting(40.0, "left limit", unit="m", low=-1000.0, high=1000.0, dynamic=True)
    z_min: float = setting(-1.0, "lower limit", unit="m", low=-1000.0, high=1000.0, dynamic=True)
    z_max: float = setting(5.4, "upper limit", unit="m", low=-1000.0, high=1000.0, dynamic=True)
    decay: float = setting(0.85, "factor on the evidence of the past per 0.1 s, at least once per frame; 0 = every "
                           "frame stands alone", low=0.0, high=1.0, dynamic=True)
    occupied_threshold: float = setting(0.65, "occupancy probability from which a voxel is occupied",
                                        low=0.5, high=1.0, dynamic=True)
    free_threshold: float = setting(0.3, "occupancy probability up to which a voxel is free",
                                    low=0.0, high=0.5, dynamic=True)
    min_confidence: float = setting(0.5, "depth with less confidence gives no evidence", low=0.0, high=1.0,
                                    dynamic=True)
    free_confidence: float = setting(0.7, "mean confidence of the pixels over a voxel from which they can show that "
                                     "it is free; pixels without evidence count as 0", low=0.5, high=1.0, dynamic=True)
    free_sigmas: float = setting(1.0, "free space ends this many standard deviations of depth, and one voxel, before "
                                 "the surface", low=0.0, high=10.0, dynamic=True)
    free_range: float = setting(25.0, "beyond this distance one frame alone cannot make a voxel free", unit="m",
                                low=0.0, dynamic=True)
    max_range: float = setting(50.0, "evidence is taken up to this distance", unit="m", low=1.0, dynamic=True)
    hidden_threshold: float = setting(0.8, "engine scene: predicted probability from which a voxel that is out of "
                                      "sight is occupied; 1 = never", low=0.5, high=1.0, dynamic=True)
    trust_hidden_free: bool = setting(False, "engine scene: a voxel that is out of sight may be free because it is "
                                      "predicted to be; unsafe", dynamic=True)


@dataclass(frozen=True)
class CloudConfig:
    """What is published as points."""

    min_confidence: float = setting(0.3, "points with less confidence are not published", low=0.0, high=1.0,
                                    dynamic=True)
    max_range: float = setting(80.0, "points farther from base_link are not published", unit="m", low=1.0,
                               dynamic=True)
    stride: int = setting(2, "every n-th pixel becomes a point", low=1, high=16, dynamic=True)
    obstacle_min_height: float = setting(0.3, "obstacle points are at least this high above the ground", unit="m",
                                         dynamic=True)
    obstacle_max_height: float = setting(3.0, "obstacle points are at most this high above the ground", unit="m",
                                         dynamic=True)
    obstacle_min_confidence: float = setting(0.6, "confidence of obstacle points", low=0.0, high=1.0, dynamic=True)
    obstacle_max_range: float = setting(50.0, "range of obstacle points", unit="m", low=1.0, dynamic=True)
    obstacle_support: int = setting(3, "obstacle points with fewer points (itself included) in their 0.5 m cell are "
                                    "dropped", low=1, high=100, dynamic=True)


@dataclass(frozen=True)
class SyncConfig:
    """Which images of the cameras belong together."""

    mode: str = setting("reference", "reference: each image of one camera asks for a set; free: any camera opens one",
                        choices=("reference", "free"))
    reference: str = setting("", "name of the reference camera; empty = the first camera")
    tolerance: float = setting(0.06, "images of a set are at most this far from its reference stamp", unit="s",
                               low=0.0, high=10.0)
    max_wait: float = setting(0.2, "a set is given out incomplete when it has waited this long", unit="s",
                              low=0.0, high=60.0)
    min_cameras: int = setting(1, "sets with fewer cameras are dropped", low=1, high=12)
    queue: int = setting(16, "waiting images per camera", low=2, high=256)
    lost_after: float = setting(1.0, "a camera silent for this long is not waited for", unit="s", low=0.01)
    time_jump: float = setting(0.5, "stamps that go back by more than this are a time jump: everything is reset",
                               unit="s", low=0.0)
    forward_jump: float = setting(5.0, "stamps that go forward by more than this, besides the time that passed, are a "
                                  "time jump too", unit="s", low=0.1)


@dataclass(frozen=True)
class RuntimeConfig:
    """Where the networks of the engines run, and in which arithmetic."""

    backend: str = setting("auto", "what runs the image encoder: auto takes TensorRT on a GPU, ONNX Runtime on a CPU, "
                           "where it is there and passes its self-test, else torch",
                           choices=("auto", "torch", "onnxruntime", "tensorrt"))
    precision: str = setting("auto", "arithmetic of the networks: auto takes the fastest that the backend and the "
                             "processor have and that keeps depth within 1 %; fp16: GPU only; bf16: torch only; int8: "
                             "the encoder in onnxruntime or tensorrt only",
                             choices=("auto", "fp32", "bf16", "fp16", "int8"))
    cache_folder: str = setting("", "folder of exported networks and built engines; empty = $XDG_CACHE_HOME/img2three "
                                "or ~/.cache/img2three")
    self_test: bool = setting(True, "a backend must give what torch gives in fp32 before it is used; false = trust it "
                              "untested")


@dataclass(frozen=True)
class Config:
    """Everything the reconstruction (without ROS) can be told."""

    engine: str = setting("scene", "reconstruction engine: scene = learned, sweep = matching without weights; with "
                          "weights of others: pointmap = DUSt3R or MASt3R, mapanything",
                          choices=("scene", "sweep", "pointmap", "mapanything"))
    device: str = setting("auto", "torch device: auto takes CUDA where it exists", choices=("auto", "cpu", "cuda"))
    threads: int = setting(0, "CPU threads of torch; 0 = all", low=0, high=256)
    sync: SyncConfig = SyncConfig()
    prepare: PrepareConfig = PrepareConfig()
    keyframes: KeyframeConfig = KeyframeConfig()
    sweep: SweepConfig = SweepConfig()
    scene: SceneConfig = SceneConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    pointmap: PointmapConfig = PointmapConfig()
    mapanything: MapAnythingConfig = MapAnythingConfig()
    occupancy: OccupancyConfig = OccupancyConfig()
    cloud: CloudConfig = CloudConfig()

    def __post_init__(self) -> None:
        grid = self.occupancy
        for axis in "xyz":
            low, high = getattr(grid, f"{axis}_min"), getattr(grid, f"{axis}_max")
            if not high - low >= grid.voxel_size:
                raise InputError("parameter", f"occupancy.{axis}_max = {high} must exceed occupancy.{axis}_min = "
                                 f"{low} by at least one voxel ({grid.voxel_size} m)")
        voxels = math.prod((getattr(grid, f"{axis}_max") - getattr(grid, f"{axis}_min")) / grid.voxel_size
                           for axis in "xyz")
        if voxels > MAX_VOXELS:
            raise InputError("parameter", f"occupancy: a grid of {voxels / 1e6:.0f} million voxels exceeds "
                             f"{MAX_VOXELS / 1e6:.0f} million; raise occupancy.voxel_size or lower its limits")
        if self.sweep.max_depth <= self.sweep.min_depth:
            raise InputError("parameter", f"sweep.max_depth = {self.sweep.max_depth} must exceed sweep.min_depth = "
                             f"{self.sweep.min_depth}")
        for name, side, patch in (("pointmap", self.pointmap.size, 16), ("mapanything", self.mapanything.size, 14)):
            if side % patch or 0 < side < 2 * patch:
                raise InputError("parameter", f"{name}.size = {side} must be a multiple of {patch}, at least "
                                 f"{2 * patch}")
        if grid.free_threshold >= grid.occupied_threshold:
            raise InputError("parameter", "occupancy.free_threshold must be below occupancy.occupied_threshold")


@dataclass(frozen=True)
class Setting:
    """One leaf of a configuration: its dotted path, current value and description."""

    path: str
    value: Value
    doc: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    dynamic: bool


def settings(config: Any, prefix: str = "") -> Iterator[Setting]:
    """All leaves of a configuration dataclass, in the order of the code."""
    for item in fields(config):
        value, path = getattr(config, item.name), prefix + item.name
        if is_dataclass(value):
            yield from settings(value, path + ".")
        else:
            meta = item.metadata
            yield Setting(path, value, meta["doc"], meta["unit"], meta["low"], meta["high"], meta["choices"],
                          meta["dynamic"])


def with_overrides(config: Any, overrides: Mapping[str, Any]) -> Any:
    """A new configuration with ``overrides`` (dotted path -> value) applied and validated together.

    Raises InputError for an unknown path (naming the nearest valid one), a wrong type or a value out of range.
    """
    known = {leaf.path: leaf for leaf in settings(config)}
    for path, value in overrides.items():
        if path not in known:
            near = difflib.get_close_matches(path, known, n=1, cutoff=0.0)
            raise InputError("parameter", f"unknown parameter '{path}' = {value!r}; did you mean '{near[0]}'?")
    return _replaced(config, {path: _checked(known[path], value) for path, value in overrides.items()})


def set_thread_waiting() -> None:
    """How torch's idle threads wait, unless the user has said so; called by programs before torch is imported.

    They spin for some microseconds, then sleep. Spinning for long (the default) makes a busy machine many times
    slower and takes the cores from drivers; sleeping at once costs a third of the speed on an idle one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def nested_to_paths(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(nested_to_paths(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _replaced(config: Any, values: Mapping[str, Value]) -> Any:
    changes: dict[str, Any] = {}
    for item in fields(config):
        inner = {path[len(item.name) + 1:]: value for path, value in values.items()
                 if path.startswith(item.name + ".")}
        if inner:
            changes[item.name] = _replaced(getattr(config, item.name), inner)
        elif item.name in values:
            changes[item.name] = values[item.name]
    return replace(config, **changes)


def _checked(leaf: Setting, value: Any) -> Value:
    kind = type(leaf.value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is tuple and isinstance(value, (list, tuple)):
        value = tuple(value)
    if type(value) is not kind or (isinstance(value, tuple) and not all(isinstance(item, str) for item in value)):
        raise InputError("parameter", f"parameter '{leaf.path}' = {value!r} must be of type "
                         f"{'list of texts' if kind is tuple else kind.__name__} (default {leaf.value!r})")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        below, above = leaf.low is not None and value < leaf.low, leaf.high is not None and value > leaf.high
        if below or above or not math.isfinite(value):
            raise InputError("parameter", f"parameter '{leaf.path}' = {value} is outside "
                             f"[{_bound(leaf.low, '-inf')}, {_bound(leaf.high, 'inf')}] {leaf.unit}".rstrip())
    if leaf.choices and value not in leaf.choices:
        raise InputError("parameter", f"parameter '{leaf.path}' = {value!r} must be one of {', '.join(leaf.choices)}")
    return value


def _bound(limit: float | None, otherwise: str) -> str:
    return otherwise if limit is None else f"{limit:g}"
