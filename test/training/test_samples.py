"""Which groups are used when."""

import itertools
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from tiny_training import TinyGroups

from img2three_ros.data.view_group import ViewGroup
from img2three_ros.training.depth_task import DepthTask
from img2three_ros.training.objective import ObjectiveConfig
from img2three_ros.training.samples import Lane, LaneSamples, uses
from img2three_ros.training.settings import DataConfig, Stage

STAGES = (Stage(3, (32, 32), 4, 2), Stage(6, (32, 64), 2, 3))
DATA = DataConfig(workers=0, reuse=3, spread=4)
TASK = DepthTask(ObjectiveConfig())


def steps(data: DataConfig = DATA, start: int = 0, stages: tuple[Stage, ...] = STAGES) -> list[list[ViewGroup]]:
    return list(LaneSamples(TASK, TinyGroups(), data, 7, stages, start, Lane(0, 1)))


def same(first: list[list[ViewGroup]], second: list[list[ViewGroup]]) -> bool:
    return len(first) == len(second) and all(
        len(one) == len(other) and all(torch.equal(a.images, b.images) and torch.equal(a.sources, b.sources)
                                       for a, b in zip(one, other, strict=True))
        for one, other in zip(first, second, strict=True))


def test_every_group_is_used_as_often_as_asked_and_uses_are_spread():
    order = list(itertools.islice(uses(1, Lane(0, 1), 3, 5), 3000))
    counts = Counter(use.number for use in order)
    assert all(counts[number] == 3 for number in range(900))
    firsts = [use.number for use in order if use.turn == 0]
    assert firsts == list(range(len(firsts)))
    place = {use: position for position, use in enumerate(order)}
    # A further use comes while the next five groups are new: at most 6 x 3 places later, and seldom at once
    gaps = [place[use] - place[use._replace(turn=0)] for use in order if use.turn and use.number < 900]
    assert min(gaps) >= 1 and max(gaps) <= 22
    assert sum(gap > 3 for gap in gaps) > 0.6 * len(gaps)
    assert order == list(itertools.islice(uses(1, Lane(0, 1), 3, 5), 3000))


def test_lanes_share_no_group():
    lanes = [{use.number for use in itertools.islice(uses(1, Lane(number, 3), 2, 4), 100)} for number in range(3)]
    assert not lanes[0] & lanes[1] and not lanes[1] & lanes[2]
    assert sorted(set.union(*lanes))[:90] == list(range(90))


def test_stages_set_size_groups_and_views():
    found = steps()
    assert len(found) == 6
    assert [(len(step), step[0].images.shape) for step in found] == (
        [(4, (2, 3, 32, 32))] * 3 + [(2, (3, 3, 32, 64))] * 3)


def test_going_on_gives_the_same_groups_as_never_stopping():
    whole = steps()
    for start in (1, 3, 5):
        assert same(steps(start=start), whole[start:])
    assert not same(whole[:1], whole[1:2])


def test_background_processes_give_the_same_groups():
    assert same(steps(replace(DATA, workers=2, ahead=2), stages=STAGES[:1]), steps(stages=STAGES[:1]))


def test_a_group_looks_different_every_time_and_is_mirrored_every_second():
    data = DataConfig(workers=0, reuse=2, spread=1)
    samples = LaneSamples(TASK, TinyGroups(fixed=True), data, 0, (Stage(8, (32, 64), 1, 1),), 0)
    shown = [step[0] for step in samples]
    assert len({group.images.numpy().tobytes() for group in shown}) == len(shown)
    sides = Counter(bool(group.depth[0, 16, 0] > group.depth[0, 16, -1]) for group in shown)
    assert sides == {True: 4, False: 4}


KILLED = """
import os, signal, sys; sys.path.insert(0, sys.argv[1])
from tiny_training import TinyGroups
from img2three_ros.training.depth_task import DepthTask
from img2three_ros.training.objective import ObjectiveConfig
from img2three_ros.training.samples import LaneSamples
from img2three_ros.training.settings import DataConfig, Stage
data = DataConfig(workers=1, ahead=4, reuse=1)
samples = iter(LaneSamples(DepthTask(ObjectiveConfig()), TinyGroups(), data, 0, [Stage(50, (192, 320), 1, 4)], 0))
next(samples)
print(*(entry for entry in os.listdir("/proc") if entry.isdigit() and
        open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()[1] == str(os.getpid())), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_of_a_killed_trainer_end():
    run = subprocess.run([sys.executable, "-c", KILLED, str(Path(__file__).parent)], capture_output=True, text=True,
                         timeout=60, check=False)
    workers = [Path("/proc") / pid for pid in run.stdout.split()]
    assert len(workers) >= 1, run.stderr
    give_up = time.monotonic() + 20.0
    while any(worker.exists() for worker in workers) and time.monotonic() < give_up:
        time.sleep(0.2)
    assert not any(worker.exists() for worker in workers)
