"""Faults of time, and of ego motion by TF, for a node on the clock of a recording (/clock, use_sim_time)."""

from __future__ import annotations

from functools import partial

from driver import Driver
from fault import Fault, nothing
from live_faults import Counted, counting, elsewhere, heal, pose, says, silent
from street import SECOND

CAMERAS = ("front", "left", "back")


def jump(seconds: float):
    """The clock, and all stamps with it, go elsewhere at once."""
    def begin(driver: Driver) -> None:
        driver.clock_offset += round(seconds * SECOND)
    return begin


def loops(times: int, length: float = 2.5):
    """The recording starts again, so many times."""
    def begin(driver: Driver) -> None:
        for count in range(times):
            driver.later(count * length, partial(_start_again, driver, length))
    return begin


def _start_again(driver: Driver, length: float) -> None:
    driver.clock_offset -= round(length * SECOND)


def pause(driver: Driver) -> None:
    """The player is paused: neither clock nor sensors."""
    driver.pause_clock(True)
    silent(*driver.cameras)(driver)
    driver.spoil_pose = lambda pose: None


def resume(driver: Driver) -> None:
    """The player goes on from where it was."""
    driver.pause_clock(False)
    heal(driver)


def clock_faults() -> list[Fault]:
    """Jumps of all stamps, a loop, a pause; gaps and leaps of the transforms."""
    looped = Counted("clock_jumps", 3)
    return [
        counting("clock jumps back by 30 s", jump(-30.0), "clock_jumps", 1),
        counting("clock jumps forward by 300 s", jump(300.0), "clock_jumps", 1),
        Fault("recording loops three times", looped.begin(loops(3)), nothing, looped, within=12.0),
        Fault("player paused, /clock stands still", pause, resume, says("the clock has stood still", "STALE"),
              stopped=True),
        Fault("TF: no ego motion for a while", pose(lambda matrix: None), heal,
              says("ego motion is not known", "DEGRADED")),
        Fault("TF: ego motion leaps by 10 m", pose(elsewhere(10.0)), heal, says(r"a leap of (9\.\d|10)")),
    ]
