"""The live node ``img2three``: camera images in, points and occupancy out. It translates; the work is done below.

Executor thread: stores messages (``FrameAssembler``) and puts the newest image set into a one-slot mailbox.
Worker thread: decodes, reconstructs and publishes. A slow reconstruction never delays a subscription.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from ..config import Config
from ..ingest.frame_assembler import FrameAssembler
from ..ingest.rig import CameraRig, load_rig
from ..ingest.synchronizer import ImageSet
from ..structures import Frame, InputError, Reconstruction
from .camera_inputs import CameraInputs, camera_topics, named_rig, odometry_topic
from .complaints import Complaints
from .conversions import NANOSECONDS, stamp_ns
from .input_age import InputAge
from .mailbox import Mailbox
from .outputs import Outputs
from .parameters import NodeConfig, changed, check_cameras, declare
from .qos import latched_qos, reliable_qos, sensor_qos, subscribe
from .reporter import Reporter
from .spin import run_node
from .stepping_stones import SteppingStones
from .worker import Pipeline, ReconstructionWorker

POLL_PERIOD, GRAPH_PERIOD = 0.02, 0.25
"""Seconds between looks at waiting image sets, and at who publishes what."""
ODOMETRY_PATIENCE = 0.1
"""Seconds an image set may wait on the worker for odometry to reach its stamps."""
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class Work:
    """One image set on its way. received: steady time at which it was complete, s."""

    images: ImageSet[Any]
    received: float


def load_pipeline(config: Config) -> Pipeline:
    """The real thing; imports torch, so only when configured."""
    from ..reconstruction.pipeline import ReconstructionPipeline

    return ReconstructionPipeline(config)


class ReconstructionNode(LifecycleNode):
    """Configure: parameters, rig, engine. Activate: subscribe, work, publish. Deactivate: drop what waits.

    make_pipeline: what reconstructs; tests give a fake. Raises InputError for parameters that cannot be used.
    """

    def __init__(self, make_pipeline: Callable[[Config], Pipeline] = load_pipeline) -> None:
        super().__init__("img2three", automatically_declare_parameters_from_overrides=True)
        self.config = declare(self, NodeConfig())
        self._make_pipeline = make_pipeline
        self._complaints = Complaints(self.get_logger().warning)
        self._input_age = InputAge(self.get_clock(), self.get_logger().warning)
        self._pipeline: Pipeline | None = None
        self._worker: ReconstructionWorker[Work] | None = None
        self._inputs: CameraInputs | None = None
        self._subscriptions_of_motion: list[Any] = []
        self._timers_of_activity: list[Any] = []
        self._mailbox: Mailbox[Work] = Mailbox()
        self._stones: SteppingStones[Work] = SteppingStones()
        self._reporter = Reporter(self, self.config, self._complaints)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self.config.status.period, self._report, clock=self._steady)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.add_on_set_parameters_callback(self._on_parameters)
        jump = Duration(nanoseconds=-max(1, round(self.config.sync.time_jump * NANOSECONDS)))
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=jump, on_clock_change=True), post_callback=self._on_clock_jump)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the rig, load the engine, announce the outputs."""
        return self._transition(self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        return self._transition(self._activate, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop working; what waits is dropped."""
        return self._transition(self._deactivate, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the engine and withdraw the outputs."""
        return self._transition(self._clean_up, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        return self._transition(self._shut_down, super().on_shutdown, state)

    def close(self) -> bool:
        """For the end of the process: False if a reconstruction is still under way."""
        stopped = self._stop_working(timeout=0.8)
        if self._worker is not None:
            self._worker.abandon()
        return stopped

    def _transition(self, step: Callable[[], None], parent: Callable[[LifecycleState], TransitionCallbackReturn],
                    state: LifecycleState) -> TransitionCallbackReturn:
        # rclpy swallows exceptions of transition callbacks, so they are said here.
        try:
            step()
        except InputError as error:
            self.get_logger().error(str(error))
            self._reporter.monitor.error(str(error), failed=True)
            return FAILURE
        except Exception as error:
            self.get_logger().error(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
            self._reporter.monitor.error(f"{type(error).__name__}: {error}", failed=True)
            return FAILURE
        result = parent(state)
        self._report()
        return result

    def _configure(self) -> None:
        rig = load_rig(self.config.rig_file) if self.config.rig_file else None
        cameras = self.config.cameras or (rig.names if rig is not None else ())
        if not cameras:
            raise InputError("parameter", "no cameras: set the parameter cameras (for example cameras:=[front]) or "
                             "rig_file")
        check_cameras(cameras)
        replace(self.config, cameras=cameras)  # checks required_cameras against the cameras of the rig
        self._topics = [camera_topics(self, name, rig, self.config.image_transport) for name in cameras]
        self._odometry_topic = odometry_topic(self, rig)
        self._transform_message = _transform_message()
        self._make_assembler = partial(
            FrameAssembler, cameras, self.config.sync, named_rig(rig, self._topics, self._odometry_topic),
            base_frame=self.config.base_frame or None, odom_frame=self.config.odom_frame or None,
            rectified=self.config.prepare.rectified, enough_pixels=self.config.prepare.pixels)
        self._assembler = self._make_assembler()
        self._check_extrinsics(rig, cameras)
        self._pipeline = self._make_pipeline(self.config)
        self._outputs = Outputs(self, self._on_incompatible, self.config.octomap.publish)
        self._reporter.configured(self._assembler, self._pipeline)
        self.get_logger().info(f"configured: engine {self.config.engine}, cameras {', '.join(cameras)}")

    def _activate(self) -> None:
        if self._worker is not None or self._pipeline is None:
            raise InputError("busy", "the last reconstruction has not ended yet; try again in a few seconds")
        self._mailbox, self._assembler = Mailbox(), self._make_assembler()
        self._reporter.configured(self._assembler, self._pipeline)
        self._worker = ReconstructionWorker(self._mailbox, self._pipeline, self)
        self._worker.reset()
        self._worker.start()
        self._inputs = CameraInputs(self, self._topics, self._guarded(self._on_image),
                                    self._guarded(self._on_camera_info), self._on_incompatible)
        self._subscriptions_of_motion = self._listen_to_motion()
        self._timers_of_activity = [
            self.create_timer(POLL_PERIOD, self._poll, clock=self._steady),
            self.create_timer(GRAPH_PERIOD, self._inputs.update, clock=self._steady)]
        self._reporter.activated(self._mailbox, self._inputs)
        # Managed publishers speak only after the transition: the box is latched a moment later.
        self._timers_of_activity.append(self.create_timer(0.1, self._publish_bounds_once, clock=self._steady))

    def _deactivate(self) -> None:
        if not self._stop_working(timeout=20.0):
            raise InputError("busy", "a reconstruction is still under way after 20 s")

    def _clean_up(self) -> None:
        if self._pipeline is not None:
            self._outputs.destroy()
        self._pipeline = None
        self._reporter.cleaned_up()

    def _shut_down(self) -> None:
        self._stop_working(timeout=5.0)
        self._clean_up()

    def _stop_working(self, timeout: float) -> bool:
        """End inputs, timers and the worker. Returns False if it still works after the timeout (s)."""
        for timer in self._timers_of_activity:
            self.destroy_timer(timer)
        for subscription in self._subscriptions_of_motion:
            self.destroy_subscription(subscription)
        if self._inputs is not None:
            self._inputs.destroy()
        self._timers_of_activity, self._subscriptions_of_motion, self._inputs = [], [], None
        self._reporter.deactivated()
        if self._worker is None:
            return True
        self._discard(self._mailbox.clear("deactivated"), *self._stones.clear())
        if not self._worker.stop(timeout):
            return False
        self._worker = None
        return True

    def _listen_to_motion(self) -> list[Any]:
        def listen(kind: type, topic: str, callback: Callable[[Any], None], qos: Any) -> Any:
            return subscribe(self, kind, topic, self._guarded(callback), qos, self._on_incompatible)

        heard = [listen(Odometry, self._odometry_topic, self._assembler.add_odometry, sensor_qos(50))]
        if self._transform_message is not None:
            heard.append(listen(self._transform_message, "/tf",
                                partial(self._assembler.add_transforms, static=False), reliable_qos(100)))
            heard.append(listen(self._transform_message, "/tf_static",
                                partial(self._assembler.add_transforms, static=True), latched_qos(100)))
        return heard

    def _on_image(self, camera: str, topic: str, message: Any) -> None:
        self._reporter.seen(camera)
        refused = self._input_age.refuses(topic, stamp_ns(message.header.stamp), self.config.max_input_age)
        if refused:
            self._reporter.drop(camera, *refused)
            return
        jumps = self._assembler.time_jumps
        self._offer(self._assembler.add_image(camera, message, self._waiting_clock(), topic))
        if self._assembler.time_jumps != jumps:
            self.get_logger().warning(f"{topic}: the stamps of the images went back: everything is reset")

    def _on_camera_info(self, camera: str, topic: str, message: Any) -> None:
        self._assembler.add_camera_info(camera, message)

    def _poll(self) -> None:
        self._offer(self._assembler.poll(self._waiting_clock()))
        self._reporter.complain()

    def _waiting_clock(self) -> int:
        """ns; what decides how long images wait for each other: a recording may be played at any speed."""
        clock = self.get_clock()
        return int(clock.now().nanoseconds) if clock.ros_time_is_active else time.monotonic_ns()

    def _offer(self, sets: Sequence[ImageSet[Any]]) -> None:
        for images in sets:
            if images.after_time_jump:
                self._forget()
            replaced = self._mailbox.put(Work(images, time.monotonic()))
            self._discard(*(self._stones.add(replaced) if replaced is not None else ()))

    def _discard(self, *works: Work | None) -> None:
        for work in works:
            if work is not None:
                self._assembler.discard(work.images)

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """One message that surprises us must not end the node."""
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                self._complaints.add("input", "internal_error", f"{type(error).__name__}: {error}\n"
                                     + traceback.format_exc(limit=4))
        return guarded

    def assemble(self, item: Work) -> Frame:
        """Image set -> frame. Raises InputError if nothing usable, or no required camera, is in it."""
        deadline = item.received + ODOMETRY_PATIENCE
        while not self._assembler.ready(item.images) and time.monotonic() < deadline:
            time.sleep(0.005)
        frame = self._assembler.assemble(item.images)
        lacking = [name for name in self.config.required_cameras if name in frame.missing]
        if lacking:
            raise InputError("required_camera", f"frame at {frame.stamp} ns has no usable image of "
                             f"{', '.join(lacking)} (required_cameras)")
        return frame

    def earlier(self, item: Work) -> Sequence[Frame]:
        """Replaced frames that give parallax where the reconstruction is slower than the cameras."""
        stones, unused = self._stones.take(lambda other: other.images.stamp < item.images.stamp)
        self._discard(*unused)
        frames = []
        for stone in stones:
            with contextlib.suppress(InputError):  # counted by the assembler; the frame itself is not touched
                frames.append(self._assembler.assemble(stone.images))
        return frames

    def deliver(self, item: Work, frame: Frame, result: Reconstruction) -> None:
        """Publish a result, and the status if something changed."""
        self._outputs.publish(result, self.config)
        now = self.get_clock().now().nanoseconds
        if self._reporter.monitor.published(frame, result, (now - frame.stamp) / NANOSECONDS,
                                            time.monotonic() - item.received):
            self._reporter.publish_soon()

    def rejected(self, item: Work, error: InputError) -> None:
        """A frame that cannot be used."""
        self._reporter.monitor.error(str(error), failed=False)
        if error.reason != "no_usable_image":  # the reporter names the problem of each camera
            self._complaints.add("frame", error.reason, str(error))

    def failed(self, item: Work, error: Exception) -> None:
        """A reconstruction that broke down."""
        text = f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._reporter.monitor.error(text, failed=True)
        self._complaints.add("frame", "failure", f"frame at {item.images.stamp} ns: {text}\n{trace}")
        self._reporter.publish_soon()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._worker is not None
        response.message = "keyframes, occupancy and waiting images are forgotten" if response.success else "inactive"
        if response.success:
            self._assembler.reset()
            self._forget()
        return response

    def _on_clock_jump(self, jump: TimeJump) -> None:
        if self._worker is not None:
            self.get_logger().warning("the clock jumped: everything is reset")
            self._assembler.reset()
            self._forget()

    def _forget(self) -> None:
        if self._worker is not None:
            self._discard(self._worker.reset(), *self._stones.clear())

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        # Applied here, not in a post-set callback: Humble has none, and this is the only callback that may refuse.
        try:
            config = changed(self.config, {parameter.name: parameter.value for parameter in parameters})
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if config == self.config:  # parameters of others, such as qos_overrides
            return SetParametersResult(successful=True)
        self.config = config
        self._reporter.config = config
        if self._worker is not None:
            self._worker.apply(lambda pipeline: pipeline.reconfigure(config))
        elif self._pipeline is not None:
            self._pipeline.reconfigure(config)
        return SetParametersResult(successful=True)

    def _on_incompatible(self, topic: str, policy: str) -> None:
        self._complaints.add(topic, "incompatible_qos", f"{topic}: the other side's QoS does not fit in {policy}; "
                             f"no message passes. Change its QoS, or ours with qos_overrides.{topic}")

    def _report(self) -> None:
        self._reporter.publish()

    def _publish_bounds_once(self) -> None:
        self._outputs.publish_bounds(self.config, self._assembler.base_frame)
        self.destroy_timer(self._timers_of_activity.pop())

    def _check_extrinsics(self, rig: CameraRig | None, cameras: Sequence[str]) -> None:
        placed = [] if rig is None else [camera.name for camera in rig.cameras if camera.T_base_camera is not None]
        lacking = [name for name in cameras if name not in placed]
        if self._transform_message is None and lacking:
            raise InputError("extrinsics", f"tf2_msgs is not installed, and no rig file places {', '.join(lacking)}: "
                             "install tf2_msgs, or write a rig file with img2three rig-from-bag")


def _transform_message() -> Any:
    """tf2_msgs/TFMessage, or None where it does not exist. The tree of frames is our own: tf2_ros is not needed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return None
    return TFMessage


def start(make_pipeline: Callable[[Config], Pipeline] = load_pipeline) -> ReconstructionNode:
    """A node that is active already, unless ``autostart`` is off. Raises InputError if it cannot be."""
    node = ReconstructionNode(make_pipeline)
    if node.config.autostart and (node.trigger_configure() != SUCCESS or node.trigger_activate() != SUCCESS):
        raise InputError("configuration", "the node could not be started, for the reason above")
    return node


def main(args: Sequence[str] | None = None) -> int:
    """Entry point."""
    return run_node(start, args)


if __name__ == "__main__":
    sys.exit(main())
