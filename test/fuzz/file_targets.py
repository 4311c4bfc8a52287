"""What files go through: recordings, weights, settings. Targets as in ``message_targets``."""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from choices import Choices
from ingest_samples import write_bag
from torch import nn

from img2three_ros.config import Config, settings, with_overrides
from img2three_ros.fileio.checkpoints import read_checkpoint, write_checkpoint
from img2three_ros.fileio.mcap_recovery import recover_mcap
from img2three_ros.fileio.rosbag import BagReader
from img2three_ros.ingest.bag_frames import read_frames
from img2three_ros.ingest.rig import load_rig, rig_from_bag
from img2three_ros.models.pointmap_checkpoint import read_published
from img2three_ros.models.pointmap_files import constructor_options, has_metadata, read_weights
from img2three_ros.models.weights_file import load_network, save_network
from img2three_ros.nodes.config_file import configured
from img2three_ros.nodes.parameters import NodeConfig, from_ros
from img2three_ros.structures import InputError
from img2three_ros.training.command import read_settings
from img2three_ros.training.settings import TrainConfig, image_size

VALUES = (
    "0", "-1", "1e400", ".nan", "-.inf", "9" * 400, "null", "''", "[]", "{}", "[1, [2]]", "{a: {b: 1}}", "true", "[a]",
    "2024-99-99", "2024-02-30 25:61:61", "0x", "0b2", "1:99:99", "!!python/object/apply:os.getpid []", "!!int a",
    "!!float ''", "!!binary '='", "!!timestamp x", "&a [*a]", "*b", "? [a]", "- 1", "|", "'\\0'", '"\\0"', "<<: 1",
    '"\\ud800"', "384x640", "to 9 size 32x32 groups 1 views 1", "to 1 size 999999x32 groups 0 views 0", "cuda")
"""YAML of values that nobody should give."""

RIG = """base_frame: base_link
odometry_topic: /odom
cameras:
  front:
    image_topic: /front/image
    compressed: true
    frame_id: front_optical_frame
    mask: mask.png
    T_base_camera: {translation: [1.0, 0.0, 1.5], rotation_xyzw: [-0.5, 0.5, -0.5, 0.5]}
    calibration: {width: 16, height: 12, distortion_model: plumb_bob, intrinsics: [14, 0, 7.5, 0, 14, 5.5, 0, 0, 1],
                  distortion: [0, 0, 0, 0, 0]}
"""


@dataclass(frozen=True)
class SmallConfig:
    """Of ``SmallNetwork``."""

    width: int = 3
    sizes: tuple[int, int] = (2, 4)


class SmallNetwork(nn.Module):
    """The least that ``load_network`` can load."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.width, config.sizes[0])
        self.register_buffer("count", torch.zeros(config.sizes[1], dtype=torch.int64))


def recovery(data: bytes) -> None:
    """An MCAP file without a usable index: walked from the start."""
    path = _file("broken.mcap", _damaged(Choices(data), recording("mcap").read_bytes()))
    for topic, time, kind, message in recover_mcap(path):
        assert isinstance(topic, str) and isinstance(time, int) and isinstance(kind, str) and len(message) <= 1 << 20


def bag(data: bytes) -> None:
    """A damaged recording of either storage: every message that can be read, then its rig and frames."""
    choices = Choices(data)
    kind = choices.one_of(("mcap", "mcap", "db3", "metadata"))
    folder = scratch() / "bag"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    storage = recording("db3" if kind == "db3" else "mcap")
    parts = {path.name: path.read_bytes() for path in storage.parent.iterdir()}
    damaged = "metadata.yaml" if kind == "metadata" else storage.name
    parts[damaged] = _damaged(choices, parts[damaged])
    if choices.number(2) and damaged != "metadata.yaml":
        del parts["metadata.yaml"]
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    with BagReader(folder) as reader:
        for _ in reader.messages():
            pass
    if choices.number(4) == 0:
        for _ in read_frames(folder, Config()):
            pass
    rig_from_bag(folder)


def weights(data: bytes) -> None:
    """A damaged safetensors file, as tensors and as a network."""
    path = _file("weights.safetensors", _damaged(Choices(data), small_weights()))
    has_metadata(path, "small")
    for tensor in read_checkpoint(path).tensors.values():
        assert isinstance(tensor, torch.Tensor)
    network = load_network(path, SmallConfig, SmallNetwork, "small", "small network")
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def pickled_weights(data: bytes) -> None:
    """A damaged ``.pth``: nothing in it may run. And what it says of its network."""
    choices = Choices(data)
    if choices.number(4) == 0:
        text = choices.one_of(("", "Net(a=1, b=-inf, c=(1, [2]), ", "Net(a=float('")) + choices.rest().decode("latin1")
        constructor_options(text, Path("weights.pth"))
        return
    path = _file("weights.pth", _damaged(choices, small_pickle()))
    read_weights(path)
    read_published(path).config("linear")


def config(data: bytes) -> None:
    """Settings from a YAML file, from ``--set`` and from ROS, for reconstruction, node and training."""
    choices = Choices(data)
    kind = choices.number(6)
    if kind == 0:
        text = _edited(choices, b"/**:\n  ros__parameters:\n    engine: sweep\n    occupancy: {voxel_size: 0.5}\n")
        configured(None, _file("config.yaml", text), None)
    elif kind == 1:
        paths = [leaf.path for leaf in settings(Config())]
        configured(None, None, [f"{choices.one_of(paths)}={_value(choices)}" for _ in range(1 + choices.number(3))])
    elif kind == 2:
        paths = [leaf.path for leaf in settings(NodeConfig())]
        given: dict[str, Any] = {choices.one_of(paths): from_ros(choices.one_of(
            (None, True, 0, -1, 2**63 - 1, 0.5, float("nan"), "", "a", b"\0", [], [""], ["a", "a"], [1.5], [True])))
            for _ in range(3)}
        with_overrides(NodeConfig(), given)
    elif kind == 3:
        text = _edited(choices, b"stages: ['to 9 size 32x32 groups 1 views 2']\noptimizer: {learning_rate: 1.e-3}\n")
        chosen = with_overrides(TrainConfig(), read_settings(_file("train.yaml", text)))
        assert chosen.steps > 0
        image_size(chosen.validation.size)
    else:
        paths = [leaf.path for leaf in settings(TrainConfig())]
        lines = [f"{choices.one_of(paths)}: {_value(choices)}" for _ in range(1 + choices.number(3))]
        chosen = with_overrides(TrainConfig(), read_settings(_file("train.yaml", "\n".join(lines).encode("utf-8"))))
        assert chosen.steps > 0


def rig(data: bytes) -> None:
    """A rig file with strange values, and damaged ones."""
    choices = Choices(data)
    if choices.number(2):
        load_rig(_file("rig.yaml", _edited(choices, RIG.encode())))
        return
    lines = RIG.splitlines()
    for _ in range(1 + choices.number(2)):
        at = choices.number(len(lines))
        lines[at] = f"{lines[at].partition(':')[0]}: {_value(choices)}"
    load_rig(_file("rig.yaml", "\n".join(lines).encode("utf-8")))


@cache
def scratch() -> Path:
    """A folder for the files of one run; in memory where possible."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="img2three_fuzz_", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def recording(storage: str) -> Path:
    """A sound recording of two instants and one camera; its MCAP or SQLite file."""
    folder = write_bag(scratch() / f"sound_{storage}", 2, ("front",), lidar=False,
                       storage="sqlite3" if storage == "db3" else storage)
    return next(folder.glob(f"*.{storage}"))


