"""What an engine was made from. Two engines with the same key are interchangeable; anything else is rebuilt."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

FORMAT = "img2three engine 1"
ANY = "any"
"""GPU name and driver of an engine that was built ahead of time for a compute capability."""


@dataclass(frozen=True)
class EngineKey:
    """network: name, for people. onnx_sha256: of the exported file, weights and calibration included. builder: module
    and version, such as "tensorrt_rtx 1.7.1.116". gpu, driver: of the machine, or ANY. compute_capability: "8.9".
    precision: fp32 | fp16 | int8. shapes: of all inputs by name. flags: whatever else was told to the builder."""

    network: str
    onnx_sha256: str
    builder: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    flags: tuple[str, ...] = ()

    def digest(self) -> str:
        """sha256 of everything in the key, hexadecimal."""
        text = json.dumps([FORMAT, asdict(self)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def stem(self) -> str:
        """Name of its files, without suffix."""
        return f"{self.network}-{self.precision}-{self.digest()[:20]}"

    def differences(self, other: EngineKey) -> list[str]:
        """Names of the parts in which two keys differ."""
        return [part.name for part in fields(self) if getattr(self, part.name) != getattr(other, part.name)]


@dataclass(frozen=True)
class TensorRow:
    """An input or output of an engine as it was built. dtype: as numpy names it."""

    name: str
    output: bool
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class EngineRecord:
    """The JSON beside an engine. plan_sha256, plan_bytes: of the engine file. built: seconds since 1970. seconds: that
    the build took."""

    key: EngineKey
    plan_sha256: str
    plan_bytes: int
    tensors: tuple[TensorRow, ...]
    built: float
    seconds: float

    def to_json(self) -> bytes:
        """As people and ``from_json`` read it."""
        tree = {"format": FORMAT, "key_sha256": self.key.digest(), **asdict(self)}
        return (json.dumps(tree, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> EngineRecord:
        """Raises ValueError, with the reason, when this is not a record of this version or was changed by hand."""
        try:
            tree = json.loads(content)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise ValueError(f"no '{FORMAT}'")
        try:
            record = _record(tree)
        except (KeyError, TypeError) as error:
            raise ValueError(f"incomplete: {error}") from error
        if tree.get("key_sha256") != record.key.digest():
            raise ValueError("its key does not add up")
        return record


def _record(tree: Mapping[str, Any]) -> EngineRecord:
    key = dict(tree["key"])
    key["shapes"] = tuple((str(name), _shape(shape)) for name, shape in key["shapes"])
    key["flags"] = tuple(map(str, key["flags"]))
    tensors = tuple(TensorRow(str(row["name"]), bool(row["output"]), _shape(row["shape"]), str(row["dtype"]))
                    for row in tree["tensors"])
    built, seconds = float(tree["built"]), float(tree["seconds"])
    if not (math.isfinite(built) and math.isfinite(seconds)):
        raise ValueError("times are not finite")
    return EngineRecord(EngineKey(**key), str(tree["plan_sha256"]), int(tree["plan_bytes"]), tensors, built, seconds)


def _shape(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
