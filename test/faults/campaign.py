"""The fault campaign: real node processes, faults one after the other, and a table of what was measured.

    python test/faults/campaign.py [--output docs/reliability.md] [--part live|recording|processes] [--only WORD ...]

Exit code 1 if the node failed a fault. Every figure is of this machine at this moment: see the load beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "nodes"), str(HERE.parents[1])]
PROFILE = HERE.parents[1] / "config" / "fastdds_shared_memory.xml"
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(PROFILE))
os.environ.setdefault("ROS_DOMAIN_ID", str(30 + os.getpid() % 70))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import rclpy
from clock_faults import CAMERAS as CLOCK_CAMERAS
from clock_faults import clock_faults
from fault import HEAD, Fault, Outcome, cell, run_fault
from live_faults import CAMERAS, RAW, camera_faults, heal, missing_static_transform, motion_faults
from page import write_section
from process_faults import full_disk, kill_and_restart, parameter_storm, run_engine_faults, weights_faults
from rig import Rig, driving, parameters
from street import Street
from vehicle import REAL_NODE, Process, node_command


class Campaign:
    """Collects rows; a fault that fails is a row too, and the campaign goes on. only: parts of names, none = all.

    show: called after every row.
    """

    def __init__(self, only: Iterable[str] = (), show: Callable[[], None] = lambda: None) -> None:
        self.only, self.show = tuple(only), show
        self.rows: list[str] = []
        self.failures: list[str] = []

    def wants(self, *names: str) -> bool:
        """Whether one of these faults is asked for."""
        return not self.only or any(word in name for word in self.only for name in names)

    def run(self, rig: Rig, faults: Iterable[Fault]) -> None:
        """Faults of one node, one after the other."""
        for fault in faults:
            if self.wants(fault.name):
                self.tell(fault.name, partial(run_fault, rig.driver, fault, rig.alive))
                heal(rig.driver)

    def tell(self, name: str, measure) -> None:
        """Keep what was measured, or why it failed. measure: gives an Outcome or several."""
        try:
            found = measure()
        except AssertionError as error:
            self.failures.append(f"{name}: {error}")
            self.rows.append(f"| {name} | **failed** | {cell(str(error), 500)} | | | | |")
        else:
            self.rows += [one.row() for one in ([found] if isinstance(found, Outcome) else found)]
        print(self.rows[-1], flush=True)
        self.show()

    def table(self) -> str:
        """Markdown."""
        return "\n".join([HEAD, *self.rows])


def live(campaign: Campaign, folder: Path) -> None:
    """One node on the time of day: cameras, motion, parameters; in the end it is killed."""
    first = missing_static_transform()
    faults = [*camera_faults(), *motion_faults(), parameter_storm()]
    if not campaign.wants(first.name, "kill -9 and restart", *(fault.name for fault in faults)):
        return
    placed = [name for name in CAMERAS if name != "right"] if campaign.wants(first.name) else CAMERAS
    with driving(Street(CAMERAS), folder / "live.log", raw=RAW, placed=placed) as rig:
        if campaign.wants(first.name):
            campaign.tell(first.name, partial(_from_the_start, rig, first))
        campaign.run(rig, faults)
        if campaign.wants("kill -9 and restart"):
            line = node_command(rig.driver.get_namespace(), *parameters(CAMERAS), command=REAL_NODE)
            campaign.tell("kill -9 and restart", partial(kill_and_restart, rig, lambda: Process(
                line, folder / "again.log", OMP_NUM_THREADS="1")))


def _from_the_start(rig: Rig, fault: Fault) -> Outcome:
    """A fault that was there before the node was."""
    driver = rig.driver
    detected = driver.wait(lambda: fault.seen(driver), 60.0, fault.name)
    said = driver.status["problems"]
    others = set(driver.cameras) - set(fault.lost)
    driver.wait(lambda: others == set(driver.status["cameras.contributing"].split(",")), 60.0, "the others go on")
    driver.wait(lambda: driver.known_in_sector(fault.lost) == 0, 60.0, "unknown there")
    begin = time.monotonic()
    fault.end(driver)
    driver.settle(30.0)
    return Outcome(fault.name, cell(said), detected, f"{len(others)} cameras go on; no voxel is known that only "
                   f"{', '.join(fault.lost)} sees", time.monotonic() - begin)


def recording(campaign: Campaign, folder: Path) -> None:
    """One node on /clock, with ego motion by TF."""
    if campaign.wants(*(fault.name for fault in clock_faults())):
        with driving(Street(CLOCK_CAMERAS), folder / "clock.log", clock=True, motion="tf") as rig:
            campaign.run(rig, clock_faults())


def processes(campaign: Campaign, folder: Path) -> None:
    """Nodes and commands that break, or are given what is broken."""
    if campaign.wants("exception inside the engine", "out of memory inside the engine"):
        run_engine_faults(Street(CLOCK_CAMERAS), folder, campaign.run)
    if campaign.wants("weights file"):
        campaign.tell("weights file", partial(weights_faults, Street(CLOCK_CAMERAS), folder))
    if campaign.wants("disk full"):
        campaign.tell("disk full", partial(full_disk, Street(CLOCK_CAMERAS), folder))


PARTS = {"live": live, "recording": recording, "processes": processes}


def run_campaign(campaign: Campaign, parts: Iterable[str], output: Path | None) -> None:
    """Parts in a context of ROS of its own; each writes a section of the page."""
    rclpy.init()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in parts:
                begin, load = time.monotonic(), os.getloadavg()[0]
                campaign.rows.clear()
                if output is not None:
                    campaign.show = partial(_write, output, name, campaign, begin, load)
                try:
                    PARTS[name](campaign, Path(folder))
                except AssertionError as error:
                    campaign.failures.append(str(error))
    finally:
        rclpy.try_shutdown()


def _write(output: Path, name: str, campaign: Campaign, begin: float, load: float) -> None:
    write_section(output, f"faults {name}", _words(begin, load) + "\n\n" + campaign.table())


def _words(begin: float, load: float) -> str:
    return (f"Measured by `make faults` on {datetime.now(timezone.utc):%Y-%m-%d}: {time.monotonic() - begin:.0f} s, "
            f"{os.cpu_count()} cores shared with others (load {load:.1f} before, {os.getloadavg()[0]:.1f} after).")


def main() -> int:
    """Entry point."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, help="page whose section is written anew")
    arguments.add_argument("--only", nargs="*", default=(), help="parts of names of faults")
    arguments.add_argument("--part", choices=list(PARTS), help="one part only")
    given = arguments.parse_args()
    campaign = Campaign(given.only)
    run_campaign(campaign, [given.part] if given.part else list(PARTS), given.output)
    print(*campaign.failures, sep="\n", file=sys.stderr)
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())
