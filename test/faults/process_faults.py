"""Faults of the process itself: the engine breaks, weights are not what they should be, disks are full, kill -9."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from driver import Driver, busy
from fault import Fault, Outcome, cell, nothing
from live_faults import heal, says
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rig import BREAKING_NODE, Rig, driving, parameters, wait_active
from street import SECOND, Street
from vehicle import REAL_NODE, Process, node_command

from img2three_ros.fileio import messages
from img2three_ros.fileio.rosbag import BagWriter

WEIGHTS = Path(__file__).resolve().parents[2] / "img2three_ros" / "weights"
STORM = 200
"""Calls of one parameter storm."""
AT_ONCE = 8
"""Calls that wait for an answer; ROS keeps ten requests of a service and forgets older ones."""


def engine_faults(file: Path) -> list[Fault]:
    """For ``breaking_node.py``, which looks at ``file``."""
    def breaks(word: str) -> Callable[[Driver], None]:
        return lambda driver: file.write_text(word) and None

    def works(driver: Driver) -> None:
        file.unlink()

    return [Fault("exception inside the engine", breaks("exception"), works,
                  says("RuntimeError: the engine broke", "ERROR"), stopped=True),
            Fault("out of memory inside the engine", breaks("memory"), works,
                  says("Unable to allocate", "ERROR"), stopped=True)]


def run_engine_faults(street: Street, folder: Path, run: Callable[[Rig, list[Fault]], None]) -> None:
    """A node of its own whose real pipeline can be told to break."""
    file = folder / "fault"
    with driving(street, folder / "breaking.log", command=BREAKING_NODE, FAULT_FILE=str(file)) as rig:
        run(rig, engine_faults(file))


class Storm:
    """Many calls to set parameters, every second one impossible; from a fault's begin to its end."""

    def __init__(self) -> None:
        self.accepted = self.refused = 0
        self._client = None
        self._left: list[SetParametersAtomically.Request] = []

    def begin(self, driver: Driver) -> None:
        """Send the first calls; each answer sends another."""
        self._client = driver.create_client(SetParametersAtomically, f"{driver.node}/set_parameters_atomically")
        driver.wait(self._client.service_is_ready, busy(10.0), "service")
        values = [-20.0 if count % 2 else 10.0 + count % 5 for count in range(STORM)]  # -20 is below x_min
        self._left = [SetParametersAtomically.Request(parameters=[
            _double("occupancy.x_max", value), _double("occupancy.y_max", value)]) for value in (12.0, *values)]
        for _ in range(AT_ONCE):
            self._send()

    def _send(self) -> None:
        if self._left:  # the last one gives back what was there before
            self._client.call_async(self._left.pop()).add_done_callback(self._answer)

    def __call__(self, driver: Driver) -> bool:
        """All are answered, each second one refused."""
        return (self.accepted, self.refused) == (STORM // 2 + 1, STORM // 2)

    def _answer(self, future) -> None:
        result = future.result().result
        self.accepted += result.successful
        self.refused += not result.successful and "must exceed" in result.reason
        self._send()


def _double(name: str, value: float) -> Parameter:
    return Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value))


def parameter_storm() -> Fault:
    """Every valid call is taken, every impossible one refused with its reason, and the outputs go on."""
    storm = Storm()
    return Fault(f"parameter storm: {STORM} calls, {AT_ONCE} at once, half of them impossible", storm.begin,
                 nothing, storm, within=15.0)


def kill_and_restart(rig: Rig, restart: Callable[[], Process]) -> Outcome:
    """kill -9 in the middle of its work; another process of the same name takes over, and the vehicle need not know."""
    driver = rig.driver
    driver.settle()
    maps = Path(f"/proc/{rig.process.popen.pid}/maps").read_text()
    shared = [name for name in os.listdir("/dev/shm") if f"/dev/shm/{name}" in maps]
    rig.process.popen.send_signal(signal.SIGKILL)
    rig.process.popen.wait()
    begin = time.monotonic()
    detected = driver.wait(lambda: driver.count_publishers(f"{driver.node}/status") == 0, busy(30.0), "it is gone")
    driver.drive(1.0)
    assert driver.fresh(begin + 1.0) == 0
    begin = time.monotonic()
    with restart() as process:
        driver.status = {}
        wait_active(Rig(driver, process))
        heal(driver)
        driver.settle()
        recovered = time.monotonic() - begin
        left = [name for name in shared if Path("/dev/shm", name).exists()]
        return Outcome("kill -9 and restart", "nothing any more; its outputs lose liveliness", detected,
                       f"nothing is published; of its {len(shared)} files in /dev/shm {len(left)} are there after the "
                       "restart (some are shared with others)", recovered, None)


