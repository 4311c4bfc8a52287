"""What a fault is, and what the node must do about it: one run of it gives one line of the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from driver import Driver, busy

Action = Callable[[Driver], None]


def nothing(driver: Driver) -> None:
    """For faults that are over by themselves."""


@dataclass(frozen=True)
class Fault:
    """begin, end: inject it, take it away. seen: whether the node has said so. lost: cameras of which nothing may be
    known in the end, voxel by voxel. stopped: whether the outputs must stop (else they go on, with all other cameras).
    within, back: s on a quiet machine until the node says so, and until all is well again.
    """

    name: str
    begin: Action
    end: Action
    seen: Callable[[Driver], bool]
    lost: tuple[str, ...] = ()
    stopped: bool = False
    within: float = 6.0
    back: float = 10.0


@dataclass(frozen=True)
class Outcome:
    """What was measured. detected, recovered: s. said: the node's words. degraded: what was checked, in words.
    lost: images that were sent and never received. dropped: reason -> images received but not used."""

    name: str
    said: str
    detected: float
    degraded: str
    recovered: float | None
    lost: int | None = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def row(self) -> str:
        """A line of the table."""
        drops = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))
        back = "–" if self.recovered is None else f"{self.recovered:.1f} s"
        return (f"| {self.name} | {self.detected:.1f} s | {self.said} | {self.degraded} | {back} | "
                f"{'–' if self.lost is None else self.lost} | {drops or '–'} |")


HEAD = ("| fault | detected in | what the node says | degraded how | recovered in | images lost on the way | "
        "images dropped, by reason |\n|---|---|---|---|---|---|---|")


def run_fault(driver: Driver, fault: Fault, alive: Callable[[], bool]) -> Outcome:
    """Let a fault happen to a node that is well. Raises AssertionError where the node does not do what it must."""
    driver.settle()
    driver.hush()
    before = _Counts(driver)
    driver.settle()
    if fault.lost:
        driver.wait(lambda: (driver.known_in_sector(fault.lost) or 0) >= 5, busy(10.0),
                    f"voxels that only {', '.join(fault.lost)} can see are known")
    known = driver.known_in_sector(fault.lost)
    fault.begin(driver)
    detected = driver.wait(lambda: fault.seen(driver), busy(fault.within), f"{fault.name}: the node says so")
    said = f"{driver.sentence}"
    note = _note(driver, before)
    degraded = _degraded(driver, fault, known)
    assert alive(), f"{fault.name}: the node is gone"
    begin = time.monotonic()
    fault.end(driver)
    driver.settle(fault.back)
    recovered = time.monotonic() - begin
    driver.hush()
    after = _Counts(driver)
    assert alive(), f"{fault.name}: the node is gone"
    return Outcome(fault.name, cell(said + note), detected, degraded, recovered, after.lost - before.lost,
                   {reason: count - before.dropped.get(reason, 0) for reason, count in after.dropped.items()
                    if count > before.dropped.get(reason, 0)})


class _Counts:
    """What was sent, received and dropped so far, at rest. Raises AssertionError if it does not add up."""

    def __init__(self, driver: Driver) -> None:
        self.lost = 0
        self.dropped: dict[str, int] = {}
        self.words = {key: driver.status.get(key, "") for key in _WORDS}
        for name in driver.cameras:
            received, used, dropped, waiting = (driver.figure(f"images.{name}.{key}") for key in (
                "received", "used", "dropped", "waiting"))
            assert received == used + dropped + waiting, (f"camera {name}: {received} received, {used} used, {dropped} "
                                                          f"dropped, {waiting} waiting do not add up")
            assert received <= driver.sent[name], f"camera {name}: {received} received of {driver.sent[name]} sent"
            self.lost += driver.sent[name] - received
            prefix = f"images.{name}.dropped."
            reasons = {key.removeprefix(prefix): int(value) for key, value in driver.status.items()
                       if key.startswith(prefix)}
            assert sum(reasons.values()) == dropped, f"camera {name}: reasons {reasons} are not {dropped} in all"
            for reason, count in reasons.items():
                self.dropped[reason] = self.dropped.get(reason, 0) + count


_WORDS = ("problems", "last_time_jump", "last_motion_break", "incompatible_qos", "last_error")


def _note(driver: Driver, before: _Counts) -> str:
    """What else the status tells that it did not tell before."""
    told = [driver.status.get(key, "") for key in _WORDS if driver.status.get(key, "") != before.words[key]]
    return "".join(f" – {words}" for words in told if words and words not in driver.sentence)


def _degraded(driver: Driver, fault: Fault, known: int | None) -> str:
    """Check what still comes, and return it in words."""
    if fault.stopped:
        # What is under way may still come to its end.
        driver.wait(lambda: driver.fresh(time.monotonic() - 2.0) == 0, busy(5.0), f"{fault.name}: outputs stop")
        return "nothing is published"
    begin = time.monotonic()
    others = set(driver.cameras) - set(fault.lost)
    driver.wait(lambda: driver.fresh(begin) >= 3 and others <= set(
        driver.status["cameras.contributing"].split(",")), busy(8.0), f"{fault.name}: {', '.join(others)} go on")
    if not fault.lost:
        return "outputs go on"
    driver.wait(lambda: driver.known_in_sector(fault.lost) == 0, busy(10.0),
                f"{fault.name}: all that only {', '.join(fault.lost)} sees is unknown (it was {known} voxels)")
    driver.wait(lambda: driver.fresh(begin) >= 5, busy(8.0), "more outputs")
    left = driver.known_in_sector(fault.lost)
    assert left == 0, f"{fault.name}: {left} voxels known again that nobody sees"
    return (f"{len(others)} cameras go on; {known} voxels that only {', '.join(fault.lost)} sees: unknown after "
            f"{time.monotonic() - begin:.1f} s")


def cell(text: str, longest: int = 230) -> str:
    """Text that fits in a cell of a table."""
    plain = " ".join(text.replace("|", "/").split())
    return plain if len(plain) <= longest else plain[:longest - 2] + " …"
