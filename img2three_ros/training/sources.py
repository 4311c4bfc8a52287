"""Where the view groups of a training come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data.view_group import ViewGroup
from ..structures import InputError
from .settings import TrainConfig
from .task import SampleSource


class Sources(NamedTuple):
    """Groups to train on, and groups that are held out; a group of one shows nothing of the other."""

    training: SampleSource[ViewGroup]
    held_out: SampleSource[ViewGroup]


def group_sources(config: TrainConfig, output: Path) -> Sources:
    """The endless groups that ``data.kind`` names; ``output``: the folder of the training."""
    if config.data.kind == "simulated":
        from ..data.simulated import SimulatedGroups

        settings = config.data.simulated
        unseen = replace(settings, seed=settings.seed + 1, groups_per_world=1)
        return Sources(SimulatedGroups(settings), SimulatedGroups(unseen))
    from ..data.bag_cache import prepare_bags
    from ..data.bag_groups import BagGroups

    if not config.data.bags:
        raise InputError("parameter", "data.kind = 'bags', but data.bags names no recording")
    cache = Path(config.data.cache) if config.data.cache else output / "frames"
    rig = Path(config.data.rig) if config.data.rig else None
    frames = prepare_bags(tuple(map(Path, config.data.bags)), cache, config.data.supervision, rig)
    return Sources(BagGroups(frames, held_out=False), BagGroups(frames, held_out=True))
