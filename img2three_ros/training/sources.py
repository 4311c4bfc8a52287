"""Where the view groups of a training come from."""

from __future__ import annotations

from pathlib import Path

from ..structures import InputError
from .samples import GroupSource
from .settings import TrainConfig


def group_source(config: TrainConfig, output: Path) -> GroupSource:
    """The endless groups that ``data.kind`` names; ``output``: the folder of the training."""
    if config.data.kind == "simulated":
        from ..data.simulated import SimulatedGroups

        return SimulatedGroups()  # type: ignore[no-any-return]
    from ..data.bag_groups import BagGroups

    if not config.data.bags:
        raise InputError("parameter", "data.kind = 'bags', but data.bags names no recording")
    cache = Path(config.data.cache) if config.data.cache else output / "frames"
    return BagGroups(tuple(map(Path, config.data.bags)), cache, config.data.supervision)
