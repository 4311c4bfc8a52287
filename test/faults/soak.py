"""Hours in minutes: six cameras at 10 Hz with random faults, while memory, threads and handles of the node are watched.

    python test/faults/soak.py [--minutes 30] [--output docs/reliability.md]

Exit code 1 if something grows, or the counters do not add up.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "nodes"), str(HERE.parents[1])]
PROFILE = HERE.parents[1] / "config" / "fastdds_shared_memory.xml"
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(PROFILE))
os.environ.setdefault("ROS_DOMAIN_ID", str(30 + os.getpid() % 70))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import rclpy
from driver import Driver
from live_faults import (
    bad_info,
    changed,
    corrupt_jpeg,
    cut,
    delayed,
    elsewhere,
    heal,
    jittered,
    not_a_number,
    pose,
    resized,
    silent,
    spoil,
    swapped,
    third,
    wrong_encoding,
)
from page import write_section
from rig import Rig, driving
from street import Street

CAMERAS, RAW = ("front", "left", "right", "back", "front_left", "front_right"), ("left", "right", "front_left")
SLOPE = 1.0
"""MB/min that resident memory may grow by after warm-up."""
MEGABYTE = 2**20


@dataclass(frozen=True)
class Sample:
    """seconds since the start; resident memory in MB; threads, file handles and mapped /dev/shm files of the node."""

    seconds: float
    memory: float
    threads: int
    handles: int
    shared: int


@dataclass(frozen=True)
class Soaked:
    """What became of it. samples: after warm-up. counts: camera -> (sent, received, used, dropped or waiting)."""

    seconds: float
    samples: tuple[Sample, ...]
    faults: int
    outputs: int
    counts: dict[str, tuple[int, int, int, int]]
    reasons: dict[str, int]

    @property
    def slope(self) -> float:
        """MB/min of resident memory: straight line through all samples."""
        if len(self.samples) < 2:
            return 0.0
        minutes = np.array([sample.seconds for sample in self.samples]) / 60.0
        return float(np.polyfit(minutes, [sample.memory for sample in self.samples], 1)[0])

    def growth(self, name: str) -> int:
        """How many more there are at the end (median of the last third) than at first (median of the first)."""
        values = [getattr(sample, name) for sample in self.samples]
        third_of = max(1, len(values) // 3)
        return round(float(np.median(values[-third_of:]) - np.median(values[:third_of])))

    def problems(self, slope: float = SLOPE) -> list[str]:
        """What must not be; slope: MB/min that is allowed."""
        found = [f"{name} grew by {self.growth(name)}" for name in ("threads", "handles", "shared")
                 if self.growth(name) > 0]
        if self.slope > slope:
            found.append(f"resident memory grows by {self.slope:.2f} MB/min")
        for name, (sent, received, used, dropped) in self.counts.items():
            if received != used + dropped or received > sent:
                found.append(f"camera {name}: {sent} sent, {received} received, {used} used, {dropped} dropped")
        if self.outputs == 0:
            found.append("nothing was published")
        return found

    def words(self) -> str:
        """For people: lines of markdown."""
        first, last = self.samples[0], self.samples[-1]
        sent, received, used, dropped = (sum(count[index] for count in self.counts.values()) for index in range(4))
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.reasons.items()))
        return "\n".join([
            f"- {self.seconds / 60.0:.1f} min, {self.faults} faults, {self.outputs} outputs",
            f"- resident memory after warm-up: {first.memory:.0f} MB → {last.memory:.0f} MB, slope "
            f"{self.slope:+.2f} MB/min (highest {max(sample.memory for sample in self.samples):.0f} MB)",
            f"- threads {first.threads} → {last.threads}, file handles {first.handles} → {last.handles}, mapped "
            f"/dev/shm files {first.shared} → {last.shared}",
            f"- images: {sent} sent = {received} received + {sent - received} lost on the way; {received} received = "
            f"{used} used + {dropped} dropped ({reasons})",
        ])


def mischief(draw: random.Random) -> Callable[[Driver], None]:
    """A random fault that ``heal`` takes away."""
    camera, raw = draw.choice(CAMERAS), draw.choice(RAW)
    coded = draw.choice([name for name in CAMERAS if name not in RAW])
    return draw.choice([
        silent(camera), silent(*draw.sample(CAMERAS, 3)), silent(*CAMERAS), spoil(camera, third()),
        spoil(camera, delayed(draw.uniform(0.05, 0.5))), spoil(camera, jittered()), spoil(camera, swapped()),
        spoil(camera, lambda image: [(0.0, image), (0.0, image)]), spoil(coded, changed(corrupt_jpeg)),
        spoil(camera, changed(cut)), spoil(raw, changed(wrong_encoding)), spoil(raw, changed(resized())),
        bad_info(camera, float("nan"), 0), pose(lambda matrix: None), pose(elsewhere(10.0)), pose(not_a_number),
    ])


def soak(seconds: float, folder: Path, warm_up: float, seed: int = 1) -> Soaked:
    """Drive with faults of 1 to 4 s, as long again without. warm_up: s before the first sample counts."""
    draw = random.Random(seed)
    with driving(Street(CAMERAS), folder / "soak.log", "status.period:=0.5", raw=RAW) as rig:
        driver, watched = rig.driver, psutil.Process(rig.process.popen.pid)
        driver.settle(60.0)
        driver.hush()
        for name in CAMERAS:  # what was sent before both sides had found each other is no loss
            driver.sent[name] = driver.figure(f"images.{name}.received")
        begin, samples, faults, outputs = time.monotonic(), [], 0, 0
        while (now := time.monotonic() - begin) < seconds:
            for wrong in (True, False):
                if wrong:
                    mischief(draw)(driver)
                    faults += 1
                since = time.monotonic()
                driver.drive(draw.uniform(1.0, 4.0))
                outputs += driver.fresh(since)
                heal(driver)
            assert rig.alive(), rig.process.text
            samples.append(_sample(watched, now))
        driver.settle(60.0)
        driver.hush()
        return Soaked(time.monotonic() - begin, tuple(one for one in samples if one.seconds >= warm_up), faults,
                      outputs, _counts(rig), _reasons(rig))


def _sample(watched: psutil.Process, seconds: float) -> Sample:
    maps = Path(f"/proc/{watched.pid}/maps").read_text().splitlines()
    shared = {line.split(maxsplit=5)[5] for line in maps if "/dev/shm/" in line}
    return Sample(seconds, watched.memory_info().rss / MEGABYTE, watched.num_threads(), watched.num_fds(), len(shared))


def _counts(rig: Rig) -> dict[str, tuple[int, int, int, int]]:
    driver = rig.driver
    counts = {name: {key: driver.figure(f"images.{name}.{key}") for key in ("received", "used", "dropped", "waiting")}
              for name in CAMERAS}
    return {name: (driver.sent[name], count["received"], count["used"], count["dropped"] + count["waiting"])
            for name, count in counts.items()}


def _reasons(rig: Rig) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in rig.driver.status.items():
        if key.startswith("images.") and ".dropped." in key:
            reason = key.rpartition(".")[2]
            found[reason] = found.get(reason, 0) + int(value)
    return found


def main() -> int:
    """Entry point."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=30.0)
    arguments.add_argument("--output", type=Path, help="page whose section is written anew")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    rclpy.init()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(60.0 * given.minutes, Path(folder), min(180.0, 12.0 * given.minutes), given.seed)
    rclpy.try_shutdown()
    words = (f"`make soak MINUTES={given.minutes:g}` on {datetime.now(timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores "
             f"shared with others (load {os.getloadavg()[0]:.1f}):\n\n{found.words()}")
    print(words)
    if given.output is not None:
        write_section(given.output, "soak", words)
    print(*found.problems(), sep="\n", file=sys.stderr)
    return 1 if found.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
