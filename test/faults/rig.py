"""A node and the vehicle that drives it, as processes and nodes that end with their ``with`` block."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driver import ARGUMENTS, Driver, busy
from street import Street
from vehicle import REAL_NODE, Process, node_command

BREAKING_NODE = [sys.executable, str(Path(__file__).with_name("breaking_node.py"))]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Rig:
    """A driver and the process of its node."""

    driver: Driver
    process: Process

    def alive(self) -> bool:
        """Whether the node runs."""
        return self.process.popen.poll() is None


def parameters(cameras: Sequence[str], *more: str) -> list[str]:
    """Parameters of a node with these cameras."""
    return [*ARGUMENTS, f"cameras:=[{', '.join(cameras)}]", *more]


@contextmanager
def driving(street: Street, log: Path, *more: str, placed: Sequence[str] | None = None, raw: Sequence[str] = (),
            clock: bool = False, motion: str = "odometry", command: Sequence[str] = REAL_NODE,
            **environment: str) -> Iterator[Rig]:
    """A node that is active and hears the driver. placed: cameras in /tf_static, default all."""
    namespace = f"/faults_{next(_numbers)}"
    driver = Driver(namespace, street, raw, clock, motion)
    driver.place(street.cameras if placed is None else placed)
    extra = ("use_sim_time:=true",) if clock else ()
    line = node_command(namespace, *parameters(street.cameras, *extra, *more), command=command)
    try:
        with Process(line, log, OMP_NUM_THREADS="1", **environment) as process:
            rig = Rig(driver, process)
            wait_active(rig)
            yield rig
    finally:
        driver.destroy_node()


def wait_active(rig: Rig, seconds: float = 45.0) -> float:
    """Hold the cameras back until the node is active and listens to all of them; returns s."""
    driver = rig.driver

    def ready() -> bool:
        assert rig.alive(), rig.process.text
        return (driver.status.get("state", "INACTIVE") != "INACTIVE" and driver.odometry.get_subscription_count() > 0
                and all(driver.images[name].get_subscription_count() and driver.infos[name].get_subscription_count()
                        for name in driver.cameras))

    driver.cameras_run = False
    taken = driver.wait(ready, busy(seconds), "the node is active")
    driver.cameras_run = True
    return taken
