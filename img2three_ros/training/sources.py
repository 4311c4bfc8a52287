"""Where the view groups of a training come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..data.pointmap_pairs import PairGroup, SimulatedPairs
from ..data.scene_sample import SceneSample
from ..data.seed4d_folder import Seed4dScenes, find_seed4d_scenes
from ..data.simulated import SimulatedGroupSettings
from ..data.simulated_scenes import SimulatedScenes, SimulatedSceneSettings
from ..data.view_group import ViewGroup
from ..structures import InputError
from .settings import PointmapTrainConfig, SceneTrainConfig, TrainConfig
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


@dataclass(frozen=True)
class SceneSource:
    """Simulated scenes as samples: ``views`` cameras at ``instants`` instants."""

    groups: SimulatedGroupSettings
    scenes: SimulatedSceneSettings
    instants: int

    def group(self, index: int, size: tuple[int, int], views: int) -> SceneSample:
        """Scene number ``index``."""
        return self._scenes.scene(index, size, views, self.instants)

    @cached_property
    def _scenes(self) -> SimulatedScenes:
        return SimulatedScenes(self.groups, self.scenes)


class SceneSources(NamedTuple):
    """Scenes to train on, and scenes that are held out."""

    training: SampleSource[SceneSample]
    held_out: SampleSource[SceneSample]


def scene_sources(config: SceneTrainConfig) -> SceneSources:
    """The endless scenes of the simulated world, or those of ``folders``, every eighth place held out.

    Raises InputError: ``dataset`` for folders without scenes, ``parameter`` where they are too few or data.kind is
    another.
    """
    if config.folders:
        scenes = [scene for folder in config.folders for scene in find_seed4d_scenes(Path(folder))]
        places = sorted({scene.place for scene in scenes})
        held_out = tuple(scene for scene in scenes if places.index(scene.place) % 8 == 0)
        training = tuple(scene for scene in scenes if scene not in held_out)
        if not training:
            raise InputError("parameter", f"folders = {list(config.folders)!r} hold one place: one to train on and one "
                             "to be held out are the least")
        own = config.scenes
        return SceneSources(*(Seed4dScenes(part, own.points, own.rays, own.outside, own.patches, own.patch)
                              for part in (training, held_out)))
    if config.data.kind != "simulated":
        raise InputError("parameter", "img2three train scene learns in the simulated world or from folders in the "
                         "layout of SEED4D (--folder): bags have no views from outside")
    groups = config.data.simulated
    unseen = replace(groups, seed=groups.seed + 1, groups_per_world=1)
    return SceneSources(SceneSource(groups, config.scenes, config.instants),
                        SceneSource(unseen, config.scenes, config.instants))


class PairSources(NamedTuple):
    """Paired views to train on, and paired views that are held out."""

    training: SampleSource[PairGroup]
    held_out: SampleSource[PairGroup]


def pair_sources(config: PointmapTrainConfig) -> PairSources:
    """The endless pairs of the simulated world. Raises InputError('parameter') where data.kind is another."""
    if config.data.kind != "simulated":
        raise InputError("parameter", "img2three train pointmap learns in the simulated world: the depth of recordings "
                         "is too sparse for points of every pixel")
    groups = config.data.simulated
    unseen = replace(groups, seed=groups.seed + 1, groups_per_world=1)
    return PairSources(SimulatedPairs(groups, config.pairs), SimulatedPairs(unseen, config.pairs))
