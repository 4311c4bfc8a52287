"""Which backend runs a part of a network: the first of a short list that can be had and passes its self-test.

The order is that of measured processor time (``benchmarks/runtime.py``), not of a race at every start, whose winner
would change with the load of the machine, and with it the results.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from ..config import RuntimeConfig
from ..structures import InputError
from .backend import Backend, Progress
from .export import cached_export
from .exported import ExportedNetwork
from .parts import Part
from .self_test import DepthCheck, self_test

log = logging.getLogger("img2three_ros.runtime")
"""Here only at level debug: where an error came from that no backend should raise."""


class Candidate(NamedTuple):
    """A backend and the precision it would run in."""

    backend: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


Load = Callable[[Candidate, Part], Backend]
"""Makes a backend ready, or raises InputError with the reason why it cannot be had; libraries may raise others."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """A backend that may be believed. why: a plain sentence. troubles: what was asked for, or was there, and had to be
    refused; empty if nothing is wrong."""

    backend: Backend
    why: str
    troubles: tuple[str, ...] = ()


def candidates(config: RuntimeConfig, device: torch.device) -> list[Candidate]:
    """What to try, in order; torch, which always runs, is last.

    auto on a CPU: ONNX Runtime in fp32. It takes a third of the processor time of torch in fp32 and as much as torch in
    bf16 (six images: 363 ms and 365 ms), whose threads spin; where nothing else runs, torch in bf16 is done sooner (236
    ms and 181 ms by the clock). auto on a GPU: TensorRT, then torch.
    Raises InputError('parameter') for a precision that the backend that is asked for, or the device, does not have.
    """
    _check_possible(config, device)
    usual = torch_precision(config.precision, device)
    fast = "fp16" if device.type == "cuda" else "fp32"
    exported = fast if config.precision == "auto" else config.precision
    if config.backend == "torch" or config.precision == "bf16":
        wanted = [Candidate("torch", usual)]
    elif config.backend != "auto":
        wanted = [Candidate(config.backend, exported)]
    elif device.type == "cuda":
        wanted = [Candidate("tensorrt", exported)]
    else:
        wanted = [Candidate("onnxruntime", exported)]
    return list(dict.fromkeys([*wanted, Candidate("torch", usual), Candidate("torch", "fp32")]))


def choose_backend(part: Part, config: RuntimeConfig, depth: DepthCheck | None = None, progress: Progress | None = None,
                   load: Load | None = None) -> Chosen:
    """The first candidate that can be had and passes. load: makes candidates ready; None = from the cache folder.

    torch in fp32 is what the others are compared with, and is not compared with itself. Whatever another one raises
    (libraries raise errors of many kinds, and GPUs run out of memory) only means that the next one is tried.
    Raises InputError('parameter'), see ``candidates``, and what torch in fp32 raises.
    """
    load = load or Loader(config, progress or _silent)
    troubles: list[str] = []
    passed_over: list[str] = []
    tried = candidates(config, part.device)
    for candidate in tried[:-1]:
        backend: Backend | None = None
        try:
            backend = load(candidate, part)
            if not config.self_test:
                return Chosen(backend, _sentence(part, candidate, "", passed_over), tuple(troubles))
            verdict = self_test(backend, part, depth)
        except Exception as error:  # whatever a library raises: torch is still there
            passed_over.append(f"{candidate}: {in_words(error)}")
            # int8 is asked for by name, and no other candidate has it
            asked = config.backend == candidate.backend or candidate.precision == "int8"
            if asked or backend is not None or not isinstance(error, InputError):
                troubles.append(f"{part.network} does not run in {candidate}: {in_words(error)}")
            close(backend)
            continue
        if not verdict.trouble:
            return Chosen(backend, _sentence(part, candidate, str(verdict), passed_over), tuple(troubles))
        close(backend)
        passed_over.append(f"{candidate}: {verdict.trouble}")
        troubles.append(f"{part.network}: {candidate} failed its self-test and is not used: {verdict.trouble}")
    return Chosen(load(tried[-1], part), _sentence(part, tried[-1], "", passed_over), tuple(troubles))


def in_words(error: Exception) -> str:
    """An error for a sentence: with its type where nobody wrote it for users; its origin goes to the log."""
    if isinstance(error, InputError):
        return str(error)
    log.debug("an error of a backend that was given up", exc_info=error)
    return f"{type(error).__name__}: {error}"


def close(backend: Backend | None) -> None:
    """Close a backend that is given up, if there is one; what it raises no longer matters."""
    if backend is not None:
        with suppress(Exception):
            backend.close()


class Loader:
    """Makes candidates ready, with exported networks and engines in the cache folder."""

    def __init__(self, config: RuntimeConfig, progress: Progress) -> None:
        self._config, self._progress = config, progress
        self._temporary: TemporaryDirectory[str] | None = None

    def __call__(self, candidate: Candidate, part: Part) -> Backend:
        """Raises InputError with the reason why the backend cannot be had."""
        if candidate.backend == "torch":
            from .torch_backend import TorchBackend

            return TorchBackend(part, candidate.precision)
        if candidate.backend == "onnxruntime":
            return self._onnxruntime(candidate.precision, part)
        from .tensorrt_backend import load_tensorrt

        if part.device.type != "cuda":
            raise InputError("backend", "TensorRT runs on NVIDIA GPUs, and the network is on the CPU")
        engines = cache_folder(self._config) / "engines"
        return load_tensorrt(self._exported(part), candidate.precision, part.device, engines, self._progress)

    def _onnxruntime(self, precision: str, part: Part) -> Backend:
        from .libraries import onnxruntime_library
        from .onnxruntime_backend import load_onnxruntime

        onnxruntime_library()  # before seconds are spent on an export
        exported = self._exported(part)
        if precision == "int8":
            from .calibration import calibrated

            exported = calibrated(exported)
        return load_onnxruntime(exported, precision, part.device)

    def _exported(self, part: Part) -> ExportedNetwork:
        folder = cache_folder(self._config) / "onnx"
        try:
            return cached_export(part, folder)
        except InputError as error:
            if error.reason != "output":
                raise
            self._progress(f"{error}; {part.network} is exported anew at every start")
        self._temporary = self._temporary or TemporaryDirectory(prefix="img2three-onnx-")
        return cached_export(part, Path(self._temporary.name))


def cache_folder(config: RuntimeConfig) -> Path:
    """Where exported networks and engines are kept."""
    if config.cache_folder:
        return Path(config.cache_folder).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "img2three"


def torch_precision(precision: str, device: torch.device) -> str:
    """In what torch computes where ``runtime.precision`` is ``precision``: fp32, bf16 or fp16.

    auto, and int8, which is for encoders alone: bf16 where the processor computes in it, else fp32.
    """
    if precision not in ("auto", "int8"):
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & processor_flags(Path("/proc/cpuinfo")) else "fp32"


def processor_flags(cpuinfo: Path) -> set[str]:
    """What the first processor can do, as Linux lists it; empty elsewhere."""
    if not cpuinfo.is_file():
        return set()
    lines = (line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    return set(next(lines, "").partition(":")[2].split())


def _check_possible(config: RuntimeConfig, device: torch.device) -> None:
    backend, precision = config.backend, config.precision
    has = {"auto": ("fp32", "bf16", "fp16", "int8"), "torch": ("fp32", "bf16", "fp16"),
           "onnxruntime": ("fp32", "fp16", "int8"), "tensorrt": ("fp32", "fp16", "int8")}[backend]
    if precision not in ("auto", *has):
        raise InputError("parameter", f"runtime.precision = '{precision}', but backend '{backend}' has "
                         f"{', '.join(has)}")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("parameter", "runtime.precision = 'fp16' needs a GPU, and the device is the CPU; use 'auto'")


def _sentence(part: Part, candidate: Candidate, verdict: str, passed_over: Sequence[str]) -> str:
    shape = "x".join(map(str, part.inputs[0].shape))
    tested = f" ({verdict})" if verdict else ""
    before = f"; passed over: {'; '.join(passed_over)}" if passed_over else ""
    return f"{part.network} {shape} runs in {candidate}{tested}{before}"


def _silent(_: str) -> None:
    pass
