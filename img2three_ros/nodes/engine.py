"""The reconstruction as the node holds it: loaded, warmed up, tested, and what it says of itself."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..config import Config
from ..ingest.camera_rig import CameraRig
from .parameters import NodeConfig
from .warm_up import blank_frame, self_test
from .worker import Pipeline


@dataclass(frozen=True)
class Engine:
    """facts: key-values that stay (device, hashes of the weights). memory: device -> key-values now (backend too).
    release: gives memory back once nobody holds the pipeline any more."""

    pipeline: Pipeline
    facts: Mapping[str, str]
    memory: Callable[[str], Mapping[str, str]]
    release: Callable[[], None]


def load_pipeline(config: Config) -> Pipeline:
    """The real thing; imports torch, so only when configured."""
    from ..reconstruction.pipeline import ReconstructionPipeline

    return ReconstructionPipeline(config)


def load_engine(make_pipeline: Callable[[Config], Pipeline], config: NodeConfig, cameras: Sequence[str],
                rig: CameraRig) -> Engine:
    """Load, warm up and test. Raises InputError, or whatever the pipeline raises.

    What is loaded is set apart from garbage collection until ``release``: a full one looks at all of it, for 0.2 s.
    """
    pipeline = make_pipeline(config)
    if config.warm_up:
        self_test(pipeline, blank_frame(cameras, rig, config.base_frame or rig.base_frame))
    facts = {"device": str(getattr(pipeline, "device", ""))}
    if make_pipeline is not load_pipeline:
        return _set_apart(Engine(pipeline, facts, lambda device: {}, gc.unfreeze))
    from ..reconstruction.engine_facts import engine_facts, memory_facts, release_memory, running_facts
    from ..reconstruction.pipeline import ReconstructionPipeline

    assert isinstance(pipeline, ReconstructionPipeline)

    def release() -> None:
        gc.unfreeze()
        release_memory()

    return _set_apart(Engine(pipeline, {**facts, **engine_facts(pipeline, config)},
                             lambda device: {**memory_facts(device), **running_facts(pipeline)}, release))


def _set_apart(engine: Engine) -> Engine:
    """From garbage collection; last, as only ``release`` takes it back."""
    gc.collect()
    gc.freeze()
    return engine
