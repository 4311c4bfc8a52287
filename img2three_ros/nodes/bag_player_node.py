"""Plays a rosbag2 (MCAP or sqlite3) with /clock, for machines without ``ros2 bag``: bytes go out as recorded."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock

from ..fileio.rosbag import BagReader, RawMessage, TopicInfo
from .conversions import NANOSECONDS, header
from .qos import latched_qos, reliable_qos
from .spin import handle_one, run_node

CLOCK_PERIOD = 0.02
"""Steady seconds between two ticks of /clock while no message is due: every node that listens has to handle them."""
SERVICE_PERIOD, SERVICE_CALLS = 0.1, 4
"""Steady seconds between two looks at what others ask of the player, as each costs more than to publish a message; and
events handled at each."""


class BagPlayer(Node):
    """Publishes the topics of a bag at the times of their recording."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__("bag_player")
        self._options = options
        self._reader = BagReader(options.bag)
        topics = self._reader.topics()
        chosen = set(options.topics or topics)
        for name in sorted(chosen - set(topics)):
            self.get_logger().error(f"topic '{name}' is not in the bag; it has {', '.join(topics)}")
        # A /clock of the recording would fight with ours.
        played = [info for name, info in topics.items() if name in chosen and name != "/clock"]
        self._outputs = {info.name: output for info in played if (output := self._create(info)) is not None}
        self._latched = {info.name for info in played if info.latched}
        self._clock_output = self.create_publisher(Clock, "/clock", reliable_qos(10))
        self._now, self._looked = 0, 0.0

    def play(self) -> None:
        """Play to the end (forever with ``--loop``). Returns when done."""
        if not self._outputs:
            self.get_logger().error("none of the topics can be played")
            return
        self._wait_for_subscribers()
        while True:
            count = self._play_once()
            for warning in self._reader.warnings:
                self.get_logger().warning(warning)
            self._reader.warnings.clear()
            self.get_logger().info(f"{count} messages played")
            if not self._options.loop:
                break
        self._flush()
        self._linger()

    def close(self) -> bool:
        """Close the bag."""
        self._reader.close()
        return True

    def _create(self, info: TopicInfo) -> Any:
        try:
            kind = message_class(info.message_type)
        except (ImportError, AttributeError, ValueError) as error:
            self.get_logger().error(f"topic '{info.name}' is left out: its type {info.message_type} is not installed "
                                    f"({error}); install that message package")
            return None
        qos = latched_qos(max(info.count, 1)) if info.latched else reliable_qos(20)
        return self.create_publisher(kind, info.name, qos)

    def _linger(self) -> None:
        """Tick on after the end: who measures latency with /clock would see time stand still."""
        end, started, rate = self._now, time.monotonic(), self._options.rate
        while (passed := time.monotonic() - started) < self._options.linger:
            self._tick(end + round(passed * rate * NANOSECONDS))
            self._sleep(CLOCK_PERIOD)

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        if time.monotonic() - self._looked >= SERVICE_PERIOD:
            for _ in range(SERVICE_CALLS):
                handle_one(self, 0.0)
            self._looked = time.monotonic()

    def _play_once(self) -> int:
        """One pass. Message times decide, scaled by ``--rate``."""
        begin: int | None = None
        started, count = time.monotonic(), 0
        for raw in self._messages():
            if begin is None:
                begin = raw.time + round(self._options.start * NANOSECONDS)
            if raw.time < begin and raw.topic not in self._latched:
                continue
            self._sleep_until(started, begin, raw.time)
            self._outputs[raw.topic].publish(raw.data)
            count += 1
        return count

    def _messages(self) -> Iterator[RawMessage]:
        return self._reader.raw_messages(list(self._outputs))

    def _sleep_until(self, started: float, begin: int, due: int) -> None:
        """Tick /clock until a message is due, and once at its own time: messages of one instant share a tick."""
        rate = self._options.rate
        while True:
            now = begin + round((time.monotonic() - started) * rate * NANOSECONDS)
            if now >= due:
                break
            self._tick(now)
            self._sleep(min(CLOCK_PERIOD, (due - now) / (rate * NANOSECONDS)))
        if max(due, begin) != self._now:
            self._tick(max(due, begin))

    def _tick(self, now: int) -> None:
        self._now = now
        self._clock_output.publish(Clock(clock=header(now, "").stamp))

    def _wait_for_subscribers(self) -> None:
        """Until someone listens and nobody new has come for a while, within bounds."""
        patience, settle = self._options.wait_for_subscribers, 0.5
        begun = changed = time.monotonic()
        listeners = 0
        while time.monotonic() - begun < patience:
            now = sum(output.get_subscription_count() for output in self._outputs.values())
            if now != listeners:
                listeners, changed = now, time.monotonic()
            if listeners and time.monotonic() - changed >= settle:
                return
            handle_one(self, 0.05)
        if patience > 0 and not listeners:
            self.get_logger().warning(f"nobody subscribed within {patience:g} s: playing anyway")

    def _flush(self) -> None:
        """Leaving at once would lose what is still on its way."""
        deadline = time.monotonic() + 2.0
        for output in self._outputs.values():
            left = max(deadline - time.monotonic(), 0.05)
            output.wait_for_all_acked(Duration(seconds=left))
        handle_one(self, 0.2)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options without the ROS arguments."""
    parser = argparse.ArgumentParser(prog="bag_player_node", description=__doc__)
    parser.add_argument("bag", type=Path, help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument("--rate", type=_positive, default=1.0, help="speed; 0.5 = half (default 1)")
    parser.add_argument("--loop", action="store_true", help="start again at the end, until stopped")
    parser.add_argument("--linger", type=float, default=0.0, metavar="SECONDS",
                        help="keep /clock running this long after the end (default 0)")
    parser.add_argument("--start", type=float, default=0.0, help="seconds to skip at the beginning")
    parser.add_argument("--topics", nargs="+", help="only these topics (default: all)")
    parser.add_argument("--wait-for-subscribers", type=float, default=5.0, metavar="SECONDS",
                        help="wait at most this long for someone to listen (default 5; 0 = do not wait)")
    return parser.parse_args(arguments)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point."""
    given = list(sys.argv if args is None else args)
    options = parse(remove_ros_args(given)[1:])
    return run_node(lambda: BagPlayer(options), given, spin=lambda player: player.play())


def message_class(name: str) -> Any:
    """Class of a message type such as ``sensor_msgs/msg/Image``. Raises ImportError or AttributeError if absent."""
    package, folder, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.{folder}"), kind)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
