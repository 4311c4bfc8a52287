"""Settings of ``img2three train``: one YAML, dotted paths as everywhere, defaults in code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..config import setting
from ..data.pointmap_pairs import PairSettings
from ..data.simulated import SimulatedGroupSettings
from ..data.simulated_scenes import SimulatedSceneSettings
from ..structures import InputError
from .objective import ObjectiveConfig
from .pointmap_objective import PointmapObjectiveConfig
from .scene_objective import SceneObjectiveConfig

_STAGE = re.compile(r"to (?P<until>\d+) size (?P<size>\d+x\d+) groups (?P<groups>\d+) views (?P<views>\d+)")
_MULTIPLE = 32


@dataclass(frozen=True)
class Stage:
    """Steps up to ``until`` (exclusive) train on groups of ``views`` images of size (height, width)."""

    until: int
    size: tuple[int, int]
    groups: int
    views: int


@dataclass(frozen=True)
class DataConfig:
    """Where views and truth come from."""

    kind: str = setting("simulated", "simulated: the endless simulated world; bags: your own recordings",
                        choices=("simulated", "bags"))
    workers: int = setting(1, "processes that render or read ahead; 0 = in the training process", low=0, high=256)
    ahead: int = setting(4, "groups that each of them keeps ready", low=1, high=64)
    reuse: int = setting(4, "times each group is used, mirrored and with other light every time", low=1, high=64)
    spread: int = setting(16, "uses of a group are spread over this many groups", low=1, high=1024)
    mirror: bool = setting(True, "mirror every second use left to right, geometry included")
    light: float = setting(1.0, "strength of random gain, gamma, colour and noise per view; 0 = none", low=0.0,
                           high=3.0)
    simulated: SimulatedGroupSettings = field(default_factory=SimulatedGroupSettings)
    bags: tuple[str, ...] = setting((), "bags: rosbag2 folders or files")
    cache: str = setting("", "bags: folder for decoded frames; empty = 'frames' in the output folder")
    rig: str = setting("", "bags: rig file with topics, extrinsics, calibrations, masks; empty = found in the bags")
    supervision: str = setting("auto", "bags: LiDAR scans or depth images; auto takes depth images where there are "
                               "some", choices=("auto", "lidar", "depth"))


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine decay."""

    learning_rate: float = setting(1e-3, "peak", low=0.0)
    encoder: float = setting(0.2, "factor on the learning rate of the pretrained encoder", low=0.0)
    matching: float = setting(5.0, "factor on the learning rate of descriptors and matchers", low=0.0)
    warmup: int = setting(300, "steps of linear warm-up", low=0)
    floor: float = setting(0.02, "share of the learning rate left at the last step", low=0.0, high=1.0)
    weight_decay: float = setting(0.02, "of weights; biases and norms have none", low=0.0)
    clip: float = setting(1.0, "limit of the norm of the gradient", low=0.0)
    average: float = setting(0.999, "decay of the moving average of the weights, which is validated and shipped",
                             low=0.0, high=0.99999)


@dataclass(frozen=True)
class ValidationConfig:
    """The fixed held-out groups."""

    every: int = setting(500, "steps between validations; 0 = only at the end", low=0)
    groups: int = setting(12, "groups", low=0)
    size: str = setting("384x640", "height x width")
    views: int = setting(6, "views of a group", low=1)
    pictures: int = setting(4, "of them shown in TensorBoard", low=0)


@dataclass(frozen=True)
class TrainingConfig:
    """What every training can be told."""

    seed: int = setting(0, "of weights, data and augmentation", low=0)
    stages: tuple[str, ...] = setting(
        ("to 6000 size 192x320 groups 2 views 6", "to 20000 size 384x640 groups 1 views 6"),
        "sizes over time; the last one's 'to' is the number of steps")
    device: str = setting("auto", "auto takes CUDA where it exists", choices=("auto", "cpu", "cuda"))
    precision: str = setting("auto", "auto takes bf16 where the processor computes in it, else fp32",
                             choices=("auto", "fp32", "bf16"))
    threads: int = setting(0, "CPU threads of torch; 0 = as many as it likes", low=0, high=256)
    micro_batches: int = setting(0, "pieces a batch is computed in, one after the other or on several GPUs; 0 = one "
                                 "per process", low=0, high=64)
    gpu_memory: float = setting(0.9, "share of the GPU's memory that may be taken", low=0.05, high=1.0)
    init: str = setting("", "start from these weights (safetensors) instead")
    log_every: int = setting(20, "steps between lines", low=1)
    checkpoint_every: int = setting(500, "steps between checkpoints", low=1)
    checkpoint_minutes: float = setting(10.0, "and at least this often", unit="min", low=0.1)
    minutes: float = setting(0.0, "stop, as if asked to, after this time; 0 = never", unit="min", low=0.0)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = OptimizerConfig()
    validation: ValidationConfig = ValidationConfig()

    @property
    def origin(self) -> str:
        """Where the data are from, in words: what held-out data kept on disk must fit."""
        return f"{self.data.kind} {self.data.simulated.seed} {self.data.bags}"

    @property
    def plan(self) -> tuple[Stage, ...]:
        """The stages, parsed. Raises InputError('parameter') for one that makes no sense."""
        stages = tuple(map(_stage, self.stages))
        untils = [0, *(stage.until for stage in stages)]
        if not stages or untils != sorted(set(untils)):
            raise InputError("parameter", f"stages = {list(self.stages)!r}: the steps after 'to' must rise")
        return stages

    @property
    def steps(self) -> int:
        """Number of steps of the whole training."""
        return self.plan[-1].until


@dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Everything ``img2three train depth`` can be told."""

    pretrained: bool = setting(True, "start the encoder from ImageNet weights")
    forget: float = setting(0.3, "share of the views with sources that are trained without context", low=0.0, high=1.0)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)


@dataclass(frozen=True)
class SceneTrainConfig(TrainingConfig):
    """Everything ``img2three train scene`` can be told. The views of a stage are cameras at one instant."""

    scenes: SimulatedSceneSettings = field(default_factory=SimulatedSceneSettings)
    folders: tuple[str, ...] = setting((), "folders in the layout of SEED4D / 6Img-to-3D, in place of the "
                                       "simulated world")
    instants: int = setting(2, "instants that are remembered, the newest included; folders have one", low=1, high=8)
    depth: str = setting("", "weights of the depth network; empty = those of the package")
    faults: float = setting(0.2, "share of the uses in which the past is missing, and of those in which cameras are",
                            low=0.0, high=1.0)
    objective: SceneObjectiveConfig = field(default_factory=SceneObjectiveConfig)

    @property
    def origin(self) -> str:
        """See ``TrainingConfig``."""
        return f"scenes {super().origin} {self.scenes} {self.instants} {self.folders}"


@dataclass(frozen=True)
class PointmapSizes:
    """Of the network that starts from nothing; heads of attention have 64 channels."""

    encoder_width: int = setting(256, "channels of the encoder, a multiple of 64", low=64)
    encoder_depth: int = setting(8, "blocks of the encoder", low=1)
    decoder_width: int = setting(192, "channels of either decoder, a multiple of 64", low=64)
    decoder_depth: int = setting(6, "blocks of either decoder; at least 4 for head dpt", low=1)
    head: str = setting("dpt", "dpt: four levels fused by convolutions; linear: each token its own pixels",
                        choices=("dpt", "linear"))
    descriptors: int = setting(0, "channels of matching descriptors (MASt3R: 24); 0 = none", low=0)


@dataclass(frozen=True)
class PointmapTrainConfig(TrainingConfig):
    """Everything ``img2three train pointmap`` can be told. A group of a stage has up to ``views`` views."""

    stages: tuple[str, ...] = setting(("to 20000 size 96x160 groups 4 views 4",),
                                      "sizes over time; the last one's 'to' is the number of steps")
    pairs: PairSettings = field(default_factory=PairSettings)
    network: PointmapSizes = field(default_factory=PointmapSizes)
    objective: PointmapObjectiveConfig = field(default_factory=PointmapObjectiveConfig)
    validation: ValidationConfig = ValidationConfig(groups=24, size="96x160", views=4)

    @property
    def origin(self) -> str:
        """See ``TrainingConfig``."""
        return f"pairs {super().origin} {self.pairs}"


def image_size(text: str) -> tuple[int, int]:
    """'384x640' -> (384, 640). Raises InputError('parameter') unless both are multiples of 32."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(side > 0 and side % _MULTIPLE == 0 for side in size):
        raise InputError("parameter", f"size '{text}' must be HEIGHTxWIDTH, both multiples of {_MULTIPLE}")
    return size


def _stage(text: str) -> Stage:
    match = _STAGE.fullmatch(text.strip())
    if match is None:
        raise InputError("parameter", f"stage '{text}' must read like 'to 6000 size 192x320 groups 2 views 6'")
    groups, views = int(match["groups"]), int(match["views"])
    if groups < 1 or views < 1:
        raise InputError("parameter", f"stage '{text}': groups and views must be at least 1")
    return Stage(int(match["until"]), image_size(match["size"]), groups, views)
