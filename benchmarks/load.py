"""Large images and many of them, raw, through Fast DDS into the node's own subscriptions: what arrives, and how late.

    python benchmarks/load.py [--seconds 10] [--output docs/reliability.md]

Each case runs twice: with the shipped profile (config/fastdds_shared_memory.xml) and with Fast DDS's default. One
process publishes, another receives through ``CameraInputs`` and does nothing else. Messages are serialised beforehand,
only their stamps are new, so that publishing costs as little as it can.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test" / "faults"))
from page import write_section

from img2three_ros.nodes.camera_inputs import CameraInputs, camera_topics
from img2three_ros.nodes.conversions import stamp_ns
from img2three_ros.nodes.qos import sensor_qos

PROFILE = ROOT / "config" / "fastdds_shared_memory.xml"


@dataclass(frozen=True)
class Case:
    """cameras images of width x height (rgb8) at rate Hz. Names of cameras: camera_0, camera_1, ..."""

    cameras: int
    width: int
    height: int
    rate: float

    @property
    def names(self) -> list[str]:
        """Of the cameras."""
        return [f"camera_{index}" for index in range(self.cameras)]

    def __str__(self) -> str:
        megabytes = self.cameras * self.width * self.height * 3 * self.rate / 1e6
        return f"{self.cameras} × {self.width}×{self.height} at {self.rate:g} Hz ({megabytes:.0f} MB/s)"


CASES = (Case(6, 1600, 900, 10.0), Case(12, 640, 480, 30.0))


class Receiver(Node):
    """The node's subscriptions. latencies: camera -> s from stamp to callback."""

    def __init__(self, case: Case) -> None:
        super().__init__("img2three")
        self.latencies: dict[str, list[float]] = defaultdict(list)
        topics = [camera_topics(self, name, None, "raw") for name in case.names]
        self.inputs = CameraInputs(self, topics, self._on_image, lambda *_: None, lambda *_: None)

    def _on_image(self, camera: str, topic: str, message: Image) -> None:
        self.latencies[camera].append((time.time_ns() - stamp_ns(message.header.stamp)) / 1e9)


def receive(case: Case, seconds: float) -> None:
    """Listen until nothing has come for a second; print what came as JSON."""
    rclpy.init()
    node = Receiver(case)
    print("ready", flush=True)
    last, count, end = time.monotonic(), 0, time.monotonic() + seconds + 60.0
    while time.monotonic() < end and (count == 0 or time.monotonic() - last < 1.5):
        rclpy.spin_once(node, timeout_sec=0.1)
        now = sum(map(len, node.latencies.values()))
        if now != count:
            last, count = time.monotonic(), now
    usage = os.times()
    print(json.dumps({"latencies": node.latencies, "cpu": usage.user + usage.system}), flush=True)
    os._exit(0)


def publish(case: Case, seconds: float) -> None:
    """Publish all cameras at their rate, each with a phase of its own; print how many images were sent."""
    rclpy.init()
    node = Node("cameras")
    publishers = [node.create_publisher(Image, f"/img2three/input/{name}/image", sensor_qos(2)) for name in case.names]
    message = Image(height=case.height, width=case.width, encoding="rgb8", step=3 * case.width)
    message.header.frame_id = "camera"
    message.data = np.random.default_rng(0).integers(0, 256, case.height * message.step, np.uint8).tobytes()
    coded = bytearray(serialize_message(message))
    while not all(publisher.get_subscription_count() for publisher in publishers):
        time.sleep(0.05)
    time.sleep(0.5)
    begin, sent = time.monotonic(), 0
    slot = 1.0 / (case.rate * case.cameras)
    while (due := begin + sent * slot) < begin + seconds:
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        stamp = time.time_ns()
        struct.pack_into("<iI", coded, 4, stamp // 10**9, stamp % 10**9)  # after the 4 bytes of the CDR header
        publishers[sent % case.cameras].publish(bytes(coded))
        sent += 1
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - begin, "cpu": sum(os.times()[:2])}), flush=True)
    time.sleep(2.0)
    os._exit(0)


@dataclass(frozen=True)
class Measured:
    """share: of the images sent that were received. Latencies in ms. cpu: cores that each side took. rate: Hz sent."""

    share: float
    worst: float
    median: float
    tail: float
    rate: float
    publisher_cpu: float
    receiver_cpu: float


def measure(case: Case, profile: bool, seconds: float) -> Measured:
    """Run both sides as processes of their own."""
    environment = {key: value for key, value in os.environ.items() if "PROFILES_FILE" not in key}
    if profile:
        environment["FASTDDS_DEFAULT_PROFILES_FILE"] = str(PROFILE)
    line = [sys.executable, __file__, "--case", json.dumps(asdict(case)), "--seconds", str(seconds), "--side"]
    with subprocess.Popen([*line, "receive"], stdout=subprocess.PIPE, text=True, env=environment) as receiver:
        assert receiver.stdout is not None and receiver.stdout.readline().strip() == "ready"
        sender = subprocess.run([*line, "publish"], stdout=subprocess.PIPE, text=True, env=environment, check=True,
                                timeout=20.0 * seconds + 120.0)
        heard = json.loads(receiver.stdout.readline())
    sent = json.loads(sender.stdout.splitlines()[-1])
    latencies = heard["latencies"]
    times = 1000.0 * np.array([value for series in latencies.values() for value in series] or [np.nan])
    per_camera = sent["sent"] / case.cameras
    worst = min(len(latencies.get(name, ())) for name in case.names) / per_camera
    return Measured(sum(map(len, latencies.values())) / sent["sent"], worst, float(np.median(times)),
                    float(np.percentile(times, 95)), sent["sent"] / case.cameras / sent["seconds"],
                    sent["cpu"] / sent["seconds"], heard["cpu"] / sent["seconds"])


def table(seconds: float) -> str:
    """All cases, side by side, as markdown."""
    rows = ["| load | Fast DDS profile | sent at | received | worst camera | latency median / p95 | cores of the "
            "publisher / receiver |", "|---|---|---|---|---|---|---|"]
    for case in CASES:
        for name, profile in (("shipped", True), ("default", False)):
            found = measure(case, profile, seconds)
            rows.append(f"| {case} | {name} | {found.rate:.1f} Hz | {found.share:.0%} | {found.worst:.0%} | "
                        f"{found.median:.0f} / {found.tail:.0f} ms | {found.publisher_cpu:.2f} / "
                        f"{found.receiver_cpu:.2f} |")
            print(rows[-1], flush=True)
    return "\n".join(rows)


def main() -> None:
    """Entry point."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--output", type=Path, help="page whose section is written anew")
    arguments.add_argument("--case", help=argparse.SUPPRESS)
    arguments.add_argument("--side", choices=("publish", "receive"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.side:
        {"publish": publish, "receive": receive}[given.side](Case(**json.loads(given.case)), given.seconds)
    os.environ.setdefault("ROS_DOMAIN_ID", str(30 + os.getpid() % 70))
    before = os.getloadavg()[0]
    rows = table(given.seconds)
    words = (f"`python benchmarks/load.py --seconds {given.seconds:g}` on {datetime.now(timezone.utc):%Y-%m-%d}, "
             f"{os.cpu_count()} cores shared with others (load {before:.1f} before, {os.getloadavg()[0]:.1f} after):"
             f"\n\n{rows}")
    if given.output is not None:
        write_section(given.output, "load", words)


if __name__ == "__main__":
    main()
