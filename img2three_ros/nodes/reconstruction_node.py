"""The live node ``img2three``: camera images in, points and occupancy out. It translates; the work is done below.

Executor thread: stores messages (``FrameAssembler``) and puts the newest image set into a one-slot mailbox.
Worker thread: decodes, reconstructs and publishes. A slow reconstruction never delays a subscription.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from ..config import Config
from ..ingest.frame_assembler import FrameAssembler
from ..ingest.rig import load_rig
from ..ingest.synchronizer import ImageSet
from ..structures import Frame, InputError, Reconstruction
from .allowed_files import check_files
from .camera_inputs import CameraInputs, camera_topics, named_rig, odometry_topic
from .complaints import Complaints
from .conversions import NANOSECONDS, stamp_ns
from .engine import Engine, load_engine, load_pipeline
from .input_age import InputAge
from .library_log import relay
from .live_parameters import LiveParameters
from .mailbox import Mailbox
from .managed_node import SUCCESS, ManagedNode
from .motion_inputs import MotionInputs, check_extrinsics
from .outputs import Outputs
from .parameters import NodeConfig, check_cameras, declare
from .rate_limit import RateLimit
from .reporter import Reporter
from .spin import run_node
from .stepping_stones import SteppingStones
from .time_watch import TimeWatch
from .worker import Pipeline, ReconstructionWorker

POLL_PERIOD, GRAPH_PERIOD = 0.02, 0.25
"""Seconds between looks at waiting image sets, and at who publishes what."""
ODOMETRY_PATIENCE, DEACTIVATION_PATIENCE = 0.1, 20.0
"""Seconds an image set may wait on the worker for odometry or TF to reach its stamps, and a reconstruction under way
may take to end; longer is an error, which abandons it."""


@dataclass(frozen=True)
class Work:
    """One image set on its way. received: steady time at which it was complete, s."""

    images: ImageSet[Any]
    received: float


class ReconstructionNode(ManagedNode):
    """Configure: parameters, rig, engine, warm-up. Activate: subscribe, work, publish. Deactivate: drop what waits.

    make_pipeline: what reconstructs; tests give a fake. Raises InputError for parameters that cannot be used.
    """

    def __init__(self, make_pipeline: Callable[[Config], Pipeline] = load_pipeline) -> None:
        super().__init__("img2three", automatically_declare_parameters_from_overrides=True)
        self.config = declare(self, NodeConfig())
        relay(self.get_logger())
        self._make_pipeline = make_pipeline
        self._complaints = Complaints(self.warn)
        self._input_age = InputAge(self.get_clock(), self.get_logger().warning)
        self._engine: Engine | None = None
        self._outputs: Outputs | None = None
        self._worker: ReconstructionWorker[Work] | None = None
        self._inputs: CameraInputs | None = None
        self._motion: MotionInputs | None = None
        self._timers_of_activity: list[Any] = []
        self._mailbox: Mailbox[Work] = Mailbox()
        self._stones: SteppingStones[Work] = SteppingStones()
        self._rate_limit = RateLimit()
        self.free = threading.Event()  # while the worker does not reconstruct
        self.free.set()
        self._time = TimeWatch(self, self.config.sync.time_jump, self.config.sync.forward_jump,
                               self._guarded(self._on_clock_jump))
        self._reporter = Reporter(self, self.config, self._complaints, self._time)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self.config.status.period, self._guarded(self._reporter.publish), clock=self._steady)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._live = LiveParameters(self)

    def configure(self) -> None:
        """Read the rig, load, warm up and test the engine, announce the outputs."""
        check_files(self.config, self.config.allowed_folders)
        rig = load_rig(self.config.rig_file) if self.config.rig_file else None
        check_files(self.config, self.config.allowed_folders, rig)
        cameras = self.config.cameras or (rig.names if rig is not None else ())
        if not cameras:
            raise InputError("parameter", "no cameras: set the parameter cameras (for example cameras:=[front]) or "
                             "rig_file")
        check_cameras(cameras)
        self._live.cameras = tuple(cameras)
        replace(self.config, cameras=cameras)  # checks what names cameras against those of the rig
        self._topics = [camera_topics(self, name, rig, self.config.image_transport) for name in cameras]
        self._odometry_topic = odometry_topic(self, rig)
        check_extrinsics(rig, cameras)
        known = named_rig(rig, self._topics, self._odometry_topic)
        self._make_assembler = partial(
            FrameAssembler, cameras, self.config.sync, known, base_frame=self.config.base_frame or None,
            odom_frame=self.config.odom_frame or None, rectified=self.config.prepare.rectified,
            enough_pixels=self.config.prepare.pixels)
        self._assembler = self._make_assembler()
        self._reporter.configured(self._assembler)
        try:
            self._engine = self.in_background(partial(load_engine, self._make_pipeline, self.config, cameras, known))
            self._outputs = Outputs(self, self._reporter.incompatible, self.config)
        except Exception:
            self.let_go()
            raise
        self._reporter.engine_loaded(self._engine.facts, self._engine.memory)
        self.get_logger().info(f"configured: engine {self.config.engine}, cameras {', '.join(cameras)}")

    def activate(self) -> None:
        """Subscribe and start to work."""
        if self._engine is None:
            raise InputError("busy", "the node is not configured")
        self._live.apply(self.config, self._engine.pipeline)  # what was set too late, or while it loaded
        self._mailbox, self._assembler = Mailbox(), self._make_assembler()
        self._rate_limit.reset()
        self._reporter.configured(self._assembler)
        self._worker = ReconstructionWorker(self._mailbox, self._engine.pipeline, self)
        self._worker.reset()
        self._worker.start()
        told = self._reporter.incompatible
        self._inputs = CameraInputs(self, self._topics, self._guarded(self._on_image),
                                    self._guarded(self._on_camera_info), told)
        self._motion = MotionInputs(self, self._assembler, self._odometry_topic, self._guarded, told)
        self._timers_of_activity = [
            self.create_timer(POLL_PERIOD, self._guarded(self._poll), clock=self._steady),
            self.create_timer(GRAPH_PERIOD, self._guarded(self._inputs.update), clock=self._steady)]
        self._reporter.activated(self._mailbox, self._inputs)
        # Managed publishers speak only after the transition: the box is latched a moment later.
        self._timers_of_activity.append(self.create_timer(
            0.1, self._guarded(self._publish_bounds_once), clock=self._steady))

    def deactivate(self) -> None:
        """Stop working; what waits is dropped."""
        if not self._stop_working(DEACTIVATION_PATIENCE):
            raise TimeoutError(f"a reconstruction is still under way after {DEACTIVATION_PATIENCE:g} s")

    def clean_up(self) -> None:
        """Let go of the engine and withdraw the outputs."""
        if self._outputs is not None:
            self._outputs.destroy()
        release = self._engine.release if self._engine is not None else None
        self._engine = self._outputs = None
        self._reporter.cleaned_up()
        if release is not None:
            release()

    def shut_down(self) -> None:
        """Stop whatever runs."""
        if not self._stop_working(timeout=5.0):
            self._abandon()
        self.clean_up()

    def let_go(self) -> None:
        """After an error: a reconstruction that does not end is left to itself."""
        if not self._stop_working(timeout=0.0):
            self._abandon()
        self.clean_up()

    def transition_failed(self, text: str) -> None:
        """Shown in the status until something succeeds."""
        self._reporter.monitor.error(text, failed=True)

    def transition_done(self) -> None:
        """Show the new state at once."""
        self._reporter.publish()

    def close(self) -> bool:
        """For the end of the process: False if a reconstruction, or loading, is still under way."""
        stopped = self._stop_working(timeout=0.8)
        if not stopped:
            self._abandon()
        return stopped and not self.unfinished

    def _abandon(self) -> None:
        if self._worker is not None:
            self._worker.abandon()
            self._worker = None
            self.free.set()

    def _stop_working(self, timeout: float) -> bool:
        """End inputs, timers and the worker. Returns False if it still works after the timeout (s)."""
        for timer in self._timers_of_activity:
            self.destroy_timer(timer)
        for inputs in (self._inputs, self._motion):
            if inputs is not None:
                inputs.destroy()
        self._timers_of_activity, self._inputs, self._motion = [], None, None
        self._reporter.deactivated()
        if self._worker is None:
            return True
        self._discard(self._mailbox.clear("deactivated"), *self._stones.clear())
        # A signal must not wait for a long timeout.
        end = time.monotonic() + timeout
        while not self._worker.stop(min(0.05, timeout)):
            if time.monotonic() >= end or (timeout > 1.0 and not self.context.ok()):
                return False
        self._worker = None
        return True

    def _on_image(self, camera: str, topic: str, message: Any) -> None:
        stamp = stamp_ns(message.header.stamp)
        self._reporter.seen(camera, stamp)
        if camera in self.config.disabled_cameras:
            self._reporter.drop(camera, "disabled")
            return
        refused = self._input_age.refuses(topic, stamp, self.config.max_input_age)
        if refused:
            self._reporter.drop(camera, *refused)
            return
        jumps = self._assembler.time_jumps
        sets = self._assembler.add_image(camera, message, self._time.waiting(), topic)
        if self._assembler.time_jumps != jumps:
            self._reporter.jumped(f"the stamps of the images jumped by {self._assembler.last_jump:+.2f} s")
        self._offer(sets)

    def _on_camera_info(self, camera: str, topic: str, message: Any) -> None:
        self._assembler.add_camera_info(camera, message)

    def _poll(self) -> None:
        self._offer(self._assembler.poll(self._time.waiting()))
        self._live.take_back()
        self._reporter.complain()

    def _offer(self, sets: Sequence[ImageSet[Any]]) -> None:
        for images in sets:
            if images.after_time_jump:
                self._forget()
            work = Work(images, time.monotonic())
            if self._rate_limit.allows(images.stamp, self.config.max_rate):
                spare = self._mailbox.put(work)
            else:
                self._mailbox.refuse("max_rate")
                spare = work
            self._discard(*(self._stones.add(spare) if spare is not None else ()))

    def _discard(self, *works: Work | None) -> None:
        for work in works:
            if work is not None:
                self._assembler.discard(work.images)

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """One message, or moment, that surprises us must not end the node."""
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                self._complaints.add("input", "internal_error", f"{type(error).__name__}: {error}\n"
                                     + traceback.format_exc(limit=4))
        return guarded

    def assemble(self, item: Work) -> Frame:
        """Image set -> frame. Raises InputError if nothing usable, or no required camera, is in it."""
        self._reporter.monitor.begun()
        deadline = item.received + ODOMETRY_PATIENCE
        while not self._assembler.ready(item.images) and time.monotonic() < deadline:
            time.sleep(0.005)
        frame = self._assembler.assemble(item.images)
        lacking = [name for name in self.config.required_cameras if name in frame.missing]
        if lacking:
            raise InputError("required_camera", f"frame at {frame.stamp} ns has no usable image of "
                             f"{', '.join(lacking)} (required_cameras)")
        if self._worker is not None:  # else abandoned meanwhile: nobody will say that it is done
            self.free.clear()
        return frame

    def earlier(self, item: Work) -> Sequence[Frame]:
        """Replaced frames that give parallax where the reconstruction is slower than the cameras."""
        stones, unused = self._stones.take(lambda other: other.images.stamp < item.images.stamp)
        self._discard(*unused)
        frames = []
        for stone in stones:
            try:
                frames.append(self._assembler.assemble(stone.images))
            except InputError:  # counted by the assembler; the frame itself is not touched
                continue
            except Exception as error:  # the other stones still count
                self._complaints.add("frame", "failure", f"keyframe at {stone.images.stamp} ns: {error!r}")
        return frames

    def dropped(self, item: Work) -> None:
        """An image set of before a reset."""
        self._discard(item)

    def deliver(self, item: Work, frame: Frame, result: Reconstruction) -> None:
        """Publish a result, and the status if something changed. Raises InputError if it is too late for that."""
        age = self._input_age.age(frame.stamp)
        waited = time.monotonic() - item.received
        delay = waited if age is None else max(age, waited)
        limit = self.config.max_output_delay
        if limit and delay > limit:
            self._reporter.monitor.late(delay, limit)
            raise InputError("late_output", f"the result of {frame.stamp} ns was ready {delay:.2f} s after its stamp; "
                             f"max_output_delay is {limit:g} s: not published")
        topics = self._outputs.publish(result, self.config) if self._outputs is not None else ()
        now = self.get_clock().now().nanoseconds
        if self._reporter.monitor.published(frame, result, (now - frame.stamp) / NANOSECONDS,
                                            time.monotonic() - item.received, topics):
            self._reporter.publish_soon()

    def not_changed(self, error: Exception) -> None:
        """The pipeline could not take over a parameter, or forget the past."""
        text = f"{type(error).__name__}: {error}"
        self._reporter.monitor.error(text, failed=True)
        self._complaints.add("parameters", "failure", f"the pipeline cannot be changed, and goes on as it was: {text}")
        self._reporter.publish_soon()

    def rejected(self, item: Work, error: InputError) -> None:
        """A frame that cannot be used."""
        self._reporter.monitor.error(str(error), failed=False)
        if error.reason == "required_camera" or (error.reason == "no_usable_image" and self.config.required_cameras):
            self._reporter.monitor.lacks(str(error))
        if error.reason != "no_usable_image":  # the reporter names the problem of each camera
            self._complaints.add("frame", error.reason, str(error))

    def failed(self, item: Work, error: Exception) -> None:
        """A reconstruction that broke down."""
        text = f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._reporter.monitor.error(text, failed=True)
        self._complaints.add("frame", "failure", f"frame at {item.images.stamp} ns: {text}\n{trace}")
        self._reporter.publish_soon()

    def done(self, item: Work) -> None:
        """Whatever became of it, the worker is free again."""
        self.free.set()
        self._reporter.monitor.ended()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._worker is not None
        response.message = "keyframes, occupancy and waiting images are forgotten" if response.success else "inactive"
        if response.success:
            self._assembler.reset()
            self._forget()
        return response

    def _on_clock_jump(self, seconds: float) -> None:
        self._reporter.clock_jumps += 1
        if self._worker is not None:
            self._assembler.reset()
            self._forget()
            self._reporter.jumped(f"the clock jumped by {seconds:+.2f} s")

    def _forget(self) -> None:
        self._rate_limit.reset()
        if self._worker is not None:
            self._discard(self._worker.reset(), *self._stones.clear())

    def reconfigure(self, config: NodeConfig) -> None:
        """Hand it to the pipeline: before the next frame, or at once while there is none. Raises what that raises."""
        if self._worker is not None:
            self._worker.apply(partial(self._live.apply, config))
        elif self._engine is not None:
            self._live.apply(config, self._engine.pipeline)

    def hold(self, config: NodeConfig) -> None:
        """The node's own part of a change of parameters."""
        resized = config.occupancy != self.config.occupancy
        self.config = self._reporter.config = config
        if resized and self._worker is not None and self._outputs is not None:
            self._outputs.publish_bounds(config, self._assembler.base_frame)

    def _publish_bounds_once(self) -> None:
        if self._outputs is not None:
            self._outputs.publish_bounds(self.config, self._assembler.base_frame)
        self.destroy_timer(self._timers_of_activity.pop())


def start(make_pipeline: Callable[[Config], Pipeline] = load_pipeline) -> ReconstructionNode:
    """A node that is active already, unless ``autostart`` is off. Raises InputError if it cannot be."""
    node = ReconstructionNode(make_pipeline)
    if node.config.autostart and (node.trigger_configure() != SUCCESS or node.trigger_activate() != SUCCESS):
        if not node.context.ok():  # told to stop while it started: what spins it will see
            return node
        raise InputError("configuration", "the node could not be started, for the reason above")
    return node


def main(args: Sequence[str] | None = None) -> int:
    """Entry point."""
    return run_node(start, args)


if __name__ == "__main__":
    sys.exit(main())