@cache
def small_weights() -> bytes:
    """A sound file of ``SmallNetwork``."""
    path = scratch() / "sound.safetensors"
    save_network(path, SmallNetwork(SmallConfig()), SmallConfig(), "small", {"steps": "1"}, half=True)
    return path.read_bytes()


@cache
def small_pickle() -> bytes:
    """A sound ``.pth``: two tensors, and options of a network."""
    stream = io.BytesIO()
    torch.save({"model": {"a": torch.ones(2), "b": torch.zeros(2, 2, dtype=torch.float16)},
                "croco_kwargs": {"enc_depth": 2}, "epoch": np.float64(1.0)}, stream)
    return stream.getvalue()


def _file(name: str, content: bytes) -> Path:
    path = scratch() / name
    path.write_bytes(content)
    return path


def _damaged(choices: Choices, whole: bytes) -> bytes:
    """Some bytes replaced, put in, left out or repeated; or the end cut off; or something else altogether."""
    if choices.number(32) == 31:
        return choices.rest()
    for _ in range(1 + choices.number(4)):
        at, size = choices.number(max(len(whole), 1)), choices.number(12)
        kind = choices.number(8)
        if kind < 4:
            new = choices.bytes(size)
            whole = whole[:at] + new + whole[at + len(new):]
        elif kind == 4:
            whole = whole[:at] + choices.bytes(size) + whole[at:]
        elif kind == 5:
            whole = whole[:at] + whole[at + size:]
        elif kind == 6:
            whole = whole[:at] + whole[at:at + 64] + whole[at:]
        else:
            whole = whole[:at]
    return whole


def _edited(choices: Choices, text: bytes) -> bytes:
    """A damaged text, often with an awkward value in it."""
    if choices.number(2):
        at = choices.number(len(text))
        text = text[:at] + _value(choices).encode("utf-8") + text[at:]
    return _damaged(choices, text)


def _value(choices: Choices) -> str:
    if choices.number(4):
        return choices.one_of(VALUES)
    return choices.bytes(choices.number(24)).decode("utf-8", "replace")


def metadata_weights(data: bytes) -> None:
    """Sound weights whose metadata describe another network, maybe an enormous one."""
    choices = Choices(data)
    numbers = (3, 2, 4, 3, 2, 4, 0, 1, -1, 2**31, 2**62, 10**30, 1.5, None, "3", [], {}, True, [3, 3], [2, 2**40])
    described: Any = {"width": 3, "sizes": [2, 4]}
    if choices.number(8):
        described = {"width": choices.one_of(numbers), "sizes": [choices.one_of(numbers), choices.one_of(numbers)]}
    if choices.number(4) == 0:
        described = choices.one_of((None, [], 1, "x", {"depth": 1}, {"sizes": 3}, {"width": [[1]]}))
    text = json.dumps(described) if choices.number(8) else choices.rest().decode("latin1")
    tensors = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2),
               "count": torch.zeros(4, dtype=torch.int64)}
    path = scratch() / "described.safetensors"
    write_checkpoint(path, tensors, {"small": text})
    load_network(path, SmallConfig, SmallNetwork, "small", "small network")


def run_safely(target: Any, data: bytes) -> bool:
    """Whether the input was accepted; False where it was refused as it should be."""
    try:
        target(data)
    except InputError as error:
        assert error.reason and str(error)
        return False
    return True
