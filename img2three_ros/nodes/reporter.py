"""Says how the node is: ``~/status`` (latched), ``/diagnostics``, and one clear log line for each lasting problem."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from ..geometry.voxel_grid import grid_size
from ..ingest.frame_assembler import FrameAssembler
from .camera_inputs import CameraInputs
from .camera_watch import CameraWatch
from .complaints import Complaints
from .diagnostics import array_message, camera_messages, status_message
from .mailbox import Mailbox
from .parameters import NodeConfig
from .qos import incompatible, latched_qos, reliable_qos
from .status import CameraReport, Monitor, judge, report
from .time_watch import TimeWatch

_COUNTED = ("incompatible_qos", "internal_error")
"""Complaints that the status counts."""


class Reporter:
    """Gathers the figures of all parts of the node. Publishes on the executor thread only."""

    def __init__(self, node: Node, config: NodeConfig, complaints: Complaints, time_watch: TimeWatch) -> None:
        self.config = config
        self.monitor = Monitor()
        self.jump = ""
        """The newest jump of time, in words."""
        self.clock_jumps = 0
        self._unheard: dict[str, str] = {}
        self._node, self._complaints, self._time = node, complaints, time_watch
        self._status = node.create_publisher(DiagnosticArray, "~/status", latched_qos())
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos(10))
        self._assembler: FrameAssembler | None = None
        self._inputs: CameraInputs | None = None
        self._mailbox: Mailbox[Any] = Mailbox()
        self._engine: Mapping[str, str] = {}
        self._memory: Callable[[str], Mapping[str, str]] = lambda device: {}
        self._watch = CameraWatch()
        self._dropped: dict[str, Counter[str]] = {}
        self._breaks = 0
        self._due = threading.Event()

    def configured(self, assembler: FrameAssembler) -> None:
        """The rig is known."""
        self._assembler, self._breaks = assembler, 0
        self._dropped = {name: Counter() for name in assembler.expected}

    def engine_loaded(self, facts: Mapping[str, str], memory: Callable[[str], Mapping[str, str]]) -> None:
        """The engine is there. facts: key-values that stay, with its ``device``; memory: device -> key-values now."""
        self._engine, self._memory = facts, memory

    def activated(self, mailbox: Mailbox[Any], inputs: CameraInputs) -> None:
        """Work begins; frame counters start at zero."""
        self._mailbox, self._inputs = mailbox, inputs
        self._watch.reset()
        self.monitor.activated(True)

    def deactivated(self) -> None:
        """Work has ended."""
        self._inputs = None
        self.monitor.activated(False)

    def cleaned_up(self) -> None:
        """Rig and engine are gone."""
        self._assembler, self._engine, self._memory = None, {}, lambda device: {}

    def seen(self, camera: str, stamp: int) -> None:
        """A message of this camera came, good or bad; its stamp, ns."""
        self._watch.seen(camera, stamp, int(self._node.get_clock().now().nanoseconds))

    def drop(self, camera: str, reason: str, text: str = "") -> None:
        """An image was refused before it came to the assembler; said if there is a text."""
        self._dropped[camera][reason] += 1
        if text:
            self._complaints.add(f"camera {camera}", reason, text)

    def incompatible(self, topic: str, policy: str) -> None:
        """Somebody on ``topic`` cannot be heard, or cannot hear us, because of this policy of its QoS."""
        self._unheard[topic] = policy
        self._complaints.add(topic, "incompatible_qos", f"{topic}: the other side's QoS does not fit in {policy}; "
                             f"no message passes. Change its QoS, or ours with qos_overrides.{topic}")

    def jumped(self, text: str) -> None:
        """Time jumped, and everything with a past was reset."""
        self.jump = text
        self._node.get_logger().warning(f"{text}: everything is reset")
        self._watch.jumped()
        self.monitor.jumped()
        self._due.set()

    def publish_soon(self) -> None:
        """From the worker thread: something changed."""
        self._due.set()

    def complain(self) -> None:
        """Log what the inputs suffer from; cheap, call it often."""
        assembler = self._assembler
        for (source, reason), sentence in (assembler.open_problems() if assembler else {}).items():
            self._complaints.add(f"input {source}", reason, sentence)
        if assembler is not None and assembler.motion_breaks != self._breaks:
            self._breaks = assembler.motion_breaks
            self._complaints.add("ego motion", "break", assembler.last_motion_break)
        if self._due.is_set():
            self._due.clear()
            self.publish()

    def publish(self) -> None:
        """Report now."""
        snapshot, cameras = self.monitor.snapshot(), self._cameras()
        config = self.config
        health = judge(snapshot, cameras, config.status, config.required_cameras, config.sync.min_cameras,
                       self._time.standstill())
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
            if camera.trouble:
                self._complaints.add(camera.name, "clock", camera.trouble)
        if self._node.get_clock().now().nanoseconds == 0 and any(camera.received for camera in cameras):
            self._complaints.add("/clock", "no_clock", "images come, but no time: use_sim_time is set and nobody "
                                 "publishes /clock. Play with --clock, or set use_sim_time:=false")

    def _cameras(self) -> list[CameraReport]:
        if self._assembler is None:
            return []
        counters, lags = self._assembler.counters(), self._assembler.lags()
        return [self._camera(name, counts, lags.get(name)) for name, counts in counters.items()]

    def _camera(self, name: str, counts: Any, lag: float | None) -> CameraReport:
        assert self._assembler is not None
        watch, early, inputs = self._watch, self._dropped[name], self._inputs
        silent = watch.silent(name)
        lost = silent is None or silent > self.config.status.camera_timeout
        return CameraReport(
            name=name, topic=inputs.topic(name) if inputs else "", silent=silent,
            received=counts.received + sum(early.values()), used=counts.used, waiting=counts.waiting,
            dropped=Counter(counts.rejected) + early, problem=inputs.problem(name) if lost and inputs else "",
            trouble="" if lost else watch.problem(name) or self._assembler.clock_problem(name),
            disabled=name in self.config.disabled_cameras, rate=watch.rate(name), latency=watch.latency(name),
            last_stamp=watch.last_stamp(name), lag=lag)

    def _memory_now(self) -> Mapping[str, str]:
        try:
            return self._memory(self._engine.get("device", ""))
        except Exception as error:  # a GPU that broke down fails every call, and the status must say so
            self._complaints.add("device", "memory", f"the device does not answer: {type(error).__name__}: {error}")
            return {"device_problem": f"{type(error).__name__}: {error}"}

    def _facts(self) -> dict[str, str]:
        grid = grid_size(self.config.occupancy)
        depth, height, width = grid.shape
        facts = {
            "engine": self.config.engine, "device": "", **self._engine, **self._memory_now(),
            "voxel_grid.resolution_m": f"{grid.voxel_size:g}",
            "voxel_grid.origin_m": ",".join(f"{value:g}" for value in grid.low),
            "voxel_grid.size_voxels": f"{width},{height},{depth}",
        }
        facts.update({f"rejected.{subject.lstrip('~/')}.{reason}": str(count)
                      for (subject, reason), count in sorted(self._complaints.counts().items())
                      if reason in _COUNTED})
        self._unheard = {topic: policy for topic, policy in self._unheard.items() if incompatible(self._node, topic)}
        facts["incompatible_qos"] = "; ".join(f"{topic}: {policy}" for topic, policy in sorted(self._unheard.items()))
        assembler = self._assembler
        if assembler is not None:
            facts.update({"base_frame": assembler.base_frame, "time_jumps": str(assembler.time_jumps),
                          "clock_jumps": str(self.clock_jumps), "last_time_jump": self.jump,
                          "motion_breaks": str(assembler.motion_breaks),
                          "last_motion_break": assembler.last_motion_break,
                          "reference_camera": assembler.acting_reference,
                          "problems": "; ".join(assembler.problems())})
            facts.update({f"rejected.messages.{reason}": str(count)
                          for reason, count in sorted(assembler.rejected_messages().items())})
        return facts
