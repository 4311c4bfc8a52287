"""``python test/fuzz/run.py TARGET --runs N``: inputs by coverage (atheris), or at random where it is not installed.
``all`` as the target gives each its share of a whole campaign, one after the other in processes of their own.

Ends with exit code 1 if anything but InputError came out, an input took long or much memory; each kind of finding is
written down once, with the input that shows it, and the run goes on.
"""

from __future__ import annotations

import argparse
import atexit
import os
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

SLOW_SECONDS, MUCH_MEMORY = 10.0, 512 << 10  # kB
LONGEST_INPUT = 4096


class Campaign:
    """One target: counts its inputs, keeps its findings."""

    def __init__(self, name: str, runs: int, folder: Path) -> None:
        self.name, self.runs, self.folder = name, runs, folder
        self.inputs = self.accepted = 0
        self.findings: Counter[str] = Counter()
        self.started = time.monotonic()

    def one(self, data: bytes) -> None:
        """Give the target one input."""
        self.inputs += 1
        memory, started = _peak_memory(), time.process_time()
        try:
            self.accepted += self.call(data)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in place if "img2three_ros" in frame.filename] or place
            self._found(f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno}", data)
        if _peak_memory() - memory > MUCH_MEMORY:
            self._found("takes much memory", data)
        if time.process_time() - started > SLOW_SECONDS:
            self._found("takes long", data)

    def call(self, data: bytes) -> bool:
        """See ``file_targets.run_safely``."""
        from file_targets import run_safely
        from targets import TARGETS

        return run_safely(TARGETS[self.name], data)

    def _found(self, what: str, data: bytes) -> None:
        self.findings[what] += 1
        if self.findings[what] == 1:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.name}_{len(self.findings)}.bin"
            path.write_bytes(data)
            print(f"FOUND {what}: {path}\n{traceback.format_exc(limit=-6)}", flush=True)

    def report(self) -> None:
        """One line."""
        seconds = time.monotonic() - self.started
        print(f"{self.name}: {self.inputs} inputs in {seconds:.0f} s, {self.accepted} accepted, "
              f"{len(self.findings)} findings {dict(self.findings) or ''}, peak {_peak_memory() >> 10} MB", flush=True)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _with_coverage(campaign: Campaign, seed: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["img2three_ros"]):
        import targets  # noqa: F401 - instrumented while it is imported

    def one(data: bytes) -> None:
        campaign.one(data)
        if campaign.inputs == campaign.runs:  # libFuzzer does not return
            campaign.report()
            sys.stdout.flush()
            atexit._run_exitfuncs()
            os._exit(1 if campaign.findings else 0)

    # libFuzzer stops by itself only where Python could not: a hang, or memory that is not given back.
    atheris.Setup([sys.argv[0], f"-seed={seed}", f"-max_len={LONGEST_INPUT}", "-timeout=60", "-rss_limit_mb=6000",
                   "-len_control=20", "-verbosity=0"], one)
    atheris.Fuzz()


def _at_random(campaign: Campaign, seed: int) -> None:
    import random

    chosen = random.Random(seed)
    while campaign.inputs < campaign.runs:
        campaign.one(chosen.randbytes(chosen.choice((8, 64, 256, LONGEST_INPUT))))


def _all(share: float, rest: list[str]) -> int:
    from targets import RUNS

    codes = {}
    for name, runs in RUNS.items():
        command = [sys.executable, __file__, name, "--runs", str(max(1, round(share * runs))), *rest]
        # Decoders complain on stderr about every damaged picture.
        codes[name] = subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode
    failed = [name for name, code in codes.items() if code]
    print(f"failed: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=1.0, help="all: of the inputs of a whole campaign")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", action="store_true", help="without atheris")
    parser.add_argument("--findings", type=Path, default=Path("fuzz_findings"))
    parser.add_argument("--repeat", type=Path, help="run this one input only, and let it fail")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.target == "all":
        return _all(given.share, ["--seed", str(given.seed), "--findings", str(given.findings)])
    campaign = Campaign(given.target, given.runs, given.findings)
    if given.repeat is not None:
        print("accepted" if campaign.call(given.repeat.read_bytes()) else "refused")
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        given.random = True
    if not given.random:
        _with_coverage(campaign, given.seed)
    _at_random(campaign, given.seed)
    campaign.report()
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main())