def weights_faults(street: Street, folder: Path) -> list[Outcome]:
    """A node that is given damaged weights says so and ends; with the right ones it starts."""
    truncated, swapped = folder / "truncated.safetensors", folder / "swapped.safetensors"
    whole = (WEIGHTS / "scene_depth.safetensors").read_bytes()
    truncated.write_bytes(whole[:len(whole) // 2])
    swapped.write_bytes((WEIGHTS / "scene_space.safetensors").read_bytes())
    found = []
    for name, file in (("weights file truncated", truncated), ("weights file of another network", swapped)):
        line = node_command("/weights",
                            *_scene(street, file), command=REAL_NODE)
        begin = time.monotonic()
        with Process(line, folder / f"{file.stem}.log", OMP_NUM_THREADS="1") as process:
            code = process.popen.wait(busy(60.0))
            taken, text = time.monotonic() - begin, process.text
        assert code == 1 and "Traceback" not in text, f"{name}: exit code {code}\n{text}"
        assert file.name in text, f"{name}: the file is not named\n{text}"
        said = cell(_reason(text, file.name).replace(f"{file.parent}/", ""))
        found.append(Outcome(name, said, taken, "exit code 1, never active", 0.0, None))
    begin = time.monotonic()
    with driving(street, folder / "whole.log", "engine:=scene", "scene.space:=false") as rig:
        rig.driver.settle()
    return [replace(outcome, recovered=time.monotonic() - begin) for outcome in found]


def _scene(street: Street, weights: Path) -> list[str]:
    rest = [argument for argument in parameters(street.cameras) if not argument.startswith("engine:=")]
    return [*rest, "engine:=scene", f"scene.weights:={weights}"]


def _reason(text: str, name: str) -> str:
    line = next(line for line in text.splitlines() if name in line)
    return re.sub(r"^\[\w+\] \[[\d.]+\] \[\S+\]: ", "", line)


def full_disk(street: Street, folder: Path) -> list[Outcome]:
    """``img2three reconstruct`` where no file may grow beyond 8 kB (RLIMIT_FSIZE: write fails as on a full disk)."""
    bag = _recording(street, folder / "recording")
    found = []
    for option, name in (("--output", "bag"), ("--ply", "cloud.ply")):
        words = [sys.executable, "-c", "from img2three_ros.cli import main; main()", "reconstruct", str(bag),
                 "--engine", "sweep", "--set", "prepare.pixels=6144", "--set", "sweep.planes=16", "--set", "threads=1",
                 "--output", str(folder / ("bag" if option == "--output" else "rest"))]
        if option == "--ply":
            words += ["--ply", str(folder / name)]
        begin = time.monotonic()
        limited = subprocess.run(words, capture_output=True, text=True, timeout=busy(120.0), preexec_fn=_small_files,
                                 env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        taken = time.monotonic() - begin
        text = limited.stdout + limited.stderr
        assert limited.returncode != 0 and "Traceback" not in text, f"{option}: {limited.returncode}\n{text}"
        said = next((line for line in text.splitlines() if "error" in line.lower()), text)
        found.append(Outcome(f"disk full while writing {option}", cell(said), taken,
                             f"exit code {limited.returncode}, no traceback", None, None))
    return found


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024, 8 * 1024))


def _recording(street: Street, path: Path, instants: int = 6) -> Path:
    """The street as a rosbag2."""
    first = street.vehicle.config.start_ns
    with BagWriter(path) as bag:
        static = {("base_link", f"{name}_optical"): T for name, T in street.vehicle.T_base_camera.items()}
        bag.write("/tf_static", messages.transform_message(static, first), first)
        for step in range(instants):
            stamp = first + round(step * 0.1 * SECOND)
            bag.write("/odom", messages.odometry_message(stamp, "odom", "base_link", street.pose(step)), stamp)
            for name in street.cameras:
                frame, topic = f"{name}_optical", f"/camera/{name}"
                bag.write(f"{topic}/camera_info", messages.camera_info_message(
                    stamp, frame, street.vehicle.calibrations[name]), stamp)
                bag.write(f"{topic}/image_raw/compressed", messages.compressed_image_message(
                    stamp, frame, street.jpegs[name, street.index(step)]), stamp)
    return path
