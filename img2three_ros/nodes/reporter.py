"""Says how the node is: ``~/status`` (latched), ``/diagnostics``, and one clear log line for each lasting problem."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from ..geometry.voxel_grid import grid_size
from ..ingest.frame_assembler import FrameAssembler
from .camera_inputs import CameraInputs
from .complaints import Complaints
from .diagnostics import array_message, camera_messages, status_message
from .mailbox import Mailbox
from .parameters import NodeConfig
from .qos import latched_qos, reliable_qos
from .status import CameraReport, Monitor, judge, report


class Reporter:
    """Gathers the figures of all parts of the node. Publishes on the executor thread only."""

    def __init__(self, node: Node, config: NodeConfig, complaints: Complaints) -> None:
        self.config = config
        self.monitor = Monitor()
        self._node, self._complaints = node, complaints
        self._status = node.create_publisher(DiagnosticArray, "~/status", latched_qos())
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos(10))
        self._assembler: FrameAssembler | None = None
        self._inputs: CameraInputs | None = None
        self._mailbox: Mailbox[Any] = Mailbox()
        self._device = ""
        self._last_seen: dict[str, float] = {}
        self._dropped: dict[str, Counter[str]] = {}
        self._due = threading.Event()

    def configured(self, assembler: FrameAssembler, pipeline: object) -> None:
        """The rig and the engine are known."""
        self._assembler, self._device = assembler, str(getattr(pipeline, "device", ""))
        self._dropped = {name: Counter() for name in assembler.expected}

    def activated(self, mailbox: Mailbox[Any], inputs: CameraInputs) -> None:
        """Work begins; frame counters start at zero."""
        self._mailbox, self._inputs = mailbox, inputs
        self._last_seen.clear()
        self.monitor.activated(True)

    def deactivated(self) -> None:
        """Work has ended."""
        self._inputs = None
        self.monitor.activated(False)

    def cleaned_up(self) -> None:
        """Rig and engine are gone."""
        self._assembler = None

    def seen(self, camera: str) -> None:
        """A message of this camera came, good or bad."""
        self._last_seen[camera] = time.monotonic()

    def drop(self, camera: str, reason: str, text: str) -> None:
        """An image was refused before it came to the assembler."""
        self._dropped[camera][reason] += 1
        self._complaints.add(f"camera {camera}", reason, text)

    def publish_soon(self) -> None:
        """From the worker thread: something changed."""
        self._due.set()

    def complain(self) -> None:
        """Log what the inputs suffer from; cheap, call it often."""
        problems = self._assembler.open_problems() if self._assembler else {}
        for (source, reason), sentence in problems.items():
            self._complaints.add(f"input {source}", reason, sentence)
        if self._due.is_set():
            self._due.clear()
            self.publish()

    def publish(self) -> None:
        """Report now."""
        snapshot, cameras = self.monitor.snapshot(), self._cameras()
        config = self.config
        health = judge(snapshot, cameras, config.status, config.required_cameras, config.sync.min_cameras)
        values = report(health, snapshot, cameras, self._mailbox.counts(), self._facts())
        name = self._node.get_fully_qualified_name()
        stamp = self._node.get_clock().now().to_msg()
        status = status_message(name, health, values)
        self._status.publish(array_message(stamp, [status]))
        self._diagnostics.publish(array_message(
            stamp, [status, *camera_messages(name, cameras, config.status)]))
        if snapshot.active and snapshot.since_start > config.status.camera_timeout:
            self._complain_of_silence(cameras)

    def _complain_of_silence(self, cameras: Sequence[CameraReport]) -> None:
        for camera in cameras:
            if camera.problem:
                self._complaints.add(camera.name, "silent", f"camera '{camera.name}': {camera.problem}")
        if self._node.get_clock().now().nanoseconds == 0 and any(camera.received for camera in cameras):
            self._complaints.add("/clock", "no_clock", "images come, but no time: use_sim_time is set and nobody "
                                 "publishes /clock. Play with --clock, or set use_sim_time:=false")

    def _cameras(self) -> list[CameraReport]:
        if self._assembler is None:
            return []
        now, reports = time.monotonic(), []
        for name, counts in self._assembler.counters().items():
            last = self._last_seen.get(name)
            silent = None if last is None else now - last
            early = self._dropped[name]
            lost = silent is None or silent > self.config.status.camera_timeout
            reports.append(CameraReport(
                name=name, topic=self._inputs.topic(name) if self._inputs else "", silent=silent,
                received=counts.received + sum(early.values()), used=counts.used, waiting=counts.waiting,
                dropped=Counter(counts.rejected) + early,
                problem=self._inputs.problem(name) if lost and self._inputs else ""))
        return reports

    def _facts(self) -> dict[str, str]:
        grid = grid_size(self.config.occupancy)
        depth, height, width = grid.shape
        facts = {
            "engine": self.config.engine, "device": self._device,
            "voxel_grid.resolution_m": f"{grid.voxel_size:g}",
            "voxel_grid.origin_m": ",".join(f"{value:g}" for value in grid.low),
            "voxel_grid.size_voxels": f"{width},{height},{depth}",
        }
        facts.update({f"rejected.{subject.lstrip('~/')}.{reason}": str(count)
                      for (subject, reason), count in sorted(self._complaints.counts().items())
                      if reason in ("incompatible_qos", "internal_error")})
        assembler = self._assembler
        if assembler is not None:
            facts.update({"base_frame": assembler.base_frame, "time_jumps": str(assembler.time_jumps),
                          "reference_camera": assembler.acting_reference,
                          "problems": "; ".join(assembler.problems())})
            facts.update({f"rejected.messages.{reason}": str(count)
                          for reason, count in sorted(assembler.rejected_messages().items())})
        return facts
